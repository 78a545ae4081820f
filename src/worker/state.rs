//! What one worker owns: its clients, its pools, its cancel keys.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;

use super::inbox::{Drain, ToWorker, mpsc};
use super::keys::{Aliases, marked};
use super::moving::Moving;
use super::sharing::Sharing;
use crate::admin::AdminHandle;
use crate::auth::{AuthSeed, EntropyError, RandomStock};
use crate::client::{ClientEntry, Door, EndOrder, Scratch, VerifierCache};
use crate::config::Config;
use crate::net::TlsContext;
use crate::pool::PoolKey;
use crate::server::{Alarms, Home};
use crate::session::TrackedNames;

/// What all workers share: counters that are touched once per connection, and each other's inboxes.
pub(super) struct Shared {
    /// Last number given to a connection.
    pub(super) last_id: AtomicU64,
    /// Logged-in clients of the process, the console's not counted.
    pub(super) clients: AtomicU32,
    /// The console's other end.
    pub(super) admin: AdminHandle,
    /// How busy each worker's thread is, in thousandths of its time; looked at and written on ticks.
    pub(super) busy: Vec<AtomicU32>,
    /// Clients of each worker, those in login included.
    pub(super) loads: Vec<Arc<AtomicUsize>>,
    /// Some client was shown the process number of its server: a cancel may be any worker's.
    pub(super) has_backend_keys: AtomicBool,
    /// Inboxes by worker.
    pub(super) inboxes: Vec<mpsc::Sender<ToWorker>>,
    /// Where pools count their pinned clients, by database and server user; looked at when a pool is made.
    pub(super) pins: Mutex<HashMap<(String, String), Weak<AtomicU32>>>,
}

impl Shared {
    /// Where a pool counts its pinned clients: in one place for all workers that have a share of it.
    pub(super) fn pins_of(&self, database: &str, server_user: &str) -> Arc<AtomicU32> {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|_, known| known.strong_count() > 0);
        let key = (database.to_owned(), server_user.to_owned());
        let known = pins.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let fresh = Arc::default();
            pins.insert(key, Arc::downgrade(&fresh));
            fresh
        })
    }

    /// The next number of a connection, client or server.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One logged-in client counted against the process, however it ends. It moves with the client.
pub(super) struct ProcessCount(Arc<Shared>);

impl ProcessCount {
    /// Counts one more.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.clients.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for ProcessCount {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not.
    Open,
    /// No new logins; clients end as the drain has it.
    Draining(Drain),
}

/// See the module.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    /// Clients of this worker, those in login included; the acceptor reads it.
    pub(super) load: Arc<AtomicUsize>,
    pub(super) config: RefCell<Arc<Config>>,
    pub(super) tls: RefCell<Arc<TlsContext>>,
    pub(super) names: Rc<TrackedNames>,
    pub(super) homes: RefCell<HashMap<PoolKey, Rc<Home>>>,
    /// By the first half of their cancel keys.
    pub(super) clients: RefCell<HashMap<i32, Rc<ClientEntry>>>,
    pub(super) scratch: Rc<RefCell<Scratch>>,
    pub(super) door: Door,
    pub(super) verifiers: RefCell<VerifierCache>,
    pub(super) seed: AuthSeed,
    /// For cancel keys.
    pub(super) randomness: RefCell<RandomStock>,
    pub(super) own_uid: u32,
    pub(super) alarms: Arc<Alarms>,
    pub(super) standing: Cell<Standing>,
    pub(super) paused: RefCell<Paused>,
    pub(super) failed_logins: Cell<u64>,
    /// Consoles that were given a command.
    pub(super) consoles_used: Cell<u64>,
    /// Pools that were removed and still have servers to close.
    pub(super) leaving: RefCell<Vec<Rc<Home>>>,
    /// Wakes the task that opens and closes servers.
    pub(super) janitor: RefCell<Option<Waker>>,
    /// Pools that several workers serve.
    pub(super) sharing: Sharing,
    /// Clients that move between workers.
    pub(super) moving: Moving,
    /// Clients known by the process numbers of their servers.
    pub(super) aliases: Aliases,
}

/// Databases that an operator has paused or disabled.
#[derive(Debug, Default)]
pub(super) struct Paused {
    /// All of them.
    pub(super) all: bool,
    /// These.
    pub(super) databases: Vec<String>,
    /// New logins to these are refused.
    pub(super) disabled: Vec<String>,
}

impl Paused {
    /// Whether pools of a database stand still.
    pub(super) fn holds(&self, database: &str) -> bool {
        self.all || self.databases.iter().any(|paused| paused == database)
    }
}

impl Worker {
    /// Configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// TLS in force.
    pub(super) fn tls(&self) -> Arc<TlsContext> {
        Arc::clone(&self.tls.borrow())
    }

    /// The worker a pool lives on: the same for all workers, without asking anybody.
    pub(super) fn home_of(&self, database: &str, server_user: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        (database, server_user).hash(&mut hasher);
        let workers = self.shared.inboxes.len().max(1) as u64;
        usize::try_from(hasher.finish() % workers).unwrap_or(0)
    }

    /// A cancel key, whose first half no other client of this worker has: random, the pid positive and not zero, its low byte the
    /// number of this worker (S37); the secret is marked for the minor version of the protocol that the client speaks.
    pub(super) fn fresh_key(&self, minor: u16) -> Result<(i32, i32), EntropyError> {
        loop {
            let [a, b, c, _, secret @ ..]: [u8; 8] = self.randomness.borrow_mut().take()?;
            let low = u8::try_from(self.index & 0xff).unwrap_or(0);
            let process_id = i32::from_be_bytes([a & 0x7f, b, c, low]);
            let key = (process_id, marked(i32::from_be_bytes(secret), minor));
            let in_use = || self.clients.borrow().contains_key(&process_id) || self.moving.knows(process_id);
            if process_id > 0xff && !in_use() {
                return Ok(key);
            }
        }
    }

    /// The client with this number.
    pub(super) fn client(&self, id: u64) -> Option<Rc<ClientEntry>> {
        self.clients.borrow().values().find(|client| client.id == id).cloned()
    }

    /// The worker that gave out a key.
    pub(super) fn owner_of_key(process_id: i32) -> usize {
        usize::try_from(process_id & 0xff).unwrap_or(usize::MAX)
    }

    /// Pools of one database, or all.
    pub(super) fn homes_of(&self, database: Option<&str>) -> Vec<Rc<Home>> {
        let homes = self.homes.borrow();
        let wanted = |home: &&Rc<Home>| database.is_none_or(|name| *home.pool.key().database == *name);
        homes.values().filter(wanted).cloned().collect()
    }

    /// Ends the clients that `which` picks.
    pub(super) fn end_clients(&self, order: &EndOrder, which: impl Fn(&ClientEntry) -> bool) {
        let picked: Vec<_> = self.clients.borrow().values().filter(|entry| which(entry)).cloned().collect();
        for entry in picked {
            entry.end(order.clone());
        }
    }
}
