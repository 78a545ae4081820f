//! The pool as the worker holds it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::checkout::Checkout;
use super::failure::CheckoutError;
use super::key::PoolKey;
use super::lease::{Lease, Retired, SlotGuard};
use super::limits::PoolLimits;
use super::permit::ConnectPermit;
use super::slot::{ServerId, SlotState};
use super::state::{Answer, Mode, PoolEnd, PoolState};
use super::waiters::WaiterId;
use super::wakes::Wakes;

/// What the pool asks of a connection.
pub trait Pooled {
    /// Whether nothing has arrived while nobody used it (R5): no byte, no end of file, no bytes left in a TLS
    /// layer. Asked each time just before it is lent; must not block and should cost no system call.
    fn is_quiet(&mut self) -> bool;
}

/// One pool on one worker. Clones are the same pool.
pub struct Pool<C> {
    inner: Rc<Inner<C>>,
}

struct Inner<C> {
    key: PoolKey,
    state: RefCell<PoolState<C>>,
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

/// How many servers and clients a pool has in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCounts {
    /// Lent to clients.
    pub active: u32,
    /// Usable at once.
    pub idle: u32,
    /// Being dialled or logged in.
    pub connecting: u32,
    /// Running a reset or a rollback.
    pub resetting: u32,
    /// Being probed.
    pub checking: u32,
    /// Held back until cancel requests aimed at them are done.
    pub being_canceled: u32,
    /// Leaving; their places still count.
    pub retiring: u32,
    /// Checkouts in the queue.
    pub waiting: u32,
    /// Since when the oldest of them waits.
    pub oldest_wait: Option<Instant>,
}

/// A client that belongs to the pool; dropping it takes it off the count.
pub struct ClientPresence<C> {
    pool: Pool<C>,
}

impl<C> Drop for ClientPresence<C> {
    fn drop(&mut self) {
        self.pool.apply(|state, _| state.clients = state.clients.saturating_sub(1));
    }
}

impl<C> Pool<C> {
    /// An empty pool. `seed` feeds the jitter of its pauses and should differ between workers and pools.
    pub fn new(key: PoolKey, limits: PoolLimits, seed: u64) -> Self {
        let state = RefCell::new(PoolState::new(limits, seed));
        Self { inner: Rc::new(Inner { key, state }) }
    }

    /// Whose servers these are.
    pub fn key(&self) -> &PoolKey {
        &self.inner.key
    }

    /// Whether both are handles of one pool.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }

    /// The one way to change the books: what is to be woken is woken, and what is to be dropped is dropped,
    /// when they are closed again.
    pub(super) fn apply<R>(&self, change: impl FnOnce(&mut PoolState<C>, &mut Wakes) -> R) -> R {
        let mut wakes = Wakes::default();
        let result = {
            let mut state = self.inner.state.borrow_mut();
            let before = state.chores();
            let result = change(&mut state, &mut wakes);
            state.check();
            wakes.janitor(state.janitor_call(&before));
            result
        };
        wakes.fire();
        result
    }

    /// A change that brings nobody any work.
    #[inline(always)]
    pub(super) fn apply_quietly<R>(&self, change: impl FnOnce(&mut PoolState<C>) -> R) -> R {
        let mut state = self.inner.state.borrow_mut();
        let result = change(&mut state);
        state.check();
        result
    }

    /// A look into the books. `look` must not call into the pool.
    pub(super) fn read<R>(&self, look: impl FnOnce(&PoolState<C>) -> R) -> R {
        look(&self.inner.state.borrow())
    }

    // --- settings --------------------------------------------------------------------------------------------

    /// The limits in force.
    pub fn limits(&self) -> PoolLimits {
        self.read(|state| state.limits.clone())
    }

    /// Puts new limits in force at once. Surplus idle servers are retired, surplus held ones at release.
    pub fn set_limits(&self, limits: PoolLimits, now: Instant) {
        self.apply(|state, _| {
            state.at(now);
            state.set_limits(limits);
        });
    }

    /// Whether `min` holds even while the pool has no client (databases with a forced user).
    pub fn set_keep_minimum(&self, keep: bool) {
        self.apply(|state, _| state.keep_minimum = keep);
    }

    /// Notes that a client belongs to this pool, until the guard is dropped.
    #[must_use = "the client counts until this is dropped"]
    pub fn client_present(&self) -> ClientPresence<C> {
        self.apply(|state, _| state.clients += 1);
        ClientPresence { pool: self.clone() }
    }

    /// Clients that belong to this pool.
    pub fn clients(&self) -> u32 {
        self.read(|state| state.clients)
    }

    // --- waiting ---------------------------------------------------------------------------------------------

    /// Asks for a server. Nothing happens before the answer is first looked at; the wait counts from `now`.
    pub fn checkout(&self, now: Instant) -> Checkout<C> {
        Checkout::new(self.clone(), now)
    }

    /// Ends one wait with [`CheckoutError::Canceled`], also if a server was delivered that its client has not
    /// seen yet: that server goes to the next waiter. `false` if that wait is over.
    pub fn cancel_waiter(&self, id: WaiterId) -> bool {
        self.apply(|state, wakes| match state.latest() {
            Some(now) => state.cancel(id, now, wakes),
            None => false,
        })
    }

    /// Ends all waits with this error.
    pub fn fail_all_waiters(&self, error: impl Into<CheckoutError>) {
        let error = error.into();
        self.apply(|state, wakes| state.fail_waiters(&error, wakes));
    }

