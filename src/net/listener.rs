//! Connections that come to us.
//!
//! Owns: listening sockets. Does not know: what is said on them. It waits for no client, so one client cannot hold
//! up the others (R113).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::accepting::{Acceptor, LocalAcceptor};
use super::detached::Detached;
use super::endpoint::{Endpoint, Ends};
use super::socket::FreeSocket;
use super::sockopt;
use super::unix_listen::{self, SocketFile};
use crate::config::{Process, SocketOptions};

/// Why no listener could be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Neither `listen_addr` nor `unix_socket_dir` is set.
    #[error("nowhere to listen on")]
    Nowhere,
    /// Each of the addresses failed; each has been logged with its reason.
    #[error("failed to listen on any address in listen_addr list: {0}")]
    NoAddress(String),
    /// Somebody answers on the socket, or a lock file says so.
    #[error("unix socket is in use: {}", .0.display())]
    UnixInUse(PathBuf),
    /// The socket file cannot be made.
    #[error("failed to create unix socket {}: {error}", path.display())]
    Unix {
        /// The socket file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// One listening socket. Dropping it closes it; a Unix socket's file goes too.
///
/// Connections inherit the options of TCP from it, so none is set on each of them.
#[derive(Debug)]
pub struct Listener {
    pub(super) accepting: Kind,
    /// What options are when nobody has set them.
    defaults: Option<sockopt::Defaults>,
    local: Endpoint,
    /// Present if the file is ours to remove.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// On no reactor. Not tokio's, which would watch each connection on a reactor that it leaves at once, nor the
    /// standard library's, whose connections block at first: either takes more system calls for each.
    Tcp(TcpListener),
    /// On the control plane's reactor: only tokio tells who is at the other end.
    Unix(UnixListener),
}

impl Listener {
    /// Opens everything that is configured. Addresses that cannot be used are logged as warnings and left out.
    /// Blocks while names are looked up.
    ///
    /// # Errors
    /// Nothing is configured, no address of `listen_addr` can be used, or the Unix socket cannot.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_all(process: &Process, options: &SocketOptions) -> Result<Vec<Self>, BindError> {
        if process.listen_addr.is_empty() && process.unix_socket_dir.is_none() {
            return Err(BindError::Nowhere);
        }
        let mut listeners = Vec::new();
        for entry in &process.listen_addr {
            for (addr, bound) in bind_entry(entry, process) {
                let adopted = bound.and_then(|socket| Self::from_tcp(socket.into(), options));
                match adopted {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => tracing::warn!("cannot listen on {addr}: {error}"),
                }
            }
        }
        if listeners.is_empty() && !process.listen_addr.is_empty() {
            return Err(BindError::NoAddress(process.listen_addr.join(", ")));
        }
        if let Some(dir) = &process.unix_socket_dir {
            let (socket, file, path) = unix_listen::bind(dir, process)?;
            let listener = Self::from_unix(socket, &path, file);
            listeners.push(listener.map_err(|error| BindError::Unix { path, error })?);
        }
        Ok(listeners)
    }

    /// Takes over a socket that is bound and listening already, such as one passed by systemd: an `OwnedFd`, a
    /// `TcpListener` or a `UnixListener` of the standard library.
    ///
    /// # Errors
    /// It is not a listening stream socket of a kind we know.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_std(socket: impl Into<OwnedFd>, options: &SocketOptions) -> io::Result<Self> {
        let socket = Socket::from(socket.into());
        if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
        }
        let addr = socket.local_addr()?;
        if addr.as_socket().is_some() {
            return Self::from_tcp(socket.into(), options);
        }
        let abstract_name = addr.as_abstract_namespace().map(String::from_utf8_lossy);
        let path = match (addr.as_pathname(), abstract_name) {
            (Some(path), _) => path.to_owned(),
            (None, Some(name)) => PathBuf::from(format!("@{name}")),
            (None, None) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "unknown kind of socket"));
            }
        };
        Self::from_unix(socket.into(), &path, None)
    }

    fn from_tcp(socket: std::net::TcpListener, options: &SocketOptions) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = Endpoint::Tcp(socket.local_addr()?);
        let defaults = Some(sockopt::Defaults::of(&SockRef::from(&socket))?);
        let accepting = Kind::Tcp(TcpListener::from_std(socket));
        let listener = Self { accepting, defaults, local, _file: None };
        listener.set_options(options)?;
        Ok(listener)
    }

    fn from_unix(
        socket: std::os::unix::net::UnixListener,
        path: &Path,
        file: Option<SocketFile>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let accepting = Kind::Unix(UnixListener::from_std(socket)?);
        let local = Endpoint::Unix { path: path.into(), peer_pid: None, peer_uid: None };
        Ok(Self { accepting, defaults: None, local, _file: file })
    }

    /// Options of the connections that come from now on.
    ///
    /// # Errors
    /// The system refused one; those before it have been set.
    pub fn set_options(&self, options: &SocketOptions) -> io::Result<()> {
        match (&self.accepting, &self.defaults) {
            (Kind::Tcp(listener), Some(defaults)) => {
                sockopt::apply_again(&SockRef::from(listener), options, defaults)
            }
            (Kind::Tcp(_) | Kind::Unix(_), _) => Ok(()),
        }
    }

    /// What waits for connections on tokio's reactor.
    ///
    /// # Errors
    /// The system refused.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn acceptor(&self) -> io::Result<Acceptor<'_>> {
        Acceptor::new(self)
    }

    /// What waits for connections on the reactor of the calling worker.
    ///
    /// # Errors
    /// The system refused.
    ///
    /// # Panics
    /// Outside a worker.
    pub fn local_acceptor(&self) -> io::Result<LocalAcceptor<'_>> {
        LocalAcceptor::new(self)
    }

    /// Waits for a connection, as the only one who does. Cancel safe: none is lost.
    ///
    /// # Errors
    /// As [`Acceptor::accept_some`].
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn accept(&self) -> io::Result<Detached> {
        let mut one = self.local_acceptor()?.accept_some(1).await?;
        one.pop().ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    /// Whether it may be waited on elsewhere than on the control plane.
    pub const fn is_free(&self) -> bool {
        matches!(self.accepting, Kind::Tcp(_))
    }

    /// At most `most` connections that are there, and what ended the taking before that.
    pub(super) fn take_tcp(&self, listener: &TcpListener, most: usize) -> (Vec<Detached>, Option<io::Error>) {
        let mut taken = Vec::new();
        for _ in 0..most {
            match listener.accept() {
                Ok((tcp, peer)) => taken.extend(self.detached_tcp(tcp.into(), peer)),
                Err(error) => return (taken, Some(error)),
            }
        }
        (taken, None)
    }

    /// `None` for a peer that hung up before it was looked at.
    fn detached_tcp(&self, tcp: std::net::TcpStream, peer: SocketAddr) -> Option<Detached> {
        let local = match &self.local {
            Endpoint::Tcp(addr) if addr.ip().is_unspecified() => Endpoint::Tcp(tcp.local_addr().ok()?),
            Endpoint::Tcp(_) | Endpoint::Unix { .. } => self.local.clone(),
        };
        Some(Self::detached(FreeSocket::Tcp(tcp), Endpoint::Tcp(peer), local))
    }

    pub(super) fn detached_unix(&self, unix: UnixStream) -> io::Result<Detached> {
        let cred = unix.peer_cred().map_err(gone_already)?;
        let Endpoint::Unix { path, .. } = &self.local else {
            return Err(io::Error::other("a Unix listener without a path"));
        };
        let peer = Endpoint::Unix { path: path.clone(), peer_pid: cred.pid(), peer_uid: Some(cred.uid()) };
        Ok(Self::detached(FreeSocket::Unix(unix.into_std()?), peer, self.local.clone()))
    }

    fn detached(socket: FreeSocket, peer: Endpoint, local: Endpoint) -> Detached {
        Detached { socket, tls: None, unread: None, ends: Ends::new(peer, local) }
    }

    /// Where this listens: `127.0.0.1:6432`, or the path of the socket file.
    pub fn local_addr_text(&self) -> String {
        match &self.local {
            Endpoint::Tcp(addr) => addr.to_string(),
            Endpoint::Unix { path, .. } => path.display().to_string(),
        }
    }

    /// Where this listens.
    pub fn local_endpoint(&self) -> &Endpoint {
        &self.local
    }
}

