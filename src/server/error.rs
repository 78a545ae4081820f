//! Why a server connection could not be opened, and who hears what about it.

use std::fmt;
use std::io;

use super::wire::WireError;
use crate::auth::LoginError;
use crate::net::Target;
use crate::proto::{PgError, Severity, SqlState};

/// Longest piece of a server's unauthenticated text in the log.
pub(super) const MAX_LOGGED_TEXT: usize = 200;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum OpenCause {
    /// No connection: refused, no route, no such name, time was up.
    #[error("connect failed: {0}")]
    Connect(io::Error),
    /// The deadline for connect and login together came first.
    #[error("login timed out")]
    Timeout,
    /// The server does not speak TLS, which is required.
    #[error("server refused SSL")]
    TlsRefused,
    /// The TLS handshake failed, or the certificate is not believed.
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    /// The answer to the TLS request is neither yes nor no, or something follows it in the clear (R103).
    #[error("bad answer to the TLS request: {0}")]
    TlsAnswer(String),
    /// The connection broke during the login.
    #[error("connection lost during login: {0}")]
    Lost(io::Error),
    /// The server broke the protocol.
    #[error("server broke the protocol: {0}")]
    Protocol(String),
    /// The server refused the login.
    #[error("server login failed: {0}")]
    Server(PgError),
    /// What is known of the user does not suffice to log in, or the server failed to prove itself.
    #[error(transparent)]
    Credentials(#[from] LoginError),
}

impl From<WireError> for OpenCause {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(error) => Self::Lost(error),
            WireError::Misfit { .. } | WireError::TooMuch => Self::Protocol(error.to_string()),
        }
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenKind {
    /// The server is down, starting, full, or somebody else: waiting clients may go on waiting.
    Unreachable,
    /// The server has heard the login and does not want it: waiting clients are told.
    Refused,
}

/// A server connection that could not be opened. Nothing of it is left.
#[derive(Debug)]
pub struct OpenError {
    /// Where it was to lead.
    pub target: Target,
    /// What went wrong, for the log.
    pub cause: OpenCause,
    /// Whether trying again may help.
    pub kind: OpenKind,
    /// What clients are told if they must be told: the server's own code and text if it had heard our login,
    /// otherwise a text without addresses and without anything a server said (S6).
    pub for_client: Option<PgError>,
}

/// The line for the log, with the address.
impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.cause)
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    pub(super) fn new(target: Target, cause: OpenCause) -> Self {
        let kind = kind_of(&cause);
        let for_client = Some(for_client(&cause));
        Self { target, cause, kind, for_client }
    }
}

fn kind_of(cause: &OpenCause) -> OpenKind {
    match cause {
        OpenCause::Server(error) => kind_of_code(error.code),
        OpenCause::Credentials(_) => OpenKind::Refused,
        OpenCause::Connect(_)
        | OpenCause::Timeout
        | OpenCause::TlsRefused
        | OpenCause::Tls(_)
        | OpenCause::TlsAnswer(_)
        | OpenCause::Lost(_)
        | OpenCause::Protocol(_) => OpenKind::Unreachable,
    }
}

/// Starting, stopping, full, broken: that passes. Everything else is about this login.
fn kind_of_code(code: SqlState) -> OpenKind {
    match code.class() {
        "57" | "53" | "58" | "XX" | "08" => OpenKind::Unreachable,
        _ => OpenKind::Refused,
    }
}

fn for_client(cause: &OpenCause) -> PgError {
    let lost = |text: &'static str| PgError::fatal(SqlState::CONNECTION_FAILURE, text);
    match cause {
        // Its detail and hint may speak of the server's insides; code and message are what the user is told.
        OpenCause::Server(error) => {
            PgError { severity: Severity::Fatal, detail: None, hint: None, ..error.clone() }
        }
        OpenCause::Credentials(error) => error.for_client(),
        OpenCause::Connect(_) | OpenCause::Timeout | OpenCause::Lost(_) => {
            lost("the database server cannot be reached")
        }
        OpenCause::TlsRefused | OpenCause::Tls(_) | OpenCause::TlsAnswer(_) => {
            lost("no secure connection to the database server")
        }
        OpenCause::Protocol(_) => lost("the database server broke the protocol"),
    }
}
