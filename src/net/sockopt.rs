//! Options of TCP sockets.
//!
//! Owns: which option is set to what. Does not know: where the sockets come from.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::config::SocketOptions;

/// Sets TCP_NODELAY and what was configured: without keepalive and user timeout a peer that vanished is noticed
/// only after a quarter of an hour (C10).
pub(super) fn apply_tcp(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if !options.keepalive {
        return Ok(());
    }
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = options.keepidle {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = options.keepintvl {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(count) = options.keepcnt {
        keepalive = keepalive.with_retries(count);
    }
    socket.set_tcp_keepalive(&keepalive)
}

/// Options of a listening socket that nobody has set yet: the system's own.
#[derive(Debug)]
pub(super) struct Defaults {
    idle: Duration,
    interval: Duration,
    count: u32,
}

impl Defaults {
    pub(super) fn of(socket: &SockRef<'_>) -> io::Result<Self> {
        Ok(Self {
            idle: socket.tcp_keepalive_time()?,
            interval: socket.tcp_keepalive_interval()?,
            count: socket.tcp_keepalive_retries()?,
        })
    }
}

/// As [`apply_tcp`] on a listening socket, which hands its options down to every connection. It may have had others
/// before, so what is not configured goes back to what it was.
pub(super) fn apply_again(
    socket: &SockRef<'_>,
    options: &SocketOptions,
    defaults: &Defaults,
) -> io::Result<()> {
    let all = SocketOptions {
        keepalive: options.keepalive,
        keepidle: Some(options.keepidle.unwrap_or(defaults.idle)),
        keepintvl: Some(options.keepintvl.unwrap_or(defaults.interval)),
        keepcnt: Some(options.keepcnt.unwrap_or(defaults.count)),
        user_timeout: Some(options.user_timeout.unwrap_or(Duration::ZERO)),
    };
    socket.set_keepalive(false)?;
    apply_tcp(socket, &all)
}
