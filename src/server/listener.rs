//! Which clients of a pool listen to what: the books of the pool's one connection that listens for all of them.
//!
//! Owns: who has registered for which channels, which of them are in force, who waits for that. Does not know: the
//! connection, which is `listening`'s. Clients leave by [`Listener::leave`]; the books hold none of them alive.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::home::Home;
use super::listening::listen;
use crate::net::rt;
use crate::session::{Ear, Errand, Name, Progress};

/// Channels that one query asks for; the others follow.
const MAX_BATCH: usize = 200;

/// How long PostgreSQL may take for a LISTEN, which takes it no work at all.
const ANSWER_TIME: Duration = Duration::from_secs(30);

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
    /// The query under way was sent then.
    asked_at: Cell<Option<Instant>>,
    /// Counts what the connection's task has to look at.
    nudges: Cell<u64>,
    /// Counts the orders to connect anew.
    pub(super) renewals: Cell<u64>,
    waker: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Books {
    channels: HashMap<Name, Channel>,
    ears: HashMap<usize, Known>,
    /// Channels whose being in force may not agree with their being wanted.
    changed: Vec<Name>,
    /// Who asked for something that no query under way covers.
    waiting: Vec<usize>,
    /// Somebody has missed something.
    gap: bool,
}

#[derive(Default)]
struct Channel {
    /// By [`key`].
    ears: HashSet<usize>,
    in_force: bool,
}

struct Known {
    ear: Weak<Ear>,
    channels: Vec<Name>,
    /// It has missed something and is to be told.
    missed: bool,
}

/// What a query asks for.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) sql: Vec<u8>,
    listens: Vec<Name>,
    asked_by: Vec<usize>,
}

/// Stays the client's as long as the books have a `Weak` of it.
fn key(ear: &Rc<Ear>) -> usize {
    Rc::as_ptr(ear).addr()
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
        ear.set_progress(progress);
        if progress != Progress::Waiting {
            return;
        }
        listener.books.borrow_mut().waiting.push(key(ear));
        if listener.standing.get() == Standing::Unused {
            listener.standing.set(Standing::Opening);
            rt::spawn_detached("listener", listen(Rc::clone(home)));
        }
        listener.nudge();
    }

    /// Brings the books up to date with the channels that an ear is for.
    pub fn update(&self, ear: &Rc<Ear>) {
        if !ear.take_changed() {
            return;
        }
        let mut books = self.books.borrow_mut();
        books.remove(key(ear), ear.is_deaf());
        if !ear.is_deaf() {
            books.add(ear);
        }
        drop(books);
        self.nudge();
    }

    /// A client listens no more.
    pub fn leave(&self, ear: &Rc<Ear>) {
        ear.want(Vec::new());
        self.books.borrow_mut().remove(key(ear), true);
        self.nudge();
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

    /// Gives up a server that does not answer.
    pub fn expire(&self, now: Instant) {
        let late = |since: Instant| now.saturating_duration_since(since) >= ANSWER_TIME;
        if self.asked_at.get().is_some_and(late) {
            self.renew();
        }
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        self.standing.get() == Standing::Up
    }

    /// Clients that listen.
    pub fn clients(&self) -> usize {
        self.books.borrow().ears.len()
    }

    /// Whether anybody listens.
    pub(super) fn is_wanted(&self) -> bool {
        !self.books.borrow().ears.is_empty()
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
        let mut books = self.books.borrow_mut();
        let waiting = std::mem::take(&mut books.waiting);
        for ear in waiting.iter().filter_map(|id| books.ears.get(id)?.ear.upgrade()) {
            ear.set_progress(Progress::Refused);
        }
    }

    /// The connection is gone, with the query under way.
    pub(super) fn lost(&self, under_way: Option<Batch>) {
        self.standing.set(Standing::Opening);
        self.asked_at.set(None);
        let mut books = self.books.borrow_mut();
        let Books { channels, ears, changed, gap, .. } = &mut *books;
        // Whoever asked for what broke it does not wait for the next time.
        for id in under_way.into_iter().flat_map(|batch| batch.asked_by) {
            if let Some(ear) = ears.get(&id).and_then(|known| known.ear.upgrade()) {
                ear.set_progress(Progress::Refused);
            }
        }
        for known in ears.values_mut() {
            let in_force = |name| channels.get(name).is_some_and(|channel: &Channel| channel.in_force);
            known.missed |= known.channels.iter().any(in_force);
            *gap |= known.missed;
        }
        channels.retain(|_, channel| !channel.ears.is_empty());
        for channel in channels.values_mut() {
            channel.in_force = false;
        }
        *changed = channels.keys().cloned().collect();
    }

    /// The next query, if there is anything to ask for.
    pub(super) fn next_batch(&self, now: Instant) -> Option<Batch> {
        let batch = self.books.borrow_mut().next_batch()?;
        self.asked_at.set(Some(now));
        Some(batch)
    }

    /// A query has been answered.
    pub(super) fn answered(&self, batch: Batch) {
        self.asked_at.set(None);
        self.books.borrow_mut().answered(batch);
    }

    /// A notification has come.
    pub(super) fn heard(&self, channel: &[u8], message: &[u8]) {
        let books = self.books.borrow();
        let Some(known) = books.channels.get(channel) else { return };
        for ear in known.ears.iter().filter_map(|id| books.ears.get(id)?.ear.upgrade()) {
            ear.hear(channel, message);
        }
    }
}

