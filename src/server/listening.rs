//! The connection of a pool that listens for its clients, outside of the pool's size.
//!
//! Owns: opening it when somebody listens, closing it when nobody does, opening it again when it is lost. One batch of
//! queries of ours is under way at most, with a plan that says what each answer is for; everything else that comes is
//! a notification, or of no interest. An error costs the query it answers, and no other.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::channel_books::{Ask, Batch};
use super::conn::ServerConn;
use super::error::OpenKind;
use super::home::Home;
use super::listener::Standing;
use super::open::{Opened, ServerPlan, open};
use super::wind_down::say_goodbye;
use crate::metrics::ErrorClass;
use crate::net::{clock, rt};
use crate::pool::UNREACHABLE_CAP;
use crate::proto::{FrameHeader, HEADER_LEN, PgError, Severity};
use crate::session::channel_of;

/// How long the connection outlives its last client.
const LINGER: Duration = Duration::from_secs(1);

/// First pause after a failure, as for the servers of a pool; doubles up to a pool's longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Largest message that is believed: a notification at its largest has some 8 kB, 4 times that in another encoding.
const MAX_MESSAGE: usize = 64 * 1024;

/// Bytes read at a time.
const READ_BUFFER: usize = 8 * 1024;

/// Reads of one turn before other tasks have theirs.
const READS_PER_TURN: u32 = 16;

/// How long its end may take.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Works as long as somebody listens.
///
/// Cancel safety: dropping the future closes the connection.
pub(super) async fn listen(home: Rc<Home>) {
    let listener = &home.listener;
    let mut pause = FIRST_PAUSE;
    while listener.is_wanted() && !home.pool.is_closed() {
        if home.pool.is_paused() {
            listener.refuse();
            listener.nudged().await;
            continue;
        }
        listener.stands(Standing::Opening);
        let renewals = listener.renewals.get(); // an order that comes while it is opened means the new one, too
        let plan = home.plan.borrow().clone();
        let deadline = home.settings.borrow().connect_timeout.map(|limit| clock::now() + limit);
        match open(&plan, deadline).await {
            Ok(opened) => {
                let Served { lost, was_answered } = serve(Line::new(&home, opened, &plan, renewals)).await;
                if was_answered {
                    pause = FIRST_PAUSE;
                }
                if lost {
                    rt::sleep_until(clock::now() + pause).await;
                    pause = (pause * 2).min(UNREACHABLE_CAP);
                }
            }
            Err(error) => {
                tracing::warn!(pool = %home.pool.key(), "login of the listener failed: {error}");
                home.counters.borrow_mut().error(ErrorClass::Server);
                listener.refuse();
                rt::sleep_until(clock::now() + pause).await;
                let longest = match error.kind {
                    OpenKind::Unreachable => UNREACHABLE_CAP,
                    OpenKind::Refused => home.pool.limits().login_retry.max(UNREACHABLE_CAP),
                };
                pause = (pause * 2).min(longest);
            }
        }
    }
    listener.refuse();
    listener.stands(Standing::Unused);
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// The pool is paused or closed, or an operator wants a new one.
    Ordered,
    /// It broke, or said what it should not.
    Lost(String),
}

/// The connection and its position.
struct Line {
    home: Rc<Home>,
    conn: ServerConn,
    /// Not understood yet.
    unread: Vec<u8>,
    /// Not taken yet.
    unsent: Vec<u8>,
    under_way: Option<Batch>,
    /// What has come of the oldest query under way: whether it was carried out.
    outcome: Option<bool>,
    /// A query was answered.
    was_answered: bool,
    renewals: u64,
}

/// How it ended.
struct Served {
    lost: bool,
    was_answered: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.home.forget(self.conn.entry.id);
        self.home.listener.lost(self.under_way.as_ref());
    }
}

async fn serve(mut line: Line) -> Served {
    let home = Rc::clone(&line.home);
    let end = loop {
        let end = poll_fn(|cx| line.poll(cx)).await;
        let wanted_again = end == End::Unwanted
            && rt::timeout_at(clock::now() + LINGER, home.listener.nudged()).await.is_ok();
        if !wanted_again {
            break end;
        }
    };
    let log = home.settings.borrow().log_disconnections;
    match &end {
        End::Lost(reason) => {
            tracing::warn!(pool = %home.pool.key(), "the listener was lost: {reason}");
            home.counters.borrow_mut().error(ErrorClass::Server);
        }
        End::Unwanted | End::Ordered if log => {
            let server = line.conn.entry.id;
            tracing::info!(server, pool = %home.pool.key(), "closing the listener");
        }
        End::Unwanted | End::Ordered => {}
    }
    let lost = matches!(end, End::Lost(_));
    if !lost {
        let at_rest = line.under_way.is_none() && line.unsent.is_empty();
        let deadline = clock::now() + CLOSE_TIME;
        let _ = rt::timeout_at(deadline, say_goodbye(&mut line.conn, at_rest)).await;
    }
    Served { lost, was_answered: line.was_answered }
}

