//! Why a server leaves its pool, in the words that monitoring looks for.

use std::fmt;

use super::share::ShareId;

/// Why a server was retired. [`RetireReason::as_str`] gives PgBouncer's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetireReason {
    /// Unused for longer than `server_idle_timeout`.
    IdleTimeout,
    /// Older than `server_lifetime`.
    LifetimeOver,
    /// The pool shrank.
    Surplus,
    /// Another share of the pool gets it, with the right to have it.
    Moved(ShareId),
    /// Another pool needed the place.
    Evicted,
    /// The pool is paused.
    Pause,
    /// Marked for closing while it was lent.
    CloseNeeded,
    /// Marked for closing while it was idle.
    ConfigChanged,
    /// Marked for closing while it was being opened.
    ConnectStringChanged,
    /// The pool was removed.
    DatabaseRemoved,
    /// The process ends.
    Shutdown,
    /// An operator ended the client that used it.
    AdminDisconnect,
    /// It spoke, or ended, while nobody used it (R5).
    Dirty,
    /// The connection broke.
    Crashed,
    /// The server ended the connection in good order.
    ServerClosed,
    /// `query_timeout`.
    QueryTimeout,
    /// `idle_transaction_timeout`.
    IdleTransactionTimeout,
    /// `transaction_timeout`.
    TransactionTimeout,
    /// A transaction block in statement pooling.
    BlockInStatementMode,
    /// The server reported a parameter that cannot be.
    InvalidParameter,
    /// The client's parameters could not be put in force.
    VarChangeFailed,
    /// The probe failed.
    TestQueryFailed,
    /// The reset failed.
    ResetQueryFailed,
    /// The server sent a message that makes no sense here.
    UnknownPacket,
    /// The server sent a message whose length makes no sense.
    BadPacketHeader,
    /// The client left while the server was busy or inside a transaction.
    ClientGone,
    /// The client left while replies were owed.
    ClientGoneOwed,
    /// The client left with a request half sent.
    ClientGoneUnsent,
    /// The lease was dropped: client gone, error, panic or cancelled future, nobody knows the state (R4).
    Abandoned,
}

impl RetireReason {
    /// PgBouncer's text for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdleTimeout => "server idle timeout",
            Self::LifetimeOver => "server lifetime over",
            Self::Surplus => "too many servers in the pool",
            Self::Moved(_) => "moved to another worker",
            Self::Evicted => "evicted",
            Self::Pause => "pause mode",
            Self::CloseNeeded => "close_needed",
            Self::ConfigChanged => "database configuration changed",
            Self::ConnectStringChanged => "connect string changed",
            Self::DatabaseRemoved => "database removed",
            Self::Shutdown => "server shutting down",
            Self::AdminDisconnect => "admin forced disconnect",
            Self::Dirty => "idle server got dirty",
            Self::Crashed => "server conn crashed?",
            Self::ServerClosed => "server connection closed",
            Self::QueryTimeout => "query timeout",
            Self::IdleTransactionTimeout => "idle transaction timeout",
            Self::TransactionTimeout => "transaction timeout",
            Self::BlockInStatementMode => "transaction blocks not allowed in statement pooling mode",
            Self::InvalidParameter => "invalid server parameter",
            Self::VarChangeFailed => "var change failed",
            Self::TestQueryFailed => "test query failed",
            Self::ResetQueryFailed => "reset query failed",
            Self::UnknownPacket => "unknown pkt",
            Self::BadPacketHeader => "bad pkt header",
            Self::ClientGone | Self::Abandoned => "client disconnect while server was not ready",
            Self::ClientGoneOwed => "client disconnected with queries in progress",
            Self::ClientGoneUnsent => "client disconnect before everything was sent to the server",
        }
    }
}

impl fmt::Display for RetireReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
