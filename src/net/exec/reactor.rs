//! Which sockets can be read and written.
//!
//! Owns: the epoll instance and what it has reported of each socket since. Does not know: bytes.
//!
//! Sockets are registered once, edge-triggered. What an event says is remembered until a system call has disproved
//! it: a short read means empty, a short write means full. So neither waiting nor going on costs a system call of
//! its own.
//!
//! Invariants:
//! - a mark is taken off only by a call that came back short or empty *after* the event that set it was seen, and
//!   whatever happens later gives another event: no readiness is lost;
//! - the end of the stream is remembered for good, since it gives one event only, perhaps together with data;
//! - a number that is used again has another generation: an event for a socket that is gone marks nobody.

use std::cell::{Cell, RefCell};
use std::io::Result;
use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};

use super::tasks::{Running, TaskId};

/// Events taken at once; the next turn takes the rest. Enough for every client of a busy worker to have its turn
/// before the reactor is asked again, and 12 kB.
const EVENTS: usize = 1024;

/// The bell of other threads.
const BELL: Token = Token(usize::MAX);

/// The end of the list of free places.
const NOWHERE: u32 = u32::MAX;

/// A registered socket, or one that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId {
    index: u32,
    generation: u32,
}

impl SourceId {
    const fn token(self) -> Token {
        Token((self.generation as usize) << 32 | self.index as usize)
    }

    fn of(token: Token) -> Self {
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

/// Who is woken by an event. A task of this executor is known by its number, which costs no reference to count.
#[derive(Debug)]
enum Waiting {
    Task(TaskId),
    Other(Waker),
}

impl Default for Waiting {
    fn default() -> Self {
        Self::Task(TaskId::NOBODY)
    }
}

/// What is known of one side.
#[derive(Debug, Default)]
struct Mark {
    ready: bool,
    ended: bool,
}

/// Marks and waiters apart, so that the four flags share one word.
#[derive(Debug, Default)]
struct Source {
    generation: u32,
    watches_write: bool,
    read: Mark,
    write: Mark,
    reader: Waiting,
    writer: Waiting,
    /// Who is told of what can be read while nobody waits for it.
    alarm: Option<Box<Waker>>,
    /// Where no socket is: the next such place, or [`NOWHERE`].
    next_free: u32,
}

impl Source {
    const fn half(&mut self, side: Side) -> Half<'_> {
        match side {
            Side::Read => Half { mark: &mut self.read, waiting: &mut self.reader },
            Side::Write => Half { mark: &mut self.write, waiting: &mut self.writer },
        }
    }

    fn is_alarm(&self, side: Side, waker: &Waker) -> bool {
        side == Side::Read && self.alarm.as_ref().is_some_and(|alarm| alarm.will_wake(waker))
    }
}

/// One side of a socket.
struct Half<'a> {
    mark: &'a mut Mark,
    waiting: &'a mut Waiting,
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

/// See the module.
pub(super) struct Reactor {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    registry: mio::Registry,
    sources: RefCell<Vec<Source>>,
    /// The first place without a socket, or [`NOWHERE`]: they form a list, so that no other memory grows when
    /// everybody leaves.
    free: Cell<u32>,
    /// The task that is being polled.
    running: Running,
    /// Lent to reads that cannot tell how much room they need.
    scratch: RefCell<Vec<u8>>,
}

impl Reactor {
    pub(super) fn new() -> Result<Self> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        Ok(Self {
            poll: RefCell::new(poll),
            events: RefCell::new(Events::with_capacity(EVENTS)),
            registry,
            sources: RefCell::default(),
            free: Cell::new(NOWHERE),
            running: Running::default(),
            scratch: RefCell::default(),
        })
    }

    /// What ends the wait of [`Reactor::turn`] from another thread.
    pub(super) fn bell(&self) -> Result<mio::Waker> {
        mio::Waker::new(&self.registry, BELL)
    }

    /// Where the task being polled is noted.
    pub(super) const fn running(&self) -> &Running {
        &self.running
    }

