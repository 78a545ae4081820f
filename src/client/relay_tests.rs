//! The relay between two ends that the test holds.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::ended::Ended;
use super::entry::{ClientEntry, Pause};
use super::relay::{READ_AHEAD, Relay};
use super::test_entry::entry;
use crate::net::{Stream, spawn_local, yield_now};
use crate::pool::ConnectFailure;
use crate::proto::{PgError, Severity, SqlState};
use crate::server::ServerConn;
use crate::server::test_home::{Bench, RULES};
use crate::server::test_net::{DropAfter, read_some, soon, tcp_pair};
use crate::session::{ParamSet, Session};

/// Query `x`, whole.
const QUERY: &[u8] = b"Q\0\0\0\x06x\0";
/// Its answer.
const DONE: &[u8] = b"C\0\0\0\x06x\0Z\0\0\0\x05I";
/// A query whose body is far larger than what two sockets hold.
const ENDLESS: &[u8] = b"Q\x10\0\0\0";

/// Runs a test where tasks can be spawned.
async fn locally(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(soon(test)).await;
}

/// A client, its relay, and the far end of the one server of its pool.
struct Scene {
    bench: Rc<Bench>,
    relay: Relay,
    entry: Rc<ClientEntry>,
    client: Stream,
    server: Stream,
}

async fn scene(params: ParamSet) -> Scene {
    let bench = Rc::new(Bench::new());
    let (lease, server) = bench.lend().await;
    Bench::put_back(lease);
    let (ours, client) = tcp_pair().await;
    let entry = entry(&bench.home);
    let session = Session::new(RULES, params);
    let relay = Relay::new(ours, session, Rc::clone(&bench.home), Rc::clone(&entry));
    Scene { bench, relay, entry, client, server }
}

impl Scene {
    /// Lets the relay and the reactor work until `done`.
    async fn work_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.work().await;
        }
    }

    async fn work(&mut self) {
        let ended = poll_fn(|cx| Poll::Ready(pin!(self.relay.run()).poll(cx))).await;
        assert!(ended.is_pending(), "{ended:?}");
        yield_now().await;
    }

    /// Sends bytes of an endless query until the server's socket is full.
    async fn block_server(&mut self) {
        self.client.write_all(ENDLESS).await.unwrap();
        let is_blocked = |scene: &Self| !scene.relay.unsaid.is_empty();
        while !is_blocked(self) {
            self.client.write_all(&[b'x'; 8192]).await.unwrap();
            self.work().await;
            self.work().await;
        }
    }
}

fn with_application_name(bench_names: &crate::session::TrackedNames) -> ParamSet {
    let mut params = ParamSet::default();
    params.set(bench_names.index(b"application_name").unwrap(), b"cart");
    params
}

/// Seen: a client left in mid-statement while its server did not read, and its locks stayed until the server did,
/// because a client was read only when there was room for its bytes.
#[tokio::test]
async fn f17_a_client_that_leaves_is_noticed_while_its_server_does_not_read() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        scene.block_server().await;
        drop(scene.client);
        assert!(matches!(scene.relay.run().await, Ended::ClientGone(_)));
    })
    .await;
}

#[tokio::test]
async fn f17_the_end_behind_more_than_is_read_ahead_shows_at_the_next_tick() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        scene.block_server().await;
        while !scene.entry.read_ahead_full.get() {
            scene.client.write_all(&[b'x'; 8192]).await.unwrap();
            scene.work().await;
        }
        scene.client.write_all(&[b'x'; 8192]).await.unwrap();
        assert!(scene.relay.carry.len() < READ_AHEAD + super::wire::READ_BUFFER);
        drop(scene.client);
        let relay = spawn_local("relay", async move { scene.relay.run().await });
        while !relay.is_finished() {
            scene.entry.wake(); // the tick
            yield_now().await;
        }
        assert!(matches!(relay.await, Some(Ended::ClientGone(_))));
    })
    .await;
}