impl Books {
    fn add(&mut self, ear: &Rc<Ear>) {
        let channels = ear.wanted();
        for name in &channels {
            let channel = self.channels.entry(name.clone()).or_default();
            channel.ears.insert(key(ear));
            if !channel.in_force {
                self.changed.push(name.clone());
            }
        }
        let fresh = Known { ear: Rc::downgrade(ear), channels: Vec::new(), missed: false };
        self.ears.entry(key(ear)).or_insert(fresh).channels = channels;
    }

    /// Takes an ear out of its channels, and with `wholly` out of the books.
    fn remove(&mut self, id: usize, wholly: bool) {
        let Some(known) = self.ears.get_mut(&id) else { return };
        for name in std::mem::take(&mut known.channels) {
            if let Some(channel) = self.channels.get_mut(&name) {
                channel.ears.remove(&id);
                if channel.ears.is_empty() {
                    self.changed.push(name);
                }
            }
        }
        if wholly {
            self.ears.remove(&id);
        }
    }

    fn is_served(&self, id: usize) -> bool {
        let in_force = |name| self.channels.get(name).is_some_and(|channel: &Channel| channel.in_force);
        self.ears.get(&id).is_none_or(|known| known.channels.iter().all(in_force))
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let many = self.changed.len().saturating_sub(MAX_BATCH);
        for name in self.changed.drain(many..) {
            let Some(channel) = self.channels.get(&name) else { continue };
            let wanted = !channel.ears.is_empty();
            if wanted != channel.in_force {
                put_listen(&mut batch.sql, wanted, &name);
            }
            if wanted && !channel.in_force {
                batch.listens.push(name);
            } else if !wanted {
                self.channels.remove(&name);
            }
        }
        batch.asked_by = std::mem::take(&mut self.waiting);
        let nothing = batch.sql.is_empty() && batch.asked_by.is_empty();
        (!nothing).then_some(batch)
    }

    fn answered(&mut self, batch: Batch) {
        for name in &batch.listens {
            if let Some(channel) = self.channels.get_mut(name) {
                channel.in_force = true;
            }
        }
        for id in batch.asked_by {
            let Some(ear) = self.ears.get(&id).and_then(|known| known.ear.upgrade()) else { continue };
            if self.is_served(id) {
                ear.set_progress(Progress::Done);
            } else {
                self.waiting.push(id);
            }
        }
        if std::mem::take(&mut self.gap) {
            self.tell_of_gap();
        }
    }

    /// Whoever has missed something and hears all of its channels again is told.
    fn tell_of_gap(&mut self) {
        let missed: Vec<_> = self.ears.iter().filter(|(_, known)| known.missed).map(|(id, _)| *id).collect();
        for id in missed {
            if !self.is_served(id) {
                self.gap = true;
            } else if let Some(known) = self.ears.get_mut(&id)
                && std::mem::take(&mut known.missed)
                && let Some(ear) = known.ear.upgrade()
            {
                ear.interrupted();
            }
        }
    }
}

fn put_listen(sql: &mut Vec<u8>, listen: bool, name: &[u8]) {
    sql.extend(if listen { &b"LISTEN \""[..] } else { b"UNLISTEN \"" });
    for &byte in name {
        sql.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
    }
    sql.extend(b"\";");
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
