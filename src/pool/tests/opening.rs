//! When servers are opened, and what happens when that fails.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::{Bell, Bench, limits, outcome, poll};
use crate::pool::*;
use crate::proto::{PgError, SqlState};

const SECOND: Duration = Duration::from_secs(1);

fn sized(size: u32) -> PoolLimits {
    PoolLimits { size, ..limits() }
}

fn unreachable() -> ConnectFailure {
    let said = PgError::fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
    ConnectFailure::unreachable(Some(said))
}

fn refused() -> ConnectFailure {
    ConnectFailure::refused(PgError::fatal(SqlState::INVALID_PASSWORD, "password authentication failed"))
}

#[test]
fn i8_a_permit_counts_from_its_issue() {
    let bench = Bench::new(sized(2));
    let _waits: Vec<_> = (0..5).map(|_| bench.wait()).collect();
    assert_eq!(bench.permits().len(), 2);
}

#[test]
fn c8_connects_in_parallel_are_limited_and_never_more_than_waiters() {
    let bench = Bench::new(sized(100));
    let mut waits = vec![bench.wait(), bench.wait()];
    let permits = bench.permits();
    assert_eq!(permits.len(), 2);
    waits.extend((0..50).map(|_| bench.wait()));
    assert_eq!(permits.len() + bench.permits().len(), MAX_PARALLEL_CONNECTS as usize);
}

#[test]
fn f13_a_dropped_permit_never_loses_its_place() {
    let mut bench = Bench::new(sized(1));
    let wait = bench.wait();
    drop(bench.permits());
    assert_eq!(bench.pool.counts().connecting, 0);
    assert!(bench.permits().is_empty(), "after a pause");
    bench.now = bench.pool.wake_at().unwrap();
    let permit = bench.permits().pop().unwrap();
    bench.connect(permit);
    assert!(outcome(wait, bench.now).is_ok());
}

#[test]
fn r8_the_place_follows_the_backend_not_the_client() {
    let mut bench = Bench::new(sized(1));
    let janitor = Bell::new();
    bench.pool.set_waker(Waker::from(Arc::clone(&janitor)));
    let lease = bench.open_one();
    let wait = bench.wait();
    drop(lease);
    janitor.take();
    let Retired { slot, .. } = bench.pool.next_retired().unwrap();
    assert!(bench.permits().is_empty(), "the backend may still run");
    assert_eq!(bench.pool.counts().retiring, 1);
    assert_eq!(janitor.take(), 0);
    drop(slot);
    assert_eq!(janitor.take(), 1);
    let permit = bench.permits().pop().unwrap();
    bench.connect(permit);
    assert!(outcome(wait, bench.now).is_ok());
}

#[test]
fn the_janitor_is_not_woken_by_its_own_doing_nor_by_a_full_pool() {
    let mut bench = Bench::new(sized(1));
    let janitor = Bell::new();
    bench.pool.set_waker(Waker::from(Arc::clone(&janitor)));
    let _a = bench.wait();
    let _b = bench.wait();
    assert_eq!(janitor.take(), 1, "one place, one call");
    let permit = bench.permits().pop().unwrap();
    permit.failed(unreachable(), bench.now);
    assert_eq!(janitor.take(), 1);
    for _ in 0..5 {
        assert!(bench.permits().is_empty());
        assert!(bench.pool.next_retired().is_none());
        bench.tick(Duration::ZERO);
    }
    bench.now = bench.pool.wake_at().unwrap();
    let permit = bench.permits().pop().unwrap();
    bench.connect(permit);
    let _c = bench.wait();
    assert_eq!(janitor.take(), 0, "the pool is full: nothing to do");
}

#[test]
fn a_late_janitor_is_told_what_it_missed() {
    let bench = Bench::new(sized(1));
    let _wait = bench.wait();
    let janitor = Bell::new();
    bench.pool.set_waker(Waker::from(Arc::clone(&janitor)));
    assert_eq!(janitor.take(), 1);
}

#[test]
fn t53_c8_waiters_outlive_an_unreachable_server_until_their_own_deadline() {
    let mut bench = Bench::new(PoolLimits { wait_timeout: Some(SECOND), ..sized(1) });
    let wait = bench.wait();
    bench.pool.wanted_connects(bench.now).unwrap().failed(unreachable(), bench.now);
    bench.tick(Duration::from_millis(999));
    assert_eq!(bench.pool.counts().waiting, 1);
    bench.tick(Duration::from_millis(1));
    let error = outcome(wait, bench.now).unwrap_err();
    let told = error.for_client();
    assert_eq!(told.code, SqlState::TOO_MANY_CONNECTIONS);
    assert!(told.detail.unwrap().contains("starting up"), "the true cause (R97)");
    assert!(matches!(error, CheckoutError::Timeout { waited: SECOND, .. }));
}

