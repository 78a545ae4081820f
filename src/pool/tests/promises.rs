//! What one share of a pool gives another when both have asked for it, and what goes with what it gives.

use std::time::Duration;

use super::shares::{ONE, connect, share_of, share_with, sized};
use super::*;

/// Whoever asked last got the server, and one that asks always behind another got it always.
#[test]
fn of_two_that_were_promised_a_server_whoever_has_waited_longer_gets_it() {
    let (pool, now) = share_of(2);
    let mut checkout = pool.checkout(now);
    assert!(checkout.try_now(now).is_none());
    connect(&pool, 1, now);
    let lease = checkout.try_now(now).unwrap().unwrap();
    let until = now + Duration::from_secs(1);
    pool.promise_to((ShareId(1), Some(LAG * 20)), ONE, (now, until));
    pool.promise_to((ShareId(2), Some(LAG * 10)), ONE, (now, until));
    pool.promise_to((ShareId(2), None), Rights::default(), (now, until));
    lease.release(Quiescent::for_test(), now);
    let gone = pool.next_retired().unwrap();
    assert_eq!(gone.reason, RetireReason::Moved(ShareId(1)));
    assert!(gone.slot.hand_over().is_ok());
    pool.promise_to((ShareId(2), None), ONE, (now, until));
    pool.promise_to((ShareId(1), Some(LAG * 20)), ONE, (now, until));
    let mut checkout = pool.checkout(now);
    assert!(checkout.try_now(now).is_none());
    connect(&pool, 2, now);
    let gone = pool.next_retired().unwrap();
    assert_eq!(
        gone.reason,
        RetireReason::Moved(ShareId(2)),
        "a lowered limit comes before anybody who waits"
    );
}

/// RECONNECT passed over servers that were to leave for another share and had not yet: there they were as good as new.
#[test]
fn a_server_that_is_about_to_leave_is_marked_too() {
    let (pool, now) = share_of(2);
    let mut checkout = pool.checkout(now);
    assert!(checkout.try_now(now).is_none());
    connect(&pool, 1, now);
    drop(checkout);
    assert_eq!(pool.give_spare(ShareId(1), ONE, false), (ONE, Rights::default()));
    pool.mark_all_for_closing(now);
    assert_eq!(pool.marked(), 1);
    let leaving = pool.next_retired().unwrap();
    assert_eq!(leaving.reason, RetireReason::Moved(ShareId(1)));
    let departure = leaving.slot.hand_over().unwrap();
    assert!(departure.outdated);
    let there = Pool::new(PoolKey::new("app", "app"), sized(2, 0), 2);
    there.depend();
    there.admit(ServerId(1), leaving.conn, departure, now);
    assert_eq!(there.next_retired().map(|gone| gone.reason), Some(RetireReason::ConnectStringChanged));
}

/// A lowered reserve was paid with rights of the pool's size, for as long as the share had any.
#[test]
fn what_is_owed_of_the_reserve_is_paid_with_rights_of_the_reserve() {
    let (pool, mut now) = share_with(1, 1);
    let mut checkouts: Vec<_> = (0..2).map(|_| pool.checkout(now)).collect();
    assert!(checkouts.iter_mut().all(|checkout| checkout.try_now(now).is_none()));
    connect(&pool, 1, now);
    now += Duration::from_millis(30);
    connect(&pool, 2, now);
    let leases: Vec<_> = checkouts.iter_mut().map(|c| c.try_now(now).unwrap().unwrap()).collect();
    let owed = Rights { size: 0, reserve: 1 };
    let until = now + Duration::from_secs(1);
    assert_eq!(pool.give_reserve(1), Rights::default(), "it is in use");
    pool.promise_to((ShareId(1), None), owed, (now, until));
    for lease in leases {
        lease.release(Quiescent::for_test(), now);
    }
    let gone = pool.next_retired().unwrap();
    assert_eq!(gone.slot.hand_over().unwrap().rights, owed);
    assert_eq!(pool.rights(), Some(ONE));
    assert!(pool.next_retired().is_none());
    assert_eq!(
        pool.give_spare(ShareId(1), ONE, false),
        (ONE, Rights::default()),
        "and what is idle by its own"
    );
    assert_eq!(pool.next_retired().unwrap().slot.hand_over().unwrap().rights, ONE);
}
