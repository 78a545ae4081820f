//! PostgreSQL's own tests, pointed at the pooler. Each is first run straight at PostgreSQL: what fails there is not
//! ours. What fails through the pooler only must stand in a list of `tests/suites`, with its reason.
//!
//! `setup.sh` gets the source of the installed version and compiles what has to be. With `TEST_POSTGRES` the servers
//! are of another version, and what they do straight takes the place of what the source expects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;
mod pipeline;
mod printed;
mod regress;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use common::cluster::PASSWORD;
use common::host::lock;
use common::pooler::quoted;
use common::{Cluster, ClusterOptions, PoolerConfig};

/// The superuser, as which the suites run.
const SUPERUSER: &str = "postgres";

/// One suite at a time: some of their tests look at the clock, all of them are hard work.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    lock(&TURN)
}

/// What `setup.sh` has put in place.
fn place(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-suites").join(name);
    assert!(path.exists(), "{} is missing: run `make test`, which installs it", path.display());
    path
}

/// A cluster that nothing has been done with: expected outputs know of no leftovers.
fn cluster() -> Cluster {
    Cluster::start_new(&ClusterOptions { auth: "trust", ..ClusterOptions::default() })
}

/// Whether the source of the suites is that of the servers; `setup.sh` notes its package.
fn of_the_suites_version(cluster: &Cluster) -> bool {
    let stamp = std::fs::read_to_string(place("stamp")).unwrap();
    let suites = stamp.split_whitespace().next().and_then(|package| package.strip_prefix("postgresql-"));
    let number: u32 = cluster.value("show server_version_num").parse().unwrap();
    suites == Some((number / 10_000).to_string().as_str())
}

/// A pooler in front of one database of that cluster, open to the superuser.
fn pooler(cluster: &Cluster, mode: &str, database: &str, servers: u32) -> PoolerConfig {
    PoolerConfig::empty()
        .set("pool_mode", quoted(mode))
        .set("auth_type", quoted("trust"))
        .set("default_pool_size", servers.to_string())
        .table(&format!("users.{SUPERUSER}"), &[("password", quoted(PASSWORD))])
        .database(database, cluster.port())
}
