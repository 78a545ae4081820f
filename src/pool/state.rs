//! The bookkeeping of one pool: plain data, short methods, each of which leaves everything in order.
//!
//! Owns: slots, who holds and who waits. Does not know: futures, guards, how a connection is opened or closed.
//! Sockets are never touched here, wakers never fired: what is to be woken is handed back in [`Wakes`].
//!
//! Invariants, checked by `violation` (audit.rs) after every change in debug builds:
//! - Slots never grow beyond `size` (+ `reserve`); a permit counts from the moment it is issued, a retired server
//!   until its guard is gone. Only a lowered limit can leave more, and then their number only falls.
//! - Nobody waits while a server is idle; nothing is idle while the pool is paused or closed.
//! - Lent = returned + closed + held now. Issued = vacated + slots now.
//! - Each connection lies in exactly one place: its slot, or its one holder.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::backoff::Backoff;
use super::failure::CheckoutError;
use super::limits::PoolLimits;
use super::reason::RetireReason;
use super::share::Share;
use super::slab::Slab;
use super::slot::{ServerId, Slot, SlotEvent, SlotKey, SlotState};
use super::waiters::{Outcome, Seat, WaiterId, Waiters};
use super::wakes::Wakes;

/// Whether the pool lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As usual.
    Open,
    /// An operator paused it: nothing is lent, waiters wait.
    Paused,
    /// Nothing is lent ever again.
    Closed(PoolEnd),
}

/// Why a pool ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolEnd {
    /// The configuration does not know its database any more.
    Removed,
    /// The process ends.
    Shutdown,
}

impl PoolEnd {
    /// Why its servers leave.
    pub(super) const fn reason(self) -> RetireReason {
        match self {
            Self::Removed => RetireReason::DatabaseRemoved,
            Self::Shutdown => RetireReason::Shutdown,
        }
    }
}

/// Counts that only grow, each written in one place.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) issued: u64,
    pub(super) vacated: u64,
    pub(super) lent: u64,
    pub(super) returned: u64,
    pub(super) closed: u64,
    /// Events that a slot's state does not allow: faults of our own.
    pub(super) faults: u64,
}

/// Answer to somebody who wants a server.
pub(super) enum Answer<C> {
    /// Here it is. Whether it is quiet must be asked when nothing is borrowed.
    Lend(SlotKey, ServerId, Box<C>),
    /// There will be none.
    Fail(CheckoutError),
    /// In the queue.
    Wait,
}

pub(super) struct PoolState<C> {
    pub(super) limits: PoolLimits,
    pub(super) slots: Slab<Slot<C>>,
    pub(super) per_state: [u32; SlotState::COUNT],
    /// Longest idle first; lent from the end.
    pub(super) idle: Vec<SlotKey>,
    /// Closing servers that nobody has fetched yet; at most one per slot.
    pub(super) retired: VecDeque<(SlotKey, RetireReason)>,
    pub(super) waiters: Waiters,
    pub(super) backoff: Backoff,
    pub(super) mode: Mode,
    pub(super) keep_minimum: bool,
    pub(super) clients: u32,
    pub(super) last_lifetime_close: Option<Instant>,
    /// Slots left over from before a limit was lowered.
    pub(super) tolerated: u32,
    pub(super) tally: Tally,
    /// What of a split pool is here; `None` if all of it is.
    pub(super) share: Option<Box<Share>>,
    /// Another worker has the pool's home share.
    pub(super) is_away: bool,
    pub(super) janitor: Option<Waker>,
    /// The latest `now` heard of, for guards that are dropped without one.
    latest: Option<Instant>,
}

impl<C> PoolState<C> {
    pub(super) const fn new(limits: PoolLimits, seed: u64) -> Self {
        Self {
            limits,
            slots: Slab::new(),
            per_state: [0; SlotState::COUNT],
            idle: Vec::new(),
            retired: VecDeque::new(),
            waiters: Waiters::new(),
            backoff: Backoff::new(seed),
            mode: Mode::Open,
            keep_minimum: false,
            clients: 0,
            last_lifetime_close: None,
            tolerated: 0,
            tally: Tally { issued: 0, vacated: 0, lent: 0, returned: 0, closed: 0, faults: 0 },
            share: None,
            is_away: false,
            janitor: None,
            latest: None,
        }
    }

    /// Notes the time.
    pub(super) fn at(&mut self, now: Instant) -> Instant {
        let latest = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(latest);
        latest
    }

    /// The latest time heard of.
    pub(super) const fn latest(&self) -> Option<Instant> {
        self.latest
    }

    /// Slots in one state.
    pub(super) const fn count(&self, state: SlotState) -> u32 {
        self.per_state[state as usize]
    }

