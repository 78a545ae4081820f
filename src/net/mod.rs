//! Bytes on sockets.
//!
//! Owns: sockets, TLS (rustls), the runtime seam, the clock. Does not know: messages, clients, servers, pools. The
//! data plane names no runtime; it uses what is exported here, so the executor can be changed behind this seam.
//!
//! Reading order: `endpoint` (who is at the other end), `socket` (TCP or Unix), `stream` (bytes, plain or TLS),
//! `exactly`, `hang_up`, `tls_io` (how records come and go), `handshake` (how a stream becomes TLS), `tls_info` (what
//! was agreed on), `connect`, `listener` and `accepting` (where streams come from), `tls_context` and `verify` (what is
//! presented and what is believed), `rt`, `turnstile` and `clock`.

mod accepting;
pub mod clock;
mod connect;
mod detached;
mod endpoint;
mod exactly;
mod exec;
mod handshake;
mod hang_up;
mod listener;
mod pem;
pub mod rt;
mod socket;
mod sockopt;
mod stream;
mod stream_tokio;
mod tls_context;
mod tls_info;
mod tls_io;
mod turnstile;
mod unix_listen;
mod verify;

pub use accepting::{Acceptor, LocalAcceptor};
pub use connect::connect;
pub use detached::Detached;
pub use endpoint::{Endpoint, Ends, Target};
pub use listener::{BindError, Listener, is_transient_accept_error};
pub use rt::{
    Elapsed, Task, offload, run_worker, sleep_until, spawn_detached, spawn_local, timeout_at, turn_time,
    yield_now,
};
pub use socket::Quiet;
pub use stream::Stream;
pub use tls_context::{TlsContext, TlsProblem};
pub use tls_info::TlsInfo;
pub use turnstile::{Ticket, Turnstile};

#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod listener_tests;
#[cfg(test)]
mod rt_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tls_io_tests;
#[cfg(test)]
mod verify_tests;
