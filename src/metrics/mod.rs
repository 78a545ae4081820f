//! Numbers.
//!
//! Owns: counters that the hot path bumps as plain integers, the snapshots made of them for the console and for
//! Prometheus, averages over time. Decides nothing: deleting this room must not change behaviour.

mod averages;
mod counters;
mod export;
mod merge;
mod snapshot;

pub use averages::{Averages, Window, stats_line};
pub use counters::{Counters, ErrorClass, PIN_REASONS};
pub use export::{BuildInfo, ExportError, render};
pub use merge::{PoolName, database_totals, merge_pools};
pub use snapshot::{ConnKind, ConnSnapshot, PinSnapshot, PoolSnapshot, UseSnapshot, WorkerSnapshot};
