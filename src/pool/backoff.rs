//! When to dial again after a failure (C8).
//!
//! Owns: the pause, and the last failure for as long as it is true. Does not know: who dials.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::failure::{ConnectFailure, FailureKind};

/// First pause after a server could not be reached: the time a restart of PostgreSQL takes at best.
const UNREACHABLE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause, jitter included, after a server could not be reached. Half of the second within which the first
/// transaction after a restart must be served; the other half is for the tick, the dial and the login.
pub const UNREACHABLE_CAP: Duration = Duration::from_millis(500);
/// First pause after a refused login; doubles up to `server_login_retry`. A wrong password does not mend itself,
/// and providers ban addresses that keep trying.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
/// Doublings that are counted; 2^16 times either first pause is beyond every cap.
const MAX_DOUBLINGS: u32 = 16;

/// A small generator for jitter, so that workers that fail together do not dial together. Not for secrets.
#[derive(Debug)]
struct XorShift(u64);

impl XorShift {
    /// Zero is the one seed that gives only zeros.
    const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 0x9E37_79B9_7F4A_7C15 } else { seed })
    }

    /// Evenly spread over `0..=max`, well enough for jitter.
    fn up_to(&mut self, max: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // 16 bits are plenty: a step is then below 8 us for half a second.
        let share = u32::try_from(self.0 >> 48).unwrap_or(0);
        max * share / u32::from(u16::MAX)
    }
}

/// What is known about reaching the server.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Failures in a row of the same kind, attempts that ran side by side counted once.
    failures: u32,
    /// No attempt before this.
    until: Option<Instant>,
    /// The last failure; gone the moment a connect succeeds.
    last: Option<Rc<ConnectFailure>>,
    /// Counts failed rounds; a permit remembers the round it was issued in.
    round: u32,
    jitter: XorShift,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        Self { failures: 0, until: None, last: None, round: 0, jitter: XorShift::new(seed) }
    }

    /// The round that attempts started now belong to.
    pub(super) const fn round(&self) -> u32 {
        self.round
    }

    /// Whether the last attempt failed; then one attempt at a time is enough to find out more.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether an attempt may start.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// End of the pause, if one was set.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The last failure, if it is still true.
    pub(super) const fn last(&self) -> Option<&Rc<ConnectFailure>> {
        self.last.as_ref()
    }

    /// The refusal that a newcomer may be told without asking the server again.
    pub(super) fn standing_refusal(&self, now: Instant) -> Option<&Rc<ConnectFailure>> {
        let refused = self.last.as_ref().filter(|last| last.kind == FailureKind::Refused)?;
        (!self.allows(now)).then_some(refused)
    }

    /// A login succeeded: nothing of the past is true any more.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.until = None;
        self.last = None;
    }

    /// An operator resumed the pool: dial at once.
    pub(super) fn forgive(&mut self) {
        self.until = None;
    }

    /// An attempt of `round` failed. Attempts that ran side by side lengthen the pause once.
    pub(super) fn failed(
        &mut self,
        failure: Rc<ConnectFailure>,
        round: u32,
        login_retry: Duration,
        now: Instant,
    ) {
        let kind = failure.kind;
        let kind_changed = self.last.as_ref().is_some_and(|last| last.kind != kind);
        self.last = Some(failure);
        if round != self.round && !kind_changed {
            return;
        }
        self.failures = if kind_changed { 1 } else { self.failures.saturating_add(1) };
        self.round = self.round.wrapping_add(1);
        let pause = self.pause(kind, login_retry);
        self.until = now.checked_add(pause);
    }

    /// An attempt was dropped before it had an outcome: a short pause, and nothing learned.
    pub(super) fn abandoned(&mut self, now: Instant) {
        let until = now.checked_add(UNREACHABLE_FIRST);
        self.until = self.until.max(until);
    }

    fn pause(&mut self, kind: FailureKind, login_retry: Duration) -> Duration {
        let factor = 1 << self.failures.saturating_sub(1).min(MAX_DOUBLINGS);
        match kind {
            // Doubles up to four fifths of the cap; up to a quarter of that is jitter.
            FailureKind::Unreachable => {
                let base = UNREACHABLE_FIRST.saturating_mul(factor).min(UNREACHABLE_CAP * 4 / 5);
                base + self.jitter.up_to(base / 4)
            }
            // At most what the operator configured; up to an eighth less is jitter.
            FailureKind::Refused => {
                let cap = login_retry.max(UNREACHABLE_FIRST);
                let base = REFUSED_FIRST.saturating_mul(factor).min(cap);
                base.saturating_sub(self.jitter.up_to(base / 8))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // tests make one Instant and move it
mod tests {
    use super::*;
    use crate::pool::tests::start;
    use crate::proto::{PgError, SqlState};

    const RETRY: Duration = Duration::from_secs(15);

    fn unreachable() -> Rc<ConnectFailure> {
        Rc::new(ConnectFailure::unreachable(None))
    }

    fn refused() -> Rc<ConnectFailure> {
        Rc::new(ConnectFailure::refused(PgError::fatal(SqlState::INVALID_PASSWORD, "no")))
    }

    fn pauses(failure: &Rc<ConnectFailure>, seed: u64) -> Vec<Duration> {
        let now = start();
        let mut backoff = Backoff::new(seed);
        let one = |_| {
            backoff.failed(Rc::clone(failure), backoff.round(), RETRY, now);
            backoff.until().unwrap() - now
        };
        (0..40).map(one).collect()
    }

    #[test]
    fn t54_the_pause_after_an_unreachable_server_never_exceeds_its_cap() {
        for seed in 0..200 {
            let pauses = pauses(&unreachable(), seed);
            assert!(pauses[0] >= UNREACHABLE_FIRST && pauses[0] <= UNREACHABLE_FIRST * 5 / 4);
            assert!(pauses.iter().all(|&pause| pause <= UNREACHABLE_CAP));
            assert!(pauses[10] >= UNREACHABLE_CAP * 4 / 5);
        }
    }

    #[test]
    fn c8_a_refused_login_is_retried_ever_less_often() {
        let pauses = pauses(&refused(), 7);
        for (pause, full) in pauses.iter().zip([1, 2, 4, 8, 15, 15, 15].map(Duration::from_secs)) {
            assert!(*pause <= full && *pause >= full * 7 / 8, "{pause:?} of {full:?}");
        }
    }

    #[test]
    fn jitter_differs_between_workers() {
        assert_ne!(pauses(&unreachable(), 1), pauses(&unreachable(), 2));
        assert_ne!(pauses(&unreachable(), 0)[5], pauses(&unreachable(), 0)[6]);
    }

    #[test]
    fn attempts_that_fail_side_by_side_count_once() {
        let now = start();
        let mut backoff = Backoff::new(1);
        for _ in 0..4 {
            backoff.failed(unreachable(), 0, RETRY, now);
        }
        assert!(backoff.until().unwrap() <= now + UNREACHABLE_FIRST * 5 / 4);
    }

    #[test]
    fn c8_a_stored_error_is_dropped_the_moment_a_connect_succeeds() {
        let now = start();
        let mut backoff = Backoff::new(1);
        backoff.failed(refused(), 0, RETRY, now);
        assert!(backoff.standing_refusal(now).is_some() && !backoff.allows(now));
        backoff.succeeded();
        assert!(backoff.last().is_none() && backoff.allows(now) && !backoff.is_failing());
    }
}
