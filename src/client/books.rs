//! What a relay tells its worker after each turn.

use std::cell::Cell;
use std::task::Context;
use std::time::Instant;

use super::entry::ClientState;
use super::relay::Relay;
use crate::net::clock;
use crate::pool::Checkout;
use crate::proto::TxStatus;

impl Relay {
    pub(super) fn remember_waker(&self, cx: &Context<'_>) {
        let mut known = self.entry.waker.borrow_mut();
        if !known.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *known = Some(cx.waker().clone());
        }
    }

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
        let in_block = self.session.tx() != TxStatus::Idle;
        keep_since(&entry.idle_in_xact_since, in_block && !running, now);
        keep_since(&entry.idle_since, !in_block && request.is_none(), now);
        entry.state.set(match (linked, self.checkout.is_some()) {
            (true, _) => ClientState::Active,
            (false, true) => ClientState::Waiting,
            (false, false) => ClientState::Idle,
        });
        entry.waiter.set(self.checkout.as_ref().and_then(Checkout::waiter_id));
        entry.statements.set(self.session.statements());
        let name = self.home.names.index(b"application_name").and_then(|i| self.session.params().value(i));
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
