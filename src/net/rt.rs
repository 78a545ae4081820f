//! The runtime seam.
//!
//! Owns: how a worker's thread runs its tasks, sleeps, and hands slow work to helper threads. Does not know: what
//! the tasks do. Behind it stands the executor of `exec`, or tokio's current-thread runtime with a `LocalSet`: which
//! of them runs this thread decides. On a thread that neither [`run_worker`] nor tokio runs, these functions panic.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use super::exec::{self, panic_text};
use crate::config::Runtime;

/// Helper threads of one worker, for [`offload`]. Each is started only when needed and ends when unused. Sixteen:
/// a handful of name look-ups that hang must not stop password hashing, and more threads than that per core only
/// take turns.
const OFFLOAD_THREADS: usize = 16;

/// A deadline that came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Starts a thread called `name` that runs the future made by `make`, together with everything it spawns by
/// [`spawn_local`], until that future ends. Tasks that still live then are dropped.
///
/// # Errors
/// The system refused a thread or a reactor.
pub fn run_worker<F>(
    name: &str,
    runtime: Runtime,
    make: impl FnOnce() -> F + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let named = name.to_owned();
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || match runtime {
        Runtime::Reactor => {
            let executor = exec::Executor::new(&named, OFFLOAD_THREADS);
            if let Some(executor) = report(executor, &started) {
                executor.run(async move { make().await });
            }
        }
        Runtime::Tokio => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(OFFLOAD_THREADS)
                .thread_name(format!("{named}-offload"))
                .build();
            if let Some(runtime) = report(runtime, &started) {
                let tasks = tokio::task::LocalSet::new();
                tasks.block_on(&runtime, async move { make().await });
                drop(tasks);
                // An offloaded look-up may hang for long; the end of a worker does not wait for it.
                runtime.shutdown_background();
            }
        }
    })?;
    start.recv().map_err(io::Error::other)??;
    Ok(thread)
}

/// Tells the starting thread whether what was made on the new one came about.
fn report<T>(made: io::Result<T>, started: &std::sync::mpsc::SyncSender<io::Result<()>>) -> Option<T> {
    let (made, outcome) = match made {
        Ok(made) => (Some(made), Ok(())),
        Err(error) => (None, Err(error)),
    };
    started.send(outcome).ok()?;
    made
}

/// A spawned task. Dropping it lets the task run on; awaiting it gives the task's result, or `None` if the task
/// panicked or was aborted. Cancel safe: the result is lost only if this handle is dropped.
pub struct Task<T>(Handle<T>);

enum Handle<T> {
    Own(exec::Join<T>),
    Tokio(tokio::task::JoinHandle<Option<T>>),
}

impl<T> Task<T> {
    /// Drops the task's future at its next await.
    pub fn abort(&self) {
        match &self.0 {
            Handle::Own(join) => join.abort(),
            Handle::Tokio(join) => join.abort(),
        }
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Handle::Own(join) => join.is_finished(),
            Handle::Tokio(join) => join.is_finished(),
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match &mut self.0 {
            Handle::Own(join) => join.poll(cx),
            Handle::Tokio(join) => Pin::new(join).poll(cx).map(|ended| ended.ok().flatten()),
        }
    }
}

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Runs `future` beside its siblings on this worker's thread. A panic ends only this task: its future is dropped
/// at once and the panic is logged with the task's name.
///
/// # Panics
/// Outside of [`run_worker`].
pub fn spawn_local<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Task(match exec::current() {
        Some(executor) => Handle::Own(exec::Join::spawn(&executor, name, future)),
        None => Handle::Tokio(tokio::task::spawn_local(Guarded { name, future: Some(Box::pin(future)) })),
    })
}

/// As [`spawn_local`] for a task that nobody waits for: its future is all it costs.
///
/// # Panics
/// Outside of [`run_worker`].
pub fn spawn_detached(name: &'static str, future: impl Future<Output = ()> + 'static) {
    match exec::current() {
        Some(executor) => drop(executor.spawn(name, future)),
        None => drop(tokio::task::spawn_local(Guarded { name, future: Some(Box::pin(future)) })),
    }
}

/// A future whose panic is caught at the poll that raised it.
struct Guarded<F> {
    name: &'static str,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else { return Poll::Ready(None) };
        // Unwind safe: after a panic the future is only dropped, never polled again.
        let panic = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => return Poll::Ready(Some(output)),
            Err(panic) => panic,
        };
        tracing::error!(task = this.name, panic = panic_text(&*panic), "task panicked");
        let doomed = this.future.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(doomed))) {
            tracing::error!(
                task = this.name,
                panic = panic_text(&*panic),
                "task panicked while it was dropped"
            );
        }
        Poll::Ready(None)
    }
}

/// The time as of this worker's present turn: exact to the length of one turn, and read without asking the clock.
pub fn turn_time() -> Instant {
    exec::now().unwrap_or_else(super::clock::now)
}

/// Waits until `deadline`. Cancel safe.
pub async fn sleep_until(deadline: Instant) {
    match exec::current() {
        Some(executor) => exec::Sleep::new(executor, deadline).await,
        None => tokio::time::sleep_until(deadline.into()).await,
    }
}

/// Gives `future` until `deadline`; it is dropped then. A future that is ready at its first poll wins even over a
/// deadline in the past.
///
/// # Errors
/// [`Elapsed`] if the deadline came first.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep_until(deadline));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// Lets the other tasks of this worker run once. Cancel safe.
pub async fn yield_now() {
    match exec::current() {
        Some(_) => exec::yield_now().await,
        None => tokio::task::yield_now().await,
    }
}

/// Runs slow or blocking work on a helper thread and returns its result. If the work panics, so does this.
///
/// Cancel safety: dropping this future does not stop work that has begun; it runs to its end and its result is
/// thrown away. Work that holds something must give it back by itself. If the runtime is going down, it stays
/// pending and is dropped with its task.
pub async fn offload<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let running = match exec::current() {
        Some(executor) => executor.offload(work),
        None => tokio::task::spawn_blocking(work),
    };
    match running.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_going_down) => std::future::pending().await,
        },
    }
}
