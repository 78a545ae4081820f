//! From a plan to a server connection that is ready for its first query.
//!
//! Owns: the steps of a login to PostgreSQL and what may come in which of them (R49). Does not know: pools, who waits
//! for this connection. Each call starts from nothing: no state of an earlier attempt exists (S41).
//!
//! ```text
//! connect --> encrypt --> startup packet --> Proving --AuthenticationOk--> Settling --ReadyForQuery(I)--> Opened
//! ```

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::cancel::CancelTarget;
use super::encrypt::{Need, encrypt};
use super::error::{OpenCause, OpenError};
use super::wire::{LoginReader, Message};
use crate::auth::{LoginStep, Nonce, ServerCredentials, ServerLogin};
use crate::config::SocketOptions;
use crate::net::{Quiet, Stream, Target, TlsContext, connect, offload, timeout_at};
use crate::proto::PgError;

/// Version 3.0: what every server speaks.
const PROTOCOL: [u8; 4] = [0, 3, 0, 0];

/// Everything that decides how a server connection is made. Two connections of one plan are interchangeable.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// Where the server is.
    pub target: Target,
    /// The database on that server.
    pub database: String,
    /// The role.
    pub user: String,
    /// What is known of its password.
    pub credentials: ServerCredentials,
    /// Parameters for the startup packet.
    pub startup: Vec<(String, String)>,
    /// TLS towards servers.
    pub tls: Arc<TlsContext>,
    /// Options of the socket.
    pub sockets: SocketOptions,
}

/// The key by which a session can be cancelled.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKey {
    /// Process id of the backend.
    pub process_id: i32,
    /// The secret: 4 bytes until protocol 3.1, up to 256 since.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerKey").field("process_id", &self.process_id).finish_non_exhaustive()
    }
}

/// A server connection at its first ReadyForQuery: idle, outside a transaction, nothing unread.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub stream: Stream,
    /// How to cancel what it runs; `None` if the server gave no key.
    pub key: Option<ServerKey>,
    /// What the server reported, in its order; the last value where it reported one twice.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Opened {
    /// How to cancel what this session runs, by the plan it was opened with.
    pub fn cancel_target(&self, plan: &ServerPlan) -> Option<CancelTarget> {
        self.key.as_ref().map(|key| CancelTarget::new(&self.stream, plan, key.clone()))
    }
}

/// Connects and logs in, all until `deadline`.
///
/// Cancel safe: a connection that is not finished is closed.
///
/// # Errors
/// Says whether trying again may help; the connection is closed.
pub async fn open(plan: &ServerPlan, deadline: Option<Instant>) -> Result<Opened, OpenError> {
    let work = async {
        // In a box: the steps of a login are large, and a client that waits for one should not be.
        Box::pin(log_in(plan, deadline)).await
    };
    let opened = match deadline {
        Some(deadline) => timeout_at(deadline, work).await.unwrap_or(Err(OpenCause::Timeout)),
        None => work.await,
    };
    opened.map_err(|cause| OpenError::new(plan.target.clone(), cause))
}

async fn log_in(plan: &ServerPlan, deadline: Option<Instant>) -> Result<Opened, OpenCause> {
    let stream = connect(&plan.target, &plan.sockets, deadline).await.map_err(OpenCause::Connect)?;
    let mut stream = encrypt(stream, &plan.tls, &plan.target.host, Need::AsConfigured).await?;
    stream.write_all(&startup_packet(plan)?).await.map_err(OpenCause::Lost)?;
    let mut reader = LoginReader::default();
    prove(&mut stream, &mut reader, &plan.credentials).await?;
    settle(stream, reader).await
}

fn startup_packet(plan: &ServerPlan) -> Result<Vec<u8>, OpenCause> {
    let mut body = PROTOCOL.to_vec();
    let names = [("user", plan.user.as_str()), ("database", plan.database.as_str())];
    let startup = plan.startup.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in names.into_iter().chain(startup) {
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(OpenCause::Protocol("a startup parameter cannot be sent".to_owned()));
        }
        for text in [name, value] {
            body.extend(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4);
    let length = length.map_err(|_| OpenCause::Protocol("the startup packet is too long".to_owned()))?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

/// Answers the server's questions until it believes us.
async fn prove(
    stream: &mut Stream,
    reader: &mut LoginReader,
    credentials: &ServerCredentials,
) -> Result<(), OpenCause> {
    let nonce = Nonce::from_os().map_err(|error| OpenCause::Protocol(error.to_string()))?;
    let mut login = ServerLogin::new(credentials.clone(), &nonce);
    loop {
        let message = reader.next(stream).await?;
        let mut step = match message.tag {
            b'R' => login.on_auth_request(&message.body)?,
            b'E' => return Err(OpenCause::Server(PgError::parse(&message.body))),
            // A notice may come at any time, an older protocol may be announced (R49).
            b'N' | b'v' => continue,
            _ => return Err(out_of_place(&message)),
        };
        if let LoginStep::Derive(derivation) = step {
            step = login.on_derived(offload(move || derivation.run()).await)?;
        }
        match step {
            LoginStep::Send(answer) => stream.write_all(&answer).await.map_err(OpenCause::Lost)?,
            LoginStep::Wait => {}
            LoginStep::Derive(_) => return Err(OpenCause::Protocol("a second derivation".to_owned())),
            LoginStep::Done => return Ok(()),
        }
    }
}

/// Collects what a fresh session says of itself until it is ready.
async fn settle(mut stream: Stream, mut reader: LoginReader) -> Result<Opened, OpenCause> {
    let mut key = None;
    let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    loop {
        let message = reader.next(&mut stream).await?;
        let body = message.body.as_slice();
        match message.tag {
            b'S' => {
                let (name, value) = parameter(body).ok_or_else(|| out_of_place(&message))?;
                match parameters.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => value.clone_into(known),
                    None => parameters.push((name.to_vec(), value.to_vec())),
                }
            }
            b'K' => match body.split_first_chunk::<4>() {
                Some((&process_id, secret)) if secret.len() >= 4 => {
                    key = Some(ServerKey {
                        process_id: i32::from_be_bytes(process_id),
                        secret: secret.to_vec(),
                    });
                }
                _ => return Err(out_of_place(&message)),
            },
            b'Z' if body == b"I" => break,
            b'E' => return Err(OpenCause::Server(PgError::parse(body))),
            b'N' => {}
            _ => return Err(out_of_place(&message)),
        }
    }
    // A session that goes on talking is not at rest (R1 d).
    match stream.poll_quiet(Waker::noop()) {
        Quiet::Silent => Ok(Opened { stream, key, parameters }),
        Quiet::Readable => Err(OpenCause::Protocol("data behind ReadyForQuery".to_owned())),
        Quiet::Closed => Err(OpenCause::Lost(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Name and value of a ParameterStatus.
fn parameter(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = body.split(|&byte| byte == 0);
    let (name, value) = (parts.next()?, parts.next()?);
    let ends = parts.next()?.is_empty() && parts.next().is_none();
    (ends && !name.is_empty()).then_some((name, value))
}

fn out_of_place(message: &Message) -> OpenCause {
    OpenCause::Protocol(format!("message of type {:?} is malformed or out of place", char::from(message.tag)))
}
