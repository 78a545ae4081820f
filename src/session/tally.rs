//! What a client did, in numbers. The session counts; who publishes the numbers decides nothing by them.

use std::time::Instant;

use super::conversation::Session;
use crate::metrics::Counters;
use crate::proto::TxStatus;

/// What a client did, counted during a lease and published when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// See [`crate::metrics::Counters`] for these.
    pub xacts: u64,
    /// Requests.
    pub queries: u64,
    /// Bytes from the client.
    pub client_bytes: u64,
    /// Bytes from the server.
    pub server_bytes: u64,
    /// Microseconds in transactions.
    pub xact_us: u64,
    /// Microseconds in requests.
    pub query_us: u64,
    /// Named Parses of the client.
    pub client_parses: u64,
    /// Parses sent for tracked statements.
    pub server_parses: u64,
    /// Binds of tracked statements.
    pub binds: u64,
}

impl Tally {
    /// Adds what was counted to the pool's numbers.
    pub const fn publish(&self, counters: &mut Counters) {
        counters.xacts += self.xacts;
        counters.queries += self.queries;
        counters.client_bytes += self.client_bytes;
        counters.server_bytes += self.server_bytes;
        counters.xact_us += self.xact_us;
        counters.query_us += self.query_us;
        counters.client_parses += self.client_parses;
        counters.server_parses += self.server_parses;
        counters.binds += self.binds;
    }
}

impl Session {
    /// A request opens with the first message while none is open, a transaction with the first outside one. `linked`:
    /// there is a server.
    #[inline(always)]
    pub(super) fn open_clocks(&mut self, now: Instant, linked: bool) {
        if self.request_since.is_none() {
            self.request_since = Some(now);
            self.tally.queries += 1;
        }
        if self.xact_since.is_none() {
            self.xact_since = Some(now);
            self.tally.xacts += 1;
            if linked && self.traces.is_none() {
                self.note_unseen(); // it may have the server still, although it has been asked
            }
        }
    }

    /// Ends the open request when nothing is owed, and the transaction when the server is idle.
    #[inline(always)]
    pub(super) fn close_clocks(&mut self, now: Instant) {
        let in_request = self.request_since.map_or(0, |since| micros(since, now));
        self.tally.query_us += in_request;
        let more = !self.inflight.is_empty() && self.inflight.is_certain();
        if more || self.inflight.is_batch_open() {
            // The next request of a pipeline begins where this one ended.
            self.request_since = self.request_since.map(|_| now);
            return;
        }
        let request = self.request_since.take();
        if self.tx == TxStatus::Idle {
            let xact = self.xact_since.take();
            self.tally.xact_us +=
                if xact == request { in_request } else { xact.map_or(0, |since| micros(since, now)) };
        }
    }

    /// Bytes counted since they were last taken, of both directions.
    pub const fn counted_bytes(&self) -> u64 {
        self.tally.client_bytes + self.tally.server_bytes
    }

    /// Takes what was counted since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}

/// Whole microseconds between two moments. Where they would not fit, nothing is right any more.
#[inline]
fn micros(since: Instant, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(since);
    elapsed.as_secs().saturating_mul(1_000_000).saturating_add(elapsed.subsec_micros().into())
}
