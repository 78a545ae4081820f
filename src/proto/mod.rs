//! Bytes to messages and back: the PostgreSQL frontend/backend protocol, version 3.
//!
//! Owns: message boundaries, limits of lengths, borrowed views of the messages we read, writers of the messages
//! we send. Does not know: sockets, sessions, configuration. No I/O, no clock.

mod backend;
mod frame;
mod frontend;
mod pg_error;
mod startup;
mod tx;

pub use backend::{
    AuthRequest, Column, ColumnType, put_backend_key, put_command_complete, put_data_row, put_error_fields,
    put_negotiate_protocol, put_parameter_status, put_ready, put_row_description,
};
pub use frame::{FrameError, FrameHeader, HEADER_LEN};
pub use frontend::{
    BindView, ParseView, TargetView, put_bare_bind, put_bind_front, put_bound_statement, put_close_statement,
    put_copy_fail, put_describe_statement, put_identifier, put_parse, put_query, put_query_parts, put_sync,
};
pub use pg_error::{PgError, Severity, SqlState};
pub use startup::{
    LENGTH_WORD, MAX_STARTUP_WORD, NAME_LIMIT, NEWEST_MINOR, Replication, StartupError, StartupMessage,
    StartupPacket, clip_name, parse_options, put_unsupported_major, startup_length,
};
pub use tx::TxStatus;
