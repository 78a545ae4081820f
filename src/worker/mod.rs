//! One thread's world: its clients, its pools, its servers, its tick and its inbox.
//!
//! Owns: which client, pool and server live on this thread, and the tasks that serve them. Does not know: the
//! protocol.
//!
//! Reading order: `state` (what a worker owns), `life`, `first`, `task` and `words` (a client from socket to farewell),
//! `console`, `cancelling`, `homes` (pools from the configuration), `janitor` (servers opened and closed), `tick`,
//! `inbox` and `orders`, `sharing` and `share_words` (pools that several workers serve), `load` (which pools those are), `moving`
//! and `kills` (clients between workers), `report`.

mod cancelling;
mod console;
mod first;
mod homes;
mod inbox;
mod janitor;
mod keys;
mod kills;
mod life;
mod load;
mod moving;
mod orders;
mod report;
mod share_words;
mod sharing;
mod state;
mod task;
mod tick;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub use inbox::{Arrival, Drain, Errand, INBOX_BOUND, Migrant, MovedClient, ShareWord, ToWorker};

use crate::admin::AdminHandle;
use crate::auth::AuthSeed;
use crate::client::{Door, Gatehouse, warm_verifiers};
use crate::config::Config;
use crate::net::{TlsContext, clock, rt};
use crate::session::TrackedNames;
use inbox::mpsc;
use keys::Aliases;
use moving::Moving;
use sharing::Sharing;
use state::{Shared, Standing, Worker};

/// Most workers: their number has one byte of a cancel key.
pub const MAX_WORKERS: usize = 256;

/// The way to a running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its inbox.
    pub inbox: mpsc::Sender<ToWorker>,
    /// Its clients, those in login included. Whoever hands over a socket counts it here first.
    pub load: Arc<AtomicUsize>,
    /// Its thread.
    pub join: JoinHandle<()>,
}

/// Starts `count` workers (at most [`MAX_WORKERS`]), each with a thread of its own.
///
/// # Errors
/// The system gives no thread, or no random numbers.
pub fn start(
    count: usize,
    config: &Arc<Config>,
    tls: &Arc<TlsContext>,
    admin: &AdminHandle,
) -> io::Result<Vec<WorkerHandle>> {
    let seed = AuthSeed::from_os().map_err(io::Error::other)?;
    let own_uid = std::fs::metadata("/proc/self")?.uid();
    let channels: Vec<_> = (0..count.clamp(1, MAX_WORKERS)).map(|_| mpsc::channel(INBOX_BOUND)).collect();
    let shared = Arc::new(Shared {
        last_id: AtomicU64::new(0),
        clients: AtomicU32::new(0),
        admin: admin.clone(),
        has_backend_keys: AtomicBool::new(false),
        pins: Mutex::default(),
        busy: channels.iter().map(|_| AtomicU32::new(0)).collect(),
        loads: channels.iter().map(|_| Arc::default()).collect(),
        inboxes: channels.iter().map(|(inbox, _)| inbox.clone()).collect(),
    });
    let loads = shared.loads.clone();
    let gatehouse = Gatehouse::default();
    let mut handles = Vec::new();
    for ((index, (inbox, receiver)), load) in channels.into_iter().enumerate().zip(loads) {
        let runtime = config.process.runtime;
        let (shared, config, tls) = (Arc::clone(&shared), Arc::clone(config), Arc::clone(tls));
        let (seen, seed, gatehouse) = (Arc::clone(&load), seed.clone(), gatehouse.clone());
        let join = rt::run_worker(&format!("worker-{index}"), runtime, move || {
            let worker = Rc::new(Worker {
                index,
                shared,
                load: seen,
                names: Rc::new(TrackedNames::new(&config.track_extra_parameters)),
                config: RefCell::new(config),
                tls: RefCell::new(tls),
                homes: RefCell::new(HashMap::new()),
                clients: RefCell::new(HashMap::new()),
                scratch: Rc::default(),
                door: Door::new(gatehouse),
                verifiers: RefCell::default(),
                seed,
                randomness: RefCell::default(),
                own_uid,
                alarms: Arc::default(),
                standing: Cell::new(Standing::Open),
                paused: RefCell::default(),
                failed_logins: Cell::new(0),
                consoles_used: Cell::new(0),
                leaving: RefCell::default(),
                janitor: RefCell::default(),
                sharing: Sharing::default(),
                moving: Moving::default(),
                aliases: Aliases::default(),
            });
            run(worker, receiver)
        })?;
        handles.push(WorkerHandle { inbox, load, join });
    }
    Ok(handles)
}

async fn run(worker: Rc<Worker>, inbox: mpsc::Receiver<ToWorker>) {
    rt::spawn_local("janitor", Rc::clone(&worker).keep_house());
    rt::spawn_local("complaints", Rc::clone(&worker).keep_balance());
    rt::spawn_local("tick", Rc::clone(&worker).keep_time());
    worker.make_standing_pools(clock::now());
    rt::spawn_local("verifiers", Rc::clone(&worker).warm());
    worker.serve_inbox(inbox).await;
}

impl Worker {
    /// Derives the verifiers of users with plain secrets ahead of their logins, so that the first login tells
    /// nothing by its time (S14).
    async fn warm(self: Rc<Self>) {
        let derivations = &self.door.gatehouse().derivations;
        warm_verifiers(&self.config(), &self.seed, &self.verifiers, derivations).await;
    }
}