/// A peer that hung up between arriving and being looked at.
fn gone_already(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// Whether an error of [`Listener::accept`] passes by itself: no descriptors or memory left, or a peer that was gone
/// before we looked (R111). The caller pauses for the former and goes on at once after the latter.
pub fn is_transient_accept_error(error: &io::Error) -> bool {
    /// What accept(2) reports of the system and of the network, by number on Linux: EPERM (a firewall), EINTR,
    /// EAGAIN, ENOMEM, ENFILE, EMFILE, ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH,
    /// ECONNABORTED, ENOBUFS, EHOSTDOWN, EHOSTUNREACH.
    const PASSING: [i32; 16] = [1, 4, 11, 12, 23, 24, 64, 71, 92, 95, 100, 101, 103, 105, 112, 113];
    error.kind() == io::ErrorKind::ConnectionAborted
        || error.raw_os_error().is_some_and(|number| PASSING.contains(&number))
}

/// All sockets that one entry of `listen_addr` gives, by the text to report them under.
fn bind_entry(entry: &str, process: &Process) -> Vec<(String, io::Result<Socket>)> {
    let port = process.listen_port;
    let addrs: Vec<SocketAddr> = if entry == "*" {
        let both: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        both.map(|ip| SocketAddr::new(ip, port)).into()
    } else {
        match (entry, port).to_socket_addrs() {
            Ok(addrs) => addrs.collect(),
            Err(error) => return vec![(entry.to_owned(), Err(error))],
        }
    };
    addrs.into_iter().map(|addr| (addr.to_string(), bind_tcp(addr, process.listen_backlog))).collect()
}

fn bind_tcp(addr: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let call = |name: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{name}(): {error}"))
    };
    let domain = Domain::for_address(addr);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(call("socket"))?;
    socket.set_reuse_address(true).map_err(call("setsockopt"))?;
    if addr.is_ipv6() {
        // Each family has its own entry; one socket for both would take the other's place.
        socket.set_only_v6(true).map_err(call("setsockopt"))?;
    }
    socket.bind(&addr.into()).map_err(call("bind"))?;
    socket.listen(unix_listen::backlog(backlog)).map_err(call("listen"))?;
    Ok(socket)
}
