//! What a reload changes.
//!
//! Owns: which databases lose their servers, and which settings must wait for a restart. Does not know: servers.

use std::collections::BTreeSet;
use std::fmt;

use super::{Config, Database, Process};

/// The difference between the configuration in force and a new one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Entries of `[databases]` (`*` included) whose name is no longer served at all: their clients and servers
    /// are closed.
    pub removed: Vec<String>,
    /// Entries whose servers are to be closed, because new ones would be connected differently.
    pub changed: Vec<String>,
    /// Whether `server_tls_*` differs, so that every server is to be replaced.
    pub server_tls: bool,
    /// Settings that differ but are fixed until the process starts again.
    pub postponed: Vec<Postponed>,
}

/// A setting that takes effect after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postponed {
    /// The key of `[pooler]`.
    pub key: &'static str,
    /// The value in force.
    pub running: Option<String>,
    /// The value of the file.
    pub wanted: Option<String>,
}

impl fmt::Display for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (running, wanted) = (text(&self.running), text(&self.wanted));
        write!(f, "pooler.{}: {wanted:?} takes effect after a restart, {running:?} stays", self.key)
    }
}

/// What a reload means for the pools of a database name that clients asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Servers stay; sizes and limits may differ.
    Kept,
    /// Servers are to be closed; clients stay.
    Changed,
    /// Clients and servers are to be closed.
    Removed,
}

/// Compares the configuration in force with a new one.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let names: BTreeSet<&String> = old.databases.keys().chain(new.databases.keys()).collect();
    let mut changes = Changes { server_tls: old.server_tls != new.server_tls, ..Changes::default() };
    for name in names {
        match fate_of_entry(old, new, name) {
            Fate::Kept => {}
            Fate::Changed => changes.changed.push(name.clone()),
            Fate::Removed => changes.removed.push(name.clone()),
        }
    }
    for (running, wanted) in old.shown.iter().zip(&new.shown) {
        if !running.changeable && running.value != wanted.value {
            let (key, running, wanted) = (running.key, running.value.clone(), wanted.value.clone());
            changes.postponed.push(Postponed { key, running, wanted });
        }
    }
    changes
}

/// What a reload means for the pools of one name that clients asked for, whether it has an entry of its own or is
/// served by `*`.
pub fn fate(old: &Config, new: &Config, name: &str) -> Fate {
    compare(name, old.database(name), new.database(name))
}

fn fate_of_entry(old: &Config, new: &Config, name: &str) -> Fate {
    if name == super::document::FALLBACK {
        return compare(name, old.databases.get(name), new.databases.get(name));
    }
    fate(old, new, name)
}

fn compare(name: &str, old: Option<&Database>, new: Option<&Database>) -> Fate {
    match (old, new) {
        (Some(old), Some(new)) if same_servers(name, old, new) => Fate::Kept,
        (Some(_), Some(_)) => Fate::Changed,
        (Some(_), None) => Fate::Removed,
        (None, _) => Fate::Kept,
    }
}

/// Whether servers connected by one entry serve the other as well.
fn same_servers(name: &str, a: &Database, b: &Database) -> bool {
    let dbname = |database: &Database| database.dbname.clone().unwrap_or_else(|| name.to_owned());
    a.host == b.host
        && a.port == b.port
        && dbname(a) == dbname(b)
        && a.user == b.user
        && a.password == b.password
        && a.startup == b.startup
}

/// The new configuration as a running process can use it: what only a restart changes stays as it is.
pub fn keep_fixed(running: &Config, mut new: Config) -> Config {
    let Process { log_level, log_connections, log_disconnections, .. } = new.process;
    new.process = Process { log_level, log_connections, log_disconnections, ..running.process.clone() };
    new.track_extra_parameters.clone_from(&running.track_extra_parameters);
    for (old, new) in running.shown.iter().zip(&mut new.shown) {
        if !new.changeable {
            new.value.clone_from(&old.value);
        }
    }
    new
}
