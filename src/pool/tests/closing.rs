//! When servers leave, and why.

use std::time::Duration;

use super::{Bench, Conn, limits, outcome};
use crate::pool::*;

const SECOND: Duration = Duration::from_secs(1);

fn sized(size: u32) -> PoolLimits {
    PoolLimits { size, ..limits() }
}

#[test]
fn idle_servers_leave_after_their_timeout_but_never_below_the_minimum() {
    let timeout = Some(10 * SECOND);
    let mut bench = Bench::with_idle(PoolLimits { idle_timeout: timeout, min: 1, ..sized(3) }, 3);
    bench.pass(5 * SECOND);
    let lease = bench.lend();
    bench.release(lease); // 3 was used
    bench.tick(5 * SECOND);
    assert_eq!(bench.retired(), [(1, RetireReason::IdleTimeout), (2, RetireReason::IdleTimeout)]);
    bench.tick(100 * SECOND);
    assert_eq!(bench.retired(), []);
}

#[test]
fn c8_servers_opened_together_do_not_close_together() {
    let limits = PoolLimits { lifetime: Some(100 * SECOND), ..sized(4) };
    let mut bench = Bench::with_idle(limits, 3);
    bench.tick(99 * SECOND);
    assert_eq!(bench.retired(), []);
    bench.tick(SECOND);
    assert_eq!(bench.retired(), [(1, RetireReason::LifetimeOver)]);
    bench.tick(24 * SECOND);
    assert_eq!(bench.retired(), []);
    bench.tick(SECOND);
    assert_eq!(bench.retired(), [(2, RetireReason::LifetimeOver)]);
}

#[test]
fn a_leased_server_never_expires_under_its_client_and_leaves_at_release() {
    let mut bench = Bench::new(PoolLimits { lifetime: Some(SECOND), ..sized(1) });
    let lease = bench.open_one();
    bench.tick(1_000 * SECOND);
    assert_eq!(bench.retired(), []);
    bench.release(lease);
    assert_eq!(bench.retired(), [(1, RetireReason::LifetimeOver)]);
}

#[test]
fn a_lifetime_of_zero_uses_each_server_once() {
    let mut bench = Bench::new(PoolLimits { lifetime: Some(Duration::ZERO), min: 2, ..sized(2) });
    bench.pool.set_keep_minimum(true);
    let lease = bench.open_one();
    let permit = bench.permits().pop().unwrap();
    bench.connect(permit);
    bench.tick(SECOND);
    assert_eq!(bench.retired(), [], "one that was never used stays");
    bench.release(lease);
    assert_eq!(bench.retired(), [(1, RetireReason::LifetimeOver)]);
}

#[test]
fn a_lowered_size_closes_idle_servers_at_once_and_leased_ones_at_release() {
    let bench = Bench::with_idle(sized(4), 4);
    let (a, b, c) = (bench.lend(), bench.lend(), bench.lend());
    let wait = bench.pool.checkout(bench.now);
    bench.pool.set_limits(sized(2), bench.now);
    assert_eq!(bench.retired(), [(1, RetireReason::Surplus)]);
    drop(wait);
    let wait = bench.wait();
    bench.release(a);
    assert_eq!(bench.retired(), [(4, RetireReason::Surplus)], "not even for a waiter");
    bench.release(b);
    assert_eq!(outcome(wait, bench.now).unwrap().id, 3);
    drop(c);
}

#[test]
fn a_paused_pool_lends_nothing_and_itswaiters_wait() {
    let mut bench = Bench::with_idle(sized(3), 2);
    let lease = bench.lend();
    let _early = bench.pool.checkout(bench.now);
    bench.pool.pause();
    assert!(bench.pool.is_paused() && !bench.pool.is_drained());
    assert_eq!(bench.retired(), [(1, RetireReason::Pause)]);
    let wait = bench.wait();
    assert!(bench.permits().is_empty());
    bench.release(lease);
    assert_eq!(bench.retired(), [(2, RetireReason::Pause)]);
    assert!(bench.pool.is_drained());
    bench.pool.resume(bench.now);
    let permit = bench.permits().pop().unwrap();
    bench.connect(permit);
    assert_eq!(outcome(wait, bench.now).unwrap().id, 3);
}

#[test]
fn a_paused_pool_learns_nothing_from_attempts_cut_short() {
    let bench = Bench::new(sized(1));
    let wait = bench.wait();
    let permit = bench.permits().pop().unwrap();
    bench.pool.pause();
    assert!(!permit.is_wanted() && !bench.pool.is_drained());
    drop(permit);
    assert!(bench.pool.is_drained());
    bench.pool.resume(bench.now);
    assert_eq!(bench.permits().len(), 1, "no pause after the pause");
    drop(wait);
}