#[test]
fn t54_v23_the_server_is_dialled_again_within_half_a_second_of_its_return() {
    let mut bench = Bench::new(sized(20));
    let waits: Vec<_> = (0..10).map(|_| bench.wait()).collect();
    for permit in bench.permits() {
        permit.failed(unreachable(), bench.now);
    }
    for _ in 0..100 {
        let before = bench.now;
        bench.now = bench.pool.wake_at().unwrap();
        assert!(bench.now - before <= UNREACHABLE_CAP);
        let mut permits = bench.permits();
        assert_eq!(permits.len(), 1, "one attempt finds out as much as four");
        permits.pop().unwrap().failed(unreachable(), bench.now);
    }
    bench.now = bench.pool.wake_at().unwrap();
    // It is back. No further pause stands in the way of the others.
    while let Some(permit) = bench.pool.wanted_connects(bench.now) {
        bench.connect(permit);
    }
    assert!(waits.into_iter().all(|wait| outcome(wait, bench.now).is_ok()));
}

#[test]
fn a_refusal_is_told_to_all_waiters_and_to_newcomers_until_it_may_have_changed() {
    let mut bench = Bench::new(sized(2));
    let bell = Bell::new();
    let mut first = bench.pool.checkout(bench.now);
    assert!(poll(&mut first, &bell).is_pending());
    let second = bench.wait();
    let mut permits = bench.permits();
    permits.pop().unwrap().failed(refused(), bench.now);
    assert_eq!(bell.rung(), 1);
    for wait in [first, second] {
        let told = outcome(wait, bench.now).unwrap_err().for_client();
        assert_eq!(told.code, SqlState::INVALID_PASSWORD);
    }
    // Within the pause: the same answer, at once, and no attempt.
    let newcomer = bench.pool.checkout(bench.now);
    assert!(matches!(outcome(newcomer, bench.now), Err(CheckoutError::Refused(_))));
    // After it: the question is asked anew.
    bench.pass(SECOND);
    let third = bench.wait();
    drop(permits);
    bench.pass(SECOND);
    let permit = bench.pool.wanted_connects(bench.now).unwrap();
    bench.connect(permit);
    let lease = outcome(third, bench.now).unwrap();
    // The stored error is gone the moment a connect succeeded, even if that server is gone, too.
    lease.retire(RetireReason::Crashed);
    bench.retired();
    let _fourth = bench.wait();
    assert_eq!(bench.permits().len(), 1);
}

#[test]
fn a_refusal_hits_nobody_while_another_server_can_serve_them() {
    let mut bench = Bench::new(sized(2));
    let lease = bench.open_one();
    let wait = bench.wait();
    bench.pool.wanted_connects(bench.now).unwrap().failed(refused(), bench.now);
    let newcomer = bench.wait();
    bench.release(lease);
    assert!(outcome(wait, bench.now).is_ok());
    drop(newcomer);
}

#[test]
fn c8_a_refused_pool_dials_ever_less_often() {
    let mut bench = Bench::new(PoolLimits { min: 1, ..sized(1) });
    bench.pool.set_keep_minimum(true);
    let end = bench.now + Duration::from_mins(2);
    let mut attempts = 0;
    while bench.now < end {
        for permit in bench.permits() {
            attempts += 1;
            permit.failed(refused(), bench.now);
        }
        bench.pass(Duration::from_millis(333));
    }
    assert!((10..=14).contains(&attempts), "{attempts} in two minutes");
}

#[test]
fn the_reserve_opens_when_the_oldest_waited_long_enough() {
    let mut bench = Bench::new(PoolLimits { reserve: 1, reserve_timeout: Some(5 * SECOND), ..sized(1) });
    let _lease = bench.open_one();
    let (oldest, _other) = (bench.wait(), bench.wait());
    assert!(bench.permits().is_empty());
    assert_eq!(bench.pool.wake_at(), Some(bench.now + 5 * SECOND));
    bench.pass(5 * SECOND);
    let mut permits = bench.permits();
    assert_eq!(permits.len(), 1, "the reserve has a size, too");
    let permit = permits.pop().unwrap();
    assert!(permit.from_reserve());
    bench.connect(permit);
    assert!(outcome(oldest, bench.now).is_ok());
}

#[test]
fn without_a_reserve_timeout_there_is_no_reserve() {
    let mut bench = Bench::new(PoolLimits { reserve: 5, ..sized(1) });
    let _lease = bench.open_one();
    let _wait = bench.wait();
    bench.pass(1_000 * SECOND);
    assert!(bench.permits().is_empty());
}

#[test]
fn the_minimum_is_kept_for_pools_that_have_a_client_or_a_forced_user() {
    let bench = Bench::new(PoolLimits { min: 3, ..sized(2) });
    assert!(bench.permits().is_empty());
    let client = bench.pool.client_present();
    assert_eq!(bench.permits().len(), 2, "never above the size");
    drop(client);
    assert_eq!(bench.pool.clients(), 0);
    let bench = Bench::new(PoolLimits { min: 3, ..limits() });
    bench.pool.set_keep_minimum(true);
    assert_eq!(bench.permits().len(), 3, "also without a size");
}

#[test]
fn a_pool_without_a_size_has_no_ceiling() {
    let mut bench = Bench::new(limits());
    let leases: Vec<_> = (0..50).map(|_| bench.open_one()).collect();
    assert_eq!(bench.pool.active(), 50);
    for lease in leases {
        bench.release(lease);
    }
    assert_eq!(bench.pool.counts().idle, 50);
}
