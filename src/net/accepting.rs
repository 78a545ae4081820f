//! Waiting for connections.
//!
//! Owns: a listener's place on the reactor of the thread that accepts. Does not know: who that is.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use mio::net::TcpListener;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;

use super::detached::Detached;
use super::exec::{self, Watch};
use super::listener::{Kind, Listener};

/// Accepts on the control plane. Dropping it takes the listener off the reactor; it stays open.
#[derive(Debug)]
pub struct Acceptor<'a> {
    listener: &'a Listener,
    way: Way<'a>,
}

#[derive(Debug)]
enum Way<'a> {
    Tcp(AsyncFd<BorrowedFd<'a>>, &'a TcpListener),
    Unix(&'a UnixListener),
}

impl<'a> Acceptor<'a> {
    pub(super) fn new(listener: &'a Listener) -> io::Result<Self> {
        let way = match &listener.accepting {
            Kind::Unix(unix) => Way::Unix(unix),
            Kind::Tcp(tcp) => {
                // What is deprecated would be unsound for a type that changes its descriptor; this one keeps it.
                #[expect(deprecated)]
                let watched = AsyncFd::with_interest(tcp.as_fd(), Interest::READABLE)?;
                Way::Tcp(watched, tcp)
            }
        };
        Ok(Self { listener, way })
    }

    /// Waits for connections and takes those that are there: at least one, and at most `most`, which is not 0. Cancel
    /// safe: none is lost.
    ///
    /// # Errors
    /// See [`is_transient_accept_error`](super::is_transient_accept_error); nothing was taken then, and it can be
    /// asked again in any case.
    pub async fn accept_some(&self, most: usize) -> io::Result<Vec<Detached>> {
        loop {
            // The only waits: whatever has been taken is returned at once.
            let (watched, tcp) = match &self.way {
                Way::Tcp(watched, tcp) => (watched, tcp),
                Way::Unix(listener) => {
                    let (unix, _) = listener.accept().await?;
                    return Ok(vec![self.listener.detached_unix(unix)?]);
                }
            };
            let mut ready = watched.readable().await?;
            // Events that come after the listener was found empty are not forgotten with those before.
            let outcome = take(self.listener, tcp, most, || ready.clear_ready());
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }
}

/// Accepts on the worker that made it.
#[derive(Debug)]
pub struct LocalAcceptor<'a>(Local<'a>);

#[derive(Debug)]
enum Local<'a> {
    Own { listener: &'a Listener, watch: Watch<'a>, tcp: &'a TcpListener },
    Tokio(Acceptor<'a>),
}

impl<'a> LocalAcceptor<'a> {
    pub(super) fn new(listener: &'a Listener) -> io::Result<Self> {
        Ok(Self(match (&listener.accepting, exec::current()) {
            (Kind::Tcp(tcp), Some(executor)) => {
                Local::Own { listener, watch: Watch::new(&executor, tcp.as_fd())?, tcp }
            }
            (Kind::Tcp(_) | Kind::Unix(_), _) => Local::Tokio(Acceptor::new(listener)?),
        }))
    }

    /// As [`Acceptor::accept_some`].
    ///
    /// # Errors
    /// As there.
    pub async fn accept_some(&self, most: usize) -> io::Result<Vec<Detached>> {
        let (listener, watch, tcp) = match &self.0 {
            Local::Own { listener, watch, tcp } => (listener, watch, tcp),
            Local::Tokio(acceptor) => return acceptor.accept_some(most).await,
        };
        loop {
            poll_fn(|cx| watch.poll_ready(cx)).await;
            if let Some(outcome) = take(listener, tcp, most, || watch.found_empty()) {
                return outcome;
            }
        }
    }
}

/// Takes what is there; `None` if that is nothing.
fn take(
    listener: &Listener,
    tcp: &TcpListener,
    most: usize,
    found_empty: impl FnOnce(),
) -> Option<io::Result<Vec<Detached>>> {
    let (taken, failure) = listener.take_tcp(tcp, most);
    let is_empty = failure.as_ref().is_some_and(|failure| failure.kind() == io::ErrorKind::WouldBlock);
    if is_empty {
        found_empty();
    }
    if !taken.is_empty() {
        return Some(Ok(taken)); // a lasting failure will be met again
    }
    failure.filter(|_| !is_empty).map(Err)
}
