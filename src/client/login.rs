//! Who a client is, and what it may enter.
//!
//! Owns: the course of an authentication, the order in which the checks behind it are made. Does not know: how
//! servers log in, whether the database can be reached. Nothing of the startup packet beyond the names is looked at
//! before the client has proved who it is, and no outcome before that tells whether a name exists (S14).

use std::cell::RefCell;
use std::io;
use std::time::Instant;

use super::end::{EndClass, LoginEnd, escape};
use super::packet::{Answer, read_answer, within};
use super::parameters::{Wanted, choose_parameters};
use super::verifiers::VerifierCache;
use crate::auth::{
    Accepted, AuthSeed, Exchange, Identity as Known, Login, Nonce, ScramKeys, Start, Step, StoredSecret,
};
use crate::config::{AuthType, CONSOLE_NAMES, Config, Secret};
use crate::net::{Endpoint, Stream, Turnstile};
use crate::proto::{AuthRequest, PgError, Replication, SqlState, StartupMessage};

/// Bytes that fit a client's whole welcome as a rule: AuthenticationOk, what PostgreSQL reports, the key.
const WELCOME_ROOM: usize = 1024;

/// What a login needs to know.
#[derive(Clone, Copy)]
pub struct LoginEnv<'a> {
    /// The settings.
    pub config: &'a Config,
    /// This worker's verifiers.
    pub verifiers: &'a RefCell<VerifierCache>,
    /// How many secrets may be derived at a time (R109).
    pub derivations: &'a Turnstile,
    /// The process's seed for salts.
    pub seed: &'a AuthSeed,
    /// The user id of this process.
    pub own_uid: u32,
    /// When the whole login must be over (R107).
    pub deadline: Option<Instant>,
}

/// What a console user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Every command.
    Admin,
    /// SHOW only.
    Stats,
}

/// What a client came to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A database.
    Application,
    /// The console.
    Console(Rights),
}

/// A client that is who it says.
#[derive(Debug)]
pub struct Authenticated {
    /// Its name.
    pub user: String,
    /// The database it asked for, which is configured, or the console.
    pub database: String,
    /// What it came to use.
    pub identity: Identity,
    /// The minor version of the protocol that it speaks.
    pub minor: u16,
    /// The values of its startup packet, not judged yet.
    pub parameters: Vec<Wanted>,
    /// After SCRAM: keys for servers that store the same verifier.
    pub scram_keys: Option<ScramKeys>,
    /// After a clear-text login: the password.
    pub password: Option<Secret>,
    /// What must be sent before the welcome or a last error: SASLFinal if any, AuthenticationOk.
    pub accepted: Vec<u8>,
}

/// Has the client prove who it is and looks whether it may enter what it asked for. Exactly its messages are read;
/// what follows stays in the stream. The caller sends [`Authenticated::accepted`], or [`LoginEnd::tell`] and closes.
///
/// Cancel safe in that nothing is left behind; the connection is then good only for closing.
///
/// # Errors
/// The client is not let in.
pub async fn authenticate(
    stream: &mut Stream,
    message: &StartupMessage,
    env: &LoginEnv<'_>,
) -> Result<Authenticated, LoginEnd> {
    let is_console = CONSOLE_NAMES.contains(&message.database.as_str());
    let own = is_console && is_own_process(stream, env) && CONSOLE_NAMES.contains(&message.user.as_str());
    let proved = if own {
        Accepted::default()
    } else if env.config.auth_type == AuthType::Trust {
        trust(&message.user, env)?
    } else {
        let proving = async {
            // In a box: few clients log in at a time, and all others should not carry the room for it.
            Ok(Box::pin(prove(stream, message, env)).await)
        };
        within(env.deadline, proving).await.unwrap_or_else(|error| Err(lost(&error)))?
    };
    let mut accepted = Vec::with_capacity(WELCOME_ROOM);
    if let Some(extra) = &proved.extra {
        extra.put(&mut accepted);
    }
    AuthRequest::Ok.put(&mut accepted);
    let admission = admit(message, env.config, own)
        .and_then(|identity| choose_parameters(message, env.config).map(|parameters| (identity, parameters)));
    match admission {
        Ok((identity, parameters)) => Ok(Authenticated {
            user: message.user.clone(),
            database: message.database.clone(),
            identity,
            minor: message.spoken_minor(),
            parameters,
            scram_keys: proved.keys,
            password: proved.password,
            accepted,
        }),
        Err(tell) => {
            // It has proved itself and hears so, as from PostgreSQL, before it hears why that does not help.
            if let Err(error) = within(env.deadline, stream.write_all(&accepted)).await {
                return Err(lost(&error));
            }
            let reason = escape(&tell.message);
            Err(LoginEnd::told(EndClass::Refused, tell, reason))
        }
    }
}

/// Whether the peer is this very process's user on a Unix socket.
fn is_own_process(stream: &Stream, env: &LoginEnv<'_>) -> bool {
    matches!(stream.endpoint(), Endpoint::Unix { peer_uid: Some(uid), .. } if uid == env.own_uid)
}

