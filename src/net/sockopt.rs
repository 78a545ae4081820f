//! Options of TCP sockets.
//!
//! Owns: which option is set to what. Does not know: where the sockets come from.

use std::io;

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
