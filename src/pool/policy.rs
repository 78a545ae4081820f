//! When servers leave and waits end: age, limits, operators.

use std::time::{Duration, Instant};

use super::failure::CheckoutError;
use super::limits::{KEPT_WAITER_CELLS, PoolLimits};
use super::reason::RetireReason;
use super::slot::{ServerId, SlotKey, SlotState};
use super::state::{Answer, Mode, PoolEnd, PoolState};
use super::waiters::Outcome;
use super::wakes::Wakes;

/// What the fate of an idle server depends on at one instant.
struct Ageing {
    now: Instant,
    idle_timeout: Option<Duration>,
    lifetime: Option<Duration>,
}

impl<C> PoolState<C> {
    // --- time ------------------------------------------------------------------------------------------------

    /// Ends waits that lasted too long and closes idle servers whose time has come.
    pub(super) fn expire(&mut self, now: Instant, wakes: &mut Wakes) {
        self.expire_waiters(now, wakes);
        self.trim_surplus();
        let ageing = Ageing {
            now,
            idle_timeout: self.limits.idle_timeout,
            // Zero means "use each server once": those are closed at release, and an unused one is kept.
            lifetime: self.limits.lifetime.filter(|lifetime| !lifetime.is_zero()),
        };
        let mut at = 0;
        while let Some(&key) = self.idle.get(at) {
            match self.reason_while_idle(key, &ageing) {
                Some(reason) => self.retire_idle(at, reason),
                None => at += 1,
            }
        }
        self.waiters.shrink(KEPT_WAITER_CELLS);
    }

    fn expire_waiters(&mut self, now: Instant, wakes: &mut Wakes) {
        let Some(timeout) = self.limits.wait_timeout else { return };
        while let Some((id, since)) = self.waiters.oldest().zip(self.waiters.oldest_since()) {
            let waited = now.saturating_duration_since(since);
            if waited < timeout {
                return;
            }
            let last_failure = self.backoff.last().cloned();
            let error = CheckoutError::Timeout { waited, last_failure };
            match self.waiters.settle(id, Outcome::Failed(error)) {
                Ok(waker) => wakes.waiter(waker),
                Err(_) => return,
            }
        }
    }

    fn reason_while_idle(&mut self, key: SlotKey, ageing: &Ageing) -> Option<RetireReason> {
        let slot = self.slots.get(key)?;
        if slot.close_needed {
            return Some(RetireReason::ConfigChanged);
        }
        let unused = ageing.now.saturating_duration_since(slot.idle_since);
        let above_min = self.connected_count() > self.least();
        if above_min && ageing.idle_timeout.is_some_and(|limit| unused >= limit) {
            return Some(RetireReason::IdleTimeout);
        }
        ageing.lifetime?;
        self.is_too_old(key, ageing.now).then_some(RetireReason::LifetimeOver)
    }

    /// Whether nothing at all speaks against a server that comes back: a look that changes nothing.
    pub(super) fn may_stay(&self, key: SlotKey, now: Instant) -> bool {
        let Some(slot) = self.slots.get(key) else { return false };
        self.mode == Mode::Open
            && !slot.close_needed
            && !self.is_surplus()
            && slot.fresh_until.is_none_or(|until| now < until)
    }

    /// Whether it is to be closed for its age now. Saying yes starts the gap until the next one.
    fn is_too_old(&mut self, key: SlotKey, now: Instant) -> bool {
        let (Some(lifetime), Some(slot)) = (self.limits.lifetime, self.slots.get(key)) else { return false };
        if now.saturating_duration_since(slot.connected_at) < lifetime {
            return false;
        }
        let gap = self.most().map_or(Duration::ZERO, |most| lifetime / most.max(1));
        let may = self.last_lifetime_close.is_none_or(|last| now.saturating_duration_since(last) >= gap);
        if may {
            self.last_lifetime_close = Some(now);
        }
        may
    }

