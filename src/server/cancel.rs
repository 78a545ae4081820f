//! Asking a server to stop what one of its sessions runs.
//!
//! Owns: the request, and the wait until the server has dealt with it (R9). Does not know: whose request it was, or
//! whether the session still runs what was meant.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::encrypt::{Need, encrypt};
use super::error::OpenCause;
use super::open::{ServerKey, ServerPlan};
use crate::config::SocketOptions;
use crate::net::{Stream, Target, TlsContext, connect, timeout_at};

/// `CancelRequest`'s code.
const CANCEL_CODE: [u8; 4] = [0x04, 0xd2, 0x16, 0x2e];

/// Bytes of a server's answer to a cancel request that are read. There should be none; the end is what counts.
const MAX_ANSWER: usize = 4096;

/// Where and how one server session can be cancelled.
#[derive(Clone)]
pub struct CancelTarget {
    target: Target,
    host: String,
    tls: Arc<TlsContext>,
    need: Need,
    sockets: SocketOptions,
    key: ServerKey,
}

impl std::fmt::Debug for CancelTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelTarget")
            .field("target", &self.target)
            .field("need", &self.need)
            .finish_non_exhaustive()
    }
}

impl CancelTarget {
    /// For the session behind `stream`, which was opened by `plan`: the exact address it is connected to, whatever
    /// the name means by now, and never less encryption than it has itself (S39).
    pub fn new(stream: &Stream, plan: &ServerPlan, key: ServerKey) -> Self {
        let need = if stream.is_tls() { Need::Encrypted } else { Need::AsConfigured };
        Self {
            target: stream.reconnect_target(),
            host: plan.target.host.clone(),
            tls: Arc::clone(&plan.tls),
            need,
            sockets: plan.sockets.clone(),
            key,
        }
    }
}

/// Why nobody can say that a cancel request was dealt with.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The deadline came first.
    #[error("cancel request timed out")]
    Timeout,
    /// No connection, or none that is encrypted as it must be.
    #[error("{0}")]
    Open(OpenCause),
    /// The server talks instead of closing.
    #[error("the server answers a cancel request")]
    Answered,
}

/// Sends a cancel request and waits until the server has closed the connection: by then the signal has been sent
/// to the session, or the key was unknown.
///
/// Cancel safe: the connection is closed when the future is dropped; the request may have been sent.
///
/// # Errors
/// The request may or may not have been dealt with.
pub async fn send_cancel(to: &CancelTarget, deadline: Instant) -> Result<(), CancelError> {
    // In a box, as it holds a TLS handshake.
    timeout_at(deadline, Box::pin(converse(to, deadline))).await.unwrap_or(Err(CancelError::Timeout))
}

async fn converse(to: &CancelTarget, deadline: Instant) -> Result<(), CancelError> {
    let open = CancelError::Open;
    let stream =
        connect(&to.target, &to.sockets, Some(deadline)).await.map_err(OpenCause::Connect).map_err(open)?;
    let mut stream = encrypt(stream, &to.tls, &to.host, to.need).await.map_err(open)?;
    stream.write_all(&to.key.cancel_request()).await.map_err(OpenCause::Lost).map_err(open)?;
    let mut scratch = [0; 256];
    let mut read = 0;
    while read < MAX_ANSWER {
        match stream.read(&mut scratch).await {
            Ok(0) => return Ok(()),
            Ok(some) => read += some,
            // The server is done with us in its own way.
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(open(OpenCause::Lost(error))),
        }
    }
    Err(CancelError::Answered)
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

impl ServerKey {
    /// The packet that cancels what this session runs.
    fn cancel_request(&self) -> Vec<u8> {
        let length = u32::try_from(12 + self.secret.len()).unwrap_or(u32::MAX);
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend(CANCEL_CODE);
        packet.extend(self.process_id.to_be_bytes());
        packet.extend(&self.secret);
        packet
    }
}
