//! When servers are opened, and what their success or failure changes.

use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::failure::{CheckoutError, ConnectFailure, FailureKind};
use super::limits::MAX_PARALLEL_CONNECTS;
use super::reason::RetireReason;
use super::slot::{ServerId, SlotEvent, SlotKey, SlotState};
use super::state::{Mode, PoolState};
use super::wakes::Wakes;

/// Whether another connection should be opened, pauses after failures aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// No, or there is no room.
    None,
    /// Yes, and there is room within `size`.
    Place,
    /// Yes, from the reserve, once this instant has come.
    Reserve(Instant),
}

/// Work for the janitor, as far as it can be seen without the clock.
pub(super) struct Chores {
    retired: usize,
    place: bool,
    /// Somebody waits here whom only another share can help.
    short: bool,
    pause_until: Option<Instant>,
}

impl Chores {
    /// Whether there is anything to do.
    pub(super) const fn any(&self) -> bool {
        self.retired > 0 || self.place
    }
}

impl<C> PoolState<C> {
    // --- wishes ----------------------------------------------------------------------------------------------

    fn demand(&self) -> Demand {
        // The usual pool is full and has no reserve: asked at each change, so this is the first question.
        let open = self.open();
        if open >= self.limits.size && self.limits.size > 0 && self.limits.reserve_timeout.is_none() {
            return Demand::None;
        }
        // While the server does not answer, one attempt at a time finds out as much as four.
        let parallel = if self.backoff.is_failing() { 1 } else { MAX_PARALLEL_CONNECTS };
        let connecting = self.count(SlotState::Connecting);
        if self.mode != Mode::Open || connecting >= parallel {
            return Demand::None;
        }
        let queued = self.waiters.waiting() > connecting;
        let has_clients = self.keep_minimum || self.clients > 0;
        let below_min = has_clients && self.connected_count() + connecting < self.least();
        if !queued && !below_min {
            return Demand::None;
        }
        if self.most().is_none_or(|most| open < most) {
            return Demand::Place;
        }
        let in_reserve = queued && self.room().is_none_or(|room| open < room);
        match (self.limits.reserve_timeout, self.waiters.oldest_since()) {
            (Some(timeout), Some(since)) if in_reserve => {
                since.checked_add(timeout).map_or(Demand::None, Demand::Reserve)
            }
            _ => Demand::None,
        }
    }

    /// Whether a queue that grows brings nobody any work: there are as many servers as may be, and a share need not
    /// be told that it is short.
    pub(super) fn is_full(&self) -> bool {
        !self.may_call_for_help() && self.most().is_some_and(|most| self.open() >= most)
    }

    /// Issues the right to open one connection, if one is wanted now. Answers whether it is from the reserve.
    pub(super) fn want_connect(&mut self, now: Instant) -> Option<(SlotKey, bool)> {
        let from_reserve = match self.demand() {
            Demand::Place => false,
            Demand::Reserve(from) if from <= now => true,
            Demand::None | Demand::Reserve(_) => return None,
        };
        self.backoff.allows(now).then(|| (self.promise(now), from_reserve))
    }

    /// What the janitor was last told, or could have seen by itself.
    pub(super) fn chores(&self) -> Chores {
        Chores {
            retired: self.retired.len(),
            place: self.demand() == Demand::Place,
            short: self.calls_for_help(),
            pause_until: self.backoff.until(),
        }
    }

    /// Whom to wake after a change: the janitor, if the change brought something to close or to open. What was
    /// there before it knows already; so it is never woken in a loop by its own doing.
    pub(super) fn janitor_call(&self, before: &Chores) -> Option<Waker> {
        let after = self.chores();
        let news = after.retired > before.retired
            || (after.short && !before.short)
            || (after.place && (!before.place || after.pause_until != before.pause_until));
        if news { self.janitor.clone() } else { None }
    }

    /// When time alone will make a difference to somebody who waits.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let open_at = match self.demand() {
            Demand::None => None,
            Demand::Place => self.backoff.until().or(self.latest()),
            Demand::Reserve(from) => Some(self.backoff.until().map_or(from, |until| until.max(from))),
        };
        let give_up_at = self
            .waiters
            .oldest_since()
            .zip(self.limits.wait_timeout)
            .and_then(|(since, timeout)| since.checked_add(timeout));
        open_at.into_iter().chain(give_up_at).min()
    }

    // --- connecting ------------------------------------------------------------------------------------------

    /// A login succeeded.
    pub(super) fn connected(&mut self, key: SlotKey, id: ServerId, conn: C, now: Instant, wakes: &mut Wakes) {
        self.backoff.succeeded();
        self.arrived(key, id, conn, now, wakes);
    }

    /// A server is there, at rest, connected since then.
    pub(super) fn arrived(
        &mut self,
        key: SlotKey,
        id: ServerId,
        conn: C,
        connected_at: Instant,
        wakes: &mut Wakes,
    ) {
        let now = self.latest().unwrap_or(connected_at);
        let surplus = self.is_surplus();
        let (mode, lifetime) = (self.mode, self.limits.lifetime);
        let Some(slot) = self.shift(key, SlotEvent::Connected) else { return };
        slot.id = id;
        slot.conn = Some(Box::new(conn));
        slot.set_age(connected_at, lifetime);
        let reason = match mode {
            Mode::Closed(end) => Some(end.reason()),
            _ if slot.close_needed => Some(RetireReason::ConnectStringChanged),
            Mode::Paused => Some(RetireReason::Pause),
            Mode::Open => surplus.then_some(RetireReason::Surplus),
        };
        match reason {
            Some(reason) => self.retire(key, reason),
            None => wakes.waiter(self.give(key, now)),
        }
    }

    /// An attempt failed. A refusal is told to all waiters if no other server can serve them. A paused pool
    /// learns nothing: its attempts are cut short on purpose.
    pub(super) fn failed(
        &mut self,
        key: SlotKey,
        failure: ConnectFailure,
        round: u32,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        self.vacate(key);
        if self.mode != Mode::Open {
            return;
        }
        let failure = Rc::new(failure);
        self.backoff.failed(Rc::clone(&failure), round, self.limits.login_retry, now);
        if failure.kind == FailureKind::Refused && !self.has_usable() {
            self.fail_waiters(&CheckoutError::Refused(failure), wakes);
        }
    }

    /// An attempt was dropped without an outcome.
    pub(super) fn abandoned(&mut self, key: SlotKey, now: Instant) {
        self.vacate(key);
        if self.mode == Mode::Open {
            self.backoff.abandoned(now);
        }
    }

    /// Whether a connection that is being opened would be lent if its login were done now.
    pub(super) fn would_use(&self, key: SlotKey) -> bool {
        self.mode == Mode::Open && self.slots.get(key).is_some_and(|slot| !slot.close_needed)
    }

    /// Whether some server can still serve this pool's waiters, now or after its release.
    pub(super) fn has_usable(&self) -> bool {
        self.connected_count() > 0
            && self.slots.values().any(|slot| slot.state.is_connected() && !slot.close_needed)
    }
}