    /// Ends the waits that lasted too long, and retires idle servers that were idle too long, are too old, are
    /// too many or are marked. To be called on each tick.
    pub fn expire(&self, now: Instant) {
        self.apply(|state, wakes| {
            let now = state.at(now);
            state.expire(now, wakes);
        });
    }

    // --- the janitor -----------------------------------------------------------------------------------------

    /// Registers the task to wake whenever a change brings retired servers or wanted connects. It is woken at
    /// once if there are some already and nobody was registered before. The passing of time wakes nobody: ask
    /// [`Pool::wanted_connects`] on each tick, too, or at [`Pool::wake_at`].
    pub fn set_waker(&self, waker: Waker) {
        let replaced = self.apply(|state, wakes| {
            if state.janitor.is_none() && state.chores().any() {
                wakes.janitor(Some(waker.clone()));
            }
            state.janitor.replace(waker)
        });
        drop(replaced); // when the books are closed
    }

    /// The right to open one connection, if one is wanted now. To be called until it answers `None`.
    pub fn wanted_connects(&self, now: Instant) -> Option<ConnectPermit<C>> {
        self.apply(|state, _| {
            let now = state.at(now);
            let round = state.backoff.round();
            state.want_connect(now).map(|(slot, from_reserve)| (slot, from_reserve, round, now))
        })
        .map(|(slot, from_reserve, round, now)| {
            ConnectPermit::new(self.clone(), slot, from_reserve, round, now)
        })
    }

    /// The next server to close, with its place.
    pub fn next_retired(&self) -> Option<Retired<C>> {
        let (key, conn, reason) = self.apply(|state, _| {
            let (key, reason) = state.retired.pop_front()?;
            let conn = state.slots.get_mut(key)?.conn.take()?;
            Some((key, conn, reason))
        })?;
        Some(Retired { conn: *conn, reason, slot: SlotGuard::new(self.clone(), key) })
    }

    /// When time alone changes something for those who wait: a pause after failures ends, the reserve opens, or
    /// the oldest has waited too long. An instant in the past means now.
    pub fn wake_at(&self) -> Option<Instant> {
        self.read(PoolState::wake_at)
    }

    /// Takes an idle server out because it spoke. The caller looks at what it said and releases or retires it.
    pub fn take_idle(&self, id: ServerId) -> Option<Lease<C>> {
        match self.apply(|state, _| state.take_idle(id))? {
            Answer::Lend(slot, id, conn) => Some(Lease::new(self.clone(), slot, id, conn)),
            Answer::Fail(_) | Answer::Wait => None,
        }
    }

    // --- operators -------------------------------------------------------------------------------------------

    /// Lends nothing from now on. Idle servers are retired, held ones at release; waiters keep waiting, and
    /// their deadlines keep counting.
    pub fn pause(&self) {
        self.apply(|state, _| state.pause());
    }

    /// Ends a pause. A pause after failed logins ends with it.
    pub fn resume(&self, now: Instant) {
        self.apply(|state, _| {
            state.at(now);
            state.resume();
        });
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.read(|state| state.mode == Mode::Paused)
    }

    /// Whether a client that comes now need not wait for others: a server is idle, or one more may be opened.
    pub fn can_serve_at_once(&self) -> bool {
        self.read(|state| {
            let idle = state.count(SlotState::Idle) > 0;
            state.mode == Mode::Open && !state.has_waiters() && (idle || state.may_grow())
        })
    }

    /// Whether no server is held and none is being opened.
    pub fn is_drained(&self) -> bool {
        self.read(|state| state.held() == 0 && state.count(SlotState::Connecting) == 0)
    }

    /// Marks every server for closing: idle ones are retired now, held ones at release, those being opened when
    /// they are done.
    pub fn mark_all_for_closing(&self, now: Instant) {
        self.apply(|state, _| {
            state.at(now);
            state.mark_all();
        });
    }

    /// Servers marked for closing whose backend is not gone yet.
    pub fn marked(&self) -> usize {
        self.read(PoolState::marked)
    }

    /// Ends the pool: idle servers are retired now, held ones at release, waits end with
    /// [`CheckoutError::Closed`], and so does each checkout from now on.
    pub fn close(&self, end: PoolEnd, now: Instant) {
        self.apply(|state, wakes| {
            state.at(now);
            state.close(end, wakes);
        });
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.read(|state| matches!(state.mode, Mode::Closed(_)))
    }

    // --- reports ---------------------------------------------------------------------------------------------

    /// Servers somebody holds, whatever for.
    pub fn active(&self) -> u32 {
        self.read(PoolState::held)
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> PoolCounts {
        self.read(|state| PoolCounts {
            active: state.count(SlotState::Leased),
            idle: state.count(SlotState::Idle),
            connecting: state.count(SlotState::Connecting),
            resetting: state.count(SlotState::Resetting),
            checking: state.count(SlotState::Checking),
            being_canceled: state.count(SlotState::BeingCanceled),
            retiring: state.count(SlotState::Closing),
            waiting: state.waiters.waiting(),
            oldest_wait: state.waiters.oldest_since(),
        })
    }

    /// Shows each idle server, longest idle first. `show` must not call into the pool.
    pub fn for_each_idle(&self, mut show: impl FnMut(ServerId, &C)) {
        self.read(|state| {
            for slot in state.idle.iter().filter_map(|&key| state.slots.get(key)) {
                if let Some(conn) = &slot.conn {
                    show(slot.id, conn);
                }
            }
        });
    }

    /// The first invariant that does not hold, in words; `None` if the books are in order. Takes time in
    /// proportion to servers and waiters.
    pub fn audit(&self) -> Option<&'static str> {
        self.read(|state| state.violation(true))
    }
}
