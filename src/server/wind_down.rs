//! Servers on their way back to the pool without a client, or out of it.
//!
//! Owns: draining and rolling back what a client left behind, the reset between sessions, cancels, closing. Every
//! step has a bound; what cannot be proven clean is closed (R4, R11, R12).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::cancel::send_cancel;
use super::conn::{ServerConn, ServerEntry};
use super::home::Home;
use crate::config::PoolMode;
use crate::net::{clock, rt};
use crate::pool::{Lease, RetireReason, Retired, SlotGuard, SlotState};
use crate::proto::{PgError, TxStatus};
use crate::session::{Halt, Leave, Outbox, Quiescent, Session, Startup};

/// Most bytes read from a server for a client that has gone; reading on would cost more than a new connection.
const DRAIN_BYTES: usize = 1 << 20;

/// Steps of [`Session::leave`] at most: end COPY, end the batch, roll back, close what nobody names, and look again.
const DRAIN_STEPS: usize = 6;

/// How long what runs in a transaction block may go on after the client's goodbye. A COMMIT just asked for is to be
/// finished, and its wait for the disk fits in here many times; anything else of the block is rolled back whatever
/// comes of it, and meanwhile keeps its locks and its place in the pool.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How long a closed server may keep its slot while its backend ends (R8).
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Read buffer of a drain.
const DRAIN_BUFFER: usize = 16 * 1024;

/// A server whose client has gone, with the conversation that knows its position.
pub struct Left {
    /// The server.
    pub lease: Lease<ServerConn>,
    /// The conversation.
    pub session: Session,
    /// Bytes not yet sent to the server.
    pub unsent: usize,
    /// Bytes of the server not yet understood.
    pub unread: Vec<u8>,
    /// The client said goodbye: what it asked for last is to be finished, in a transaction block if it does not take
    /// long.
    pub orderly: bool,
    /// Why the client went, if the server has to be closed.
    pub reason: RetireReason,
}

/// Brings a server back to its pool or closes it.
///
/// Cancel safety: dropping the future drops the lease, which closes the server.
pub async fn wind_down(home: Rc<Home>, mut left: Left) {
    let reason = left.reason;
    left.lease.mark(SlotState::Resetting);
    left.lease.entry.client.set(None);
    left.lease.entry.state.set("tested");
    let deadline = home.recovery_deadline();
    match rt::timeout_at(deadline, come_to_rest(&home, &mut left)).await {
        Ok(Some(evidence)) => {
            let Left { lease, session, .. } = left;
            give_back(&home, lease, session, evidence).await;
        }
        Ok(None) | Err(_) => left.lease.retire(reason),
    }
}

async fn come_to_rest(home: &Rc<Home>, left: &mut Left) -> Option<Quiescent> {
    let mut budget = DRAIN_BYTES;
    for _ in 0..DRAIN_STEPS {
        let mut own = Outbox::default();
        let unread = left.unread.len() + usize::from(left.lease.stream.has_unread());
        let unsent = left.unsent + usize::from(left.lease.stream.has_unsent());
        match left.session.leave(&mut left.lease.facts, unsent, unread, &mut own) {
            Leave::AtRest(evidence) => return Some(evidence),
            Leave::Close => return None,
            Leave::Drain { cancel } => {
                if cancel && !left.orderly {
                    cancel_server(home, &left.lease.entry).await;
                }
                send_own(&mut left.lease, &own).await?;
                if cancel && left.orderly && left.session.tx() != TxStatus::Idle {
                    hear_last_words(home, left, &mut budget).await?;
                }
            }
        }
        drain(home, &mut left.lease, &mut left.session, &mut left.unread, &mut budget).await?;
    }
    None
}

/// Gives what runs in a transaction block a moment to end by itself, and cancels it then.
///
/// The drain may be dropped at any time and begun again: what was read and what it means is in `left` before the
/// next read, and the budget counts on.
async fn hear_last_words(home: &Rc<Home>, left: &mut Left, budget: &mut usize) -> Option<()> {
    let end = clock::now() + LAST_WORDS;
    let words = drain(home, &mut left.lease, &mut left.session, &mut left.unread, budget);
    if let Ok(outcome) = rt::timeout_at(end, words).await {
        return outcome;
    }
    // What was asked for behind the end of the block is finished like anything outside of one.
    if left.session.works_in_block() {
        cancel_server(home, &left.lease.entry).await;
    }
    Some(())
}

async fn send_own(lease: &mut Lease<ServerConn>, own: &Outbox) -> Option<()> {
    let bytes: Vec<u8> = own.slices(&[]).flatten().copied().collect();
    lease.stream.write_all(&bytes).await.ok()?;
    lease.stream.flush().await.ok()
}

