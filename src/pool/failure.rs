//! What can go wrong on the way to a server, and what a waiting client is told.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::state::PoolEnd;
use crate::proto::{PgError, SqlState};

/// Whether trying again can help by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Refused connection, timeout, TLS or DNS failure, 57P03, 53300: the server may be back at any moment.
    /// Waiters keep waiting until their own deadline.
    Unreachable,
    /// 28P01, 28000, 3D000 and the like: the server understood and said no. Waiters are told at once.
    Refused,
}

/// One failed attempt to open a server connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectFailure {
    /// What waiting clients may be told: no address, no secret, nothing of the inside. `None` tells them only
    /// that there was no connection.
    pub error: Option<PgError>,
    /// Whether trying again can help.
    pub kind: FailureKind,
}

impl ConnectFailure {
    /// The server could not be reached; `error` is what it said, if it said anything fit for clients.
    pub const fn unreachable(error: Option<PgError>) -> Self {
        Self { error, kind: FailureKind::Unreachable }
    }

    /// The server said no.
    pub const fn refused(error: PgError) -> Self {
        Self { error: Some(error), kind: FailureKind::Refused }
    }
}

/// Why a checkout ended without a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutError {
    /// Nobody's fault that is known, or the server's: the wait was too long (`query_wait_timeout`).
    Timeout {
        /// Time since the checkout queued.
        waited: Duration,
        /// The last failed attempt to open a server, unless one succeeded since.
        last_failure: Option<Rc<ConnectFailure>>,
    },
    /// The server refuses this pool's logins, and the pool has no other server.
    Refused(Rc<ConnectFailure>),
    /// The client took its request back.
    Canceled,
    /// Somebody ended all waits of the pool, for example a shutdown.
    Failed(Rc<PgError>),
    /// The pool has ended.
    Closed(PoolEnd),
}

impl CheckoutError {
    /// What the client is told. The session survives `Error` severities (R97).
    pub fn for_client(&self) -> PgError {
        match self {
            Self::Timeout { last_failure, .. } => {
                let error = PgError::error(SqlState::TOO_MANY_CONNECTIONS, "query_wait_timeout");
                match last_failure.as_deref() {
                    None => error.with_detail("All server connections of the pool were in use."),
                    Some(ConnectFailure { error: Some(cause), .. }) => {
                        error.with_detail(format!("Last server error: {}", cause.message))
                    }
                    Some(_) => error.with_detail("The server could not be reached."),
                }
            }
            Self::Refused(failure) => failure
                .error
                .clone()
                .unwrap_or_else(|| PgError::fatal(SqlState::CONNECTION_FAILURE, "server login failed")),
            Self::Canceled => {
                PgError::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
            }
            Self::Failed(error) => PgError::clone(error),
            Self::Closed(PoolEnd::Removed) => PgError::fatal(SqlState::ADMIN_SHUTDOWN, "database removed"),
            Self::Closed(PoolEnd::Shutdown) => PgError::fatal(
                SqlState::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
            ),
        }
    }
}

impl From<PgError> for CheckoutError {
    fn from(error: PgError) -> Self {
        Self::Failed(Rc::new(error))
    }
}

impl fmt::Display for CheckoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.for_client().fmt(f)
    }
}

impl std::error::Error for CheckoutError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Severity;

    fn timeout(last_failure: Option<ConnectFailure>) -> PgError {
        let last_failure = last_failure.map(Rc::new);
        CheckoutError::Timeout { waited: Duration::from_secs(1), last_failure }.for_client()
    }

    #[test]
    fn r97_a_wait_that_was_too_long_names_the_true_cause_and_the_session_lives() {
        let cause = PgError::fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
        let told = timeout(Some(ConnectFailure::unreachable(Some(cause))));
        assert_eq!((told.severity, told.code), (Severity::Error, SqlState::TOO_MANY_CONNECTIONS));
        assert_eq!(told.detail.as_deref(), Some("Last server error: the database system is starting up"));
        assert!(timeout(Some(ConnectFailure::unreachable(None))).detail.is_some());
        assert!(timeout(None).detail.is_some());
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_own_words() {
        let said = PgError::fatal(SqlState::INVALID_PASSWORD, "password authentication failed");
        let failure = Rc::new(ConnectFailure::refused(said.clone()));
        assert_eq!(CheckoutError::Refused(failure).for_client(), said);
    }
}
