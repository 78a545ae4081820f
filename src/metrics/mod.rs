//! Numbers.
//!
//! Owns: counters that the hot path bumps as plain integers, and the snapshots made of them for the console and
//! for Prometheus. Decides nothing: deleting this room must not change behaviour.

mod counters;
mod snapshot;

pub use counters::{Counters, ErrorClass};
pub use snapshot::{ConnKind, ConnSnapshot, PoolSnapshot, WorkerSnapshot};