#[tokio::test]
async fn what_was_read_ahead_goes_on_when_the_server_reads_again() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        scene.client.write_all(b"Q\0\x80\0\0").await.unwrap();
        let body = vec![b'x'; 0x80_0000 - 4];
        let Scene { mut client, mut server, mut relay, entry, bench: _bench } = scene;
        let task = spawn_local("relay", async move { relay.run().await });
        let talk = async {
            client.write_all(&body).await.unwrap();
            client.write_all(QUERY).await.unwrap();
            assert_eq!(read_some(&mut client, DONE.len()).await, DONE);
            assert_eq!(read_some(&mut client, DONE.len()).await, DONE);
        };
        let answer = async {
            // Reading begins only when everything on the way is full.
            while !entry.read_ahead_full.get() {
                yield_now().await;
            }
            read_some(&mut server, 5 + body.len()).await;
            server.write_all(DONE).await.unwrap();
            assert_eq!(read_some(&mut server, QUERY.len()).await, QUERY);
            server.write_all(DONE).await.unwrap();
        };
        tokio::join!(talk, answer);
        task.abort();
    })
    .await;
}

/// Our own messages ahead of the client's, and what answers them.
async fn own_exchange(server: &mut Stream) {
    let mut last = 0;
    while last != b'S' {
        let header = read_some(server, 5).await;
        last = header[0];
        read_some(server, usize::from(header[4]) + usize::from(header[3]) * 256 - 4).await;
    }
}
const OWN_DONE: &[u8] = b"1\0\0\0\x042\0\0\0\x04C\0\0\0\x06x\0Z\0\0\0\x05I";

/// F39: the cancel is meant for the query, which the server does not have yet.
#[tokio::test]
async fn f39_a_cancel_during_our_own_exchange_waits_for_the_clients_query() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        let params = with_application_name(&scene.bench.home.names);
        scene.relay.session = Session::new(RULES, params);
        scene.client.write_all(QUERY).await.unwrap();
        scene.work_until(|scene| scene.entry.paused_since(Pause::Preparing).is_some()).await;
        own_exchange(&mut scene.server).await;
        assert!(scene.entry.cancelable_server().is_none());
        let cancelled = Rc::new(std::cell::Cell::new(None));
        let seen = Rc::clone(&cancelled);
        scene.entry.hold_cancel(Box::new(move |server| seen.set(Some(server.id))));
        scene.work().await;
        assert_eq!(cancelled.get(), None);
        scene.server.write_all(OWN_DONE).await.unwrap();
        scene.work_until(|_| cancelled.get().is_some()).await;
        assert_eq!(cancelled.get(), Some(1));
        assert_eq!(read_some(&mut scene.server, QUERY.len()).await, QUERY, "it was sent before");
    })
    .await;
}

#[tokio::test]
async fn f39_a_held_cancel_is_forgotten_with_the_request() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        scene.entry.hold_cancel(Box::new(|_| panic!("a cancel without a request")));
        scene.work_until(|scene| !scene.entry.holds_cancel()).await;
        scene.client.write_all(QUERY).await.unwrap();
        scene.work_until(|scene| scene.entry.running.get()).await;
    })
    .await;
}

/// Seen: the refusal came as FATAL, which a driver takes for the end, although the session went on.
#[tokio::test]
async fn r97_f8_a_server_that_refuses_the_login_is_an_error_and_the_session_lives() {
    locally(async {
        let bench = Bench::new();
        let (ours, mut client) = tcp_pair().await;
        let session = Session::new(RULES, ParamSet::default());
        let home = Rc::clone(&bench.home);
        let mut relay = Relay::new(ours, session, home, entry(&bench.home));
        client.write_all(QUERY).await.unwrap();
        let answer = async {
            while bench.home.pool.counts().waiting == 0 {
                yield_now().await;
            }
            let now = crate::net::clock::now();
            let said = PgError::fatal(SqlState::INVALID_PASSWORD, "no");
            bench.home.pool.wanted_connects(now).unwrap().failed(ConnectFailure::refused(said), now);
            let header = read_some(&mut client, 5).await;
            let error = PgError::parse(&read_some(&mut client, usize::from(header[4]) - 4).await);
            assert_eq!((error.severity, error.code), (Severity::Error, SqlState::INVALID_PASSWORD));
            assert_eq!(read_some(&mut client, 6).await, b"Z\0\0\0\x05I");
        };
        tokio::select! {
            ended = relay.run() => panic!("{ended:?}"),
            () = answer => {}
        }
    })
    .await;
}