/// Reads until nothing is owed or the server waits for data of a COPY, within the byte budget.
async fn drain(
    home: &Home,
    lease: &mut Lease<ServerConn>,
    session: &mut Session,
    unread: &mut Vec<u8>,
    budget: &mut usize,
) -> Option<()> {
    let mut buffer = vec![0; DRAIN_BUFFER];
    while !session.is_drained() && !session.owes_copy_data() {
        let n = lease.stream.read(&mut buffer).await.ok()?;
        *budget = budget.checked_sub(n)?;
        if n == 0 {
            return None;
        }
        unread.extend_from_slice(buffer.get(..n)?);
        let taken = home.hear(session, &mut lease.facts, unread);
        unread.drain(..taken.consumed);
        if taken.halt != Halt::More || !session.is_certain() {
            return None;
        }
    }
    Some(())
}

/// The end of a proven clean server: held back while cancels aim at it, reset where the mode wants it, released.
///
/// Cancel safety: as [`wind_down`].
pub async fn give_back(
    home: &Rc<Home>,
    mut lease: Lease<ServerConn>,
    mut session: Session,
    evidence: Quiescent,
) {
    let mut evidence = evidence;
    if !wait_for_cancels(home, &lease).await {
        return lease.retire(RetireReason::CloseNeeded);
    }
    let settings = home.settings();
    let was_session = session.mode() == PoolMode::Session;
    if was_session && settings.rules.mode != PoolMode::Session {
        // The mode was changed meanwhile: what a session leaves behind is not reset any more.
        return lease.retire(RetireReason::CloseNeeded);
    }
    if let Some(query) = &settings.reset_query {
        lease.mark(SlotState::Resetting);
        lease.entry.state.set("tested");
        let reset = run_reset(home, &mut lease, &mut session, query);
        match rt::timeout_at(home.recovery_deadline(), reset).await {
            Ok(Some(fresh)) => evidence = fresh,
            Ok(None) | Err(_) => return lease.retire(RetireReason::ResetQueryFailed),
        }
        lease.facts.unnamed = None;
    }
    lease.unlinked();
    lease.watch();
    lease.release(evidence, clock::now());
}

async fn run_reset(
    home: &Home,
    lease: &mut Lease<ServerConn>,
    session: &mut Session,
    sql: &str,
) -> Option<Quiescent> {
    let mut own = Outbox::default();
    session.reset(sql, &mut own);
    send_own(lease, &own).await?;
    let (mut unread, mut budget) = (Vec::new(), DRAIN_BYTES);
    drain(home, lease, session, &mut unread, &mut budget).await?;
    lease.facts.was_reset(sql, &home.names);
    session.release_after_end(0, unread.len())
}

/// Has a server judge and spell the values of a client's startup packet, and gives it back.
///
/// Cancel safety: dropping the future drops the lease, which closes the server.
///
/// # Errors
/// PostgreSQL's own, if it refuses one of them; `None` if the server was lost meanwhile.
pub async fn try_startup(
    home: &Rc<Home>,
    mut lease: Lease<ServerConn>,
    values: &[(String, Vec<u8>)],
) -> Result<Startup, Option<PgError>> {
    lease.mark(SlotState::Resetting);
    lease.entry.state.set("tested");
    let usual = home.welcome.borrow().as_ref().map(|welcome| welcome.followed().clone());
    let mut session = Session::new(home.settings().rules, usual.unwrap_or_default());
    let trial = async {
        // What an earlier client has in force there decides nothing about this one.
        let own = home.link(&mut session, &mut lease.facts);
        send_own(&mut lease, &own).await?;
        let (mut unread, mut budget) = (Vec::new(), DRAIN_BYTES);
        drain(home, &mut lease, &mut session, &mut unread, &mut budget).await?;
        let mut own = Outbox::default();
        session.try_values(values, &mut lease.facts, &mut own);
        send_own(&mut lease, &own).await?;
        drain(home, &mut lease, &mut session, &mut unread, &mut budget).await?;
        session.release_after_end(0, unread.len())
    };
    let Ok(Some(evidence)) = rt::timeout_at(home.recovery_deadline(), trial).await else {
        lease.retire(RetireReason::VarChangeFailed);
        return Err(None);
    };
    let startup = session.take_trial(&home.names, &lease.facts);
    lease.unlinked();
    lease.watch();
    lease.release(evidence, clock::now());
    startup
}

