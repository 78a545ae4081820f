//! Why a conversation cannot go on, whose fault that is, and what the client hears about it.

use crate::proto::{FrameError, PgError, SqlState};

use super::inflight::Misfit;

/// The end of a conversation, as the protocol sees it. Named after the culprit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The client said Terminate: an orderly end.
    #[error("client close request")]
    ClientClosed,
    /// The client sent what no frontend may send.
    #[error("bad packet from client: {0}")]
    ClientProtocol(FrameError),
    /// The client's names or message fronts pass our bounds.
    #[error("client passed a limit: {0}")]
    ClientLimit(&'static str),
    /// The client opened a transaction block in statement mode.
    #[error("transaction blocks not allowed in statement pooling mode")]
    BlockInStatementMode,
    /// The server refused one of the client's parameters.
    #[error("invalid server parameter: {0}")]
    Parameter(PgError),
    /// The server ended with a FATAL, which the client has been given.
    #[error("server ended the connection: {0}")]
    ServerFatal(PgError),
    /// The server sent what does not fit what it owes: its position is lost (R16).
    #[error("{0}")]
    ServerPosition(#[from] Misfit),
    /// The server sent a malformed message.
    #[error("bad packet from server: {0}")]
    ServerProtocol(&'static str),
}

impl SessionError {
    /// What the client is told; `None` when it has heard already or does not listen any more.
    pub fn for_client(&self) -> Option<PgError> {
        let (code, text) = match self {
            Self::ClientClosed | Self::ServerFatal(_) => return None,
            Self::Parameter(error) => return Some(error.clone().into_fatal()),
            Self::ClientProtocol(error) => (SqlState::PROTOCOL_VIOLATION, error.to_string()),
            Self::ClientLimit(what) => (SqlState::PROGRAM_LIMIT_EXCEEDED, (*what).to_owned()),
            Self::BlockInStatementMode => (SqlState::FEATURE_NOT_SUPPORTED, self.to_string()),
            Self::ServerPosition(_) | Self::ServerProtocol(_) => {
                (SqlState::CONNECTION_FAILURE, "server sent an unexpected message".to_owned())
            }
        };
        Some(PgError::fatal(code, text))
    }

    /// Whether the server is the culprit.
    pub const fn is_servers(&self) -> bool {
        match self {
            Self::ServerFatal(_) | Self::ServerPosition(_) | Self::ServerProtocol(_) => true,
            Self::ClientClosed
            | Self::ClientProtocol(_)
            | Self::ClientLimit(_)
            | Self::BlockInStatementMode
            | Self::Parameter(_) => false,
        }
    }
}
