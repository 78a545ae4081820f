//! Pooler, a PostgreSQL connection pooler, as a library of rooms.
//!
//! Reading order: what goes over the wire (`proto`), what one conversation means (`session`), who is asking
//! (`auth`), who holds which server (`pool`), what was configured (`config`), what is counted (`metrics`); then
//! the shell that moves bytes: `net`, `server`, `client`, `worker`, `admin`, `control`. Imports point downward
//! only; `tests/tidy.rs` keeps it so. ARCHITECTURE.md draws the house.

pub mod auth;
pub mod client;
pub mod config;
pub mod metrics;
pub mod net;
pub mod pool;
pub mod proto;
pub mod server;
pub mod session;
pub mod worker;
