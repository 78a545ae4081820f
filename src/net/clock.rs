//! The clock.
//!
//! Owns: the only places that ask what time it is. Does not know: who wants to know. Core rooms receive `now`
//! as an argument; the shell reads it here, once per batch of events.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time, for deadlines and durations.
///
/// It is the clock that [`sleep_until`](super::sleep_until) waits by, so a test that pauses one pauses both.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, for logs, reports and the validity of certificates.
#[allow(clippy::disallowed_methods)] // this is the one place that reads the wall clock
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The time of day at `then`, a moment not after `now`.
pub fn wall_of(then: Instant, now: Instant) -> SystemTime {
    let wall = wall();
    wall.checked_sub(now.saturating_duration_since(then)).unwrap_or(wall)
}

/// A time of day to the microsecond, in half the room of [`SystemTime`]: what is kept of each client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

impl From<SystemTime> for Moment {
    fn from(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Moment> for SystemTime {
    fn from(at: Moment) -> Self {
        UNIX_EPOCH + Duration::from_micros(at.0)
    }
}
