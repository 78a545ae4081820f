//! A relay between two sockets whose other ends the test holds: who breaks off when, and what becomes of the rest.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use tokio::task::LocalSet;

use super::relay::Relay;
use super::test_entry::entry;
use super::{EndOrder, Ended};
use crate::config::PoolMode;
use crate::net::{Stream, clock};
use crate::proto::{PgError, SqlState};
use crate::server::Home;
use crate::server::test_net::{read_some, soon, tcp_pair};
use crate::server::test_pool::{home, idle};
use crate::session::{ParamSet, Session};

const QUERY: &[u8] = b"Q\0\0\0\x0dselect 1\0";

/// A row of 42, in two parts, and what follows it but for the end of `Z`.
const HALF: &[u8] = b"D\0\0\0\x0c\0\x01\0\0";
const REST: &[u8] = b"\0\x0242C\0\0\0\x0dSELECT 1\0Z\0\0";
const END: &[u8] = b"\0\x05I";

/// The relay, the client and the server as the relay sees them from the other side.
struct Scene {
    relay: Relay,
    client: Stream,
    server: Stream,
    home: Rc<Home>,
}

impl Scene {
    /// A client whose query has reached the server, and who has the first half of a row.
    async fn in_the_middle_of_a_row() -> Self {
        let home = home(PoolMode::Transaction, None);
        let server = idle(&home).await;
        let (stream, client) = tcp_pair().await;
        let session = Session::new(home.settings().rules, ParamSet::default());
        let relay = Relay::new(stream, session, Rc::clone(&home), entry(&home));
        let mut scene = Self { relay, client, server, home };
        scene.client.write_all(QUERY).await.unwrap();
        let Self { relay, client, server, .. } = &mut scene;
        assert_eq!(during(relay, read_some(server, QUERY.len())).await, QUERY);
        server.write_all(HALF).await.unwrap();
        // One byte is left unread, so that a close is a reset.
        assert_eq!(during(relay, read_some(client, HALF.len() - 1)).await, &HALF[..HALF.len() - 1]);
        scene
    }
}

/// Lets the relay run while something happens at its other ends.
async fn during<T>(relay: &mut Relay, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        ended = relay.run() => panic!("ended: {ended}"),
        done = soon(work) => done,
    }
}

/// One turn, after the reactor has seen what there is.
async fn one_turn(relay: &mut Relay) -> Option<Ended> {
    tokio::task::yield_now().await;
    let mut run = Box::pin(relay.run());
    poll_fn(|cx| {
        Poll::Ready(match run.as_mut().poll(cx) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        })
    })
    .await
}

/// What was read from the server but not understood yet got lost when writing to the client failed, so the rest of
/// the reply made no sense, and the server had to be closed.
#[tokio::test]
async fn the_servers_position_is_kept_when_a_client_breaks_in_the_middle_of_a_reply() {
    let work = async {
        let Scene { mut relay, client, mut server, home } = Scene::in_the_middle_of_a_row().await;
        server.write_all(REST).await.unwrap();
        drop(client);
        let ended = one_turn(&mut relay).await.expect("the client is gone");
        assert!(matches!(ended, Ended::ClientGone(Some(_))), "{ended}");
        drop(relay.finish(&ended));
        server.write_all(END).await.unwrap();
        let again = soon(home.pool.checkout(clock::now())).await.unwrap();
        assert_eq!(again.entry.id, 1, "r11: drained and proven at rest");
    };
    LocalSet::new().run_until(work).await;
}

/// A FATAL of ours in the middle of a row would be read as a part of it.
#[tokio::test]
async fn nothing_is_said_into_the_middle_of_a_message() {
    let work = async {
        let Scene { mut relay, client: _client, server, .. } = Scene::in_the_middle_of_a_row().await;
        drop(server);
        let ended = soon(relay.run()).await;
        assert!(matches!(ended, Ended::ServerLost(_)) && ended.for_client().is_some(), "{ended}");
        assert!(relay.finish(&ended).1.is_none(), "the server was lost");

        let Scene { mut relay, client: _client, server: _server, .. } = Scene::in_the_middle_of_a_row().await;
        let tell = Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "terminating"));
        relay.entry.end(EndOrder { tell, class: None, at_transaction_end: false });
        let ended = soon(relay.run()).await;
        assert!(ended.for_client().is_some());
        assert!(relay.finish(&ended).1.is_none(), "ordered to end");

        let Scene { mut relay, mut client, mut server, .. } = Scene::in_the_middle_of_a_row().await;
        server.write_all(&REST[..REST.len() - 3]).await.unwrap();
        during(&mut relay, read_some(&mut client, REST.len() - 2)).await;
        drop(server);
        let ended = soon(relay.run()).await;
        assert!(relay.finish(&ended).1.is_some(), "between messages it may be said");
    };
    LocalSet::new().run_until(work).await;
}
