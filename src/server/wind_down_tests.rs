//! Servers without a client, with the task that looks after them dropped after every number of polls (F72, R13).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use super::test_home::{Backend, Bench, RULES};
use super::test_net::{DropAfter, read_all, soon};
use super::wind_down::{Left, cancel_server, give_back, retire, wind_down};
use crate::net::clock;
use crate::pool::{Lease, RetireReason};
use crate::server::ServerConn;
use crate::session::{Catalog, Outbox, ParamSet, Session, Turn};

/// Runs a test where tasks can be spawned.
async fn locally(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(soon(test)).await;
}

/// The conversation of a client that has just sent these queries.
async fn asked(bench: &Bench, lease: &mut Lease<ServerConn>, queries: &[&str]) -> Session {
    let mut session = Session::new(RULES, ParamSet::default());
    ask(bench, lease, &mut session, queries).await;
    session
}

async fn ask(bench: &Bench, lease: &mut Lease<ServerConn>, session: &mut Session, queries: &[&str]) {
    for sql in queries {
        let mut input = b"Q".to_vec();
        input.extend(u32::try_from(sql.len() + 5).unwrap().to_be_bytes());
        input.extend([sql.as_bytes(), b"\0"].concat());
        let mut to_server = Outbox::default();
        let mut turn = Turn {
            now: clock::now(),
            facts: Some(&mut lease.facts),
            catalog: &mut Catalog::default(),
            names: &bench.home.names,
            pins: &bench.home.pins.room,
            to_server: &mut to_server,
            to_client: &mut Outbox::default(),
        };
        assert_eq!(session.on_client(&mut turn, &input).consumed, input.len());
        lease.stream.write_all(&input).await.unwrap();
    }
}

/// The same in a transaction block, where BEGIN has been answered.
async fn asked_in_block(bench: &Bench, lease: &mut Lease<ServerConn>, queries: &[&str]) -> Session {
    let mut session = asked(bench, lease, &["BEGIN"]).await;
    let (mut unread, mut piece) = (Vec::new(), [0; 64]);
    while !session.is_drained() {
        let read = lease.stream.read(&mut piece).await.unwrap();
        unread.extend(&piece[..read]);
        let taken = bench.home.hear(&mut session, &mut lease.facts, &unread);
        unread.drain(..taken.consumed);
    }
    ask(bench, lease, &mut session, queries).await;
    session
}

fn left(lease: Lease<ServerConn>, session: Session) -> Left {
    Left { lease, session, unsent: 0, unread: Vec::new(), orderly: false, reason: RetireReason::ClientGone }
}

/// Nothing is lost, and an idle server has nothing left to do.
async fn assert_intact(bench: &Bench, backend: &Backend, context: &str) -> bool {
    let idle = bench.settle().await;
    if idle > 0 {
        assert!(!backend.busy.get(), "a dirty server is idle {context}: {:?}", backend.queries);
    } else {
        while !backend.gone.get() {
            crate::net::yield_now().await;
        }
    }
    idle > 0
}

#[tokio::test]
async fn f72_a_winding_down_dropped_at_any_poll_closes_the_server_or_brings_it_to_rest() {
    for queries in [&["BEGIN"][..], &["sleep"], &["BEGIN", "sleep"], &[]] {
        let mut finished = false;
        for polls in 0..100 {
            locally(async {
                let bench = Rc::new(Bench::new());
                let (mut lease, backend) = bench.lend_fake().await;
                let session = asked(&bench, &mut lease, queries).await;
                let work = wind_down(Rc::clone(&bench.home), left(lease, session));
                finished = DropAfter { inner: Box::pin(work), polls }.await.is_some();
                let kept = assert_intact(&bench, &backend, &format!("after {polls} polls")).await;
                assert_eq!(kept, finished, "{queries:?}, {polls} polls");
            })
            .await;
            if finished {
                break;
            }
        }
        assert!(finished, "{queries:?} never came to rest");
    }
}

/// Dropped right after so many polls: for a task of its own, polled only when it has to be.
fn impatient(work: impl Future<Output = ()>, polls: usize) -> impl Future<Output = Option<()>> {
    let mut work = DropAfter { inner: Box::pin(work), polls };
    poll_fn(move |cx| {
        let outcome = Pin::new(&mut work).poll(cx);
        if outcome.is_pending() && work.polls == 0 {
            cx.waker().wake_by_ref();
        }
        outcome
    })
}

