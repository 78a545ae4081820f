//! What clients leave to those who come after them: nothing, or a server that was reset.

use std::rc::Rc;

use tokio::task::LocalSet;

use super::give_back;
use super::test_net::{read_some, soon};
use super::test_pool::{home, lent, settings};
use crate::config::PoolMode;
use crate::net::clock;
use crate::session::{ParamSet, Quiescent, Session, Startup};

/// The welcome was once taken from whatever an idle server had in force, so that the time zone of one client became
/// everybody's (S31).
#[tokio::test]
async fn s31_r46_the_welcome_learns_what_an_idle_server_reports_and_not_what_a_client_has_set() {
    let home = home(PoolMode::Transaction, None);
    let reported = [("TimeZone", "UTC"), ("DateStyle", "ISO, MDY"), ("server_version", "15.0")];
    let (mut lease, _peer) = lent(&home, &reported).await;
    let (zone, style) = (home.names.index(b"TimeZone").unwrap(), home.names.index(b"DateStyle").unwrap());
    // A client had it, and set its own zone there; then a reload of PostgreSQL changed the date style.
    lease.facts.params.set(zone, b"Asia/Tokyo");
    let before = lease.facts.params.clone();
    home.refresh_welcome(&before, &before);
    lease.facts.params.set(style, b"German");
    home.refresh_welcome(&before, &lease.facts.params);
    let welcome = home.welcome.borrow().clone().unwrap();
    assert_eq!(welcome.followed().value(zone), Some(&b"UTC"[..]), "one client's zone is nobody else's");
    assert_eq!(welcome.followed().value(style), Some(&b"German"[..]), "r46: what changed by itself is told");
    let mut told = Vec::new();
    welcome.put(&mut told, welcome.followed());
    let told = String::from_utf8_lossy(&told).into_owned();
    for (name, value) in [("TimeZone", "UTC"), ("DateStyle", "German"), ("server_version", "15.0")] {
        assert!(told.contains(&format!("{name}\0{value}\0")), "{told:?}");
    }
}

/// A reload takes a pool from one mode to another while clients of the old one are there.
#[tokio::test]
async fn r3_a_session_ends_with_a_reset_or_with_its_server_whatever_mode_the_pool_has_now() {
    use PoolMode::{Session as Kept, Transaction};
    let reset = Some("DISCARD ALL");
    let cases = [
        // The client's mode, the pool's present mode and query, whether the server lives on.
        ("nothing changed", Kept, Kept, reset, true),
        ("to transaction: nobody resets any more", Kept, Transaction, None, false),
        ("to transaction, resetting always", Kept, Transaction, reset, false),
        ("to session: what a transaction leaves is reset too", Transaction, Kept, reset, true),
        ("transaction as before", Transaction, Transaction, None, true),
    ];
    for (name, lived, now, query, lives_on) in cases {
        let work = LocalSet::new();
        let home = home(lived, query);
        let (lease, mut peer) = lent(&home, &[]).await;
        home.settings.replace(settings(now, query));
        let session = Session::new(settings(lived, None).rules, ParamSet::default());
        let back = give_back(&home, lease, session, Quiescent::for_test());
        let server = async {
            if lives_on && query.is_some() {
                assert_eq!(read_some(&mut peer, 17).await, b"Q\0\0\0\x10DISCARD ALL\0", "{name}");
                peer.write_all(b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05I").await.unwrap();
            }
        };
        soon(work.run_until(async { tokio::join!(back, server) })).await;
        let mut again = home.pool.checkout(clock::now());
        let lent_again = again.try_now(clock::now()).is_some_and(|outcome| outcome.is_ok());
        assert_eq!(lent_again, lives_on, "{name}");
    }
}

#[tokio::test]
async fn applications_that_come_by_turns_share_what_they_wish() {
    let home = home(PoolMode::Transaction, None);
    let startup = |name: &str| Startup { reported: vec![(4, name.as_bytes().into())], ..Startup::default() };
    let mut startups = home.startups.borrow_mut();
    let (one, other) = (startups.share(startup("one")), startups.share(startup("other")));
    assert!(Rc::ptr_eq(&one, &startups.share(startup("one"))));
    assert!(Rc::ptr_eq(&other, &startups.share(startup("other"))));
}

/// A newer PostgreSQL behind the same name may spell, refuse and report otherwise.
#[tokio::test]
async fn what_servers_made_of_startup_values_is_forgotten_with_them() {
    let home = home(PoolMode::Transaction, None);
    let (lease, _peer) = lent(&home, &[("server_version", "15.0")]).await;
    let values = vec![("work_mem".to_owned(), b"9MB".to_vec())];
    home.startups.borrow_mut().learn(values.clone(), &Rc::default());
    assert!(home.startups.borrow().get(&values).is_some());
    home.outdate(clock::now());
    assert!(home.startups.borrow().get(&values).is_none() && home.welcome.borrow().is_none());
    lease.release(Quiescent::for_test(), clock::now());
    let mut again = home.pool.checkout(clock::now());
    assert!(again.try_now(clock::now()).is_none(), "its servers are lent no more");
}
