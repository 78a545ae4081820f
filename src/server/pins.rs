//! Clients of one pool that keep their servers, and how many may.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use crate::config::Ratio;
use crate::metrics::{Counters, PIN_REASONS};
use crate::pool::PoolLimits;
use crate::session::{PinReasons, PinRoom};

/// Time between two lines about pins beyond the bound: they come in crowds.
const SHORTEST_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// What bounds the pins of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PinBounds {
    /// Part of the pool's servers that may be kept.
    pub ratio: Ratio,
    /// Those beyond it may take the places of the reserve.
    pub may_use_reserve: bool,
}

impl PinBounds {
    /// How many clients may be pinned. One may always, or a pool of one server could serve no client that makes a
    /// temporary table; a ratio of 0 is somebody's wish that none may.
    pub fn most(&self, limits: &PoolLimits) -> u32 {
        if limits.size == 0 || self.ratio >= Ratio::WHOLE {
            return u32::MAX;
        }
        let share = self.ratio.of(limits.size);
        let share = if self.ratio == Ratio(0) { 0 } else { share.max(1) };
        share.saturating_add(if self.may_use_reserve { limits.reserve } else { 0 })
    }
}

/// Why a client keeps its server.
#[derive(Debug, Clone)]
pub struct Pin {
    /// See there.
    pub reasons: PinReasons,
    /// Since when.
    pub since: Instant,
    /// The statement that brought it about, without its literals.
    pub text: Rc<str>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct PinBook {
    /// What conversations are told.
    pub room: PinRoom,
    held: RefCell<HashMap<u64, Pin>>,
    logged_at: Cell<Option<Instant>>,
}

impl PinBook {
    /// That of one worker, for a pool that counts its pinned clients here.
    pub fn shared(all: Arc<AtomicU32>) -> Self {
        Self { room: PinRoom::of(all), ..Self::default() }
    }

    /// Notes why a client keeps its server now, if it does; counts reasons that are new. Whether there is one too many
    /// and nobody has heard of it for a while.
    pub fn note(&self, client: u64, pin: Pin, counters: &mut Counters) -> bool {
        let mut held = self.held.borrow_mut();
        let before = held.get(&client).map(|pin| (pin.reasons, pin.since));
        let news = pin.reasons.without(before.map(|(reasons, _)| reasons).unwrap_or_default());
        for (count, is_new) in counters.pins.iter_mut().zip(news.flags()) {
            *count += u64::from(is_new);
        }
        // What was only intended so far begins now.
        let since = before.filter(|(reasons, _)| reasons.words().next().is_some()).map(|(_, since)| since);
        let now = pin.since;
        if pin.reasons.is_empty() {
            held.remove(&client);
        } else {
            held.insert(client, Pin { since: since.unwrap_or(now), ..pin });
        }
        self.room.set_taken(held.len());
        let is_pinned = news.words().next().is_some();
        let heard =
            self.logged_at.get().is_some_and(|at| now.saturating_duration_since(at) < SHORTEST_LOG_INTERVAL);
        let tell = is_pinned && self.room.is_exceeded() && !heard;
        if tell {
            self.logged_at.set(Some(now));
        }
        tell
    }

    /// Counts again, where a client took room and has given it up in the same turn.
    #[inline]
    pub fn settle(&self) {
        if self.room.is_ahead() {
            self.room.set_taken(self.held.borrow().len());
        }
    }

    /// A client has gone.
    pub fn forget(&self, client: u64) {
        let mut held = self.held.borrow_mut();
        held.remove(&client);
        self.room.set_taken(held.len());
    }

    /// Why this client keeps its server, if it does.
    pub fn of(&self, client: u64) -> Option<Pin> {
        self.held.borrow().get(&client).filter(|pin| pin.reasons.words().next().is_some()).cloned()
    }

    /// Clients by reason, in the order of [`PIN_REASONS`].
    pub fn counts(&self) -> [u32; PIN_REASONS.len()] {
        let mut counts = [0; PIN_REASONS.len()];
        for pin in self.held.borrow().values() {
            for (count, is_there) in counts.iter_mut().zip(pin.reasons.flags()) {
                *count += u32::from(is_there);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn limits(size: u32, reserve: u32) -> PoolLimits {
        PoolLimits { size, reserve, ..crate::server::test_pool::limits() }
    }

    fn pin(reasons: PinReasons, since: Instant) -> Pin {
        Pin { reasons, since, text: "create temp table t".into() }
    }

    #[test]
    fn the_bound_is_a_part_of_the_pool_and_leaves_room_for_one() {
        let half = PinBounds { ratio: Ratio(500), may_use_reserve: false };
        let most = |bounds: &PinBounds, size| bounds.most(&limits(size, 3));
        assert_eq!([1, 2, 3, 20].map(|size| most(&half, size)), [1, 1, 1, 10]);
        assert_eq!(most(&half, 0), u32::MAX, "half of no limit is none");
        assert_eq!(most(&PinBounds { may_use_reserve: true, ..half }, 4), 5);
        assert_eq!(most(&PinBounds { ratio: Ratio(0), ..half }, 4), 0);
        assert_eq!(most(&PinBounds { ratio: Ratio::WHOLE, ..half }, 4), u32::MAX);
    }

    #[test]
    fn a_pin_is_counted_once_and_begins_when_it_is_found() {
        let (book, start) = (PinBook::default(), clock::now());
        let mut counters = Counters::default();
        book.note(1, pin(PinReasons::INTENDED, start), &mut counters);
        assert!(book.of(1).is_none() && counters.pins.iter().sum::<u64>() == 0);
        let later = start + Duration::from_secs(1);
        for seconds in 1..3 {
            book.note(1, pin(PinReasons::TEMPORARY, start + Duration::from_secs(seconds)), &mut counters);
        }
        assert_eq!(book.of(1).map(|pin| pin.since), Some(later));
        assert_eq!((counters.pins[0], book.counts()[0]), (1, 1));
        book.note(1, pin(PinReasons::default(), later), &mut counters);
        assert!(book.of(1).is_none());
    }

    /// Each share of a split pool had the whole bound for itself.
    #[test]
    fn the_bound_is_that_of_all_shares_together() {
        let (all, start) = (Arc::<AtomicU32>::default(), clock::now());
        let shares = [(); 2].map(|()| PinBook::shared(Arc::clone(&all)));
        let mut counters = Counters::default();
        for (client, share) in (1..).zip(&shares) {
            share.room.set_rules(1, false);
            share.note(client, pin(PinReasons::TEMPORARY, start), &mut counters);
        }
        assert!(shares.iter().all(|share| share.room.is_exceeded()));
        shares[0].forget(1);
        assert!(!shares[1].room.is_exceeded());
        let [_, second] = shares;
        drop(second);
        assert_eq!(
            all.load(std::sync::atomic::Ordering::Relaxed),
            0,
            "a share that ends takes its clients along"
        );
    }

    #[test]
    fn pins_beyond_the_bound_are_told_of_once_a_minute() {
        let (book, start) = (PinBook::default(), clock::now());
        book.room.set_rules(1, false);
        let mut counters = Counters::default();
        let mut note = |client, at| book.note(client, pin(PinReasons::TEMPORARY, at), &mut counters);
        assert_eq!([1, 2, 3].map(|client| note(client, start)), [false, true, false]);
        assert!(note(4, start + SHORTEST_LOG_INTERVAL));
    }
}
