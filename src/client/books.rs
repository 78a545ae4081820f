//! What a relay tells its worker after each turn.

use std::cell::Cell;
use std::time::Instant;

use super::entry::ClientState;
use super::relay::{Relay, Stall};
use crate::net::clock;
use crate::pool::Checkout;
use crate::proto::TxStatus;
use crate::session::TrackedNames;

impl Relay {
    /// Tells the worker's books what this turn has changed.
    pub(super) fn publish(&mut self, now: Instant) {
        let tally = self.session.take_tally();
        tally.publish(&mut self.home.counters.borrow_mut());
        let entry = &self.entry;
        let request = self.session.request_since();
        if request.is_some() && entry.request_since.get().is_none() {
            entry.request_at.set(clock::wall());
        }
        entry.request_since.set(request);
        let linked = self.link.is_some();
        let running = linked && self.session.is_running();
        entry.running.set(running);
        let preparing = linked && self.session.is_preparing();
        keep_since(&entry.preparing_since, preparing, now);
        // What waits for a server is a request already, although nothing of it was sent.
        let asks = request.is_some() || self.stall != Stall::None;
        let in_block = self.session.tx() != TxStatus::Idle;
        // A batch that waits for its Sync is a transaction as well, an implicit one.
        let in_xact = in_block || linked && request.is_some();
        keep_since(&entry.idle_in_xact_since, in_xact && !running && !preparing, now);
        keep_since(&entry.idle_since, !in_block && !asks, now);
        entry.settle_cancel(!preparing && !running && self.carry.is_empty());
        entry.state.set(match (linked, self.checkout.is_some()) {
            (true, _) => ClientState::Active,
            (false, true) => ClientState::Waiting,
            (false, false) => ClientState::Idle,
        });
        entry.waiter.set(self.checkout.as_ref().and_then(Checkout::waiter_id));
        entry.statements.set(self.session.statements());
        let name = self.session.params().value(TrackedNames::APPLICATION_NAME);
        let name = name.unwrap_or_default();
        if entry.application_name.borrow().as_bytes() != name {
            entry.application_name.replace(String::from_utf8_lossy(name).into_owned());
        }
    }
}

fn keep_since(cell: &Cell<Option<Instant>>, holds: bool, now: Instant) {
    match (holds, cell.get()) {
        (true, None) => cell.set(Some(now)),
        (false, Some(_)) => cell.set(None),
        (true, Some(_)) | (false, None) => {}
    }
}