/// Seen: `client_idle_timeout` ended clients that had asked and were waiting for a server.
#[tokio::test]
async fn a_client_in_the_queue_is_not_idle() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        let now = crate::net::clock::now();
        let _busy = scene.bench.home.pool.checkout(now).try_now(now).unwrap().unwrap();
        scene.work_until(|scene| scene.entry.paused_since(Pause::Idle).is_some()).await;
        scene.client.write_all(QUERY).await.unwrap();
        scene.work_until(|scene| scene.entry.waiter.get().is_some()).await;
        assert_eq!(scene.entry.paused_since(Pause::Idle), None);
    })
    .await;
}

/// Seen: a batch without its Sync kept its server for ever, since no timeout looked at it.
/// Seen: a client that only sent Syncs, which are answered without a server, was ended by `client_idle_timeout`.
#[tokio::test]
async fn a_lone_sync_ends_a_clients_idleness() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        scene.work_until(|scene| scene.entry.paused_since(Pause::Idle).is_some()).await;
        let before = scene.entry.paused_since(Pause::Idle);
        scene.client.write_all(b"S\0\0\0\x04").await.unwrap();
        scene.work_until(|scene| scene.entry.paused_since(Pause::Idle) > before).await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_waits_for_its_sync_counts_as_an_idle_transaction() {
    locally(async {
        let mut scene = scene(ParamSet::default()).await;
        scene.client.write_all(b"P\0\0\0\x09\0x\0\0\0H\0\0\0\x04").await.unwrap();
        scene.work_until(|scene| scene.entry.running.get()).await;
        assert_eq!(scene.entry.paused_since(Pause::IdleInTransaction), None);
        scene.server.write_all(b"1\0\0\0\x04").await.unwrap();
        scene.work_until(|scene| scene.entry.paused_since(Pause::IdleInTransaction).is_some()).await;
    })
    .await;
}

async fn three_queries(client: &mut Stream) -> Option<()> {
    for _ in 0..3 {
        client.write_all(QUERY).await.ok()?;
        client.read(&mut [0; 20]).await.ok().filter(|n| *n > 0)?;
    }
    client.write_all(b"X\0\0\0\x04").await.ok()
}

/// F72: whatever the poll at which a client's task is dropped, its server is closed or was given back at rest.
#[tokio::test]
async fn f72_a_relay_dropped_at_any_poll_leaks_no_server() {
    for polls in 0..100 {
        let mut finished = false;
        locally(async {
            let bench = Rc::new(Bench::new());
            let (lease, backend) = bench.lend_fake().await;
            Bench::put_back(lease);
            let (ours, mut client) = tcp_pair().await;
            let entry = entry(&bench.home);
            let session = Session::new(RULES, ParamSet::default());
            let mut relay = Relay::new(ours, session, Rc::clone(&bench.home), entry);
            let work = DropAfter { inner: Box::pin(async move { relay.run().await }), polls };
            let (ended, _) = tokio::join!(work, three_queries(&mut client));
            finished = ended.is_some();
            let idle = bench.settle().await;
            assert!(idle == 0 || !backend.busy.get(), "a dirty server is idle after {polls} polls");
            assert!(!finished || idle == 1);
        })
        .await;
        if finished {
            assert!(polls > 2);
            return;
        }
    }
    panic!("never finished");
}

/// F71: the task dies, its server is closed, the slot is free.
#[tokio::test]
async fn f71_a_panic_in_a_clients_task_closes_its_server() {
    locally(async {
        let bench = Rc::new(Bench::new());
        let (lease, backend) = bench.lend_fake().await;
        let task = spawn_local("client", async move {
            let _lease: crate::pool::Lease<ServerConn> = lease;
            yield_now().await;
            panic!("on purpose")
        });
        assert!(task.await.is_none());
        assert_eq!(bench.settle().await, 0);
        while !backend.gone.get() {
            yield_now().await;
        }
    })
    .await;
}
