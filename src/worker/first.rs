//! A login's wait for the first server of its pool: only when one has logged in is it known what to tell clients.
//!
//! The client is watched meanwhile, so that its leaving is noticed at once (F21) and an order to end it is obeyed.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::words::say_goodbye;
use crate::client::{ClientEntry, EndOrder, Scratch, Wanted};
use crate::config::{PoolMode, SessionState};
use crate::metrics::ErrorClass;
use crate::net::{Stream, clock, rt};
use crate::pool::{Checkout, CheckoutError, Lease};
use crate::proto::{NAME_LIMIT, PgError, SqlState, clip_name};
use crate::server::{Home, ServerConn, try_startup};
use crate::session::{ParamSet, Session, Startup, TrackedNames, Wished};

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
    /// It asks for a startup value that it cannot have.
    Refused(PgError),
}

impl Unserved {
    /// The line about it, and the client's last words to hear.
    pub(super) async fn tell(
        self,
        home: &Home,
        (mut stream, entry): (Stream, &ClientEntry),
        accepted: Vec<u8>,
    ) {
        tracing::info!(
            client = entry.id,
            peer = %entry.ends.peer(),
            user = &*entry.user,
            database = entry.database(),
            "login failed: {self}"
        );
        if let Some(class) = self.class() {
            home.counters.borrow_mut().error(class);
        }
        if let Some(tell) = self.for_client() {
            say_goodbye(&mut stream, accepted, Some(tell)).await;
        }
    }

    /// What the client is still to be told.
    pub(super) fn for_client(&self) -> Option<PgError> {
        match self {
            Self::Pool(error) => Some(error.for_client().into_fatal()),
            Self::Gone => None,
            Self::Ordered(order) => order.tell.clone(),
            Self::Refused(error) => Some(error.clone()),
        }
    }

    /// How the end is counted.
    pub(super) fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Pool(_) | Self::Refused(_) => Some(ErrorClass::Login),
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
            Self::Refused(error) => f.write_str(&error.message),
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
        let lease = wait_watched(home, (stream, &mut ahead), entry, scratch, deadline).await?;
        give_on(home, lease);
    }
    if !ahead.is_empty() {
        stream.put_back(&ahead);
    }
    Ok(())
}

/// What PostgreSQL makes of the values of a client's startup packet: a server is asked, unless it is known. The deadline
/// is that of the login.
///
/// Cancel safe for the pool, as [`first_server`].
pub(super) async fn judge_startup(
    home: &Rc<Home>,
    stream: &mut Stream,
    entry: &ClientEntry,
    scratch: &RefCell<Scratch>,
    (deadline, wanted): (Option<Instant>, &[Wanted]),
) -> Result<Rc<Wished>, Unserved> {
    let welcome = home.welcome.borrow().clone().unwrap_or_default();
    let is_evident = |(name, value): &&Wanted| {
        let followed = home.names.index(name.as_bytes()).is_some();
        name == "application_name" && is_plain_name(value)
            || followed && welcome.reports(name.as_bytes(), value)
    };
    let (evident, doubtful): (Vec<_>, Vec<_>) = wanted.iter().partition(is_evident);
    let doubtful: Vec<Wanted> = doubtful.into_iter().cloned().collect();
    let tried = home.startups.borrow().get(&doubtful);
    let tried = match tried {
        Some(tried) => tried,
        None if doubtful.is_empty() => Rc::default(),
        None => {
            let mut ahead = Vec::new();
            // In boxes, as below: few wait here, and all others should not carry the room for it.
            let wait = wait_watched(home, (stream, &mut ahead), entry, scratch, deadline);
            let lease = Box::pin(wait).await?;
            let startup = Box::pin(try_startup(home, lease, &doubtful)).await.map_err(|error| {
                let lost = || PgError::fatal(SqlState::CONNECTION_FAILURE, "server connection lost");
                Unserved::Refused(error.map_or_else(lost, PgError::into_fatal))
            })?;
            if !ahead.is_empty() {
                stream.put_back(&ahead);
            }
            let startup = Rc::new(startup);
            home.startups.borrow_mut().learn(doubtful, &startup);
            startup
        }
    };
    let mut startup = Startup { reported: tried.reported.clone(), settings: tried.settings.clone() };
    for (name, value) in evident {
        if name == "application_name"
            && let Some(index) = home.names.index(name.as_bytes())
        {
            startup.reported.push((index, value.as_slice().into()));
        }
    }
    Ok(home.startups.borrow_mut().share(startup))
}

