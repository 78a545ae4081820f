//! The data plane's executor: one thread, its tasks, its sockets, its timers.
//!
//! Owns: when a task is polled. Does not know: what tasks do, and what the bytes on its sockets mean.
//!
//! One turn: poll the root and the tasks that are ready, ask the reactor once (waiting if nothing is ready), read the
//! clock once, fire timers. Nothing on that way takes a lock or an atomic, except a waker's reference count.
//!
//! Invariants:
//! - a task that was woken is polled: at once in the next turn if it was woken before or outside its poll, and
//!   again if it was woken while it was polled;
//! - a task is polled at most once per turn, so that a task that wakes itself does not keep others, sockets or
//!   timers waiting;
//! - no borrow of this room's is held while foreign code runs: a poll, a wake, or a drop.
//!
//! Reading order: this file, `tasks`, `reactor`, `source`, `io`, `timers`, `mailbox` (the way in from other threads).

mod io;
mod join;
mod mailbox;
mod reactor;
mod source;
mod sync;
mod tasks;
#[cfg(test)]
mod tests;
mod timers;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::Result;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

pub(super) use io::{Io, Watch};
pub(super) use join::Join;
pub(super) use tasks::panic_text;
pub(super) use timers::Sleep;

use reactor::Reactor;
use tasks::{Notice, Post, TaskId, TaskWaker, Tasks};
use timers::Timers;

thread_local! {
    /// The executor that runs on this thread: the one context that free functions such as `spawn_local` belong to.
    /// Set by [`Executor::run`] for as long as it lasts, and never otherwise.
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor that runs on this thread, if one does.
pub(super) fn current() -> Option<Rc<Executor>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The time of the present turn, if an executor runs on this thread.
pub(super) fn now() -> Option<Instant> {
    CURRENT.try_with(|current| current.borrow().as_ref().map(|executor| executor.now())).ok().flatten()
}

/// See the module.
pub(super) struct Executor {
    tasks: Tasks,
    reactor: Rc<Reactor>,
    timers: Timers,
    /// Where other threads leave wake-ups.
    post: Arc<Post>,
    /// The root future was woken.
    root_woken: Cell<bool>,
    /// When the reactor was last asked.
    now: Cell<Instant>,
    /// Runs slow work on threads of its own.
    helpers: tokio::runtime::Runtime,
}

impl Executor {
    /// An executor with a reactor of its own, and helper threads (at most `helpers`, started when needed).
    ///
    /// # Errors
    /// The system refused a reactor.
    pub(super) fn new(name: &str, helpers: usize) -> Result<Self> {
        let reactor = Reactor::new()?;
        let helpers = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(helpers)
            .thread_name(format!("{name}-offload"))
            .build()?;
        Ok(Self {
            tasks: Tasks::default(),
            post: Arc::new(Post::new(reactor.bell()?)),
            reactor: Rc::new(reactor),
            timers: Timers::default(),
            root_woken: Cell::new(true),
            now: Cell::new(super::clock::now()),
            helpers,
        })
    }

    /// Runs `root` and everything it spawns on this thread until `root` ends. Tasks that still live then are
    /// dropped.
    pub(super) fn run(self, root: impl Future<Output = ()>) {
        let this = Rc::new(self);
        let entered = Entered::enter(&this);
        let mut root = pin!(root);
        let notice = Notice::new(TaskId::ROOT, Arc::clone(&this.post));
        let waker = Waker::from(Arc::new(notice));
        let mut cx = Context::from_waker(&waker);
        loop {
            if this.root_woken.take() && root.as_mut().poll(&mut cx).is_ready() {
                break;
            }
            this.tasks.run_ready(this.reactor.running());
            // What a task has left for the root need not wait for the reactor.
            if this.root_woken.take() && root.as_mut().poll(&mut cx).is_ready() {
                break;
            }
            this.look_around();
        }
        this.tasks.close();
        drop(entered);
        // Slow work may hang for long; the end of a worker does not wait for it.
        if let Some(this) = Rc::into_inner(this) {
            this.helpers.shutdown_background();
        }
    }

    fn look_around(&self) {
        let busy = self.root_woken.get() || self.tasks.has_ready();
        let limit = if busy { Some(Duration::ZERO) } else { self.timers.until_next(self.now.get()) };
        if self.reactor.turn(limit, |task| self.tasks.wake(task)) {
            self.post.collect(|waker| self.wake(waker.id()));
        }
        let now = super::clock::now();
        self.now.set(now);
        self.timers.fire(now);
    }

    /// When the reactor was last asked: the time of this turn.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// Starts a task that nobody waits for. A panic ends only this task and is logged with `name`.
    pub(super) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) -> TaskId {
        self.tasks.spawn(name, Box::pin(future), &self.post)
    }

    /// Drops a task's future: at once, or after its present poll.
    pub(super) fn abort(&self, id: TaskId) {
        self.tasks.abort(id);
    }

    /// Runs `work` on a helper thread.
    pub(super) fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.helpers.spawn_blocking(work)
    }

    fn wake(&self, id: TaskId) {
        if id == TaskId::ROOT {
            self.root_woken.set(true);
        } else {
            self.tasks.wake(id);
        }
    }
}

/// Wakes a task from whichever thread.
fn wake(waker: &Arc<TaskWaker>) {
    let local = CURRENT.try_with(|current| {
        let current = current.borrow();
        let here = current.as_ref().filter(|executor| Arc::ptr_eq(&executor.post, waker.post()));
        here.map(|executor| executor.wake(waker.id())).is_some()
    });
    if !local.unwrap_or(false) {
        waker.post().send(waker);
    }
}

/// While it lives, the executor is the thread's.
struct Entered(Option<Rc<Executor>>);

impl Entered {
    fn enter(executor: &Rc<Executor>) -> Self {
        Self(CURRENT.with(|current| current.replace(Some(Rc::clone(executor)))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| current.replace(before));
    }
}

/// Lets the other tasks run once.
pub(super) fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
