//! Takes connections in and hands them to the workers.
//!
//! Owns: one task per listener, where it runs, and what it does when accepting fails. Does not know: what a connection
//! says; caps on logins are the workers'.
//!
//! A single worker accepts TCP connections by itself: then none is handed from thread to thread, with a wake-up.
//! Among several the control plane accepts, so that a busy worker does not keep clients from the others.
//!
//! Invariants: the task ends only when told to, or when no worker is left (R113); it never waits for one client.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{error, warn};

use super::fleet::{Fleet, Stuck};
use crate::config::SocketOptions;
use crate::net::{Detached, Listener, clock, is_transient_accept_error, rt};
use crate::worker::ToWorker;

/// Rest after a failure that passes by itself, such as too few descriptors: long enough not to spin, short enough
/// that a client that was let go makes room for the next within one connect timeout of any driver (R111).
const SHORT_REST: Duration = Duration::from_millis(50);

/// Rest after any other failure, as PgBouncer has it.
const LONG_REST: Duration = Duration::from_secs(5);

/// At most one log line about failing accepts in this time.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Connections taken at one wake-up before any is handed over: enough that a storm costs few wake-ups, few enough that
/// the first of them does not wait (accepting one takes some microseconds).
const AT_ONCE: usize = 64;

/// Accepts until `closing` turns true, with the options in force. The socket closes when this returns.
pub(super) async fn serve(
    listener: Listener,
    fleet: Fleet,
    closing: watch::Receiver<bool>,
    options: watch::Receiver<SocketOptions>,
) {
    let ends = (fleet.clone(), closing, options);
    if fleet.len() > 1 || !listener.is_free() {
        return serve_here(listener, ends).await;
    }
    let address = listener.local_addr_text();
    let (running, ended) = oneshot::channel::<()>();
    let hosted = fleet.tell_one(ToWorker::Host(Box::new(move || {
        Box::pin(async move {
            serve_on_worker(listener, ends).await;
            drop(running);
        })
    })));
    if hosted == Err(Stuck) {
        return error!("no worker is left, not listening on {address}");
    }
    let _ = ended.await; // it never answers: it ends, if only with its worker
}

type Ends = (Fleet, watch::Receiver<bool>, watch::Receiver<SocketOptions>);

async fn serve_here(listener: Listener, (fleet, closing, options): Ends) {
    let address = listener.local_addr_text();
    let acceptor = match listener.acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => return error!("cannot accept on {address}: {error}"),
    };
    let next = || acceptor.accept_some(AT_ONCE);
    tokio::select! {
        () = accept_all((next, tokio::time::sleep), &address, fleet, closing) => {}
        () = follow(&listener, options) => {}
    }
}

async fn serve_on_worker(listener: Listener, (fleet, closing, options): Ends) {
    let address = listener.local_addr_text();
    let acceptor = match listener.local_acceptor() {
        Ok(acceptor) => acceptor,
        Err(error) => return error!("cannot accept on {address}: {error}"),
    };
    // A storm does not keep the worker from those that are there already.
    let may_be_more = Cell::new(false);
    let next = || async {
        if may_be_more.take() {
            rt::yield_now().await;
        }
        let taken = acceptor.accept_some(AT_ONCE).await;
        may_be_more.set(taken.as_ref().is_ok_and(|taken| taken.len() >= AT_ONCE));
        taken
    };
    let sleep = |pause| rt::sleep_until(clock::now() + pause);
    tokio::select! {
        () = accept_all((next, sleep), &address, fleet, closing) => {}
        () = follow(&listener, options) => {}
    }
}

/// Sets the options anew whenever the settings change. Never ends.
async fn follow(listener: &Listener, mut options: watch::Receiver<SocketOptions>) {
    while options.changed().await.is_ok() {
        let wanted = options.borrow_and_update().clone();
        if let Err(error) = listener.set_options(&wanted) {
            warn!("cannot set the options of {}: {error}", listener.local_addr_text());
        }
    }
    std::future::pending::<()>().await;
}

