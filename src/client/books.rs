//! What a relay tells its worker after each turn.

use std::time::Instant;

use super::entry::{ClientState, Pause};
use super::relay::{Relay, Stall};
use crate::pool::Checkout;
use crate::proto::TxStatus;
use crate::server::Pin;
use crate::session::{PinReasons, TrackedNames};

/// Bytes of one request after which the books learn of them before its end.
const UNTOLD_BYTES: u64 = 64 * 1024;

impl Relay {
    /// Tells the worker's books what this turn has changed. What was counted is told when a request ends, or grows
    /// large, or all is `over`.
    pub(super) fn publish(&mut self, now: Instant, over: bool) {
        let request = self.session.request_since();
        if request.is_none() || over || self.session.counted_bytes() >= UNTOLD_BYTES {
            let tally = self.session.take_tally();
            tally.publish(&mut self.home.counters.borrow_mut());
        }
        let entry = &self.entry;
        entry.set_request(request);
        let linked = self.link.is_some();
        let preparing = linked && self.session.is_preparing();
        let running = linked && !preparing && self.session.is_running();
        entry.running.set(running);
        // What waits for a server is a request already, although nothing of it was sent.
        let asks = request.is_some() || self.stall != Stall::None;
        let in_block = self.session.tx() != TxStatus::Idle;
        // A batch that waits for its Sync is a transaction as well, an implicit one.
        let in_xact = in_block || linked && request.is_some();
        let pause = match (preparing, in_xact && !running) {
            (true, _) => Pause::Preparing,
            (false, true) => Pause::IdleInTransaction,
            (false, false) if in_block || asks => Pause::None,
            (false, false) => Pause::Idle,
        };
        entry.set_pause(pause, now);
        entry.settle_cancel(!preparing && !running && self.carry.is_empty());
        entry.state.set(match (linked, self.checkout.is_some()) {
            (true, _) => ClientState::Active,
            (false, true) => ClientState::Waiting,
            (false, false) => ClientState::Idle,
        });
        entry.waiter.set(self.checkout.as_ref().and_then(Checkout::waiter_id));
        entry.statements.set(u32::try_from(self.session.statements()).unwrap_or(u32::MAX));
        let pins = self.session.pin_state();
        if pins != entry.pins.get() {
            self.publish_pins(pins, now);
        }
        self.home.pins.settle();
        if self.session.has_uses() {
            self.publish_uses(now);
        }
        let entry = &self.entry;
        let params = self.session.params();
        if !entry.params.with(|known| known.is_shared_with(params)) {
            entry.params.set(params.clone());
        }
    }

    /// The same after a turn in which a client with nothing open has asked its server one thing, or one more in its block.
    #[inline]
    pub(super) fn publish_question(&self, now: Instant) {
        let entry = &self.entry;
        entry.set_request(self.session.request_since());
        entry.running.set(true);
        entry.set_pause(Pause::None, now);
        entry.waiter.set(None);
        entry.state.set(ClientState::Active);
    }

    /// The same after a turn in which all has been answered as usual and the server given back.
    #[inline]
    pub(super) fn publish_answer(&mut self, now: Instant) {
        self.session.take_tally().publish(&mut self.home.counters.borrow_mut());
        let entry = &self.entry;
        entry.request_since.set(None);
        entry.overran.set(false);
        entry.running.set(false);
        entry.set_pause(Pause::Idle, now);
        entry.state.set(ClientState::Idle);
    }

    #[cold]
    fn publish_pins(&self, reasons: PinReasons, now: Instant) {
        let (entry, home) = (&self.entry, &self.home);
        entry.pins.set(reasons);
        let pin = Pin { reasons, since: now, text: self.session.pin_text() };
        if home.pins.note(entry.id, pin, &mut home.counters.borrow_mut()) {
            tracing::warn!(
                client = entry.id,
                user = &*entry.user,
                database = entry.database(),
                "more clients keep their servers than max_pinned_ratio wants, this one for {reasons}: SHOW PINS lists them"
            );
        }
    }

    #[cold]
    fn publish_uses(&mut self, now: Instant) {
        let uses = self.session.take_uses();
        let application_name =
            self.session.params().value(TrackedNames::APPLICATION_NAME).unwrap_or_default();
        let mut book = self.home.uses.borrow_mut();
        for used in &uses {
            book.note(&self.entry.user, application_name, used, now);
        }
    }
}
