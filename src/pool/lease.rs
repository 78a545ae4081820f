//! The guards around a server: held by one client, or on its way out.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::handle::Pool;
use super::reason::RetireReason;
use super::share::Departure;
use super::slot::{ServerId, SlotKey, SlotState};
use crate::session::Quiescent;

/// One holder's hold on one server (R6). Only [`Lease::release`] lets it be lent again; however else it ends, the
/// server is retired (R4).
#[must_use = "a lease dropped is a server closed"]
pub struct Lease<C> {
    pool: Pool<C>,
    slot: SlotKey,
    id: ServerId,
    /// Taken only by the three ends of a lease, each of which consumes it.
    conn: Option<Box<C>>,
}

impl<C> Lease<C> {
    pub(super) const fn new(pool: Pool<C>, slot: SlotKey, id: ServerId, conn: Box<C>) -> Self {
        Self { pool, slot, id, conn: Some(conn) }
    }

    /// The server's number.
    pub const fn server_id(&self) -> ServerId {
        self.id
    }

    /// The pool it belongs to.
    pub const fn pool(&self) -> &Pool<C> {
        &self.pool
    }

    /// Whether it is marked for closing: it will not be lent again after its release.
    pub fn close_needed(&self) -> bool {
        self.pool.read(|state| state.slots.get(self.slot).is_some_and(|slot| slot.close_needed))
    }

    /// Shows what is being done with it: `Resetting`, `Checking`, `BeingCanceled`, or `Leased` again. Other
    /// states are not the holder's to choose and change nothing.
    pub fn mark(&self, shown: SlotState) {
        debug_assert!(shown.is_held(), "a holder cannot choose {shown:?}");
        if let Some(event) = shown.shown_by() {
            self.pool.apply(|state, _| {
                state.shift(self.slot, event);
            });
        }
    }

    /// Gives the server back, at rest and proven so. It goes straight to the oldest waiter, or is idle, unless
    /// its time is over, it is marked, the pool is paused or has too many.
    #[inline(always)]
    pub fn release(mut self, _evidence: Quiescent, now: Instant) {
        let Some(conn) = self.conn.take() else { return };
        let back = self.pool.apply_quietly(|state| {
            let now = state.at(now);
            state.shelve(self.slot, conn, now)
        });
        match back {
            Ok(None) => {}
            Ok(Some(waiter)) => waiter.wake(),
            Err(conn) => self.pool.apply(|state, wakes| {
                let now = state.at(now);
                state.release(self.slot, conn, now, wakes);
            }),
        }
    }

    /// Gives the server up. Its place counts until the backend is gone (R8).
    pub fn retire(mut self, reason: RetireReason) {
        self.give_up(reason);
    }

    fn give_up(&mut self, reason: RetireReason) {
        if let Some(conn) = self.conn.take() {
            self.pool.apply(|state, _| state.retire_held(self.slot, conn, reason));
        }
    }
}

impl<C> Drop for Lease<C> {
    fn drop(&mut self) {
        self.give_up(RetireReason::Abandoned);
    }
}

impl<C> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("a lease is consumed by its end"),
        }
    }
}

impl<C> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        match &mut self.conn {
            Some(conn) => conn,
            None => unreachable!("a lease is consumed by its end"),
        }
    }
}

impl<C> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("pool", self.pool.key())
            .field("server", &self.id)
            .finish_non_exhaustive()
    }
}

/// A server that left the pool and must be closed. Nothing brings it back.
#[must_use = "close the connection, then drop the guard when the backend is gone"]
pub struct Retired<C> {
    /// The connection.
    pub conn: C,
    /// Why it left.
    pub reason: RetireReason,
    /// Its place.
    pub slot: SlotGuard<C>,
}

/// A place that still counts because a backend may still run. Dropping it frees the place (R8).
#[must_use = "dropping it frees the place at once"]
pub struct SlotGuard<C> {
    pool: Pool<C>,
    /// `None` once the place was given away.
    slot: Option<SlotKey>,
}

impl<C> SlotGuard<C> {
    pub(super) const fn new(pool: Pool<C>, slot: SlotKey) -> Self {
        Self { pool, slot: Some(slot) }
    }

    /// The pool whose place it is.
    pub const fn pool(&self) -> &Pool<C> {
        &self.pool
    }

    pub(super) const fn key(&self) -> Option<SlotKey> {
        self.slot
    }

    /// There is no place any more.
    pub(super) const fn disarm(&mut self) {
        self.slot = None;
    }
}

impl<C> SlotGuard<C> {
    /// Gives the place up to the share that its server moves to, with the right to have it: nothing counts here any
    /// more. `Err` if this share has no right left to give; the server must be closed then.
    ///
    /// # Errors
    /// The guard, unchanged.
    pub fn hand_over(mut self) -> Result<Departure, Self> {
        let departed = self.pool().apply(|state, _| self.key().and_then(|key| state.depart(key)));
        match departed {
            Some(departure) => {
                self.disarm();
                Ok(departure)
            }
            None => Err(self),
        }
    }
}

impl<C> Drop for SlotGuard<C> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.apply(|state, _| state.vacate(slot));
        }
    }
}

impl<C> fmt::Debug for SlotGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotGuard").field("pool", self.pool.key()).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Retired<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired")
            .field("reason", &self.reason)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}