async fn accept_all<F, S>(
    (next, sleep): (impl Fn() -> F, impl Fn(Duration) -> S),
    address: &str,
    fleet: Fleet,
    mut closing: watch::Receiver<bool>,
) where
    F: Future<Output = io::Result<Vec<Detached>>>,
    S: Future<Output = ()>,
{
    let mut complaints = Complaints::default();
    let work = async {
        loop {
            match next().await {
                Ok(connections) => {
                    if !fleet.hand_over_all(connections.into_iter().map(ToWorker::Accept)).await {
                        error!("no worker is left, not listening on {address} any more");
                        return;
                    }
                }
                Err(failure) => {
                    if let Some(pause) = rest_after(&failure, address, &mut complaints) {
                        sleep(pause).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        _ = closing.wait_for(|&closed| closed) => {}
        () = work => {}
    }
}

/// Complains of a failure, and says how long to rest.
fn rest_after(failure: &io::Error, address: &str, complaints: &mut Complaints) -> Option<Duration> {
    // The kernel has already taken these off its queue: there is nothing to rest from.
    if matches!(failure.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return None;
    }
    if let Some(swallowed) = complaints.may_speak(clock::now()) {
        warn!(swallowed, "accept() on {address} failed: {failure}");
    }
    Some(if is_transient_accept_error(failure) { SHORT_REST } else { LONG_REST })
}

/// Keeps repeated complaints out of the log.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    swallowed: u64,
}

impl Complaints {
    /// How many complaints were kept back since the last one, if it is time for one.
    fn may_speak(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            self.swallowed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.swallowed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::testing::{Crew, config_with, crew};
    use super::*;
    use crate::config::Runtime;

    fn connection() -> Detached {
        let (one, _) = std::os::unix::net::UnixStream::pair().unwrap();
        Detached::for_test(one)
    }

    /// EMFILE on Linux.
    const EMFILE: i32 = 24;

    #[test]
    fn r111_the_log_gets_one_line_in_a_while() {
        let start = clock::now();
        let mut complaints = Complaints::default();
        assert_eq!(complaints.may_speak(start), Some(0));
        for ms in 1..100 {
            assert_eq!(complaints.may_speak(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(complaints.may_speak(start + LOG_EVERY), Some(99));
        assert_eq!(complaints.may_speak(start + 2 * LOG_EVERY), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn r111_r113_failures_of_accept_are_survived_without_spinning() {
        let Crew { fleet, mut inboxes, .. } = crew(1, 4);
        let (close, closing) = watch::channel(false);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        // Aborted, three times out of descriptors, something unheard of, then a client.
        let next = move || {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match call {
                    0 => Err(io::ErrorKind::ConnectionAborted.into()),
                    1..=3 => Err(io::Error::from_raw_os_error(EMFILE)),
                    4 => Err(io::Error::other("unheard of")),
                    5 => Ok(vec![connection()]),
                    _ => std::future::pending().await,
                }
            }
        };
        let start = clock::now();
        let task =
            tokio::spawn(async move { accept_all((next, tokio::time::sleep), "here", fleet, closing).await });
        assert!(inboxes[0].recv().await.is_some());
        assert!(clock::now().duration_since(start) >= LONG_REST + 3 * SHORT_REST);
        assert!(calls.load(Ordering::Relaxed) <= 7, "it does not spin");
        close.send(true).unwrap();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_single_worker_accepts_by_itself_until_the_listener_is_to_close() {
        for runtime in [Runtime::Reactor, Runtime::Tokio] {
            let Crew { fleet, mut inboxes, .. } = crew(1, 4);
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let settings = config_with(&[]).sockets;
            let listener = Listener::from_std(socket, &settings).unwrap();
            let (_set, options) = watch::channel(settings);
            let (close, closing) = watch::channel(false);
            let task = tokio::spawn(serve(listener, fleet, closing, options));
            let Some(ToWorker::Host(errand)) = inboxes[0].recv().await else { panic!("no errand") };
            let thread = rt::run_worker("worker", runtime, errand).unwrap();
            let _near: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            for _ in 0..3 {
                assert!(matches!(inboxes[0].recv().await, Some(ToWorker::Accept(_))));
            }
            close.send(true).unwrap();
            task.await.unwrap();
            thread.join().unwrap();
            assert!(std::net::TcpStream::connect(address).is_err(), "the socket is closed");
        }
    }

    #[tokio::test]
    async fn new_options_reach_a_listener_that_accepts() {
        let Crew { fleet, mut inboxes, .. } = crew(1, 4);
        let mut settings = SocketOptions { user_timeout: None, ..config_with(&[]).sockets };
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
        let listener = Listener::from_std(socket, &settings).unwrap();
        let (set, options) = watch::channel(settings.clone());
        let (_close, closing) = watch::channel(false);
        let task = tokio::spawn(serve_here(listener, (fleet, closing, options)));
        settings.user_timeout = Some(Duration::from_millis(4321));
        set.send_replace(settings);
        while socket2::SockRef::from(&seen).tcp_user_timeout().unwrap() != Some(Duration::from_millis(4321)) {
            tokio::task::yield_now().await;
        }
        let _near: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        for _ in 0..3 {
            assert!(matches!(inboxes[0].recv().await, Some(ToWorker::Accept(_))));
        }
        task.abort();
    }

    #[tokio::test]
    async fn closing_ends_the_task_even_while_every_inbox_is_full() {
        let Crew { fleet, inboxes, .. } = crew(1, 1);
        let (close, closing) = watch::channel(false);
        let next = || async { Ok(vec![connection()]) };
        let task =
            tokio::spawn(async move { accept_all((next, tokio::time::sleep), "here", fleet, closing).await });
        close.send(true).unwrap();
        task.await.unwrap();
        drop(inboxes);
    }

    #[tokio::test]
    async fn without_workers_the_listener_closes() {
        let Crew { fleet, inboxes, .. } = crew(2, 1);
        drop(inboxes);
        let (_close, closing) = watch::channel(false);
        let next = || async { Ok(vec![connection()]) };
        accept_all((next, tokio::time::sleep), "here", fleet, closing).await;
    }
}
