//! What the reference model knows: plain lists, no slots, no cells, no guards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Bell, Conn, limits, start};
use crate::pool::*;

pub(super) const WAIT: Duration = Duration::from_secs(1);
pub(super) const IDLE: Duration = Duration::from_millis(1500);
pub(super) const RESERVE: Duration = Duration::from_millis(400);
pub(super) const MIN: usize = 2;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    Waiting,
    Served(u64),
    Timeout,
    Refused,
    Canceled,
    Failed,
}

pub(super) struct Wait {
    /// Order of arrival.
    pub(super) tag: u64,
    pub(super) checkout: Checkout<Conn>,
    pub(super) since: Instant,
    pub(super) expected: Expected,
    pub(super) bell: Option<Arc<Bell>>,
}

pub(super) struct World {
    pub(super) pool: Pool<Conn>,
    pub(super) janitor: Arc<Bell>,
    pub(super) now: Instant,
    pub(super) next: u64,
    pub(super) size: u32,
    pub(super) reserve: u32,
    pub(super) paused: bool,
    /// The last attempt failed; and whether it was refused.
    pub(super) failing: Option<bool>,
    /// Longest idle first.
    pub(super) idle: Vec<(u64, Instant)>,
    pub(super) soiled: Vec<u64>,
    pub(super) marked: Vec<u64>,
    pub(super) waits: Vec<Wait>,
    pub(super) leases: Vec<Lease<Conn>>,
    pub(super) permits: Vec<(ConnectPermit<Conn>, bool)>,
    pub(super) retired: VecDeque<(u64, RetireReason)>,
    pub(super) guards: Vec<SlotGuard<Conn>>,
    pub(super) most_allowed: usize,
    _client: ClientPresence<Conn>,
}

impl World {
    pub(super) fn new() -> Self {
        let pool = Pool::new(PoolKey::new("db", "user"), Self::limits(3, 1), 42);
        let janitor = Bell::new();
        pool.set_waker(Waker::from(Arc::clone(&janitor)));
        let client = pool.client_present();
        Self {
            pool,
            janitor,
            now: start(),
            next: 0,
            size: 3,
            reserve: 1,
            paused: false,
            failing: None,
            idle: Vec::new(),
            soiled: Vec::new(),
            marked: Vec::new(),
            waits: Vec::new(),
            leases: Vec::new(),
            permits: Vec::new(),
            retired: VecDeque::new(),
            guards: Vec::new(),
            most_allowed: 4,
            _client: client,
        }
    }

    pub(super) fn limits(size: u32, reserve: u32) -> PoolLimits {
        PoolLimits {
            size,
            reserve,
            min: u32::try_from(MIN).unwrap(),
            reserve_timeout: Some(RESERVE),
            wait_timeout: Some(WAIT),
            idle_timeout: Some(IDLE),
            ..limits()
        }
    }

    // --- what the model knows --------------------------------------------------------------------------------

    pub(super) fn ceiling(&self) -> usize {
        if self.size == 0 { usize::MAX } else { (self.size + self.reserve) as usize }
    }

    pub(super) fn queue(&self) -> impl Iterator<Item = usize> + use<> {
        let mut queue: Vec<usize> =
            (0..self.waits.len()).filter(|&at| self.waits[at].expected == Expected::Waiting).collect();
        queue.sort_by_key(|&at| self.waits[at].tag);
        queue.into_iter()
    }

    pub(super) fn delivered(&self) -> Vec<u64> {
        let served = |wait: &Wait| if let Expected::Served(id) = wait.expected { Some(id) } else { None };
        self.waits.iter().filter_map(served).collect()
    }

    pub(super) fn connected(&self) -> usize {
        self.idle.len() + self.leases.len() + self.delivered().len()
    }

    pub(super) fn staying(&self) -> usize {
        self.connected() + self.permits.len()
    }

    pub(super) fn open(&self) -> usize {
        self.staying() + self.retired.len() + self.guards.len()
    }

    pub(super) fn usable(&self) -> bool {
        let held = self.leases.iter().map(|lease| lease.id).chain(self.delivered());
        held.chain(self.idle.iter().map(|idle| idle.0)).any(|id| !self.marked.contains(&id))
    }

