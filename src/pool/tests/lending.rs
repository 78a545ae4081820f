//! Who gets which server, in which order, and exactly once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use super::{Bell, Bench, Conn, limits, outcome, poll};
use crate::pool::*;
use crate::proto::{PgError, SqlState};

fn sized(size: u32) -> PoolLimits {
    PoolLimits { size, ..limits() }
}

#[test]
fn the_server_released_last_is_lent_first() {
    let bench = Bench::with_idle(sized(3), 3);
    let ids = [bench.lend(), bench.lend(), bench.lend()].map(|lease| lease.server_id().0);
    assert_eq!(ids, [3, 2, 1]);
}

#[test]
fn r5_a_server_that_spoke_is_never_lent_and_the_next_one_is_taken() {
    let bench = Bench::with_idle(sized(3), 3);
    Conn::soil(3);
    Conn::soil(2);
    let lease = bench.lend();
    assert_eq!(lease.id, 1);
    assert_eq!(bench.retired(), [(3, RetireReason::Dirty), (2, RetireReason::Dirty)]);
    // Not a failure of the host: the next client may dial at once.
    let _wait = bench.wait();
    assert_eq!(bench.permits().len(), 1);
}

#[test]
fn r5_a_delivered_server_that_died_costs_its_client_nothing_but_the_wait() {
    let mut bench = Bench::new(sized(2));
    let (first, second) = (bench.open_one(), bench.open_one());
    let (mut a, mut b, c) = (bench.wait(), bench.wait(), bench.wait());
    bench.release(first);
    bench.release(second);
    // Both lie in their cells and die there. The younger one looks first, and still queues behind the older.
    Conn::soil(1);
    Conn::soil(2);
    assert!(b.try_now(bench.now).is_none());
    assert!(a.try_now(bench.now).is_none());
    assert_eq!(bench.retired().len(), 2);
    for permit in bench.permits() {
        bench.connect(permit);
    }
    assert_eq!(outcome(a, bench.now).unwrap().id, 3);
    let lease = outcome(b, bench.now).unwrap();
    assert_eq!(lease.id, 4);
    bench.release(lease);
    assert_eq!(outcome(c, bench.now).unwrap().id, 4);
}

#[test]
fn r4_a_dropped_lease_is_a_retired_server() {
    let bench = Bench::with_idle(sized(1), 1);
    drop(bench.lend());
    assert_eq!(bench.retired(), [(1, RetireReason::Abandoned)]);
    assert_eq!(bench.pool.counts(), PoolCounts::default());
}

#[test]
fn i19_v25_waiters_are_served_in_the_order_in_which_they_came() {
    let mut bench = Bench::new(sized(1));
    let mut lease = bench.open_one();
    let waits: Vec<_> = (0..5).map(|_| bench.wait()).collect();
    for wait in waits {
        assert!(bench.pool.checkout(bench.now).try_now(bench.now).is_none(), "nobody overtakes");
        bench.release(lease);
        lease = outcome(wait, bench.now).unwrap();
    }
    bench.release(lease);
    assert_eq!(bench.pool.counts().idle, 1, "those that overtook nobody are gone");
}

#[test]
fn i18_a_released_server_goes_straight_to_the_oldest_waiter_and_wakes_only_it() {
    let mut bench = Bench::new(sized(1));
    let lease = bench.open_one();
    let (bell_a, bell_b) = (Bell::new(), Bell::new());
    let (mut a, mut b) = (bench.pool.checkout(bench.now), bench.pool.checkout(bench.now));
    assert!(poll(&mut a, &bell_a).is_pending() && poll(&mut b, &bell_b).is_pending());
    bench.release(lease);
    assert_eq!((bell_a.rung(), bell_b.rung()), (1, 0));
    assert_eq!(bench.pool.counts().idle, 0, "it is never idle in between");
    assert!(matches!(poll(&mut a, &bell_a), Poll::Ready(Ok(_))));
}

#[test]
fn f21_a_waiter_that_leaves_is_gone_at_once() {
    let mut bench = Bench::new(sized(1));
    let lease = bench.open_one();
    let (a, b, c) = (bench.wait(), bench.wait(), bench.wait());
    drop(b);
    assert_eq!(bench.pool.counts().waiting, 2);
    drop(a);
    bench.release(lease);
    assert_eq!(outcome(c, bench.now).unwrap().id, 1);
}

#[test]
fn c7_f63_a_server_delivered_to_a_waiter_that_left_goes_to_the_next() {
    let mut bench = Bench::new(sized(1));
    let lease = bench.open_one();
    let (a, b) = (bench.wait(), bench.wait());
    bench.release(lease);
    drop(a);
    assert_eq!(bench.pool.counts().idle, 0);
    let lease = outcome(b, bench.now).unwrap();
    bench.release(lease);
    assert_eq!(bench.pool.counts().idle, 1);
}

#[test]
fn f63_served_at_the_instant_of_the_deadline_is_served() {
    let timeout = Duration::from_secs(1);
    let mut bench = Bench::new(PoolLimits { wait_timeout: Some(timeout), ..sized(1) });
    let lease = bench.open_one();
    let (a, b) = (bench.wait(), bench.wait());
    bench.pass(timeout);
    bench.release(lease);
    bench.pool.expire(bench.now);
    assert!(outcome(a, bench.now).is_ok());
    assert!(matches!(outcome(b, bench.now), Err(CheckoutError::Timeout { .. })));
}

