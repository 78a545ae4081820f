//! Pools that several workers serve: who is short of servers, who gives, and what travels between them.
//!
//! Owns: the words between the shares of a pool. Does not know: when a pool is to be shared (`load`), how rights are
//! counted (`pool::share`). Each share complains to the home share, the one on the worker where the pool would live
//! otherwise; that asks others to give; what they give goes straight to whoever needs it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::homes::split_of;
use super::inbox::{Moved, ShareMatter};
use super::load::{Heat, Meter, Sight};
use super::share_words::Epochs;
use super::state::Worker;
use crate::config::{Database, PoolSplit};
use crate::net::{clock, rt};
use crate::pool::{
    Board, Departure, LAG, LAST_LAG, PoolKey, RetireReason, Retired, Rights, ServerId, ShareId,
};
use crate::server::{Home, ServerConn, Stays, retire};

/// How often a share that stays short complains. It need not be often: each answer is a server.
const COMPLAIN: Duration = Duration::from_millis(5);

/// How long a promise holds that was asked for by a complaint: until it has been repeated, twice.
const PROMISE: Duration = Duration::from_millis(10);

/// How long one holds that was asked for on a tick: until the next one.
const LONG_PROMISE: Duration = Duration::from_millis(400);

/// A share that nobody has used for so long gives everything back to the home share.
const UNUSED: Duration = Duration::from_secs(1);

/// How long the place of a server counts that was lost on its way: its backend ends as soon as it sees that.
const LOST: Duration = Duration::from_secs(1);

/// Pools with fewer servers than this are not spread by themselves: two workers would have one or two each.
const MIN_SPLIT_SIZE: u32 = 4;

/// What a worker knows of the pools it shares with others.
#[derive(Default)]
pub(super) struct Sharing {
    /// What words between shares are worth.
    pub(super) epochs: Epochs,
    /// Pools that were found to be too much for one worker.
    split: RefCell<HashSet<PoolKey>>,
    /// Complaints, by pools that are at home here.
    boards: RefCell<HashMap<PoolKey, Board>>,
    heat: RefCell<HashMap<PoolKey, Heat>>,
    meter: RefCell<Meter>,
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Sharing {
    /// Whether a pool is split, as its home share has decided.
    pub(super) fn note_split(&self, key: PoolKey, split: bool) {
        let mut known = self.split.borrow_mut();
        if split {
            known.insert(key);
        } else {
            known.remove(&key);
        }
    }

    /// What was noted last.
    pub(super) fn is_noted_split(&self, key: &PoolKey) -> bool {
        self.split.borrow().contains(key)
    }

    /// A pool is gone.
    pub(super) fn forget(&self, key: &PoolKey) {
        self.split.borrow_mut().remove(key);
        self.boards.borrow_mut().remove(key);
        self.heat.borrow_mut().remove(key);
    }

    /// A share has become short.
    pub(super) fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = &*self.listener.borrow() {
            waker.wake_by_ref();
        }
    }