    pub(super) fn wants_place(&self) -> bool {
        let queued = self.queue().count() > self.permits.len();
        let below_min = self.connected() + self.permits.len() < MIN;
        let room = self.size == 0 || self.open() < self.size as usize;
        !self.paused && self.permits.len() < MAX_PARALLEL_CONNECTS as usize && (queued || below_min) && room
    }

    pub(super) fn reason_at_release(&self, id: u64) -> Option<RetireReason> {
        if self.marked.contains(&id) {
            Some(RetireReason::CloseNeeded)
        } else if self.paused {
            Some(RetireReason::Pause)
        } else {
            // It is in none of the model's lists at this moment.
            (self.staying() + 1 > self.ceiling()).then_some(RetireReason::Surplus)
        }
    }

    pub(super) fn comes_back(&mut self, id: u64) {
        match self.reason_at_release(id) {
            Some(reason) => self.retired.push_back((id, reason)),
            None => self.give(id),
        }
    }

    pub(super) fn give(&mut self, id: u64) {
        match self.queue().next() {
            Some(first) => self.waits[first].expected = Expected::Served(id),
            None => self.idle.push((id, self.now)),
        }
    }

    pub(super) fn retire_all_idle(&mut self, reason: RetireReason) {
        self.retired.extend(self.idle.drain(..).map(|(id, _)| (id, reason)));
    }

    pub(super) fn trim(&mut self) {
        while self.staying() > self.ceiling() && !self.idle.is_empty() {
            self.retired.push_back((self.idle.remove(0).0, RetireReason::Surplus));
        }
    }

    /// The next quiet idle server, if one may be lent.
    pub(super) fn take_quiet(&mut self) -> Option<u64> {
        while !self.paused && self.queue().next().is_none() {
            let (id, _) = self.idle.pop()?;
            if !self.soiled.contains(&id) {
                return Some(id);
            }
            self.retired.push_back((id, RetireReason::Dirty));
        }
        None
    }

    // --- agreement -------------------------------------------------------------------------------------------

    pub(super) fn verify(&mut self) {
        assert_eq!(self.pool.audit(), None);
        let counts = self.pool.counts();
        let all = [counts.idle, counts.active, counts.connecting, counts.retiring, counts.waiting];
        let held = self.leases.len() + self.delivered().len();
        let leaving = self.retired.len() + self.guards.len();
        let expected = [self.idle.len(), held, self.permits.len(), leaving, self.queue().count()];
        assert_eq!(all.map(|count| count as usize), expected);
        assert_eq!(counts.oldest_wait, self.queue().next().map(|at| self.waits[at].since));
        self.most_allowed = self.most_allowed.min(self.open()).max(self.ceiling());
        assert!(self.open() <= self.most_allowed, "I8");
        let mut shown = Vec::new();
        self.pool.for_each_idle(|id, conn| shown.push((id.0, conn.id)));
        assert_eq!(shown, self.idle.iter().map(|idle| (idle.0, idle.0)).collect::<Vec<_>>());
        for wait in &self.waits {
            if let Some(bell) = &wait.bell {
                assert_eq!(bell.rung(), u32::from(wait.expected != Expected::Waiting), "woken exactly once");
            }
        }
        let work = !self.retired.is_empty() || (self.wants_place() && self.failing.is_none());
        assert!(!work || self.janitor.rung() > 0, "nobody told the janitor");
        if self.wants_place() && self.failing.is_some() && self.permits.is_empty() {
            assert!(self.janitor.rung() > 0 || self.pool.wake_at().is_some(), "nobody will dial again");
        }
    }

    /// Everything goes home: nothing may be left, and nothing was lost on the way.
    pub(super) fn end(mut self) {
        self.waits.clear();
        self.leases.clear();
        self.permits.clear();
        self.guards.clear();
        self.pool.close(crate::pool::PoolEnd::Removed, self.now);
        while let Some(retired) = self.pool.next_retired() {
            drop(retired.slot);
        }
        assert_eq!(self.pool.audit(), None);
        assert_eq!(self.pool.counts(), PoolCounts::default(), "I7");
    }
}
