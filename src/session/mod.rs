//! One client's conversation: what it may do now, what its server still owes, which parameters and statements
//! differ. Does not know: sockets, pools, clock. No I/O.
//!
//! Read `conversation` first, then the two directions `from_client` and `from_server`, then `inflight`, on which
//! all of it rests.

mod admission;
mod answer;
mod by_sql;
mod catalog;
mod channels;
mod columns;
mod conversation;
mod ear;
mod error;
mod extended;
mod from_client;
mod from_server;
mod healing;
mod inflight;
mod leaving;
mod meaning;
mod names;
mod noting;
mod outbox;
mod owed;
mod own;
mod packed;
mod params;
mod passing;
mod pins;
mod quiescent;
mod records;
mod refusals;
mod renaming;
mod resets;
mod rested;
mod set_text;
mod settings;
mod sql;
mod statements;
mod survey;
mod tally;
#[cfg(test)]
mod tests;
mod tracking;
mod trial;
mod unnamed;
mod uses;
mod wishes;
mod word;

pub use catalog::{Catalog, Statement};
pub use channels::Errand;
pub use conversation::{Halt, Rules, ServerFacts, Session, Taken, Turn};
pub use ear::{Ear, EarId, MAX_CHANNELS, Name, Progress, channel_of};
pub use error::SessionError;
pub use inflight::{Fit, InFlight, Misfit};
pub use leaving::Leave;
pub use names::ClientStatements;
pub use outbox::Outbox;
pub use owed::{CopyState, Kind, Owed, Why};
pub use packed::{PackedClient, PackedFacts};
pub use params::{ParamSet, TrackedNames};
pub use pins::{PinRoom, Pins};
pub use quiescent::Quiescent;
pub use rested::Rested;
pub use settings::Settings;
pub use statements::{Lookup, ServerStatements};
pub use survey::PinReasons;
pub use tally::Tally;
pub use unnamed::{Spare, Unnamed};
pub use uses::{Feature, Use};
pub use wishes::{Startup, Wished};