    /// Why a server that comes back must be closed instead of lent again, in PgBouncer's order.
    pub(super) fn reason_at_release(&mut self, key: SlotKey, now: Instant) -> Option<RetireReason> {
        if let Mode::Closed(end) = self.mode {
            return Some(end.reason());
        }
        if self.is_too_old(key, now) {
            return Some(RetireReason::LifetimeOver);
        }
        if self.slots.get(key).is_some_and(|slot| slot.close_needed) {
            return Some(RetireReason::CloseNeeded);
        }
        if self.mode == Mode::Paused {
            return Some(RetireReason::Pause);
        }
        self.is_surplus().then_some(RetireReason::Surplus)
    }

    // --- limits ----------------------------------------------------------------------------------------------

    /// Puts new limits in force.
    pub(super) fn set_limits(&mut self, limits: PoolLimits) {
        self.resize_share(&limits);
        self.limits = limits;
        for slot in self.slots.values_mut() {
            slot.set_age(slot.connected_at, self.limits.lifetime);
        }
        self.tolerated = self.open();
        self.trim_surplus();
    }

    /// Whether there are more servers than the limits allow, those that are leaving already not counted.
    pub(super) fn is_surplus(&self) -> bool {
        let staying = self.open() - self.count(SlotState::Closing);
        self.room().is_some_and(|room| staying > room)
    }

    fn trim_surplus(&mut self) {
        while self.is_surplus() && !self.idle.is_empty() {
            self.retire_idle(0, RetireReason::Surplus);
        }
    }

    // --- operators -------------------------------------------------------------------------------------------

    /// Lends nothing from now on.
    pub(super) fn pause(&mut self) {
        if self.mode == Mode::Open {
            self.mode = Mode::Paused;
            self.retire_all_idle(RetireReason::Pause);
        }
    }

    /// Lends again; failures from before the pause hold nothing up.
    pub(super) fn resume(&mut self) {
        if self.mode == Mode::Paused {
            self.mode = Mode::Open;
            self.backoff.forgive();
        }
    }

    /// Ends the pool for good.
    pub(super) fn close(&mut self, end: PoolEnd, wakes: &mut Wakes) {
        self.mode = Mode::Closed(end);
        self.retire_all_idle(end.reason());
        self.fail_waiters(&CheckoutError::Closed(end), wakes);
    }

    /// Marks every server: idle ones leave now, held ones at release, new ones when their login is done, and those
    /// that leave for another share when they are there.
    pub(super) fn mark_all(&mut self) {
        let moved = self.retired.iter().filter(|(_, reason)| matches!(reason, RetireReason::Moved(_)));
        let moved: Vec<_> = moved.map(|(key, _)| *key).collect();
        for slot in self.slots.values_mut().filter(|slot| slot.state != SlotState::Closing) {
            slot.close_needed = true;
        }
        for key in moved {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.close_needed = true;
            }
        }
        self.retire_all_idle(RetireReason::ConfigChanged);
    }

    /// Servers that carry the mark and are not gone yet.
    pub(super) fn marked(&self) -> usize {
        self.slots.values().filter(|slot| slot.close_needed).count()
    }

    /// Takes one idle server out by its name, without asking whether it is quiet.
    pub(super) fn take_idle(&mut self, id: ServerId) -> Option<Answer<C>> {
        let named = |key: &SlotKey| self.slots.get(*key).is_some_and(|slot| slot.id == id);
        let at = self.idle.iter().position(named)?;
        let key = self.idle.remove(at);
        self.lend(key)
    }

    fn retire_all_idle(&mut self, reason: RetireReason) {
        while !self.idle.is_empty() {
            self.retire_idle(0, reason);
        }
    }

    pub(super) fn retire_idle(&mut self, at: usize, reason: RetireReason) {
        let key = self.idle.remove(at);
        self.retire(key, reason);
    }
}