/// Waits until no cancel is on its way to the server any more (R9); `false` when that takes too long.
async fn wait_for_cancels(home: &Home, lease: &Lease<ServerConn>) -> bool {
    if lease.entry.cancels.get() == 0 {
        return true;
    }
    lease.mark(SlotState::BeingCanceled);
    lease.entry.state.set("being_canceled");
    let deadline = home.cancel_deadline(clock::now());
    while lease.entry.cancels.get() > 0 {
        if clock::now() >= deadline {
            return false;
        }
        rt::sleep_until(clock::now() + CANCEL_POLL).await;
    }
    true
}

/// How often a held-back server looks whether its cancels are done: rare, and soon enough for the next client.
const CANCEL_POLL: Duration = Duration::from_millis(5);

/// Counts a cancel on its way, however its task ends.
struct CancelMark {
    home: Rc<Home>,
    entry: Rc<ServerEntry>,
}

impl CancelMark {
    fn new(home: Rc<Home>, entry: Rc<ServerEntry>) -> Self {
        entry.cancels.set(entry.cancels.get() + 1);
        home.cancels.set(home.cancels.get() + 1);
        Self { home, entry }
    }
}

impl Drop for CancelMark {
    fn drop(&mut self) {
        self.entry.cancels.set(self.entry.cancels.get().saturating_sub(1));
        self.home.cancels.set(self.home.cancels.get().saturating_sub(1));
    }
}

/// Cancels what runs on a server. From the call on, before the future is first polled, the server is given to
/// nobody else (R9); the future ends when the server has dealt with the request or the bound has passed.
pub fn cancel_server(home: &Rc<Home>, entry: &Rc<ServerEntry>) -> impl Future<Output = ()> + 'static {
    let mark = CancelMark::new(Rc::clone(home), Rc::clone(entry));
    async move {
        let Some(target) = mark.entry.cancel.clone() else { return };
        let deadline = mark.home.cancel_deadline(clock::now());
        if let Err(error) = send_cancel(&target, deadline).await {
            tracing::warn!(server = mark.entry.id, %error, "cancel request failed");
        }
    }
}

/// Closes a server. Its slot stays taken until the backend has closed its end, or the bound has passed (R8).
///
/// Cancel safe: however early the future is dropped, the server is closed, off the books, and its slot free.
pub fn retire(home: Rc<Home>, retired: Retired<ServerConn>) -> impl Future<Output = ()> + 'static {
    let Retired { conn, reason, slot } = retired;
    let mut leaving = Leaving { home, conn, _slot: slot };
    async move {
        let Leaving { home, conn, .. } = &mut leaving;
        if home.settings.borrow().log_disconnections {
            let age = conn.age_secs(clock::wall());
            let server = conn.entry.id;
            tracing::info!(server, pool = %home.pool.key(), "closing because: {reason} (age={age}s)");
        }
        let deadline = clock::now() + CLOSE_TIME;
        if leaves_work_behind(reason) {
            cancel_server(home, &conn.entry).await;
        }
        let _ = rt::timeout_at(deadline, say_goodbye(conn, was_at_rest(reason))).await;
    }
}

/// A server on its way out: on the books until it is closed, and only then is its place free.
struct Leaving {
    home: Rc<Home>,
    conn: ServerConn,
    _slot: SlotGuard<ServerConn>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.home.forget(self.conn.entry.id);
    }
}

/// Whether the server was at rest when it left. Of any other it is not certain that the last message to it went out
/// whole: a Terminate could complete it, and it would run (F20, R10).
const fn was_at_rest(reason: RetireReason) -> bool {
    matches!(
        reason,
        RetireReason::IdleTimeout
            | RetireReason::LifetimeOver
            | RetireReason::Surplus
            | RetireReason::Evicted
            | RetireReason::Pause
            | RetireReason::CloseNeeded
            | RetireReason::ConfigChanged
            | RetireReason::ConnectStringChanged
            | RetireReason::DatabaseRemoved
            | RetireReason::Shutdown
    )
}

/// Whether the backend may still be running something for the client that has gone.
const fn leaves_work_behind(reason: RetireReason) -> bool {
    matches!(
        reason,
        RetireReason::Abandoned
            | RetireReason::ClientGone
            | RetireReason::ClientGoneOwed
            | RetireReason::ClientGoneUnsent
            | RetireReason::AdminDisconnect
            | RetireReason::QueryTimeout
            | RetireReason::UnknownPacket
            | RetireReason::ResetQueryFailed
            | RetireReason::VarChangeFailed
    )
}

pub(super) async fn say_goodbye(conn: &mut ServerConn, terminate: bool) {
    if terminate {
        let _ = conn.stream.write_all(b"X\0\0\0\x04").await;
    }
    let _ = conn.stream.shutdown().await;
    let mut sink = vec![0; DRAIN_BUFFER];
    poll_fn(|cx| {
        loop {
            match conn.stream.poll_read(cx, &mut sink) {
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}
