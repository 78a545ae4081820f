//! The queue of those who wait for a server.
//!
//! Owns: who waits, in which order, and the cell in which each finds its outcome. First come, first served: a
//! ticket is drawn once and kept, also by one whose server turned out to be dead and who queues again.
//! Bound: one cell per checkout, so at most one per client; the client limits bound those.

use std::task::Waker;
use std::time::Instant;

use super::failure::CheckoutError;
use super::slab::{Key, Slab};
use super::slot::SlotKey;

/// Names one waiting checkout; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WaiterId(Key);

/// Place in the order of arrival; never reused.
type Ticket = u64;

/// A checkout's place in the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) id: WaiterId,
    pub(super) since: Instant,
    ticket: Ticket,
}

/// What a waiter finds when it looks.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing yet: it is in the queue.
    Waiting,
    /// This slot is lent to it.
    Served(SlotKey),
    /// It gets no server.
    Failed(CheckoutError),
}

struct Cell {
    outcome: Outcome,
    waker: Option<Waker>,
    ticket: Ticket,
    since: Instant,
    ahead: Option<Key>,
    behind: Option<Key>,
}

/// FIFO queue with removal from anywhere in constant time.
pub(super) struct Waiters {
    cells: Slab<Cell>,
    oldest: Option<Key>,
    newest: Option<Key>,
    waiting: u32,
    last_ticket: Ticket,
    last_since: Option<Instant>,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Self { cells: Slab::new(), oldest: None, newest: None, waiting: 0, last_ticket: 0, last_since: None }
    }

    /// How many are in the queue.
    pub(super) const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Who is first in the queue.
    pub(super) fn oldest(&self) -> Option<WaiterId> {
        self.oldest.map(WaiterId)
    }

    /// Since when the first in the queue waits.
    pub(super) fn oldest_since(&self) -> Option<Instant> {
        self.cells.get(self.oldest?).map(|cell| cell.since)
    }

    /// Queues a newcomer at the end. A waiter never counts as older than one that came before it, so the queue
    /// is ordered by time, too.
    pub(super) fn join(&mut self, since: Instant) -> Seat {
        self.last_ticket += 1;
        let since = self.last_since.map_or(since, |last| last.max(since));
        self.last_since = Some(since);
        self.insert(self.last_ticket, since)
    }

    /// Queues again, ahead of all that came later.
    pub(super) fn rejoin(&mut self, seat: Seat) -> Seat {
        self.insert(seat.ticket, seat.since)
    }

    fn insert(&mut self, ticket: Ticket, since: Instant) -> Seat {
        let mut ahead = self.newest;
        let mut behind = None;
        while let Some(key) = ahead
            && let Some(cell) = self.cells.get(key)
            && cell.ticket > ticket
        {
            behind = ahead;
            ahead = cell.ahead;
        }
        let cell = Cell { outcome: Outcome::Waiting, waker: None, ticket, since, ahead, behind };
        let key = self.cells.insert(cell);
        self.set_behind(ahead, Some(key));
        self.set_ahead(behind, Some(key));
        self.waiting += 1;
        Seat { id: WaiterId(key), since, ticket }
    }

    /// Gives a waiting one its outcome and takes it out of the queue. Answers its waker, to be woken when no
    /// borrow is held; hands the outcome back if that waiter is not in the queue.
    pub(super) fn settle(&mut self, id: WaiterId, outcome: Outcome) -> Result<Option<Waker>, Outcome> {
        if !self.unlink(id.0) {
            return Err(outcome);
        }
        let Some(cell) = self.cells.get_mut(id.0) else { return Err(outcome) };
        cell.outcome = outcome;
        Ok(cell.waker.take())
    }

    /// Replaces the outcome of one that was served and has not looked; answers its slot and its waker.
    pub(super) fn revoke(&mut self, id: WaiterId, outcome: Outcome) -> Option<(SlotKey, Option<Waker>)> {
        let cell = self.cells.get_mut(id.0)?;
        let Outcome::Served(slot) = cell.outcome else { return None };
        cell.outcome = outcome;
        Some((slot, cell.waker.take()))
    }

    /// Whether this one is still in the queue.
    pub(super) fn is_waiting(&self, id: WaiterId) -> bool {
        self.cells.get(id.0).is_some_and(|cell| matches!(cell.outcome, Outcome::Waiting))
    }

    /// Takes the cell away, in the queue or not. The waker must be dropped when no borrow is held.
    pub(super) fn leave(&mut self, id: WaiterId) -> Option<(Outcome, Option<Waker>)> {
        self.unlink(id.0);
        self.cells.remove(id.0).map(|cell| (cell.outcome, cell.waker))
    }

    /// Remembers whom to wake. The waker it replaces must be dropped when no borrow is held.
    pub(super) fn set_waker(&mut self, id: WaiterId, waker: &Waker) -> Option<Waker> {
        let cell = self.cells.get_mut(id.0)?;
        if cell.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return None;
        }
        cell.waker.replace(waker.clone())
    }

    /// Gives memory back when nobody is left.
    pub(super) fn shrink(&mut self, kept: usize) {
        self.cells.shrink(kept);
    }

    /// Cells there is memory for.
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.cells.reserved()
    }

    fn unlink(&mut self, key: Key) -> bool {
        let Some(cell) = self.cells.get_mut(key) else { return false };
        if !matches!(cell.outcome, Outcome::Waiting) {
            return false;
        }
        let (ahead, behind) = (cell.ahead.take(), cell.behind.take());
        self.set_behind(ahead, behind);
        self.set_ahead(behind, ahead);
        self.waiting -= 1;
        true
    }

    fn set_behind(&mut self, of: Option<Key>, key: Option<Key>) {
        match of {
            None => self.oldest = key,
            Some(of) => {
                if let Some(cell) = self.cells.get_mut(of) {
                    cell.behind = key;
                }
            }
        }
    }

    fn set_ahead(&mut self, of: Option<Key>, key: Option<Key>) {
        match of {
            None => self.newest = key,
            Some(of) => {
                if let Some(cell) = self.cells.get_mut(of) {
                    cell.ahead = key;
                }
            }
        }
    }

    /// Slots delivered to waiters that have not looked yet.
    pub(super) fn delivered(&self) -> usize {
        self.cells.values().filter(|cell| matches!(cell.outcome, Outcome::Served(_))).count()
    }

    /// Whether the links, the count and the order agree with the cells.
    pub(super) fn is_consistent(&self) -> bool {
        let mut seen = 0;
        let mut previous: Option<(Ticket, Instant)> = None;
        let mut at = self.oldest;
        while let Some(key) = at {
            let Some(cell) = self.cells.get(key) else { return false };
            let place = (cell.ticket, cell.since);
            if !matches!(cell.outcome, Outcome::Waiting)
                || previous.is_some_and(|p| p.0 >= place.0 || p.1 > place.1)
            {
                return false;
            }
            seen += 1;
            previous = Some(place);
            at = cell.behind;
        }
        seen == self.waiting
            && self.cells.values().filter(|c| matches!(c.outcome, Outcome::Waiting)).count() == seen as usize
    }
}
