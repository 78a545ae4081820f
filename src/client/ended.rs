//! Why a conversation is over: for the log, and for the client as far as it still listens.

use std::fmt;
use std::io;

use super::entry::EndOrder;
use crate::metrics::ErrorClass;
use crate::proto::PgError;
use crate::session::{Session, SessionError};

/// See the module.
#[derive(Debug)]
pub enum Ended {
    /// The protocol's reason.
    Session(SessionError),
    /// The client's socket closed or broke.
    ClientGone(Option<io::Error>),
    /// The server's socket closed or broke while it was linked.
    ServerLost(Option<io::Error>),
    /// The worker ordered it.
    Ordered(EndOrder),
    /// The pool is gone.
    Refused(PgError),
}

impl Ended {
    /// What the client is still to be told.
    pub fn for_client(&self) -> Option<PgError> {
        match self {
            Self::Session(error) => error.for_client(),
            Self::ClientGone(_) => None,
            Self::ServerLost(_) => Some(Session::server_lost()),
            Self::Ordered(order) => order.tell.clone(),
            Self::Refused(error) => Some(error.clone().into_fatal()),
        }
    }

    /// Whether the client left.
    pub const fn is_parting(&self) -> bool {
        matches!(self, Self::Session(SessionError::ClientClosed) | Self::ClientGone(_))
    }

    /// How the end is counted; an orderly one is not.
    pub fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Session(SessionError::ClientClosed) | Self::ClientGone(_) => None,
            Self::Session(error) if error.is_servers() => Some(ErrorClass::Server),
            Self::Session(_) => Some(ErrorClass::Client),
            Self::ServerLost(_) => Some(ErrorClass::Server),
            Self::Ordered(order) => order.class,
            Self::Refused(_) => Some(ErrorClass::Admin),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => write!(f, "{error}"),
            Self::ClientGone(None) => f.write_str("client unexpected eof"),
            Self::ClientGone(Some(error)) => write!(f, "client connection lost: {error}"),
            Self::ServerLost(None) => f.write_str("server conn crashed?"),
            Self::ServerLost(Some(error)) => write!(f, "server conn crashed? {error}"),
            Self::Ordered(order) => f.write_str(order.tell.as_ref().map_or("ended", |error| &error.message)),
            Self::Refused(error) => f.write_str(&error.message),
        }
    }
}
