//! The pool's one connection that listens for all of its clients, as these and the rest of the house see it.
//!
//! Owns: whether there is one, orders to it, what becomes of a client's wish. Does not know: the connection, which is
//! `listening`'s; who listens to what, which is in the books. Clients leave by [`Listener::leave`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::channel_books::{Ask, Batch, Books};
use super::home::Home;
use super::listening::listen;
use crate::net::rt;
use crate::session::{Ear, Errand, Progress};

/// How long PostgreSQL may take for a batch of LISTEN, which is no work for it. Whoever waits for that keeps a server,
/// and is ended after 30 s: a new connection has to be there long before.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How long a channel rests that PostgreSQL has refused to renew.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// How long the connection is wanted after a client that keeps its server has last sought it: each does on each tick.
const SEEK_TIME: Duration = Duration::from_secs(2);

/// How the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// Nobody needs it.
    #[default]
    Unused,
    /// It is being opened: who waits, waits on.
    Opening,
    /// It listens.
    Up,
    /// It could not be opened, or must not be: nobody waits for it.
    Down,
}

/// See the module.
#[derive(Default)]
pub struct Listener {
    books: RefCell<Books>,
    standing: Cell<Standing>,
    /// The batch under way was sent then.
    asked_at: Cell<Option<Instant>>,
    /// When channels that were refused are asked for again.
    retry_at: Cell<Option<Instant>>,
    /// Until then clients seek it that keep their servers because it cannot be had.
    sought_until: Cell<Option<Instant>>,
    /// Counts what the connection's task has to look at.
    nudges: Cell<u64>,
    /// Counts the orders to connect anew.
    pub(super) renewals: Cell<u64>,
    waker: Cell<Option<Waker>>,
}

impl Listener {
    /// Asks for something; the ear's progress tells what becomes of it.
    pub fn ask(home: &Rc<Home>, ear: &Rc<Ear>, errand: Errand) {
        let listener = &home.listener;
        listener.update(ear);
        if errand == Errand::Register && home.pool.is_paused() {
            return ear.set_progress(Progress::Refused);
        }
        let progress = match (errand, listener.standing.get()) {
            _ if ear.is_deaf() => Progress::Done,
            (Errand::Register, Standing::Down) => Progress::Refused,
            (Errand::Register, _) | (Errand::Barrier, Standing::Up) => Progress::Waiting,
            (Errand::Barrier, _) => Progress::Done,
        };
        if progress != Progress::Waiting {
            return ear.set_progress(progress);
        }
        listener.expect(ear);
        Self::begin(home);
        listener.nudge();
    }

    /// Opens the connection for a client that does without it so far and does not wait for it.
    pub fn seek(home: &Rc<Home>, now: Instant) {
        if !home.pool.is_paused() && !home.pool.is_closed() {
            home.listener.sought_until.set(Some(now + SEEK_TIME));
            Self::begin(home);
        }
    }

    fn begin(home: &Rc<Home>) {
        if home.listener.standing.get() == Standing::Unused {
            home.listener.stands(Standing::Opening);
            rt::spawn_detached("listener", listen(Rc::clone(home)));
        }
    }

    /// Notes that an ear waits for what it is to be for.
    pub(super) fn expect(&self, ear: &Rc<Ear>) {
        self.update(ear);
        ear.set_progress(Progress::Waiting);
        self.books.borrow_mut().wait(ear);
    }

    /// Brings the books up to date with the channels that an ear is for.
    pub fn update(&self, ear: &Rc<Ear>) {
        let is_new = self.books.borrow_mut().update(ear);
        if is_new {
            self.nudge();
        }
    }

    /// A client listens no more.
    pub fn leave(&self, ear: &Ear) {
        ear.forget_all();
        if let Some(id) = ear.id() {
            self.books.borrow_mut().leave(id);
            self.nudge();
        }
    }

    /// Connects anew, without waiting for anything.
    pub fn renew(&self) {
        self.renewals.set(self.renewals.get() + 1);
        self.nudge();
    }

    /// Has the connection's task look at its pool: it may be paused, resumed or closed.
    pub fn nudge(&self) {
        self.nudges.set(self.nudges.get() + 1);
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives up a server that does not answer, and what nobody seeks any more, and asks again for what was refused.
    pub fn expire(&self, now: Instant) {
        let late = |since: Instant| now.saturating_duration_since(since) >= ANSWER_TIME;
        if self.asked_at.get().is_some_and(late) {
            self.renew();
        }
        if self.sought_until.get().is_some_and(|until| now >= until) {
            self.sought_until.set(None);
            self.nudge();
        }
        if self.retry_at.get().is_some_and(|at| now >= at) {
            self.retry_at.set(None);
            if self.books.borrow_mut().retry() {
                self.nudge();
            }
        }
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.standing.get() == Standing::Up
    }

    /// Clients that listen.
    pub fn clients(&self) -> usize {
        self.books.borrow().clients()
    }

    /// Whether anybody listens, or would.
    pub(super) fn is_wanted(&self) -> bool {
        self.books.borrow().is_wanted() || self.sought_until.get().is_some()
    }

    /// The task that is to be woken by the next nudge.
    pub(super) fn listen_for_nudges(&self, waker: &Waker) {
        self.waker.set(Some(waker.clone()));
    }

    /// Waits for the next nudge. Cancel safe.
    pub(super) async fn nudged(&self) {
        let seen = self.nudges.get();
        poll_fn(|cx| {
            self.listen_for_nudges(cx.waker());
            if self.nudges.get() == seen { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Notes how the connection stands.
    pub(super) fn stands(&self, standing: Standing) {
        self.standing.set(standing);
    }

    /// The connection cannot be had: whoever waits for it waits no more.
    pub(super) fn refuse(&self) {
        self.standing.set(Standing::Down);
        self.books.borrow_mut().refuse_all();
    }

    /// The connection is gone, with what is under way.
    pub(super) fn lost(&self, under_way: Option<&Batch>) {
        self.standing.set(Standing::Opening);
        self.asked_at.set(None);
        self.books.borrow_mut().lost(under_way);
    }

    /// The next queries, if there is anything to ask for.
    pub(super) fn next_batch(&self, now: Instant) -> Option<Batch> {
        let batch = self.books.borrow_mut().next_batch()?;
        self.asked_at.set(Some(now));
        Some(batch)
    }

    /// PostgreSQL has done what one query of a batch asked for, or has refused it.
    pub(super) fn settled(&self, ask: &Ask, is_done: bool, now: Instant) {
        let Ask::Listen(name) = ask else { return };
        if is_done {
            return self.books.borrow_mut().listening(name);
        }
        self.books.borrow_mut().refused(name);
        self.retry_at.set(Some(now + REFUSED_PAUSE));
    }

    /// All of a batch has been answered.
    pub(super) fn answered(&self, batch: Batch) {
        self.asked_at.set(None);
        self.books.borrow_mut().answered(batch);
    }

    /// A notification has come.
    pub(super) fn heard(&self, channel: &[u8], message: &[u8]) {
        self.books.borrow().heard(channel, message);
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
