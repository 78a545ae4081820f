//! Fake workers for the tests of this room.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc;

use super::fleet::Fleet;
use crate::config::{Config, Database};
use crate::worker::ToWorker;

/// Workers without threads: the test holds their inboxes.
pub(super) struct Crew {
    pub(super) fleet: Fleet,
    pub(super) loads: Vec<Arc<AtomicUsize>>,
    pub(super) inboxes: Vec<mpsc::Receiver<ToWorker>>,
}

/// So many fake workers with inboxes of this size.
pub(super) fn crew(workers: usize, inbox: usize) -> Crew {
    let loads: Vec<_> = (0..workers).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(inbox)).unzip();
    let fleet = Fleet::from_parts(senders.into_iter().zip(loads.clone()));
    Crew { fleet, loads, inboxes }
}

/// Settings with these databases and no others.
pub(super) fn config_with(databases: &[&str]) -> Config {
    let mut config = crate::config::from_url("postgres://app:secret@127.0.0.1:5432/app").unwrap();
    let template: Database = config.databases.values().next().cloned().unwrap();
    config.databases = databases.iter().map(|&name| (name.to_owned(), template.clone())).collect();
    config
}
