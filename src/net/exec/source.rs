//! What is known of one socket.
//!
//! Owns: what events and system calls have told of it, and who is to be woken. Does not know: the other sockets, epoll.
//!
//! Whoever has the socket shares it with the reactor's table: it is asked several times in each transaction, and this
//! way without a look into the table. The invariants are the reactor's.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use mio::Token;

use super::tasks::{Running, TaskId};

/// A registered socket, or one that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl SourceId {
    pub(super) const fn token(self) -> Token {
        Token((self.generation as usize) << 32 | self.index as usize)
    }

    pub(super) fn of(token: Token) -> Self {
        let half = |word: usize| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
        Self { index: half(token.0), generation: half(token.0 >> 32) }
    }
}

/// One of the two things a socket can be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Read,
    Write,
}

/// One side of a socket: what is known of it, and who is woken by its events. A task of this executor is known by its
/// number, which costs no reference to count.
#[derive(Debug)]
struct Half {
    ready: Cell<bool>,
    ended: Cell<bool>,
    waiting: Cell<TaskId>,
}

impl Default for Half {
    fn default() -> Self {
        Self { ready: Cell::default(), ended: Cell::default(), waiting: Cell::new(TaskId::NOBODY) }
    }
}

/// Wakers that are not those of this executor's tasks.
#[derive(Debug, Default)]
struct Others {
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Who is told of what can be read while nobody waits for it.
    alarm: Option<Waker>,
}

impl Others {
    const fn of(&mut self, side: Side) -> &mut Option<Waker> {
        match side {
            Side::Read => &mut self.reader,
            Side::Write => &mut self.writer,
        }
    }
}

/// What is known of one socket: shared by whoever has the socket, who asks several times in each transaction, and the
/// table by which events find it.
pub(super) struct Source {
    pub(super) id: SourceId,
    /// The reactor was asked for events of writing.
    pub(super) watches_write: Cell<bool>,
    read: Half,
    write: Half,
    /// Few sockets have any.
    others: Cell<Option<Box<Others>>>,
}

/// What a socket may be taken for when it is registered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// It is connected: it can be written to until a write says otherwise.
    pub(super) writable: bool,
    /// Ask for events of writing from the start. A Unix socket has one after each read of its peer, so it is asked
    /// for them only when a write has found it full.
    pub(super) watch_write: bool,
}

/// Whom an event wakes.
pub(super) enum Woken {
    Nobody,
    Task(TaskId),
    Other(Waker),
}

impl Source {
    /// A socket of which no event has told anything yet.
    pub(super) fn new(id: SourceId, start: Start) -> Self {
        Self {
            id,
            watches_write: Cell::new(start.watch_write),
            read: Half::default(),
            write: Half { ready: Cell::new(start.writable), ..Half::default() },
            others: Cell::default(),
        }
    }

    /// Forgets whom to wake. Not to be called with anything borrowed.
    pub(super) fn forget(&self) {
        drop(self.others.take());
    }

    const fn half(&self, side: Side) -> &Half {
        match side {
            Side::Read => &self.read,
            Side::Write => &self.write,
        }
    }

    /// A look at the wakers, during which there seem to be none. What `look` gives back is to be dropped afterwards.
    fn with_others<R>(&self, look: impl FnOnce(&mut Others) -> R) -> R {
        let mut others = self.others.take().unwrap_or_default();
        let seen = look(&mut others);
        self.others.set(Some(others));
        seen
    }

    /// The same where there are any; most sockets never have, and get no memory for it.
    fn look_at_others<R>(&self, look: impl FnOnce(&mut Others) -> R) -> Option<R> {
        let mut others = self.others.take()?;
        let seen = look(&mut others);
        self.others.set(Some(others));
        Some(seen)
    }

    /// Ready if a system call may find something; otherwise the task is woken when one may. The last task that
    /// asked is the one woken.
    #[inline(always)]
    pub(super) fn poll_ready(&self, side: Side, running: &Running, cx: &Context<'_>) -> Poll<()> {
        let half = self.half(side);
        if half.ready.get() {
            return Poll::Ready(());
        }
        match running.id_of(cx.waker()) {
            Some(task) if half.waiting.get() != TaskId::OTHER => half.waiting.set(task),
            task => self.wait(side, task, cx.waker()),
        }
        Poll::Pending
    }