#[test]
fn waits_end_at_their_deadline_also_while_paused() {
    let mut bench = Bench::new(PoolLimits { wait_timeout: Some(SECOND), ..sized(1) });
    bench.pool.pause();
    let wait = bench.wait();
    bench.tick(SECOND);
    assert!(matches!(outcome(wait, bench.now), Err(CheckoutError::Timeout { last_failure: None, .. })));
}

#[test]
fn marked_servers_leave_when_nobody_uses_them_and_count_until_they_are_gone() {
    let mut bench = Bench::with_idle(sized(3), 2);
    let lease = bench.lend();
    let other = bench.lend();
    let wait = bench.wait();
    let permit = bench.permits().pop().unwrap();
    bench.release(other);
    bench.pool.mark_all_for_closing(bench.now);
    assert!(lease.close_needed() && !permit.is_wanted());
    assert_eq!(bench.pool.marked(), 3, "one is delivered, one leased, one being opened");
    bench.connect(permit);
    bench.release(lease);
    assert_eq!(bench.retired(), [(3, RetireReason::ConnectStringChanged), (2, RetireReason::CloseNeeded)]);
    assert_eq!(bench.pool.marked(), 1);
    drop(wait);
    assert_eq!(bench.retired(), [(1, RetireReason::CloseNeeded)]);
    assert_eq!(bench.pool.marked(), 0);
    let fresh = bench.open_one();
    bench.release(fresh);
    bench.pool.mark_all_for_closing(bench.now);
    let retired = bench.pool.next_retired().unwrap();
    assert_eq!((retired.reason, bench.pool.marked()), (RetireReason::ConfigChanged, 1));
    drop(retired);
    assert_eq!(bench.pool.marked(), 0);
}

#[test]
fn a_closed_pool_ends_every_wait_and_every_server_and_says_why() {
    for (end, reason, told) in [
        (PoolEnd::Removed, RetireReason::DatabaseRemoved, "database removed"),
        (PoolEnd::Shutdown, RetireReason::Shutdown, "terminating connection due to administrator command"),
    ] {
        let mut bench = Bench::with_idle(sized(3), 2);
        let lease = bench.lend();
        let other = bench.lend();
        let wait = bench.wait();
        let permit = bench.permits().pop().unwrap();
        drop(other);
        bench.retired();
        bench.pool.close(end, bench.now);
        assert!(bench.pool.is_closed());
        for wait in [wait, bench.pool.checkout(bench.now)] {
            let error = outcome(wait, bench.now).err().unwrap();
            assert_eq!(error, CheckoutError::Closed(end));
            assert_eq!(error.for_client().message, told);
        }
        bench.connect(permit);
        bench.release(lease);
        assert_eq!(bench.retired(), [(3, reason), (2, reason)]);
        assert_eq!(bench.pool.counts(), PoolCounts::default());
    }
}

#[test]
fn an_idle_server_that_spoke_can_be_taken_aside_and_given_back() {
    let bench = Bench::with_idle(sized(3), 3);
    let lease = bench.pool.take_idle(ServerId(2)).unwrap();
    assert_eq!((lease.server_id(), bench.pool.counts().idle), (ServerId(2), 2));
    assert!(bench.pool.take_idle(ServerId(2)).is_none());
    bench.release(lease);
    assert_eq!(bench.lend().id, 2);
}

#[test]
fn a_holder_shows_what_it_does() {
    let bench = Bench::with_idle(sized(1), 1);
    let lease = bench.lend();
    let shown = |lease: &Lease<Conn>, state| {
        lease.mark(state);
        assert_eq!(bench.pool.active(), 1, "held all the same");
        bench.pool.counts()
    };
    assert_eq!(shown(&lease, SlotState::Resetting).resetting, 1);
    assert_eq!(shown(&lease, SlotState::Checking).checking, 1);
    assert_eq!(shown(&lease, SlotState::BeingCanceled).being_canceled, 1);
    assert_eq!(shown(&lease, SlotState::Leased).active, 1);
    lease.mark(SlotState::Resetting);
    bench.release(lease);
    assert_eq!(bench.pool.counts().idle, 1);
}

#[test]
fn closing_reasons_are_pgbouncers_texts() {
    for (reason, text) in [
        (RetireReason::IdleTimeout, "server idle timeout"),
        (RetireReason::LifetimeOver, "server lifetime over"),
        (RetireReason::Surplus, "too many servers in the pool"),
        (RetireReason::Pause, "pause mode"),
        (RetireReason::ConfigChanged, "database configuration changed"),
        (RetireReason::CloseNeeded, "close_needed"),
        (RetireReason::Crashed, "server conn crashed?"),
        (RetireReason::Abandoned, "client disconnect while server was not ready"),
    ] {
        assert_eq!(reason.to_string(), text);
    }
}
