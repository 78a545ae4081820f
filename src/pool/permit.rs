//! The right to open one connection.

use std::fmt;
use std::time::Instant;

use super::failure::ConnectFailure;
use super::handle::Pool;
use super::slot::{ServerId, SlotKey};

/// The right to open one connection. Its place counts from the moment it was issued, and is never lost: dropped
/// without an outcome, the place is free again after a short pause.
#[must_use = "dropping it gives the place up"]
pub struct ConnectPermit<C> {
    pool: Pool<C>,
    /// Taken by the outcome.
    slot: Option<SlotKey>,
    from_reserve: bool,
    round: u32,
    issued: Instant,
}

impl<C> ConnectPermit<C> {
    pub(super) const fn new(
        pool: Pool<C>,
        slot: SlotKey,
        from_reserve: bool,
        round: u32,
        issued: Instant,
    ) -> Self {
        Self { pool, slot: Some(slot), from_reserve, round, issued }
    }

    /// The pool it is for.
    pub const fn pool(&self) -> &Pool<C> {
        &self.pool
    }

    /// Whether its place is above `pool_size`.
    pub const fn from_reserve(&self) -> bool {
        self.from_reserve
    }

    /// When it was issued.
    pub const fn issued(&self) -> Instant {
        self.issued
    }

    /// Whether the connection would still be used. Once the pool is paused or closed, or its servers are marked,
    /// the attempt may be cut short.
    pub fn is_wanted(&self) -> bool {
        self.pool.read(|state| self.slot.is_some_and(|slot| state.would_use(slot)))
    }

    /// The login succeeded: the server goes to the oldest waiter, or is idle.
    pub fn connected(mut self, id: ServerId, conn: C, now: Instant) {
        if let Some(slot) = self.slot.take() {
            self.pool.apply(|state, wakes| {
                let now = state.at(now);
                state.connected(slot, id, conn, now, wakes);
            });
        }
    }

    /// The attempt failed: the place is free again, and the next attempt waits for a while.
    pub fn failed(mut self, failure: ConnectFailure, now: Instant) {
        if let Some(slot) = self.slot.take() {
            self.pool.apply(|state, wakes| {
                let now = state.at(now);
                state.failed(slot, failure, self.round, now, wakes);
            });
        }
    }
}

impl<C> Drop for ConnectPermit<C> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.apply(|state, _| {
                let now = state.at(self.issued);
                state.abandoned(slot, now);
            });
        }
    }
}

impl<C> fmt::Debug for ConnectPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectPermit")
            .field("pool", self.pool.key())
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}