/// What runs in a block is cancelled after the goodbye, once it had its moment; wherever the task is dropped, in
/// that moment as well, nothing dirty is lent.
#[tokio::test]
async fn f72_f17_a_goodbye_in_a_block_ends_it_or_closes_the_server() {
    for polls in 0..100 {
        let mut finished = false;
        locally(async {
            let bench = Rc::new(Bench::new());
            let (mut lease, backend) = bench.lend_fake().await;
            let session = asked_in_block(&bench, &mut lease, &["sleep"]).await;
            let goodbye = Left { orderly: true, ..left(lease, session) };
            let work = impatient(wind_down(Rc::clone(&bench.home), goodbye), polls);
            finished = crate::net::spawn_local("wind down", work).await.flatten().is_some();
            let kept = assert_intact(&bench, &backend, &format!("after {polls} polls")).await;
            assert_eq!(kept, finished, "{polls} polls");
            assert!(!finished || *backend.queries.borrow() == ["BEGIN", "sleep", "ROLLBACK"]);
        })
        .await;
        if finished {
            return;
        }
    }
    panic!("never finished");
}

#[tokio::test]
async fn a_commit_is_finished_after_the_goodbye_without_a_cancel() {
    locally(async {
        let bench = Rc::new(Bench::new());
        let (mut lease, backend) = bench.lend_fake().await;
        let session = asked_in_block(&bench, &mut lease, &["COMMIT"]).await;
        wind_down(Rc::clone(&bench.home), Left { orderly: true, ..left(lease, session) }).await;
        assert!(assert_intact(&bench, &backend, "after COMMIT").await);
        assert_eq!(*backend.queries.borrow(), ["BEGIN", "COMMIT"]);
        assert_eq!(bench.cancelled.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn f72_a_server_given_back_is_never_lent_before_its_reset_and_its_cancels_are_over() {
    for polls in 0..100 {
        let mut finished = false;
        locally(async {
            let bench = Rc::new(Bench::with_reset(Some("DISCARD ALL")));
            let (mut lease, backend) = bench.lend_fake().await;
            let session = asked(&bench, &mut lease, &[]).await;
            let cancel = cancel_server(&bench.home, &lease.entry);
            crate::net::spawn_local("cancel", cancel);
            let evidence = session.release_after_end(0, 0).unwrap();
            let home = Rc::clone(&bench.home);
            let work = async move { give_back(&home, lease, session, evidence).await };
            finished = DropAfter { inner: Box::pin(work), polls }.await.is_some();
            assert_eq!(assert_intact(&bench, &backend, "").await, finished, "after {polls} polls");
            assert!(!finished || *backend.queries.borrow() == ["DISCARD ALL"]);
        })
        .await;
        if finished {
            assert!(polls > 1);
            return;
        }
    }
    panic!("never finished");
}

#[tokio::test]
async fn f72_a_closing_dropped_at_any_poll_closes_the_server_and_frees_its_slot() {
    for polls in 0..100 {
        let mut finished = false;
        locally(async {
            let bench = Rc::new(Bench::new());
            let (lease, backend) = bench.lend_fake().await;
            drop(lease);
            let retired = bench.home.pool.next_retired().unwrap();
            assert_eq!(retired.reason, RetireReason::Abandoned);
            let work = retire(Rc::clone(&bench.home), retired);
            finished = DropAfter { inner: Box::pin(work), polls }.await.is_some();
            assert!(!assert_intact(&bench, &backend, "").await);
        })
        .await;
        if finished {
            assert!(polls > 1);
            return;
        }
    }
    panic!("never finished");
}

/// A Terminate behind a message that was sent in part could become its end, and complete it.
#[tokio::test]
async fn f20_a_server_with_half_a_message_hears_no_terminate() {
    locally(async {
        let bench = Rc::new(Bench::new());
        let (mut lease, mut far) = bench.lend().await;
        bench.answer_cancels();
        let half = b"Q\0\0\0\x0adelet";
        lease.stream.write_all(half).await.unwrap();
        let session = Session::new(RULES, ParamSet::default());
        let reason = RetireReason::ClientGoneUnsent;
        wind_down(Rc::clone(&bench.home), Left { unsent: 1, reason, ..left(lease, session) }).await;
        let retired = bench.home.pool.next_retired().unwrap();
        assert_eq!(retired.reason, reason);
        let closing = crate::net::spawn_local("close server", retire(Rc::clone(&bench.home), retired));
        assert_eq!(read_all(&mut far).await, half);
        closing.abort();
    })
    .await;
}