    /// All slots: every place taken, from the issue of a permit to the end of the backend.
    pub(super) fn open(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Servers somebody holds.
    pub(super) const fn held(&self) -> u32 {
        self.count(SlotState::Leased)
            + self.count(SlotState::Resetting)
            + self.count(SlotState::Checking)
            + self.count(SlotState::BeingCanceled)
    }

    /// Servers that PostgreSQL accepted and that are not leaving.
    pub(super) const fn connected_count(&self) -> u32 {
        self.held() + self.count(SlotState::Idle)
    }

    // --- the mover -------------------------------------------------------------------------------------------

    /// The only place where a slot changes its state.
    pub(super) fn shift(&mut self, key: SlotKey, event: SlotEvent) -> Option<&mut Slot<C>> {
        let slot = self.slots.get_mut(key);
        let moved = slot.and_then(|slot| slot.state.next(event).map(|to| (slot, to)));
        let Some((slot, to)) = moved else {
            self.tally.faults += 1;
            debug_assert!(std::thread::panicking(), "{event:?} is not for this slot");
            return None;
        };
        let from = std::mem::replace(&mut slot.state, to);
        self.per_state[from as usize] -= 1;
        self.per_state[to as usize] += 1;
        if event == SlotEvent::Lend {
            self.tally.lent += 1;
        } else if event == SlotEvent::Release {
            self.tally.returned += 1;
        } else if event == SlotEvent::Retire && from.is_held() {
            self.tally.closed += 1;
        }
        Some(slot)
    }

    /// Makes a place; it counts from now on.
    pub(super) fn promise(&mut self, now: Instant) -> SlotKey {
        self.tally.issued += 1;
        self.per_state[SlotState::Connecting as usize] += 1;
        self.slots.insert(Slot::promised(now))
    }

    /// Frees the place of a failed attempt or of a backend that is gone.
    pub(super) fn vacate(&mut self, key: SlotKey) {
        let Some(slot) = self.slots.remove(key) else {
            self.tally.faults += 1;
            return;
        };
        debug_assert!(matches!(slot.state, SlotState::Connecting | SlotState::Closing));
        self.per_state[slot.state as usize] -= 1;
        self.tally.vacated += 1;
        self.tolerated = self.tolerated.min(self.open());
        self.pay_back();
    }

    /// Whether somebody waits.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.waiting() > 0
    }

    /// Whether one more server may be opened, and the last attempts did not fail.
    pub(super) fn may_grow(&self) -> bool {
        !self.backoff.is_failing() && self.most().is_none_or(|most| self.open() < most)
    }

    // --- lending ---------------------------------------------------------------------------------------------

    /// Lends an idle server if nobody waits, says no if that is known, else queues: by the old seat if there is
    /// one. Checking and queueing are one step, so no wake-up can fall between them.
    pub(super) fn lend_or_queue(
        &mut self,
        seat: &mut Option<Seat>,
        since: Instant,
        now: Instant,
    ) -> Answer<C> {
        if let Mode::Closed(end) = self.mode {
            return Answer::Fail(CheckoutError::Closed(end));
        }
        if self.mode == Mode::Open {
            if let Some(answer) = self.lend_idle() {
                return answer;
            }
            if let Some(refusal) = self.backoff.standing_refusal(now)
                && !self.has_usable()
            {
                return Answer::Fail(CheckoutError::Refused(Rc::clone(refusal)));
            }
        }
        let queued = match *seat {
            Some(old) => self.waiters.rejoin(old),
            None => self.waiters.join(since),
        };
        *seat = Some(queued);
        Answer::Wait
    }

    /// Lends an idle server if one is there and nobody waits: the common case, which changes nothing for anybody else.
    pub(super) fn lend_idle(&mut self) -> Option<Answer<C>> {
        if self.mode != Mode::Open || self.waiters.waiting() > 0 {
            return None;
        }
        let key = self.idle.pop()?;
        self.lend(key)
    }

    /// Takes a server back if nothing speaks against it, straight to the oldest waiter or among the idle ones: the
    /// common case, which brings the janitor no work. Answers whom to wake when no borrow is held, or gives the server
    /// back.
    pub(super) fn shelve(
        &mut self,
        key: SlotKey,
        conn: Box<C>,
        now: Instant,
    ) -> Result<Option<Waker>, Box<C>> {
        if self.owes() || !self.may_stay(key, now) {
            return Err(conn);
        }
        let wanted = self.has_waiters();
        let Some(slot) = self.shift(key, SlotEvent::Release) else { return Err(conn) };
        slot.conn = Some(conn);
        if wanted {
            return Ok(self.give(key, now));
        }
        slot.idle_since = now;
        self.idle.push(key);
        Ok(None)
    }