    async fn rings(&self) {
        poll_fn(|cx| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            self.listener.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Worker {
    /// Whether clients of a pool stay on the worker where they log in.
    pub(super) fn is_split(&self, key: &PoolKey, entry: &Database) -> bool {
        if self.shared.inboxes.len() < 2 {
            return false;
        }
        let config = self.config();
        let size = super::homes::limits_of(&config, entry, &key.user).size;
        match split_of(&config, entry) {
            PoolSplit::Off => false,
            PoolSplit::Always => size > 0,
            PoolSplit::Auto => size >= MIN_SPLIT_SIZE && self.sharing.is_noted_split(key),
        }
    }

    pub(super) fn is_split_now(&self, home: &Home) -> bool {
        let key = home.pool.key();
        self.config().database(&key.database).is_some_and(|entry| self.is_split(key, entry))
    }

    // --- complaints ------------------------------------------------------------------------------------------

    /// Complains for shares of this worker for as long as they are short. Cancel safe: it holds nothing.
    pub(super) async fn keep_balance(self: Rc<Self>) {
        loop {
            self.sharing.rings().await;
            while self.complain(clock::now()) {
                let _ = rt::timeout_at(clock::now() + COMPLAIN, self.sharing.rings()).await;
            }
        }
    }

    /// Whether any share is short.
    fn complain(self: &Rc<Self>, now: Instant) -> bool {
        let mut short = false;
        for home in self.homes_of(None) {
            let Some((since, count)) = home.pool.plight() else {
                home.pool.set_watched(false);
                continue;
            };
            short = true;
            let waited = now.saturating_duration_since(since);
            // One that has no right at all cannot help itself, however long it waits.
            let is_bare = home.pool.rights().is_some_and(|rights| rights.size == 0);
            if is_bare || waited > LAG {
                let (key, from) = (home.pool.key().clone(), self.share_id());
                self.tell_share(&key, self.home_share(&key), ShareMatter::Short { from, waited, count });
            }
        }
        short
    }

    /// The home share has heard a complaint: it gives what nobody needs here, or asks others.
    pub(super) fn help(
        self: &Rc<Self>,
        home: &Rc<Home>,
        from: ShareId,
        waited: Duration,
        count: u32,
        now: Instant,
    ) {
        home.pool.divide();
        let key = home.pool.key().clone();
        let pleas = {
            let mut boards = self.sharing.boards.borrow_mut();
            let board = boards.entry(key.clone()).or_default();
            board.note(from, waited, now);
            // A lowered limit comes first.
            if !home.pool.owed().is_none()
                || (from != self.share_id()
                    && !self.hand_out(home, from, Some(waited), Rights::sized(count)).is_none())
            {
                return;
            }
            board.pleas((from, waited), count, &self.all_shares(), now)
        };
        for plea in pleas {
            let wants = Rights::sized(plea.count);
            let matter = ShareMatter::Give { to: from, waited: Some(waited), wants };
            self.tell_share(&key, plea.donor, matter);
        }
    }

    // --- giving and taking -----------------------------------------------------------------------------------

    /// Gives another share what it may have now, and promises the rest.
    pub(super) fn give(
        self: &Rc<Self>,
        home: &Rc<Home>,
        to: ShareId,
        waited: Option<Duration>,
        wants: Rights,
        now: Instant,
    ) {
        if to == self.share_id() {
            return;
        }
        let given = self.hand_out(home, to, waited, wants);
        // Whoever waits takes what comes; what is owed to a lowered limit is owed in kind.
        let missing = match waited {
            Some(_) => Rights::sized(wants.sum().saturating_sub(given.sum())),
            None => wants.minus(given),
        };
        let holds = if waited.is_some() { PROMISE } else { LONG_PROMISE };
        home.pool.promise_to((to, waited), missing, (now, now + holds));
    }

    /// Gives another share up to `wants` of what nobody needs here; what it was.
    fn hand_out(
        self: &Rc<Self>,
        home: &Rc<Home>,
        to: ShareId,
        waited: Option<Duration>,
        wants: Rights,
    ) -> Rights {
        let keeps = waited.is_some_and(|waited| waited <= LAST_LAG) && home.pool.clients() > 0;
        let (with_servers, mut rights) = home.pool.give_spare(to, wants, keeps);
        let reserve_from = home.pool.limits().reserve_timeout;
        let reserve = match waited {
            None => wants.reserve - with_servers.reserve,
            Some(waited) if reserve_from.is_some_and(|from| waited >= from) => {
                wants.sum() - with_servers.sum() - rights.sum()
            }
            Some(_) => 0,
        };
        rights.reserve = home.pool.give_reserve(reserve).reserve;
        if !rights.is_none() {
            self.tell_share(home.pool.key(), to, ShareMatter::Rights(rights, None));
        }
        rights.plus(with_servers)
    }

    /// A server that the pool has given away leaves with its right.
    pub(super) fn send_away(self: &Rc<Self>, home: &Rc<Home>, retired: Retired<ServerConn>, to: ShareId) {
        let Retired { conn, slot, .. } = retired;
        let close = |conn, reason, slot| {
            rt::spawn_detached("close server", retire(Rc::clone(home), Retired { conn, reason, slot }));
        };
        if home.pool.rights().is_none_or(Rights::is_none) {
            return close(conn, RetireReason::Surplus, slot);
        }
        let server = match home.send_off(conn) {
            Ok(server) => server,
            Err(Stays::Unfit(conn)) => return close(*conn, RetireReason::Dirty, slot),
            Err(Stays::Lost(error)) => {
                tracing::warn!(%error, pool = %home.pool.key(), "server lost between workers");
                return rt::spawn_detached("lost server", async move {
                    rt::sleep_until(clock::now() + LOST).await;
                    drop(slot);
                });
            }
        };
        let Ok(departure) = slot.hand_over() else { return };
        let Departure { connected_at, rights, outdated } = departure;
        let moved = Box::new(Moved { server, connected_at, outdated });
        self.tell_share(home.pool.key(), to, ShareMatter::Rights(rights, Some(moved)));
    }

    /// Rights come from another share; a server that comes with them is fit for use if it left in the present epoch.
    pub(super) fn receive(
        home: &Rc<Home>,
        rights: Rights,
        moved: Option<Box<Moved>>,
        is_present: bool,
        now: Instant,
    ) {
        let Some(moved) = moved else { return home.pool.grant(rights) };
        let Moved { mut server, connected_at, outdated } = *moved;
        let (id, outdated) = (ServerId(server.id), outdated || !is_present);
        if outdated {
            server.forget_welcome();
        }
        match home.take_in(server) {
            Ok(conn) => {
                home.pool.admit(id, conn, Departure { connected_at, rights, outdated }, now);
            }
            Err(error) => {
                tracing::warn!(%error, pool = %home.pool.key(), "server lost between workers");
                let home = Rc::clone(home);
                rt::spawn_detached("lost server", async move {
                    rt::sleep_until(clock::now() + LOST).await;
                    home.pool.grant(rights);
                });
            }
        }
    }

    // --- time ------------------------------------------------------------------------------------------------

    /// Looks after the shares of this worker, and decides for the pools that are at home here.
    pub(super) fn tick_shares(self: &Rc<Self>, now: Instant) {
        if self.shared.inboxes.len() < 2 {
            return;
        }
        let busy = self.sharing.meter.borrow_mut().read(now);
        if let Some(shown) = self.shared.busy.get(self.index) {
            shown.store(busy, Ordering::Relaxed);
        }
        let homes = self.homes_of(None);
        self.tell_untold();
        self.spread_clients(&homes);
        let all_queries = self.new_queries(&homes);
        for (home, queries) in homes.iter().zip(&all_queries) {
            let at_home = self.home_share(home.pool.key()) == self.share_id();
            if at_home {
                let is_most = queries * 2 > all_queries.iter().sum::<u64>();
                self.decide(home, is_most, now);
            }
            if let Some(rights) = home.pool.rights() {
                self.settle(home, rights, at_home, now);
            }
        }
    }

    /// Queries of each pool on this worker since the last tick.
    fn new_queries(&self, homes: &[Rc<Home>]) -> Vec<u64> {
        let mut heat = self.sharing.heat.borrow_mut();
        let since = |home: &Rc<Home>| {
            let all = home.counters.borrow().queries;
            let heat = heat.entry(home.pool.key().clone()).or_default();
            all - std::mem::replace(&mut heat.queries, all)
        };
        homes.iter().map(since).collect()
    }

    /// Spreads a pool that is too much for this worker, or brings it home.
    fn decide(self: &Rc<Self>, home: &Rc<Home>, is_most: bool, now: Instant) {
        let key = home.pool.key();
        let config = self.config();
        let Some(entry) = config.database(&key.database) else { return };
        let size = home.pool.limits().size;
        if split_of(&config, entry) != PoolSplit::Auto || size < MIN_SPLIT_SIZE {
            return;
        }
        let busy: Vec<u32> = self.shared.busy.iter().map(|busy| busy.load(Ordering::Relaxed)).collect();
        let others =
            busy.iter().enumerate().filter(|(worker, _)| *worker != self.index).map(|(_, busy)| *busy);
        let sight = Sight {
            here: busy.get(self.index).copied().unwrap_or(0),
            freest: others.min().unwrap_or(u32::MAX),
            all: busy.iter().sum(),
            is_most,
        };
        let split = self.sharing.split.borrow().contains(key);
        let decision = self.sharing.heat.borrow_mut().entry(key.clone()).or_default().look(sight, split, now);
        let Some(split) = decision else { return };
        let how = if split { "is too much for one worker, all serve it" } else { "goes back to one worker" };
        tracing::info!(pool = %key, "pool {how}");
        if split {
            home.pool.divide();
        }
        self.sharing.note_split(key.clone(), split);
        for share in self.all_shares() {
            self.tell_split(key, share);
        }
    }

    /// What a share does for the others on each tick.
    fn settle(self: &Rc<Self>, home: &Rc<Home>, rights: Rights, at_home: bool, now: Instant) {
        let split = self.is_split_now(home);
        if at_home {
            let owed = home.pool.owed();
            if !owed.is_none() {
                let to = self.share_id();
                for share in self.all_shares() {
                    self.tell_share(
                        home.pool.key(),
                        share,
                        ShareMatter::Give { to, waited: None, wants: owed },
                    );
                }
            } else if !split {
                home.pool.reunite();
            }
            return;
        }
        let to = self.home_share(home.pool.key());
        let unused = now.checked_sub(UNUSED).is_some_and(|then| home.pool.is_unused_since(then));
        if unused {
            self.hand_out(home, to, None, rights);
        } else if !split {
            // Clients that are still here are served by one server, until they leave.
            let kept = u32::from(home.pool.clients() > 0);
            self.give(home, to, None, rights.minus(Rights::sized(kept)), now);
        }
    }
}
