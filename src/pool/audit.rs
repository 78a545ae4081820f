//! Looks whether the pool's books are in order.

use super::slot::SlotState;
use super::state::{Mode, PoolState};

/// Queues longer than this are not walked after each change, only when an audit is asked for: a debug build with
/// thousands of waiters would otherwise spend all its time here.
const WALKED_QUEUE: u32 = 64;

impl<C> PoolState<C> {
    /// After each change, in debug builds only; the walk along the queue only while it is short. Silent while a
    /// panic unwinds: guards dropped on its way must not turn it into an abort.
    pub(super) fn check(&self) {
        if cfg!(debug_assertions) && !std::thread::panicking() {
            let found = self.violation(self.waiters.waiting() <= WALKED_QUEUE);
            debug_assert!(found.is_none(), "pool bookkeeping: {}", found.unwrap_or_default());
        }
    }

    /// The first rule that does not hold, in words.
    pub(super) fn violation(&self, deep: bool) -> Option<&'static str> {
        let mut recount = [0; SlotState::COUNT];
        for slot in self.slots.values() {
            recount[slot.state as usize] += 1;
        }
        let open = self.open();
        let held = u64::from(self.held());
        let with_conn = |state| self.slots.values().filter(|s| s.state == state && s.conn.is_some()).count();
        let rules = [
            (recount == self.per_state, "a state's count differs from its slots"),
            (
                self.ceiling().is_none_or(|ceiling| open <= ceiling.max(self.tolerated)),
                "I8: more servers than the limits allow",
            ),
            (
                self.mode != Mode::Open || self.waiters.waiting() == 0 || self.idle.is_empty(),
                "I18: somebody waits while a server is idle",
            ),
            (
                self.mode == Mode::Open || self.idle.is_empty(),
                "a server is idle in a pool that does not lend",
            ),
            (self.idle.len() == with_conn(SlotState::Idle), "the idle list differs from the idle slots"),
            (self.retired.len() == with_conn(SlotState::Closing), "a retired connection is nowhere"),
            (with_conn(SlotState::Connecting) == 0, "a connection exists before its login"),
            (
                self.tally.lent == self.tally.returned + self.tally.closed + held,
                "I7: lent is not returned plus closed plus held",
            ),
            (
                self.tally.issued == self.tally.vacated + u64::from(open),
                "issued is not vacated plus the slots there are",
            ),
            (self.tally.faults == 0, "a slot was told what its state does not allow"),
        ];
        let broken = rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule);
        broken.or_else(|| if deep { self.queue_violation() } else { None })
    }

    fn queue_violation(&self) -> Option<&'static str> {
        let unseen = self.slots.values().filter(|s| s.state.is_held() && s.conn.is_some()).count();
        if !self.waiters.is_consistent() {
            return Some("I19: the queue's links, count or order are wrong");
        }
        (unseen != self.waiters.delivered()).then_some("a delivered server is in no waiter's cell")
    }
}
