//! How a connection ends before its client is logged in.

use std::io;

use crate::metrics::ErrorClass;
use crate::proto::PgError;

/// Longest text of a client in the log: enough for any name, twice over.
const MAX_LOGGED_CHARS: usize = 128;

/// Whose doing it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndClass {
    /// The client left, or its connection broke.
    Gone,
    /// The client broke the protocol.
    Protocol,
    /// The client could not prove who it is; counts against its address (R112).
    Unproven,
    /// The client is who it says, and still not let in.
    Refused,
    /// The deadline of the login came first.
    Timeout,
}

impl EndClass {
    /// Where the metrics count it; `None` for a client that merely left.
    pub const fn counted(self) -> Option<ErrorClass> {
        match self {
            Self::Gone => None,
            Self::Protocol => Some(ErrorClass::Client),
            Self::Unproven | Self::Refused => Some(ErrorClass::Login),
            Self::Timeout => Some(ErrorClass::Timeout),
        }
    }
}

/// A login that ended without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEnd {
    /// What the client is still to be told; `None` where nothing is said, or has been said already.
    pub tell: Option<PgError>,
    /// The true cause, for one line of the log. Text from the client in it is escaped.
    pub reason: String,
    /// Whose doing it was.
    pub class: EndClass,
}

impl LoginEnd {
    pub(super) fn silent(class: EndClass, reason: impl Into<String>) -> Self {
        Self { tell: None, reason: reason.into(), class }
    }

    /// What an error of the socket means at this stage.
    pub(super) fn broken(error: &io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::TimedOut {
            Self::silent(EndClass::Timeout, "client_login_timeout")
        } else if kind == io::ErrorKind::UnexpectedEof {
            Self::silent(EndClass::Gone, "client closed before login")
        } else {
            Self::silent(EndClass::Gone, format!("connection broken before login: {error}"))
        }
    }

    pub(super) fn told(class: EndClass, tell: PgError, reason: impl Into<String>) -> Self {
        Self { tell: Some(tell), reason: reason.into(), class }
    }
}

/// Text of a client as the log may show it: on one line, and not long (B8, S1).
pub(super) fn escape(text: &str) -> String {
    text.chars().take(MAX_LOGGED_CHARS).flat_map(char::escape_debug).collect()
}
