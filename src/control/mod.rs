//! The control plane: everything of the process that is not on the path of a query.
//!
//! Owns: start and end of the process, signals, listeners, reload, the operator's commands, metrics over HTTP,
//! logs, systemd. Does not know: the protocol, or what a worker does with a connection. It runs on a tokio runtime
//! of its own and talks to the workers through their inboxes only.
//!
//! Reading order: `start` (what happens in which order), `fleet` (the workers seen from here), `accept`,
//! `operator` (one task that owns the standing of the process), `standing` (which command is legal when),
//! `signals`, `reload`, then `http`, `systemd`, `descriptors`, `logging`.

mod accept;
mod descriptors;
mod fleet;
mod http;
pub mod logging;
mod operator;
mod reload;
mod signals;
mod standing;
mod start;
mod systemd;

#[cfg(test)]
mod testing;

pub use reload::Origin;
pub use start::{StartError, run};

/// Version as the command line, the logs and the metrics tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
