//! The runtime seam.
//!
//! Owns: how a worker's thread runs its tasks, sleeps, and hands slow work to helper threads. Does not know: what
//! the tasks do. Behind it stands tokio's current-thread runtime with a `LocalSet`.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

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
    make: impl FnOnce() -> F + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(OFFLOAD_THREADS)
        .thread_name(format!("{name}-offload"))
        .build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async move { make().await });
        drop(tasks);
        // An offloaded look-up may hang for long; the end of a worker does not wait for it.
        runtime.shutdown_background();
    })
}

/// A spawned task. Dropping it lets the task run on; awaiting it gives the task's result, or `None` if the task
/// panicked or was aborted. Cancel safe: the result is lost only if this handle is dropped.
#[derive(Debug)]
pub struct Task<T>(tokio::task::JoinHandle<Option<T>>);

impl<T> Task<T> {
    /// Drops the task's future at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(|ended| ended.ok().flatten())
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
    Task(tokio::task::spawn_local(Guarded { name, future: Some(Box::pin(future)) }))
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

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("no text", String::as_str)
}

/// Waits until `deadline`. Cancel safe.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

/// Gives `future` until `deadline`; it is dropped then. A future that is ready at its first poll wins even over a
/// deadline in the past.
///
/// # Errors
/// [`Elapsed`] if the deadline came first.
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout_at(deadline.into(), future).await.map_err(|_| Elapsed)
}

/// Lets the other tasks of this worker run once. Cancel safe.
pub async fn yield_now() {
    tokio::task::yield_now().await;
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
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_going_down) => std::future::pending().await,
        },
    }
}