/// In session mode the server that a client is going to keep, if one can be had without waiting for other clients. If
/// not, the client gets one when it asks for something, as ever.
///
/// Cancel safe for the pool, as [`first_server`].
pub(super) async fn kept_server(
    home: &Rc<Home>,
    stream: &mut Stream,
    entry: &ClientEntry,
    scratch: &RefCell<Scratch>,
    deadline: Option<Instant>,
) -> Result<Option<Lease<ServerConn>>, Unserved> {
    if home.settings.borrow().rules.mode != PoolMode::Session || !home.pool.can_serve_at_once() {
        return Ok(None);
    }
    let mut ahead = Vec::new();
    let lease = Box::pin(wait_watched(home, (stream, &mut ahead), entry, scratch, deadline)).await;
    if !ahead.is_empty() {
        stream.put_back(&ahead);
    }
    match lease {
        Ok(lease) => Ok(Some(lease)),
        Err(Unserved::Pool(_)) => Ok(None),
        Err(unserved) => Err(unserved),
    }
}

/// Whether PostgreSQL takes a name as it is: it replaces what is not printable ASCII, and cuts what is too long.
fn is_plain_name(value: &[u8]) -> bool {
    value.len() < NAME_LIMIT && value.iter().all(|b| (b' '..=b'~').contains(b))
}

/// Waits for a server while the client is watched; what it says goes to `ahead`.
async fn wait_watched(
    home: &Rc<Home>,
    (stream, ahead): (&mut Stream, &mut Vec<u8>),
    entry: &ClientEntry,
    scratch: &RefCell<Scratch>,
    deadline: Option<Instant>,
) -> Result<Lease<ServerConn>, Unserved> {
    let mut checkout = home.pool.checkout(clock::now());
    let since = checkout.since();
    let wait = std::future::poll_fn(|cx| {
        watch(stream, entry, cx, (&mut scratch.borrow_mut(), ahead))?;
        wait_in_line(&mut checkout, cx)
    });
    let outcome = match deadline {
        None => Ok(wait.await),
        Some(deadline) => rt::timeout_at(deadline, wait).await,
    };
    outcome.unwrap_or_else(|_elapsed| {
        let waited = clock::now().saturating_duration_since(since);
        Err(Unserved::Pool(CheckoutError::Timeout { waited, last_failure: None }))
    })
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

/// Where session state is PgBouncer's affair, refuses a startup value that this pool's servers do not report: it could
/// not follow the client, which must not run with another one unawares. `application_name` changes no answer.
///
/// # Errors
/// There is one.
pub(super) fn refuse_unfollowable(home: &Home, wanted: &[Wanted]) -> Result<(), Unserved> {
    if home.settings.borrow().rules.session_state != SessionState::PgBouncer {
        return Ok(());
    }
    let welcome = home.welcome.borrow();
    let unreported = |name: &str| {
        let index = home.names.index(name.as_bytes());
        let known =
            welcome.as_ref().zip(index).is_some_and(|(welcome, at)| welcome.followed().value(at).is_some());
        !known && index != Some(TrackedNames::APPLICATION_NAME)
    };
    match wanted.iter().find(|(name, _)| unreported(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let text = format!("unsupported startup parameter: {}", clip_name(name));
            let detail = "The server does not report this parameter, so its value cannot follow a client.";
            let error = PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, text).with_detail(detail);
            Err(Unserved::Refused(error))
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
    use crate::server::test_home::Bench;
    use crate::server::test_net::{DropAfter, read_some, soon, tcp_pair};
    use crate::server::{HomeSettings, Welcome};

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
    async fn t11_as_in_pgbouncer_a_startup_value_that_no_server_reports_is_refused_rather_than_lost() {
        let bench = Bench::new();
        let mut settings = HomeSettings::clone(&bench.home.settings());
        settings.rules.session_state = SessionState::PgBouncer;
        bench.home.settings.replace(Rc::new(settings));
        let welcome = Welcome::new(vec![(b"TimeZone".into(), b"UTC".into())], &bench.home.names);
        bench.home.welcome.replace(Some(Rc::new(welcome)));
        let ask = |name: &str| refuse_unfollowable(&bench.home, &[(name.into(), "x".into())]);
        for fine in ["TimeZone", "application_name"] {
            assert!(ask(fine).is_ok(), "{fine}");
        }
        let error = ask("search_path").unwrap_err().for_client().unwrap();
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