    /// Lends an idle server that is in no list any more.
    pub(super) fn lend(&mut self, key: SlotKey) -> Option<Answer<C>> {
        let slot = self.shift(key, SlotEvent::Lend)?;
        let id = slot.id;
        slot.conn.take().map(|conn| Answer::Lend(key, id, conn))
    }

    /// What a queued checkout finds in its cell. An outcome can be taken once: the cell is then gone, and so are
    /// the answers. With it comes the waker that lay there, to be dropped when no borrow is held.
    pub(super) fn look(&mut self, id: WaiterId) -> (Option<Answer<C>>, Option<Waker>) {
        if self.waiters.is_waiting(id) {
            return (Some(Answer::Wait), None);
        }
        let Some((outcome, waker)) = self.waiters.leave(id) else { return (None, None) };
        let answer = match outcome {
            Outcome::Served(key) => self.slots.get_mut(key).and_then(|slot| {
                let id = slot.id;
                slot.conn.take().map(|conn| Answer::Lend(key, id, conn))
            }),
            Outcome::Failed(error) => Some(Answer::Fail(error)),
            Outcome::Waiting => None,
        };
        (answer, waker)
    }

    /// A checkout was dropped: its cell goes at once, and a server delivered into it goes to the next one.
    pub(super) fn leave(&mut self, id: WaiterId, now: Instant, wakes: &mut Wakes) {
        let Some((outcome, waker)) = self.waiters.leave(id) else { return };
        wakes.discard(waker);
        if let Outcome::Served(key) = outcome {
            self.take_back(key, now, wakes);
        }
    }

    /// Ends one wait with `Canceled`, also if a server was delivered that its client has not seen yet.
    pub(super) fn cancel(&mut self, id: WaiterId, now: Instant, wakes: &mut Wakes) -> bool {
        let outcome = Outcome::Failed(CheckoutError::Canceled);
        match self.waiters.settle(id, outcome) {
            Ok(waker) => wakes.waiter(waker),
            Err(outcome) => match self.waiters.revoke(id, outcome) {
                Some((key, waker)) => {
                    wakes.waiter(waker);
                    self.take_back(key, now, wakes);
                }
                None => return false,
            },
        }
        true
    }

    /// Ends all waits.
    pub(super) fn fail_waiters(&mut self, error: &CheckoutError, wakes: &mut Wakes) {
        while let Some(id) = self.waiters.oldest() {
            match self.waiters.settle(id, Outcome::Failed(error.clone())) {
                Ok(waker) => wakes.waiter(waker),
                Err(_) => return,
            }
        }
    }

    // --- coming back -----------------------------------------------------------------------------------------

    /// A holder returns a server with evidence.
    pub(super) fn release(&mut self, key: SlotKey, conn: Box<C>, now: Instant, wakes: &mut Wakes) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.conn = Some(conn);
        }
        self.take_back(key, now, wakes);
    }

    /// The server in this slot is held and at rest, its connection lies in the slot: it is closed if its time has
    /// come, else it goes to the oldest waiter, else it is idle.
    fn take_back(&mut self, key: SlotKey, now: Instant, wakes: &mut Wakes) {
        if self.shift(key, SlotEvent::Release).is_none() {
            return;
        }
        match self.reason_at_release(key, now) {
            Some(reason) => self.retire(key, reason),
            None => wakes.waiter(self.give(key, now)),
        }
    }

    /// A holder, or nobody any more, gives up a server whose state is not proven.
    pub(super) fn retire_held(&mut self, key: SlotKey, conn: Box<C>, reason: RetireReason) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.conn = Some(conn);
        }
        self.retire(key, reason);
    }

    /// Away if another share has the older right to it, else straight to the oldest waiter, else idle. Answers whom to
    /// wake.
    pub(super) fn give(&mut self, key: SlotKey, now: Instant) -> Option<Waker> {
        if let Some(to) = self.pay_creditor(now) {
            self.retire(key, RetireReason::Moved(to));
            return None;
        }
        if let Some(id) = self.waiters.oldest()
            && let Ok(waker) = self.waiters.settle(id, Outcome::Served(key))
        {
            self.shift(key, SlotEvent::Lend);
            return waker;
        }
        if let Some(slot) = self.slots.get_mut(key) {
            slot.idle_since = now;
        }
        self.idle.push(key);
        None
    }

    /// Puts a server, whose connection lies in its slot, among those to be closed.
    pub(super) fn retire(&mut self, key: SlotKey, reason: RetireReason) {
        if self.shift(key, SlotEvent::Retire).is_some() {
            self.retired.push_back((key, reason));
        }
    }
}
