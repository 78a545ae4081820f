//! Connections to PostgreSQL.
//!
//! Owns: connecting, logging in, cancelling. Does not know: clients, pools, what a session is used for.
//!
//! Reading order: `open` (from a plan to a connection that is ready), `encrypt` (TLS or not), `wire` (messages of a
//! server that is not logged in), `cancel`, `error`.

mod cancel;
#[cfg(test)]
mod cancel_tests;
mod encrypt;
mod error;
mod open;
#[cfg(test)]
pub(crate) mod test_net;
#[cfg(test)]
mod tests;
mod wire;

pub use cancel::{CancelError, CancelTarget, send_cancel};
pub use error::{OpenCause, OpenError, OpenKind};
pub use open::{Opened, ServerKey, ServerPlan, open};
