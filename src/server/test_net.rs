//! Pairs of connected streams, certificates, and a clock for tests of logins, in both directions.

use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config::{SocketOptions, SslMode, TlsSettings};
use crate::net::{Listener, Stream, Target, TlsContext, clock, connect, timeout_at};

pub(crate) fn sockets() -> SocketOptions {
    SocketOptions { keepalive: false, keepidle: None, keepintvl: None, keepcnt: None, user_timeout: None }
}

/// Our end and the peer's end of a TCP connection.
pub(crate) async fn tcp_pair() -> (Stream, Stream) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let listener = Listener::from_std(socket, &sockets()).unwrap();
    let peer = connect(&Target { host: "127.0.0.1".into(), port }, &sockets(), None).await.unwrap();
    (listener.accept().await.unwrap().attach().unwrap(), peer)
}

/// Our end and the peer's end of a Unix connection, in a directory that lives as long as the third value.
pub(crate) async fn unix_pair() -> (Stream, Stream, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixListener::bind(dir.path().join(".s.PGSQL.6432")).unwrap();
    let listener = Listener::from_std(socket, &sockets()).unwrap();
    let target = Target { host: dir.path().to_str().unwrap().to_owned(), port: 6432 };
    let peer = connect(&target, &sockets(), None).await.unwrap();
    (listener.accept().await.unwrap().attach().unwrap(), peer, dir)
}

/// TLS with a fresh certificate for clients in `mode`; towards servers `require`, so that one context can play
/// both ends.
pub(crate) fn tls(mode: SslMode) -> TlsContext {
    tls_pair(mode, SslMode::Require)
}

/// TLS with a fresh certificate for `localhost`, which is also the authority that verifies it.
pub(crate) fn tls_pair(client: SslMode, server: SslMode) -> TlsContext {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: String| -> Option<PathBuf> {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        Some(file)
    };
    let ca_file = write("ca.pem", key.cert.pem());
    let client = TlsSettings {
        mode: client,
        key_file: write("key.pem", key.signing_key.serialize_pem()),
        cert_file: write("cert.pem", key.cert.pem()),
        ca_file: None,
    };
    let server = TlsSettings { mode: server, key_file: None, cert_file: None, ca_file };
    TlsContext::load(&client, &server).unwrap()
}

/// Everything that arrives until the end.
pub(crate) async fn read_all(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        all.extend(&piece[..read]);
    }
    all
}

/// Exactly this many bytes.
pub(crate) async fn read_some(stream: &mut Stream, count: usize) -> Vec<u8> {
    let mut some = vec![0; count];
    stream.read_exact(&mut some).await.unwrap();
    some
}

/// Polls `inner` at most `polls` times, and then drops it.
pub(crate) struct DropAfter<F> {
    pub(crate) inner: Pin<Box<F>>,
    pub(crate) polls: usize,
}

impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.inner.as_mut().poll(cx).map(Some)
    }
}

/// A test that waits longer than this has failed.
pub(crate) fn soon<'a, T>(work: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(async {
        let deadline = clock::now() + Duration::from_secs(20);
        timeout_at(deadline, work).await.expect("not within twenty seconds")
    })
}
