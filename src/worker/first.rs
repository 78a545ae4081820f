//! A login's wait for the first server of its pool: only when one has logged in is it known what to tell clients.
//!
//! The client is watched meanwhile, so that its leaving is noticed at once (F21) and an order to end it is obeyed.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::client::{ClientEntry, EndOrder, Scratch};
use crate::metrics::ErrorClass;
use crate::net::{Stream, clock, rt};
use crate::pool::{Checkout, CheckoutError, Lease};
use crate::proto::{PgError, SqlState};
use crate::server::{Home, ServerConn};
use crate::session::{ParamSet, Session, TrackedNames};

/// Bytes read ahead from a client that has not been welcomed yet; those that begin talking so early say little.
const READ_AHEAD: usize = 16 * 1024;

/// Why a login ended without a server.
#[derive(Debug)]
pub(super) enum Unserved {
    /// The pool has none for it.
    Pool(CheckoutError),
    /// The client has left.
    Gone,
    /// The worker ordered it.
    Ordered(EndOrder),
    /// It asks for a startup value that no server could be given.
    Unfollowable(PgError),
}

impl Unserved {
    /// What the client is still to be told.
    pub(super) fn for_client(&self) -> Option<PgError> {
        match self {
            Self::Pool(error) => Some(error.for_client().into_fatal()),
            Self::Gone => None,
            Self::Ordered(order) => order.tell.clone(),
            Self::Unfollowable(error) => Some(error.clone()),
        }
    }

    /// How the end is counted.
    pub(super) fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Pool(_) | Self::Unfollowable(_) => Some(ErrorClass::Login),
            Self::Gone => None,
            Self::Ordered(order) => order.class,
        }
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => write!(f, "{error}"),
            Self::Gone => f.write_str("client unexpected eof"),
            Self::Ordered(order) => f.write_str(order.tell.as_ref().map_or("ended", |error| &error.message)),
            Self::Unfollowable(error) => f.write_str(&error.message),
        }
    }
}

/// Waits until the pool knows what to tell new clients. The deadline is that of the login (R107). What the client
/// says meanwhile is put back into its stream.
///
/// Cancel safe for the pool: a place in its queue is given up, a server goes on to the next one. The client is then
/// good only for closing.
pub(super) async fn first_server(
    home: &Rc<Home>,
    stream: &mut Stream,
    entry: &ClientEntry,
    scratch: &RefCell<Scratch>,
    deadline: Option<Instant>,
) -> Result<(), Unserved> {
    let mut ahead = Vec::new();
    while home.welcome.borrow().is_none() {
        let mut checkout = home.pool.checkout(clock::now());
        let since = checkout.since();
        let wait = std::future::poll_fn(|cx| {
            watch(stream, entry, cx, (&mut scratch.borrow_mut(), &mut ahead))?;
            wait_in_line(&mut checkout, cx)
        });
        let outcome = match deadline {
            None => Ok(wait.await),
            Some(deadline) => rt::timeout_at(deadline, wait).await,
        };
        let lease = outcome.unwrap_or_else(|_elapsed| {
            let waited = clock::now().saturating_duration_since(since);
            Err(Unserved::Pool(CheckoutError::Timeout { waited, last_failure: None }))
        })?;
        give_on(home, lease);
    }
    if !ahead.is_empty() {
        stream.put_back(&ahead);
    }
    Ok(())
}

fn wait_in_line(
    checkout: &mut Checkout<ServerConn>,
    cx: &mut Context<'_>,
) -> Poll<Result<Lease<ServerConn>, Unserved>> {
    Pin::new(checkout).poll(cx).map_err(Unserved::Pool)
}

/// Whether the client is still there and may stay. It wakes the task when that changes.
fn watch(
    stream: &mut Stream,
    entry: &ClientEntry,
    cx: &mut Context<'_>,
    (scratch, ahead): (&mut Scratch, &mut Vec<u8>),
) -> Result<(), Unserved> {
    entry.listen(cx.waker());
    if let Some(order) = entry.take_order(|_| true) {
        return Err(Unserved::Ordered(order));
    }
    while ahead.len() < READ_AHEAD {
        match stream.poll_read(cx, &mut scratch.read) {
            Poll::Ready(Ok(0) | Err(_)) => return Err(Unserved::Gone),
            Poll::Ready(Ok(n)) => ahead.extend_from_slice(scratch.read.get(..n).unwrap_or_default()),
            Poll::Pending => return Ok(()),
        }
    }
    entry.read_ahead_full.set(true);
    if stream.has_hung_up() { Err(Unserved::Gone) } else { Ok(()) }
}

