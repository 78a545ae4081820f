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
use std::rc::Rc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};

use super::source::{Side, Source, SourceId, Start, Woken};
use super::tasks::{Running, TaskId};

/// Events taken at once; the next turn takes the rest. Enough for every client of a busy worker to have its turn
/// before the reactor is asked again, and 12 kB.
const EVENTS: usize = 1024;

/// The bell of other threads.
const BELL: Token = Token(usize::MAX);

/// The end of the list of free places.
const NOWHERE: u32 = u32::MAX;

/// A place in the table of sockets.
struct Place {
    generation: u32,
    /// Where no socket is: the next such place, or [`NOWHERE`].
    next_free: u32,
    source: Option<Rc<Source>>,
}

/// See the module.
pub(super) struct Reactor {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    registry: mio::Registry,
    sources: RefCell<Vec<Place>>,
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
            let (reader, writer) = {
                let sources = self.sources.borrow();
                let Some(source) = at(&sources, id) else { continue };
                let closed = event.is_read_closed() || event.is_error();
                let reads = event.is_readable() || closed;
                let reader = if reads { source.mark(Side::Read, closed) } else { Woken::Nobody };
                let closed = event.is_write_closed() || event.is_error();
                let writes = event.is_writable() || closed;
                let writer = if writes { source.mark(Side::Write, closed) } else { Woken::Nobody };
                (reader, writer)
            };
            reader.wake(&wake);
            writer.wake(&wake);
        }
        bell
    }

    /// Puts a socket on the reactor.
    pub(super) fn register(&self, fd: RawFd, start: Start) -> Result<Rc<Source>> {
        let source = self.allot(start);
        let interest =
            if start.watch_write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), source.id.token(), interest) {
            self.release(&source);
            return Err(error);
        }
        Ok(source)
    }

    fn allot(&self, start: Start) -> Rc<Source> {
        let mut sources = self.sources.borrow_mut();
        let mut index = self.free.get();
        if index == NOWHERE {
            index = u32::try_from(sources.len()).unwrap_or(NOWHERE);
            sources.push(Place { generation: 0, next_free: NOWHERE, source: None });
        }
        let place = sources.get_mut(index as usize);
        let generation = place.as_ref().map_or(0, |place| place.generation);
        let id = SourceId { index, generation };
        let source = Rc::new(Source::new(id, start));
        if let Some(place) = place {
            self.free.set(place.next_free);
            place.source = Some(Rc::clone(&source));
        }
        source
    }

    /// Takes a socket that stays open off the reactor.
    pub(super) fn deregister(&self, source: &Source, fd: RawFd) -> Result<()> {
        self.release(source);
        self.registry.deregister(&mut SourceFd(&fd))
    }

    /// Forgets a socket. Closing its descriptor takes it off epoll; an event that is on its way marks nobody.
    pub(super) fn release(&self, source: &Source) {
        let old = {
            let mut sources = self.sources.borrow_mut();
            let place = sources.get_mut(source.id.index as usize);
            let Some(place) = place.filter(|place| place.generation == source.id.generation) else { return };
            place.generation = place.generation.wrapping_add(1);
            place.next_free = self.free.replace(source.id.index);
            place.source.take()
        };
        source.forget();
        drop(old);
    }

    /// A write found the socket full: asks for events of writing if that has not been done yet.
    pub(super) fn watch_write(&self, source: &Source, fd: RawFd) -> Result<()> {
        if source.watches_write.replace(true) {
            return Ok(());
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry.reregister(&mut SourceFd(&fd), source.id.token(), both)
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
        let next = |at: &u32| sources.get(*at as usize).map(|place| place.next_free);
        let free = std::iter::successors(Some(self.free.get()), next).filter(|at| *at != NOWHERE).count();
        sources.len() - free
    }
}

#[inline]
fn at(sources: &[Place], id: SourceId) -> Option<&Source> {
    sources.get(id.index as usize).filter(|place| place.generation == id.generation)?.source.as_deref()
}
