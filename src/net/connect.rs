//! Connections that we make.
//!
//! Owns: looking up names, trying addresses, setting socket options. Does not know: what is said afterwards.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream};

use super::endpoint::{Endpoint, Target, kernel_path};
use super::socket::Socket;
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
    let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
    let addrs: Vec<SocketAddr> = within(deadline, lookup).await?.collect();
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

async fn connect_tcp(addr: SocketAddr, options: &SocketOptions) -> io::Result<Stream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    sockopt::apply_tcp(&SockRef::from(&socket), options)?;
    let tcp = socket.connect(addr).await?;
    let local = Endpoint::Tcp(tcp.local_addr()?);
    let peer = Endpoint::Tcp(addr);
    Ok(Stream { socket: Socket::Tcp(tcp), tls: None, unread: BytesMut::new(), peer, local })
}

async fn connect_unix(path: PathBuf) -> io::Result<Stream> {
    let name = kernel_path(&path);
    let mut tries = 0;
    let unix = loop {
        match UnixStream::connect(&name).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < QUEUE_FULL_TRIES => {
                tries += 1;
                rt::sleep_until(clock::now() + QUEUE_FULL_PAUSE).await;
            }
            ended => break ended?,
        }
    };
    let cred = unix.peer_cred()?;
    let peer = Endpoint::Unix { path: path.clone(), peer_pid: cred.pid(), peer_uid: Some(cred.uid()) };
    let local = Endpoint::Unix { path, peer_pid: None, peer_uid: None };
    Ok(Stream { socket: Socket::Unix(unix), tls: None, unread: BytesMut::new(), peer, local })
}
