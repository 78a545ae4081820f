//! What the end-to-end tests share: PostgreSQL clusters of our own, the pooler as a child process, a raw protocol
//! client, a scripted server, and the paths of the drivers.
//!
//! Each test binary includes this module and uses a part of it. Nothing here knows what is being tested.
//! Children (clusters, poolers) never outlive the test process, however it ends: see `guard`.

#![allow(dead_code, unreachable_pub, unused_imports)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::missing_panics_doc)]

pub mod certs;
pub mod cluster;
pub mod drivers;
pub mod fake;
pub mod guard;
pub mod host;
pub mod pooler;
pub mod raw;
pub mod stage;
pub mod wire;

pub use cluster::{Cluster, ClusterOptions};
pub use host::{Target, eventually, free_port};
pub use pooler::{Pooler, PoolerConfig};
pub use raw::{Login, Lost, Raw};
pub use wire::{Message, brief, msg};
