//! Tasks: where their futures lie, which are ready, how they are woken.
//!
//! Owns: the table of futures and the queue of those to poll. Does not know: sockets, time.
//!
//! Invariants:
//! - the queue holds a task at most once, by its `queued` mark;
//! - a number that is used again has another generation, so an old waker wakes nobody;
//! - a future is out of the table while it is polled or dropped, so whatever it does finds the table unborrowed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};

use super::mailbox::{Mailbox, Postable};
use super::sync::AtomicBool;

/// A task, or one that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct TaskId {
    index: u32,
    generation: u32,
}

impl TaskId {
    /// The future that [`Executor::run`](super::Executor::run) was given.
    pub(super) const ROOT: Self = Self { index: u32::MAX, generation: 0 };
    /// None at all.
    pub(super) const NOBODY: Self = Self { index: u32::MAX, generation: 1 };
    /// Somebody who is known by a waker.
    pub(super) const OTHER: Self = Self { index: u32::MAX, generation: 2 };
}

/// Which task is being polled, and by which waker it is known. Whoever has to remember that waker can remember the
/// number instead. It outlives the task, and then wakes nobody.
#[derive(Debug, Default)]
pub(super) struct Running(Cell<Option<(TaskId, *const (), &'static RawWakerVTable)>>);

impl Running {
    /// Its number if this is the waker of the task being polled.
    #[inline]
    pub(super) fn id_of(&self, waker: &Waker) -> Option<TaskId> {
        let (id, data, vtable) = self.0.get()?;
        (std::ptr::eq(data, waker.data()) && std::ptr::eq(vtable, waker.vtable())).then_some(id)
    }

    fn set(&self, id: TaskId, waker: &Waker) {
        self.0.set(Some((id, waker.data(), waker.vtable())));
    }
}

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Parcel {
    future: LocalFuture,
    waker: Waker,
}

enum State {
    /// With the next free place, if there is one.
    Free(Option<u32>),
    /// In a box, because it is taken out and put back with each poll.
    Parked(Box<Parcel>),
    Running {
        aborted: bool,
    },
}

struct Slot {
    generation: u32,
    queued: bool,
    state: State,
    name: &'static str,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tasks {
    slots: RefCell<Vec<Slot>>,
    /// The first of the free places: they form a list, so that no other memory grows when everybody leaves.
    free: Cell<Option<u32>>,
    ready: RefCell<Vec<TaskId>>,
    /// Memory for those that are ready in the next turn; empty between turns.
    batch: Cell<Vec<TaskId>>,
    closed: Cell<bool>,
}

impl Tasks {
    /// Puts a future into the table, ready to be polled. After [`Tasks::close`] it is dropped instead.
    pub(super) fn spawn(&self, name: &'static str, future: LocalFuture, post: &Arc<Post>) -> TaskId {
        if self.closed.get() {
            return TaskId::ROOT; // nobody can be told more than that it has ended
        }
        let mut slots = self.slots.borrow_mut();
        let index = self.free.get().unwrap_or_else(|| {
            slots.push(Slot { generation: 0, queued: false, state: State::Free(None), name });
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = slots.get_mut(index as usize) else { return TaskId::ROOT };
        self.free.set(if let State::Free(next) = slot.state { next } else { None });
        let id = TaskId { index, generation: slot.generation };
        let waker = Waker::from(Arc::new(Notice::new(id, Arc::clone(post))));
        slot.state = State::Parked(Box::new(Parcel { future, waker }));
        slot.name = name;
        slot.queued = true;
        drop(slots);
        self.ready.borrow_mut().push(id);
        id
    }

    /// Notes that a task is to be polled.
    #[inline(always)]
    pub(super) fn wake(&self, id: TaskId) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.index as usize)
            && slot.generation == id.generation // nobody has that of a free place
            && !slot.queued
        {
            slot.queued = true;
            self.ready.borrow_mut().push(id);
        }
    }

    /// Whether a task waits to be polled.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Polls each task that is ready now once.
    pub(super) fn run_ready(&self, running: &Running) {
        let mut batch = self.ready.replace(self.batch.take());
        for id in batch.drain(..) {
            self.run(id, running);
        }
        self.batch.set(batch);
        running.0.set(None);
    }

    fn run(&self, id: TaskId, running: &Running) {
        let Some(mut parcel) = self.take_parked(id) else { return };
        running.set(id, &parcel.waker);
        let mut cx = Context::from_waker(&parcel.waker);
        // Unwind safe: after a panic the future is only dropped, never polled again.
        let ended = match catch_unwind(AssertUnwindSafe(|| parcel.future.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) => false,
            Ok(Poll::Ready(())) => true,
            Err(panic) => {
                self.report(id, &*panic, "task panicked");
                true
            }
        };
        if let Some(doomed) = self.put_back(id, parcel, ended) {
            self.drop_future(id, doomed);
            self.release(id);
        }
    }

    #[inline(always)]
    fn take_parked(&self, id: TaskId) -> Option<Box<Parcel>> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.queued = false;
        match std::mem::replace(&mut slot.state, State::Running { aborted: false }) {
            State::Parked(parcel) => Some(parcel),
            other @ (State::Free(_) | State::Running { .. }) => {
                slot.state = other;
                None
            }
        }
    }

    /// Parks a task again; gives its future back if it is to be dropped.
    #[inline(always)]
    fn put_back(&self, id: TaskId, parcel: Box<Parcel>, ended: bool) -> Option<Box<Parcel>> {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(id.index as usize) else { return Some(parcel) };
        if ended || matches!(slot.state, State::Running { aborted: true }) {
            return Some(parcel);
        }
        slot.state = State::Parked(parcel);
        None
    }

    #[cold]
    fn drop_future(&self, id: TaskId, doomed: Box<Parcel>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(doomed))) {
            self.report(id, &*panic, "task panicked while it was dropped");
        }
    }

    fn release(&self, id: TaskId) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.index as usize) {
            slot.state = State::Free(self.free.replace(Some(id.index)));
            slot.generation = slot.generation.wrapping_add(1);
            slot.queued = false;
        }
    }

    fn report(&self, id: TaskId, panic: &(dyn Any + Send), what: &str) {
        let task = self.slots.borrow().get(id.index as usize).map_or("", |slot| slot.name);
        tracing::error!(task, panic = panic_text(panic), "{what}");
    }

    /// Drops a task's future: at once, or after its present poll.
    pub(super) fn abort(&self, id: TaskId) {
        if let Some(parcel) = self.take_parked(id) {
            self.drop_future(id, parcel);
            self.release(id);
            return;
        }
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.index as usize)
            && slot.generation == id.generation
            && let State::Running { aborted } = &mut slot.state
        {
            *aborted = true;
        }
    }

    /// Drops every task; what they spawn while they are dropped is dropped too.
    pub(super) fn close(&self) {
        self.closed.set(true);
        let count = self.slots.borrow().len();
        for index in 0..count {
            let generation = self.slots.borrow().get(index).map_or(0, |slot| slot.generation);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.abort(TaskId { index, generation });
        }
    }
}

