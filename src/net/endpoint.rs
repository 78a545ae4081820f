//! Who is at the ends of a connection, and where one could be made.
//!
//! Owns: addresses as values. Does not know: sockets.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefix of the file name of a PostgreSQL Unix socket; the port follows.
const SOCKET_FILE_PREFIX: &str = ".s.PGSQL.";

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and port.
    Tcp(SocketAddr),
    /// A Unix socket. The path is that of the listening socket, on both ends: the connecting end has none.
    Unix {
        /// The socket file; a leading `@` stands for the abstract namespace.
        path: Arc<Path>,
        /// Process at the other end, if known.
        peer_pid: Option<i32>,
        /// User of that process, if known.
        peer_uid: Option<u32>,
    },
}

impl Endpoint {
    /// `unix`, or the address without its port.
    pub fn addr_text(&self) -> String {
        match self {
            Self::Tcp(addr) => addr.ip().to_string(),
            Self::Unix { .. } => "unix".to_owned(),
        }
    }

    /// The TCP port; a Unix socket shows the port that is listened on.
    pub fn port(&self, listen_port: u16) -> u16 {
        match self {
            Self::Tcp(addr) => addr.port(),
            Self::Unix { .. } => listen_port,
        }
    }

    /// Where a second connection to the same place would go.
    pub(super) fn target(&self) -> Target {
        match self {
            // The scope of a link-local address is part of where it is.
            Self::Tcp(SocketAddr::V6(addr)) if addr.scope_id() != 0 => {
                Target { host: format!("{}%{}", addr.ip(), addr.scope_id()), port: addr.port() }
            }
            Self::Tcp(addr) => Target { host: addr.ip().to_string(), port: addr.port() },
            Self::Unix { path, .. } => {
                let dir = path.parent().unwrap_or(Path::new(""));
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
                let port = name.strip_prefix(SOCKET_FILE_PREFIX).and_then(|port| port.parse().ok());
                Target { host: dir.to_string_lossy().into_owned(), port: port.unwrap_or(0) }
            }
        }
    }
}

/// As the log names it: `10.0.0.5:4711`, `unix(4242)`, or `unix` if the process is not known.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix { peer_pid: Some(pid), .. } => write!(f, "unix({pid})"),
            Self::Unix { peer_pid: None, .. } => f.write_str("unix"),
        }
    }
}

/// Both ends of one connection, in little room: there is one of these for each, idle or not.
#[derive(Clone)]
pub struct Ends(Pair);

#[derive(Clone)]
enum Pair {
    V4 { peer: SocketAddrV4, local: SocketAddrV4 },
    Other(Arc<(Endpoint, Endpoint)>),
}

impl Ends {
    /// The other end and ours.
    pub(super) fn new(peer: Endpoint, local: Endpoint) -> Self {
        Self(match (peer, local) {
            (Endpoint::Tcp(SocketAddr::V4(peer)), Endpoint::Tcp(SocketAddr::V4(local))) => {
                Pair::V4 { peer, local }
            }
            (peer, local) => Pair::Other(Arc::new((peer, local))),
        })
    }

    /// Of a connection that is not there.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let end = |port| Endpoint::Tcp(([127, 0, 0, 1], port).into());
        Self::new(end(1), end(2))
    }

    /// The other end.
    pub fn peer(&self) -> Endpoint {
        match &self.0 {
            Pair::V4 { peer, .. } => Endpoint::Tcp((*peer).into()),
            Pair::Other(both) => both.0.clone(),
        }
    }

    /// Our end.
    pub fn local(&self) -> Endpoint {
        match &self.0 {
            Pair::V4 { local, .. } => Endpoint::Tcp((*local).into()),
            Pair::Other(both) => both.1.clone(),
        }
    }
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").field("peer", &self.peer()).field("local", &self.local()).finish()
    }
}

/// Where a connection is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// A host name, an address, or a directory (leading `/`, or `@` for the abstract namespace) that has a Unix
    /// socket.
    pub host: String,
    /// TCP port, or the number in the socket's file name.
    pub port: u16,
}

impl Target {
    /// The Unix socket meant, if it is one.
    pub(super) fn unix_path(&self) -> Option<PathBuf> {
        self.host.starts_with(['/', '@']).then(|| socket_file(Path::new(&self.host), self.port))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.unix_path() {
            Some(path) => write!(f, "{}", path.display()),
            None if self.host.contains(':') => write!(f, "[{}]:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The socket file of a port inside a directory.
pub(super) fn socket_file(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!("{SOCKET_FILE_PREFIX}{port}"))
}

/// The path as the kernel wants it: a leading `@` becomes the zero byte of the abstract namespace.
pub(super) fn kernel_path(path: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    if bytes.first() == Some(&b'@') {
        bytes[0] = 0;
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &str) -> Endpoint {
        Endpoint::Unix { path: Path::new(path).into(), peer_pid: None, peer_uid: None }
    }

    #[test]
    fn s39_an_endpoint_leads_back_to_the_same_place() {
        for (host, port) in [("127.0.0.1", 5432), ("::1", 6432), ("/run/postgresql", 5433), ("@pooler", 1)] {
            let target = Target { host: host.into(), port };
            let endpoint = match target.unix_path() {
                Some(path) => unix(path.to_str().unwrap()),
                None => Endpoint::Tcp(SocketAddr::new(host.parse().unwrap(), port)),
            };
            assert_eq!(endpoint.target(), target);
        }
        let scoped: SocketAddr = "[fe80::1%3]:5432".parse().unwrap();
        assert_eq!(Endpoint::Tcp(scoped).target().host, "fe80::1%3");
    }

    #[test]
    fn both_ends_come_back_as_they_were_and_take_little_room() {
        let tcp = |text: &str| Endpoint::Tcp(text.parse().unwrap());
        let v4 = (tcp("10.1.2.3:4567"), tcp("127.0.0.1:6432"));
        let v6 = (tcp("[fe80::1%3]:4567"), tcp("[::1]:6432"));
        let local =
            (Endpoint::Unix { path: Path::new("/x").into(), peer_pid: Some(7), peer_uid: None }, unix("/x"));
        for (peer, local) in [v4, v6, local] {
            let ends = Ends::new(peer.clone(), local.clone());
            assert_eq!((ends.peer(), ends.local()), (peer, local));
        }
        assert!(size_of::<Ends>() <= 16);
    }

    #[test]
    fn views_show_unix_sockets_as_unix_with_the_listening_port() {
        assert_eq!((unix("/x").addr_text(), unix("/x").port(6432)), ("unix".to_owned(), 6432));
        let tcp = Endpoint::Tcp("[::1]:77".parse().unwrap());
        assert_eq!((tcp.addr_text(), tcp.port(6432)), ("::1".to_owned(), 77));
    }

    #[test]
    fn the_log_names_an_address_with_its_port_and_a_process() {
        let known = Endpoint::Unix { path: Path::new("/x").into(), peer_pid: Some(42), peer_uid: None };
        let tcp = Endpoint::Tcp("[::1]:77".parse().unwrap());
        assert_eq!([tcp, known, unix("/x")].map(|end| end.to_string()), ["[::1]:77", "unix(42)", "unix"]);
    }

    #[test]
    fn an_at_sign_means_the_abstract_namespace_for_the_kernel_only() {
        let target = Target { host: "@pooler".into(), port: 5432 };
        let path = target.unix_path().unwrap();
        assert_eq!(path.to_str().unwrap(), "@pooler/.s.PGSQL.5432");
        assert_eq!(kernel_path(&path).to_str().unwrap(), "\0pooler/.s.PGSQL.5432");
    }
}