#[test]
fn r96_a_cancelled_waiter_hears_so_and_its_delivered_server_goes_on() {
    let mut bench = Bench::new(sized(1));
    let lease = bench.open_one();
    let (a, b, c) = (bench.wait(), bench.wait(), bench.wait());
    let (id_a, id_b) = (a.waiter_id().unwrap(), b.waiter_id().unwrap());
    assert!(bench.pool.cancel_waiter(id_b));
    assert!(!bench.pool.cancel_waiter(id_b), "once");
    bench.release(lease);
    assert!(bench.pool.cancel_waiter(id_a), "it has not seen its server yet");
    for canceled in [a, b] {
        let error = outcome(canceled, bench.now).unwrap_err();
        assert_eq!(error.for_client().code, SqlState::QUERY_CANCELED);
    }
    assert!(outcome(c, bench.now).is_ok());
}

#[test]
fn all_waiters_can_be_told_the_same() {
    let mut bench = Bench::new(sized(1));
    let _lease = bench.open_one();
    let waits = [bench.wait(), bench.wait()];
    bench.pool.fail_all_waiters(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "server shutting down"));
    for wait in waits {
        let error = outcome(wait, bench.now).unwrap_err();
        assert_eq!(error.for_client().code, SqlState::ADMIN_SHUTDOWN);
    }
}

/// Any poll may be the last (style 12): before queueing, in the queue, delivered, and one that took its server.
#[test]
fn c7_nothing_leaks_wherever_a_checkout_is_dropped() {
    for last_step in 0..6 {
        let mut bench = Bench::new(sized(1));
        let lease = bench.open_one();
        let bell = Bell::new();
        let mut checkout = Box::pin(bench.pool.checkout(bench.now));
        let mut held = Some(lease);
        let mut got = None;
        for step in 0..last_step {
            if step == 3 {
                bench.release(held.take().unwrap());
            } else if let Poll::Ready(lease) =
                checkout.as_mut().poll(&mut std::task::Context::from_waker(&Waker::from(Arc::clone(&bell))))
            {
                got = Some(lease.unwrap());
            }
        }
        drop(checkout);
        if let Some(lease) = held.into_iter().chain(got).next() {
            bench.release(lease);
        }
        assert_eq!(bench.pool.audit(), None);
        let counts = bench.pool.counts();
        assert_eq!(
            (counts.idle, counts.active, counts.waiting),
            (1, 0, 0),
            "dropped after {last_step} steps"
        );
    }
}

thread_local! {
    static QUEUE: RefCell<VecDeque<(Pool<Conn>, Checkout<Conn>)>> = RefCell::default();
}

/// Runs its task inside the wake-up itself.
struct Impatient(std::time::Instant);

impl Wake for Impatient {
    fn wake(self: Arc<Self>) {
        if let Some((pool, checkout)) = QUEUE.with_borrow_mut(VecDeque::pop_front) {
            let lease = outcome(checkout, self.0).unwrap();
            assert!(pool.counts().active > 0);
            lease.release(crate::session::Quiescent::for_test(), self.0);
        }
    }
}

#[test]
fn a_woken_task_may_come_back_into_the_pool_at_once() {
    let mut bench = Bench::new(sized(1));
    let lease = bench.open_one();
    for _ in 0..10 {
        let mut checkout = bench.pool.checkout(bench.now);
        let waker = Waker::from(Arc::new(Impatient(bench.now)));
        let polled = std::pin::Pin::new(&mut checkout).poll(&mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        QUEUE.with_borrow_mut(|queue| queue.push_back((bench.pool.clone(), checkout)));
    }
    bench.release(lease);
    assert_eq!((bench.pool.counts().waiting, bench.pool.counts().idle), (0, 1));
}

#[test]
fn f62_ten_thousand_waiters_are_served_in_order_and_leave_no_memory_behind() {
    let mut bench = Bench::new(sized(1));
    let mut lease = bench.open_one();
    let waits: Vec<_> = (0..10_000).map(|_| bench.wait()).collect();
    for (number, wait) in waits.into_iter().enumerate() {
        bench.release(lease);
        lease = outcome(wait, bench.now).unwrap();
        assert_eq!(bench.pool.counts().waiting as usize, 9_999 - number);
    }
    assert!(bench.pool.read(|state| state.waiters.reserved()) >= 10_000);
    bench.tick(Duration::ZERO);
    assert_eq!(bench.pool.read(|state| state.waiters.reserved()), 0);
}

#[test]
fn the_steady_state_reserves_nothing_new() {
    let mut bench = Bench::with_idle(sized(2), 2);
    let reserved = |bench: &Bench| {
        bench.pool.read(|state| (state.idle.capacity(), state.slots.reserved(), state.waiters.reserved()))
    };
    let turn = |bench: &Bench| {
        let (a, b) = (bench.lend(), bench.lend());
        let wait = bench.wait();
        bench.release(a);
        bench.release(outcome(wait, bench.now).unwrap());
        bench.release(b);
    };
    turn(&bench);
    let before = reserved(&bench);
    for _ in 0..1_000 {
        turn(&bench);
    }
    bench.tick(Duration::from_millis(333));
    assert_eq!(reserved(&bench), before);
}