    /// Waits for events for at most `limit`, marks the sockets, wakes who waits for them: tasks of this executor by
    /// `wake`. Whether the bell rang.
    pub(super) fn turn(&self, limit: Option<Duration>, wake: impl Fn(TaskId)) -> bool {
        let mut events = self.events.borrow_mut();
        if let Err(error) = self.poll.borrow_mut().poll(&mut events, limit)
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            // Only a bug gives an error here, and going on without a reactor serves nobody.
            tracing::error!("epoll failed: {error}");
        }
        let mut bell = false;
        for event in &*events {
            if event.token() == BELL {
                bell = true;
                continue;
            }
            let id = SourceId::of(event.token());
            let closed = event.is_read_closed() || event.is_error();
            if event.is_readable() || closed {
                self.mark(id, Side::Read, closed, &wake);
            }
            let closed = event.is_write_closed() || event.is_error();
            if event.is_writable() || closed {
                self.mark(id, Side::Write, closed, &wake);
            }
        }
        bell
    }

    fn mark(&self, id: SourceId, side: Side, ended: bool, wake: &impl Fn(TaskId)) {
        let waker = {
            let mut sources = self.sources.borrow_mut();
            let Some(source) = at(&mut sources, id) else { return };
            let Half { mark, waiting } = source.half(side);
            if side == Side::Write && mark.ready && !ended {
                return; // a TCP socket says so with each event of reading, and nobody can wait for it
            }
            mark.ready = true;
            mark.ended |= ended;
            match waiting {
                Waiting::Task(TaskId::NOBODY) if side == Side::Write => return,
                Waiting::Task(TaskId::NOBODY) => match &source.alarm {
                    Some(alarm) => Waker::clone(alarm),
                    None => return,
                },
                Waiting::Task(task) => {
                    let task = *task;
                    drop(sources);
                    return wake(task);
                }
                Waiting::Other(waker) => waker.clone(),
            }
        };
        waker.wake();
    }

    /// Puts a socket on the reactor.
    pub(super) fn register(&self, fd: RawFd, start: Start) -> Result<SourceId> {
        let id = self.allot(start);
        let interest =
            if start.watch_write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), id.token(), interest) {
            self.release(id);
            return Err(error);
        }
        Ok(id)
    }

    fn allot(&self, start: Start) -> SourceId {
        let mut sources = self.sources.borrow_mut();
        let mut index = self.free.get();
        if index == NOWHERE {
            index = u32::try_from(sources.len()).unwrap_or(NOWHERE);
            sources.push(Source { next_free: NOWHERE, ..Source::default() });
        }
        let generation = sources.get_mut(index as usize).map_or(0, |source| {
            self.free.set(source.next_free);
            source.watches_write = start.watch_write;
            source.write.ready = start.writable;
            source.generation
        });
        SourceId { index, generation }
    }

    /// Takes a socket that stays open off the reactor.
    pub(super) fn deregister(&self, id: SourceId, fd: RawFd) -> Result<()> {
        self.release(id);
        self.registry.deregister(&mut SourceFd(&fd))
    }

    /// Forgets a socket. Closing its descriptor takes it off epoll; an event that is on its way marks nobody.
    pub(super) fn release(&self, id: SourceId) {
        let old = {
            let mut sources = self.sources.borrow_mut();
            let Some(source) = at(&mut sources, id) else { return };
            let generation = source.generation.wrapping_add(1);
            let next_free = self.free.replace(id.index);
            std::mem::replace(source, Source { generation, next_free, ..Source::default() })
        };
        drop(old);
    }

    /// Ready if a system call may find something; otherwise the task is woken when one may. The last task that
    /// asked is the one woken.
    #[inline]
    pub(super) fn poll_ready(&self, id: SourceId, side: Side, cx: &Context<'_>) -> Poll<()> {
        let mut sources = self.sources.borrow_mut();
        let Some(source) = at(&mut sources, id) else { return Poll::Ready(()) };
        if source.half(side).mark.ready {
            return Poll::Ready(());
        }
        let task = self.running.id_of(cx.waker());
        let task = task.or_else(|| source.is_alarm(side, cx.waker()).then_some(TaskId::NOBODY));
        if let (Some(task), Waiting::Task(known)) = (task, source.half(side).waiting) {
            *known = task;
            return Poll::Pending;
        }
        drop(sources);
        self.wait(id, side, task, cx.waker());
        Poll::Pending
    }

    /// As part of [`Reactor::poll_ready`], where a waker comes or goes.
    fn wait(&self, id: SourceId, side: Side, task: Option<TaskId>, waker: &Waker) {
        let old = {
            let mut sources = self.sources.borrow_mut();
            let Some(source) = at(&mut sources, id) else { return };
            let waiting = source.half(side).waiting;
            match (task, &*waiting) {
                (None, Waiting::Other(known)) if known.will_wake(waker) => return,
                (None, _) => std::mem::replace(waiting, Waiting::Other(waker.clone())),
                (Some(task), _) => std::mem::replace(waiting, Waiting::Task(task)),
            }
        };
        drop(old);
    }

    /// Whom to wake from now on when a socket can be read and no task waits for it. To be told once.
    pub(super) fn set_alarm(&self, id: SourceId, alarm: &Waker) {
        let old = {
            let mut sources = self.sources.borrow_mut();
            let Some(source) = at(&mut sources, id) else { return };
            source.alarm.replace(Box::new(alarm.clone()))
        };
        drop(old);
    }

    /// Whether an event has told the end.
    pub(super) fn has_ended(&self, id: SourceId, side: Side) -> bool {
        at(&mut self.sources.borrow_mut(), id).is_none_or(|source| source.half(side).mark.ended)
    }

    /// Whether nothing is ready and this task is the one to be woken.
    #[inline]
    pub(super) fn awaits(&self, id: SourceId, side: Side, cx: &Context<'_>) -> bool {
        let mut sources = self.sources.borrow_mut();
        let Some(source) = at(&mut sources, id) else { return false };
        let Half { mark, waiting } = source.half(side);
        if mark.ready {
            return false;
        }
        match waiting {
            Waiting::Task(TaskId::NOBODY) => source.is_alarm(side, cx.waker()),
            Waiting::Task(known) => self.running.id_of(cx.waker()) == Some(*known),
            Waiting::Other(known) => known.will_wake(cx.waker()),
        }
    }

    /// A system call did not do all it was asked for: the next one would be in vain, unless the end is there.
    pub(super) fn short(&self, id: SourceId, side: Side) {
        let mut sources = self.sources.borrow_mut();
        if let Some(half) = at(&mut sources, id).map(|source| source.half(side)) {
            half.mark.ready = half.mark.ended;
        }
    }

    /// A system call would have had to wait: so it is not the end either, whatever an event has said.
    pub(super) fn empty(&self, id: SourceId, side: Side) {
        let mut sources = self.sources.borrow_mut();
        if let Some(half) = at(&mut sources, id).map(|source| source.half(side)) {
            (half.mark.ready, half.mark.ended) = (false, false);
        }
    }

    /// A write found the socket full: asks for events of writing if that has not been done yet.
    pub(super) fn watch_write(&self, id: SourceId, fd: RawFd) -> Result<()> {
        let mut sources = self.sources.borrow_mut();
        let Some(source) = at(&mut sources, id).filter(|source| !source.watches_write) else { return Ok(()) };
        source.watches_write = true;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry.reregister(&mut SourceFd(&fd), id.token(), both)
    }

    /// Lends `room` bytes to read into. Not to be called from within `use_it`.
    pub(super) fn with_scratch<T>(&self, room: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut scratch = self.scratch.borrow_mut();
        if scratch.len() < room {
            scratch.resize(room, 0);
        }
        use_it(scratch.get_mut(..room).unwrap_or_default())
    }

    /// Sockets registered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let sources = self.sources.borrow();
        let next = |at: &u32| sources.get(*at as usize).map(|source| source.next_free);
        let free = std::iter::successors(Some(self.free.get()), next).filter(|at| *at != NOWHERE).count();
        sources.len() - free
    }
}

fn at(sources: &mut [Source], id: SourceId) -> Option<&mut Source> {
    sources.get_mut(id.index as usize).filter(|source| source.generation == id.generation)
}