/// Refuses a startup value that this pool's servers do not report, as `search_path` before PostgreSQL 18: it could not
/// be put in force, and a client must not run with another one unawares. `application_name` changes no answer.
///
/// # Errors
/// Unless the settings say that the parameter may be dropped.
pub(super) fn refuse_unfollowable(
    home: &Home,
    startup: &[(String, String)],
    ignored: &[String],
) -> Result<(), Unserved> {
    let welcome = home.welcome.borrow();
    let unreported = |name: &str| {
        let index = home.names.index(name.as_bytes());
        let known =
            welcome.as_ref().zip(index).is_some_and(|(welcome, at)| welcome.followed().value(at).is_some());
        !known && index != Some(TrackedNames::APPLICATION_NAME)
    };
    let may_be_dropped = |name: &str| ignored.iter().any(|ignored| ignored.eq_ignore_ascii_case(name));
    match startup.iter().find(|(name, _)| unreported(name) && !may_be_dropped(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let text = format!("unsupported startup parameter: {name}");
            let detail = "The server does not report this parameter, so its value cannot follow a client.";
            let error = PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, text).with_detail(detail);
            Err(Unserved::Unfollowable(error))
        }
    }
}

/// The server was only to be seen: it goes to whoever has work for it.
fn give_on(home: &Home, mut lease: Lease<ServerConn>) {
    let session = Session::new(home.settings.borrow().rules, ParamSet::default());
    if let Some(evidence) = session.release_after_end(0, usize::from(lease.stream.has_unread())) {
        lease.watch();
        lease.release(evidence, clock::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::join;

    use super::*;
    use crate::client::test_entry;
    use crate::proto::Severity;
    use crate::server::Welcome;
    use crate::server::test_home::Bench;
    use crate::server::test_net::{DropAfter, read_some, soon, tcp_pair};

    struct Scene {
        bench: Bench,
        entry: Rc<ClientEntry>,
        ours: Stream,
        client: Stream,
        scratch: RefCell<Scratch>,
    }

    async fn scene() -> Scene {
        let bench = Bench::new();
        let (ours, client) = tcp_pair().await;
        let entry = test_entry::entry(&bench.home);
        Scene { bench, entry, ours, client, scratch: RefCell::default() }
    }

    /// Seen: a client that left while its pool had no server yet stayed, with its place, until the login timeout.
    #[tokio::test]
    async fn f21_a_client_that_leaves_before_the_first_server_is_noticed_at_once() {
        let Scene { bench, entry, mut ours, mut client, scratch } = scene().await;
        let leave = async {
            client.write_all(b"early").await.unwrap();
            drop(client);
        };
        let wait = first_server(&bench.home, &mut ours, &entry, &scratch, None);
        let (outcome, ()) = soon(async { join!(wait, leave) }).await;
        assert!(matches!(outcome, Err(Unserved::Gone)), "{outcome:?}");
        assert_eq!(bench.home.pool.counts().waiting, 0);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_the_first_server_obeys_orders() {
        let Scene { bench, entry, mut ours, client: _client, scratch } = scene().await;
        let tell = Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "go"));
        let order = async {
            rt::yield_now().await;
            entry.end(EndOrder { tell: tell.clone(), class: None, at_transaction_end: true });
        };
        let wait = first_server(&bench.home, &mut ours, &entry, &scratch, None);
        let (outcome, ()) = soon(async { join!(wait, order) }).await;
        assert_eq!(outcome.unwrap_err().for_client(), tell);
    }

    /// Seen: with `search_path` in its startup packet a client of PostgreSQL 15 ran in the default schema.
    #[tokio::test]
    async fn t11_a_startup_value_that_no_server_reports_is_refused_rather_than_lost() {
        let bench = Bench::new();
        let welcome = Welcome::new(vec![(b"TimeZone".into(), b"UTC".into())], &bench.home.names);
        bench.home.welcome.replace(Some(Rc::new(welcome)));
        let ask = |name: &str, ignored: &[String]| {
            refuse_unfollowable(&bench.home, &[(name.into(), "x".into())], ignored)
        };
        for fine in ["TimeZone", "application_name"] {
            assert!(ask(fine, &[]).is_ok(), "{fine}");
        }
        assert!(ask("search_path", &["SEARCH_PATH".into()]).is_ok(), "the settings let it be dropped");
        let error = ask("search_path", &[]).unwrap_err().for_client().unwrap();
        assert_eq!(error.message, "unsupported startup parameter: search_path");
        assert_eq!((error.code, error.severity), (SqlState::FEATURE_NOT_SUPPORTED, Severity::Fatal));
    }

    #[tokio::test]
    async fn f72_a_wait_for_the_first_server_dropped_at_any_poll_leaks_no_server() {
        for polls in 0..100 {
            let Scene { bench, entry, mut ours, mut client, scratch } = scene().await;
            client.write_all(b"early").await.unwrap();
            let wait = Box::pin(first_server(&bench.home, &mut ours, &entry, &scratch, None));
            let wait = DropAfter { inner: wait, polls };
            let server = async {
                rt::yield_now().await;
                bench.dial().await
            };
            let (outcome, _server) = soon(async { join!(wait, server) }).await;
            let counts = bench.home.pool.counts();
            assert_eq!((counts.active, counts.waiting), (0, 0), "after {polls} polls");
            assert_eq!(bench.home.pool.audit(), None);
            if let Some(outcome) = outcome {
                assert!(outcome.is_ok() && polls > 1 && counts.idle == 1);
                assert_eq!(soon(read_some(&mut ours, 5)).await, b"early", "what it said is kept");
                return;
            }
        }
        panic!("never finished");
    }
}