impl Line {
    fn new(home: &Rc<Home>, opened: Opened, plan: &ServerPlan, renewals: u64) -> Self {
        let conn = home.adopt((home.next_id)(), opened, plan);
        conn.entry.state.set("listen");
        if home.settings.borrow().log_connections {
            tracing::info!(server = conn.entry.id, pool = %home.pool.key(), "new connection to server, the listener");
        }
        home.listener.stands(Standing::Up);
        let home = Rc::clone(home);
        let (unread, unsent) = (Vec::new(), Vec::new());
        Self { home, conn, unread, unsent, under_way: None, outcome: None, was_answered: false, renewals }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let home = Rc::clone(&self.home);
        home.listener.listen_for_nudges(cx.waker());
        for _ in 0..READS_PER_TURN {
            let renewed = home.listener.renewals.get() != self.renewals;
            if renewed || home.pool.is_closed() || home.pool.is_paused() {
                return Poll::Ready(End::Ordered);
            }
            if self.under_way.is_none()
                && let Some(batch) = home.listener.next_batch(rt::turn_time())
            {
                batch.put(&mut self.unsent);
                self.under_way = Some(batch);
            }
            if self.under_way.is_none() && !home.listener.is_wanted() {
                return Poll::Ready(End::Unwanted);
            }
            if let Err(end) = self.write(cx) {
                return Poll::Ready(end);
            }
            if let Err(end) = ready!(self.read(cx)) {
                return Poll::Ready(end);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let lost = |error: std::io::Error| End::Lost(error.to_string());
        while !self.unsent.is_empty() {
            match self.conn.stream.poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(0)) => return Err(End::Lost("the server takes nothing".to_owned())),
                Poll::Ready(Ok(n)) => drop(self.unsent.drain(..n)),
                Poll::Ready(Err(error)) => return Err(lost(error)),
                Poll::Pending => return Ok(()),
            }
        }
        match self.conn.stream.poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map_err(lost),
            Poll::Pending => Ok(()),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut buffer = [0; READ_BUFFER];
        let n = match ready!(self.conn.stream.poll_read(cx, &mut buffer)) {
            Ok(0) => return Poll::Ready(Err(End::Lost("the server closed it".to_owned()))),
            Ok(n) => n,
            Err(error) => return Poll::Ready(Err(End::Lost(error.to_string()))),
        };
        self.unread.extend_from_slice(buffer.get(..n).unwrap_or_default());
        Poll::Ready(self.understand())
    }

    /// Deals with every message that is there, as many as one read has brought.
    fn understand(&mut self) -> Result<(), End> {
        let unread = std::mem::take(&mut self.unread);
        let mut rest = unread.as_slice();
        loop {
            let header = match FrameHeader::backend(rest) {
                Ok(Some(header)) if header.wire_len <= MAX_MESSAGE => header,
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return Err(End::Lost("a message of impossible length".to_owned())),
            };
            let Some((message, behind)) = rest.split_at_checked(header.wire_len) else { break };
            self.message(header.tag, message)?;
            rest = behind;
        }
        self.unread = rest.to_vec();
        Ok(())
    }

    fn message(&mut self, tag: u8, message: &[u8]) -> Result<(), End> {
        let body = message.get(HEADER_LEN..).unwrap_or_default();
        let out_of_place = || End::Lost(format!("message of type {:?} out of place", char::from(tag)));
        let oldest = self.under_way.as_ref().and_then(|batch| batch.plan.front());
        match tag {
            b'A' => self.home.listener.heard(channel_of(body), message),
            b'N' | b'S' => {}
            b'C' | b'I' => {
                let fits = self.outcome.is_none() && oldest.is_some_and(|ask| ask.expected() == (tag, body));
                if !fits {
                    return Err(out_of_place());
                }
                self.outcome = Some(true);
            }
            b'E' => self.failed(&PgError::parse(body))?,
            b'Z' => self.answered().ok_or_else(out_of_place)?,
            _ => return Err(out_of_place()),
        }
        Ok(())
    }

    /// An error answers the oldest query. One that can be lived with is a refusal to listen to one channel.
    fn failed(&mut self, error: &PgError) -> Result<(), End> {
        let oldest = self.under_way.as_ref().and_then(|batch| batch.plan.front());
        match oldest {
            Some(Ask::Listen(name)) if error.severity == Severity::Error && self.outcome.is_none() => {
                let (pool, channel) = (self.home.pool.key(), String::from_utf8_lossy(name));
                tracing::warn!(%pool, %channel, "PostgreSQL does not listen to a channel: {error}");
                self.home.counters.borrow_mut().error(ErrorClass::Server);
                self.outcome = Some(false);
                Ok(())
            }
            Some(_) | None => Err(End::Lost(error.to_string())),
        }
    }

    /// The oldest query is over; `None` if there is none, or nothing has come of it.
    fn answered(&mut self) -> Option<()> {
        let is_done = self.outcome.take()?;
        let batch = self.under_way.as_mut()?;
        let ask = batch.plan.pop_front()?;
        let listener = &self.home.listener;
        listener.settled(&ask, is_done, rt::turn_time());
        self.was_answered |= is_done;
        if batch.plan.is_empty()
            && let Some(batch) = self.under_way.take()
        {
            listener.answered(batch);
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "listening_tests.rs"]
mod tests;
