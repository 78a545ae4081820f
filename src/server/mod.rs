//! Connections to PostgreSQL.
//!
//! Owns: connecting, logging in, cancelling; what a pool of them shares; bringing one back to rest, or closing it.
//! Does not know: clients.
//!
//! Reading order: `open` (from a plan to a connection that is ready), `encrypt` (TLS or not), `wire` (messages of a
//! server that is not logged in), `cancel`, `error`; then `conn` (what the pool lends), `home` and `welcome` (what one
//! pool shares, `pins` and `uses` among it), `listener`, `channel_books` and `listening` (its connection for LISTEN),
//! `wind_down` (servers without a client), `moving` (servers between two workers).

mod cancel;
#[cfg(test)]
mod cancel_tests;
mod channel_books;
mod conn;
mod encrypt;
mod error;
mod home;
#[cfg(test)]
mod home_tests;
mod listener;
mod listening;
mod moving;
mod open;
mod pins;
#[cfg(test)]
pub(crate) mod test_home;
#[cfg(test)]
pub(crate) mod test_net;
#[cfg(test)]
pub(crate) mod test_pool;
#[cfg(test)]
mod tests;
mod uses;
mod welcome;
mod wind_down;
#[cfg(test)]
mod wind_down_tests;
mod wire;

pub use cancel::{CancelError, CancelTarget, send_cancel};
pub use conn::{Alarms, ServerConn, ServerEntry, open_for};
pub use error::{OpenCause, OpenError, OpenKind};
pub use home::{Home, HomeSettings, ProvenSecrets, Startups};
pub use listener::Listener;
pub use moving::{Stays, Traveller};
pub use open::{Opened, ServerKey, ServerPlan, open};
pub use pins::{Pin, PinBook, PinBounds};
pub use uses::UseBook;
pub use welcome::{Usual, Welcome};
pub use wind_down::{Left, cancel_server, give_back, retire, try_startup, wind_down};