    /// As part of [`Source::poll_ready`], where a waker comes or goes.
    fn wait(&self, side: Side, task: Option<TaskId>, waker: &Waker) {
        let half = self.half(side);
        let (waiting, old) = self.with_others(|others| {
            if let Some(task) = task {
                return (task, others.of(side).take());
            }
            if side == Side::Read && others.alarm.as_ref().is_some_and(|alarm| alarm.will_wake(waker)) {
                return (TaskId::NOBODY, others.reader.take());
            }
            let known = others.of(side);
            let same = known.as_ref().is_some_and(|known| known.will_wake(waker));
            (TaskId::OTHER, if same { None } else { known.replace(waker.clone()) })
        });
        half.waiting.set(waiting);
        drop(old);
    }

    /// Whom to wake from now on when it can be read and no task waits for that. To be told once.
    pub(super) fn set_alarm(&self, alarm: &Waker) {
        let old = self.with_others(|others| others.alarm.replace(alarm.clone()));
        drop(old);
    }

    /// Whether nothing can be read; then the alarm is rung from now on when that changes.
    #[inline(always)]
    pub(super) fn rings_alarm(&self) -> bool {
        if self.read.ready.get() || self.read.waiting.get() == TaskId::OTHER {
            return false;
        }
        self.read.waiting.set(TaskId::NOBODY);
        true
    }

    /// Whether an event has told the end.
    pub(super) const fn has_ended(&self, side: Side) -> bool {
        self.half(side).ended.get()
    }

    /// Whether nothing is ready and this task is the one to be woken.
    #[inline(always)]
    pub(super) fn awaits(&self, side: Side, running: &Running, cx: &Context<'_>) -> bool {
        let half = self.half(side);
        let waiting = half.waiting.get();
        !half.ready.get()
            && match running.id_of(cx.waker()) {
                Some(task) => waiting == task,
                None => self.awaits_other(side, waiting, cx.waker()),
            }
    }

    fn awaits_other(&self, side: Side, waiting: TaskId, waker: &Waker) -> bool {
        let is = |known: &Option<Waker>| known.as_ref().is_some_and(|known| known.will_wake(waker));
        self.look_at_others(|others| match waiting {
            TaskId::OTHER => is(others.of(side)),
            TaskId::NOBODY => side == Side::Read && is(&others.alarm),
            _ => false,
        })
        .unwrap_or(false)
    }

    /// A system call did not do all it was asked for: the next one would be in vain, unless the end is there.
    #[inline]
    pub(super) fn short(&self, side: Side) {
        let half = self.half(side);
        half.ready.set(half.ended.get());
    }

    /// A system call would have had to wait: so it is not the end either, whatever an event has said.
    pub(super) fn empty(&self, side: Side) {
        let half = self.half(side);
        half.ready.set(false);
        half.ended.set(false);
    }

    /// Notes an event.
    #[inline(always)]
    pub(super) fn mark(&self, side: Side, ended: bool) -> Woken {
        let half = self.half(side);
        if side == Side::Write && half.ready.get() && !ended {
            return Woken::Nobody; // a TCP socket says so with each event of reading, and nobody can wait for it
        }
        half.ready.set(true);
        if ended {
            half.ended.set(true);
        }
        match half.waiting.get() {
            TaskId::NOBODY if side == Side::Write => Woken::Nobody,
            TaskId::NOBODY => self.look_at_others(|others| others.alarm.clone()).flatten().into(),
            TaskId::OTHER => self.look_at_others(|others| others.of(side).clone()).flatten().into(),
            task => Woken::Task(task),
        }
    }
}

impl From<Option<Waker>> for Woken {
    fn from(waker: Option<Waker>) -> Self {
        waker.map_or(Self::Nobody, Self::Other)
    }
}

impl Woken {
    #[inline]
    pub(super) fn wake(self, task: &impl Fn(TaskId)) {
        match self {
            Self::Nobody => {}
            Self::Task(id) => task(id),
            Self::Other(waker) => waker.wake(),
        }
    }
}
