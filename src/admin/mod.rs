//! The console: operator commands and reports.
//!
//! Owns: the console's language, who may say what, one file per report, the conversation itself. Does not know:
//! relay internals, how a command is carried out (the control plane does that behind [`AdminHandle`]).

mod grammar;
mod reports;
mod request;
mod rights;
mod serve;
mod wire;
mod words;

#[cfg(test)]
mod sample;

pub use grammar::{Rejection, Statement, parse};
pub use reports::{Answer, Table, answer};
pub use request::{AdminHandle, AdminRequest, Command, Overview, RunState, Shutdown};
pub use rights::Rights;
pub use serve::{ConsoleEnd, ConsoleIdentity, serve};
pub use words::{Variable, View};

/// The PgBouncer release whose console this is; scripts and drivers read it.
const PGBOUNCER_VERSION: &str = "1.25.2";
/// Database, user and pool under which the console lists itself, whatever name a client used for it.
const CONSOLE: &str = "pgbouncer";
