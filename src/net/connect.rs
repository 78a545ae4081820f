//! Connections that we make.
//!
//! Owns: looking up names, trying addresses, setting socket options. Does not know: what is said afterwards.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::endpoint::{Endpoint, Ends, Target, kernel_path};
use super::socket::FreeSocket;
use super::stream::Stream;
use super::{clock, rt, sockopt};
use crate::config::SocketOptions;

/// Pause before a Unix socket whose queue is full is asked again: the kernel has no event for it. Short beside any
/// login, long beside the accept that makes room.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// How often a full queue is asked again when the caller set no deadline: ten seconds in all.
const QUEUE_FULL_TRIES: u32 = 2000;

/// Connects. The addresses of a name are tried in turn; each gets an equal share of the time that is left, so that
/// one that swallows packets does not use up the time of the others. Cancel safe: nothing stays behind.
///
/// # Errors
/// `TimedOut` after `deadline`; otherwise what the last address said, or the name look-up.
pub async fn connect(
    target: &Target,
    options: &SocketOptions,
    deadline: Option<Instant>,
) -> io::Result<Stream> {
    if let Some(path) = target.unix_path() {
        return within(deadline, connect_unix(path)).await;
    }
    let addrs = within(deadline, look_up(target)).await?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, addr) in addrs.iter().enumerate() {
        let share = deadline.map(|deadline| share_of_time(clock::now(), deadline, addrs.len() - tried));
        match within(share, connect_tcp(*addr, options)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The moment at which the first of `left` equal shares of the remaining time ends.
fn share_of_time(now: Instant, deadline: Instant, left: usize) -> Instant {
    let left = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / left
}

async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match deadline {
        Some(deadline) => rt::timeout_at(deadline, work).await?,
        None => work.await,
    }
}

/// An address needs no look-up; a name is looked up on a helper thread, since the system's resolver blocks.
async fn look_up(target: &Target) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = target.host.parse() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let name = (target.host.clone(), target.port);
    rt::offload(move || name.to_socket_addrs()).await.map(Iterator::collect)
}

async fn connect_tcp(addr: SocketAddr, options: &SocketOptions) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    sockopt::apply_tcp(&SockRef::from(&socket), options)?;
    socket.set_nonblocking(true)?;
    begin(socket.connect(&addr.into()))?;
    let socket = FreeSocket::Tcp(socket.into()).attach_connecting()?;
    poll_fn(|cx| socket.poll_connected(cx)).await?;
    let local = Endpoint::Tcp(socket.local_addr()?);
    Ok(Stream { socket, tls: None, unread: None, ends: Ends::new(Endpoint::Tcp(addr), local) })
}

/// A connection under way is no failure.
fn begin(outcome: io::Result<()>) -> io::Result<()> {
    /// EINPROGRESS on Linux.
    const IN_PROGRESS: i32 = 115;
    match outcome {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn connect_unix(path: PathBuf) -> io::Result<Stream> {
    let addr = SockAddr::unix(kernel_path(&path))?;
    let mut tries = 0;
    let socket = loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&addr) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < QUEUE_FULL_TRIES => {
                tries += 1;
                rt::sleep_until(clock::now() + QUEUE_FULL_PAUSE).await;
            }
            Err(error) => return Err(error),
            Ok(()) => break socket,
        }
    };
    let end = Endpoint::Unix { path: path.into(), peer_pid: None, peer_uid: None };
    let socket = FreeSocket::Unix(socket.into()).attach()?;
    Ok(Stream { socket, tls: None, unread: None, ends: Ends::new(end.clone(), end) })
}