/// The checks behind a proof; `own` is this process's user, who needs none.
fn admit(message: &StartupMessage, config: &Config, own: bool) -> Result<Identity, PgError> {
    if message.replication != Replication::None {
        let text = "replication connections are not supported by the pooler";
        return Err(PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, text));
    }
    if CONSOLE_NAMES.contains(&message.database.as_str()) {
        return if own || config.console.admin_users.contains(&message.user) {
            Ok(Identity::Console(Rights::Admin))
        } else if config.console.stats_users.contains(&message.user) {
            Ok(Identity::Console(Rights::Stats))
        } else {
            Err(PgError::fatal(SqlState::INVALID_AUTHORIZATION, "not allowed"))
        };
    }
    if config.database(&message.database).is_none() {
        let text = format!("database \"{}\" does not exist", message.database);
        return Err(PgError::fatal(SqlState::UNDEFINED_DATABASE, text));
    }
    Ok(Identity::Application)
}

async fn prove(
    stream: &mut Stream,
    message: &StartupMessage,
    env: &LoginEnv<'_>,
) -> Result<Accepted, LoginEnd> {
    let (mut exchange, mut request) = match begin(&message.user, env).await? {
        Begun::Accepted(accepted) => return Ok(accepted),
        Begun::Ask(exchange, request) => (exchange, request),
    };
    loop {
        let mut words = Vec::new();
        request.put(&mut words);
        stream.write_all(&words).await.map_err(|error| lost(&error))?;
        let answer = read_answer(stream, exchange.max_message_len()).await.map_err(|error| lost(&error))?;
        let judged = match answer {
            Answer::Password(body) => exchange.on_message(b'p', &body),
            Answer::OtherType(tag) => exchange.on_message(tag, &[]),
            Answer::BadLength => Err(exchange.on_oversized()),
        };
        let step = match judged {
            Ok(Step::Derive(derivation)) => {
                exchange.on_derived(env.derivations.offload(move || derivation.run()).await)
            }
            other => other,
        };
        match step {
            Ok(Step::Continue(next)) => request = next,
            Ok(Step::Accepted(accepted)) => return Ok(accepted),
            Ok(Step::Derive(_)) => return Err(internal("a second derivation")),
            Err(tell) => return Err(refused(tell, exchange.note())),
        }
    }
}

enum Begun {
    Accepted(Accepted),
    Ask(Box<Exchange>, AuthRequest),
}

/// Where nobody has to prove anything, there is nothing to wait for.
fn trust(user: &str, env: &LoginEnv<'_>) -> Result<Accepted, LoginEnd> {
    let is_known = env.config.users.contains_key(user);
    Exchange::trust(user, is_known).map_err(|tell| refused(tell, Some("no such user")))
}

/// Finds what is known of the name, and starts the exchange; the same one if nothing is known.
async fn begin(user: &str, env: &LoginEnv<'_>) -> Result<Begun, LoginEnd> {
    let known = env.config.users.get(user);
    let nonce = Nonce::from_os().map_err(|error| internal(&error.to_string()))?;
    let stored =
        known.and_then(|user| user.secret.as_ref()).and_then(|secret| StoredSecret::parse(&secret.0));
    let identity = match (known, &stored) {
        (None, _) => Known::Unknown,
        (Some(_), None) => Known::NoSecret,
        (Some(_), Some(stored)) => Known::Known(stored),
    };
    let mut cached = env.verifiers.borrow().find(user);
    loop {
        let login = Login { method: env.config.auth_type, user, identity, cached: cached.as_ref() };
        match Exchange::begin(&login, env.seed, &nonce) {
            Ok(Start::Accepted(accepted)) => return Ok(Begun::Accepted(accepted)),
            Ok(Start::Ask(exchange, request)) => return Ok(Begun::Ask(Box::new(exchange), request)),
            // The fresh verifier is made of this very secret, so it is not asked for twice.
            Ok(Start::Derive(job)) => {
                let fresh = env.derivations.offload(move || job.run()).await;
                env.verifiers.borrow_mut().keep(user, fresh.clone());
                cached = Some(fresh);
            }
            Err(tell) => return Err(refused(tell, Some("no such user"))),
        }
    }
}

/// The client did not prove itself. The true cause is for the log only (S14).
fn refused(tell: PgError, note: Option<&'static str>) -> LoginEnd {
    let reason = format!("{} ({})", escape(&tell.message), note.unwrap_or("no further cause"));
    let class = match tell.code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION => EndClass::Unproven,
        _ => EndClass::Protocol,
    };
    LoginEnd::told(class, tell, reason)
}

fn internal(reason: &str) -> LoginEnd {
    LoginEnd::told(EndClass::Refused, PgError::fatal(SqlState::INTERNAL_ERROR, "login failed"), reason)
}

/// A broken socket; a deadline is told.
fn lost(error: &io::Error) -> LoginEnd {
    let mut end = LoginEnd::broken(error);
    if end.class == EndClass::Timeout {
        end.tell = Some(PgError::fatal(SqlState::PROTOCOL_VIOLATION, "client_login_timeout"));
    }
    end
}
