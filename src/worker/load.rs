//! Which pools are too much for one worker.
//!
//! Owns: how busy this thread is, and the decision, with hysteresis, that a pool is to be served by all workers or by
//! one again. Does not know: how that is done.

use std::time::{Duration, Instant};

/// A thread this busy, in thousandths of its time, has no more to give.
const HOT: u32 = 800;

/// A worker less busy than this has room for part of another's load.
const FREE: u32 = 500;

/// As long must a pool be too much for its worker: a burst shorter than this is over before it is spread.
const HOT_TIME: Duration = Duration::from_secs(3);

/// All workers together must be less busy than [`FREE`] for so long before a pool goes home again.
const COOL_TIME: Duration = Duration::from_secs(30);

/// What a thread has used of its time, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Option<(Instant, Duration)>,
}

impl Meter {
    /// Thousandths of the time since the last look in which this thread was not idle.
    pub(super) fn read(&mut self, now: Instant) -> u32 {
        let Some(used) = busy_time() else { return 0 };
        let Some((then, before)) = self.last.replace((now, used)) else { return 0 };
        let passed = now.saturating_duration_since(then).as_micros().max(1);
        let ran = used.saturating_sub(before).as_micros();
        u32::try_from(ran * 1000 / passed).unwrap_or(u32::MAX)
    }
}

/// Time in which this thread had work to do: it ran, or waited for a processor. `None` where the kernel does not say:
/// then no pool is ever found to be hot.
fn busy_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut numbers = text.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let (ran, waited) = (numbers.next()?, numbers.next()?);
    Some(Duration::from_nanos(ran.saturating_add(waited)))
}

/// What there is to see of one pool on one tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// How busy its home worker is.
    pub(super) here: u32,
    /// How busy the least busy of the others is.
    pub(super) freest: u32,
    /// How busy all of them are together.
    pub(super) all: u32,
    /// It makes most of the work of its home worker.
    pub(super) is_most: bool,
}

/// What is remembered of one pool between ticks.
#[derive(Debug, Default)]
pub(super) struct Heat {
    /// Since when what would change its standing holds.
    since: Option<Instant>,
    /// Queries of its clients on the home worker, up to the last tick.
    pub(super) queries: u64,
}

impl Heat {
    /// Whether its standing must change: `Some(true)` to spread it, `Some(false)` to bring it home.
    pub(super) fn look(&mut self, sight: Sight, split: bool, now: Instant) -> Option<bool> {
        let (wants_change, time) = if split {
            (sight.all < FREE, COOL_TIME)
        } else {
            (sight.here > HOT && sight.freest < FREE && sight.is_most, HOT_TIME)
        };
        if !wants_change {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < time {
            return None;
        }
        self.since = None;
        Some(!split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    const BUSY: Sight = Sight { here: 900, freest: 100, all: 1000, is_most: true };
    const CALM: Sight = Sight { here: 200, freest: 100, all: 300, is_most: true };

    #[test]
    fn a_pool_is_spread_after_lasting_load_and_comes_home_after_lasting_calm() {
        let (mut heat, start) = (Heat::default(), clock::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(heat.look(BUSY, false, at(0)), None);
        assert_eq!(heat.look(CALM, false, at(2)), None, "a pause begins the count anew");
        assert_eq!(heat.look(BUSY, false, at(3)), None);
        assert_eq!(heat.look(BUSY, false, at(5)), None);
        assert_eq!(heat.look(BUSY, false, at(6)), Some(true));
        assert_eq!(heat.look(CALM, true, at(7)), None);
        assert_eq!(heat.look(CALM, true, at(36)), None);
        assert_eq!(heat.look(CALM, true, at(37)), Some(false));
    }

    #[test]
    fn what_another_pool_does_or_no_worker_has_room_for_is_no_reason_to_spread_one() {
        for sight in
            [Sight { is_most: false, ..BUSY }, Sight { freest: 700, ..BUSY }, Sight { here: 700, ..BUSY }]
        {
            let (mut heat, now) = (Heat::default(), clock::now());
            assert_eq!(heat.look(sight, false, now), None);
            assert_eq!(heat.look(sight, false, now + Duration::from_mins(1)), None, "{sight:?}");
        }
    }

    #[test]
    fn a_thread_that_works_is_seen_to_be_busy() {
        let mut meter = Meter::default();
        let start = clock::now();
        meter.read(start);
        while clock::now() < start + Duration::from_millis(50) {}
        assert!(meter.read(clock::now()) > 100);
    }
}