/// The words of a panic.
pub(in crate::net) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("no text", String::as_str)
}

/// What a waker points at.
pub(super) struct Notice {
    id: TaskId,
    posted: AtomicBool,
    post: Arc<Post>,
}

pub(super) use Notice as TaskWaker;

impl Notice {
    pub(super) fn new(id: TaskId, post: Arc<Post>) -> Self {
        Self { id, posted: AtomicBool::new(false), post }
    }

    pub(super) const fn id(&self) -> TaskId {
        self.id
    }

    pub(super) const fn post(&self) -> &Arc<Post> {
        &self.post
    }
}

impl Postable for Notice {
    fn posted(&self) -> &AtomicBool {
        &self.posted
    }
}

impl Wake for Notice {
    fn wake(self: Arc<Self>) {
        super::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        super::wake(self);
    }
}

/// The way in for wake-ups from other threads: a mailbox with a bell that ends the reactor's wait.
pub(super) struct Post {
    mailbox: Mailbox<Notice>,
    bell: mio::Waker,
}

impl Post {
    pub(super) fn new(bell: mio::Waker) -> Self {
        Self { mailbox: Mailbox::default(), bell }
    }

    /// Posts a wake-up, from another thread.
    pub(super) fn send(&self, notice: &Arc<Notice>) {
        if self.mailbox.post(notice)
            && let Err(error) = self.bell.wake()
        {
            tracing::error!("cannot wake a worker: {error}");
        }
    }

    /// Takes the wake-ups that were posted.
    pub(super) fn collect(&self, each: impl FnMut(&Arc<Notice>)) {
        self.mailbox.collect(each);
    }
}
