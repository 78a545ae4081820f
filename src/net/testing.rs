//! What the tests of this room share: pairs of streams, certificates, cancellation.
//!
//! Owns: making them. Does not know: what is tested.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::exec::Executor;
use super::{Detached, Listener, Stream, Target, TlsContext, clock, connect, timeout_at};
use crate::config::{LogFormat, Process, Runtime, SocketOptions, SslMode, TlsSettings};

/// Nothing here takes a second; a test that hangs should say so.
const TEST_LIMIT: Duration = Duration::from_mins(1);

/// Runs a test on each kind of runtime that a worker may have.
pub(super) fn run<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let limited = || async { timeout_at(clock::now() + TEST_LIMIT, test()).await.unwrap() };
    {
        // Listeners are the control plane's, which tokio runs on threads of its own.
        let control =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _context = control.enter();
        Executor::new("test", 4).unwrap().run(limited());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, limited());
}

pub(super) fn options() -> SocketOptions {
    SocketOptions { keepalive: true, keepidle: None, keepintvl: None, keepcnt: None, user_timeout: None }
}

pub(super) fn process(listen_addr: &[&str], port: u16) -> Process {
    Process {
        listen_addr: listen_addr.iter().map(|&addr| addr.to_owned()).collect(),
        listen_port: port,
        listen_backlog: 16,
        unix_socket_dir: None,
        unix_socket_mode: 0o777,
        unix_socket_group: None,
        workers: None,
        runtime: Runtime::Reactor,
        metrics_listen: None,
        log_format: LogFormat::Text,
        log_level: "info".to_owned(),
        log_connections: false,
        log_disconnections: false,
    }
}

pub(super) fn target_of(listener: &Listener) -> Target {
    listener.local_endpoint().target()
}

/// A listener on loopback.
pub(super) fn loopback() -> Listener {
    Listener::bind_all(&process(&["127.0.0.1"], 0), &options()).unwrap().remove(0)
}

/// The connecting end and the accepted end of one TCP connection.
pub(super) async fn tcp_pair() -> (Stream, Stream) {
    let listener = loopback();
    let near = connect(&target_of(&listener), &options(), None).await.unwrap();
    let far = listener.accept().await.unwrap();
    (near, far.attach().unwrap())
}

/// Both ends of a Unix connection.
pub(super) async fn unix_pair() -> (Stream, Stream) {
    let dir = tempfile::tempdir().unwrap();
    let mut process = process(&[], 1);
    process.unix_socket_dir = Some(dir.path().to_owned());
    let listener = Listener::bind_all(&process, &options()).unwrap().remove(0);
    let near = connect(&target_of(&listener), &options(), None).await.unwrap();
    (near, listener.accept().await.unwrap().attach().unwrap())
}

/// Both ends of a TLS connection over TCP: client role, server role.
pub(super) async fn tls_pair() -> (Stream, Stream) {
    let authority = Authority::new();
    let ctx = authority.context(SslMode::Require, SslMode::Require);
    let (near, far) = tcp_pair().await;
    let (near, far) = tokio::join!(near.connect_tls(&ctx, "localhost"), far.accept_tls(&ctx));
    (near.unwrap(), far.unwrap())
}

/// The same connection after a visit to no reactor at all.
pub(super) fn travel(stream: Stream) -> Stream {
    let detached: Detached = stream.detach().unwrap();
    std::thread::spawn(move || detached).join().unwrap().attach().unwrap()
}

pub(super) async fn read_exactly(stream: &mut Stream, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    let mut filled = 0;
    while filled < length {
        let read = stream.read(&mut all[filled..]).await.unwrap();
        assert!(read > 0, "the stream ended after {filled} of {length} bytes");
        filled += read;
    }
    all
}

/// Bytes that repeat only after a prime number of them.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Drops the inner future after so many polls; `None` if it had not ended by then.
pub(super) struct DropAfter<F> {
    pub inner: Option<Pin<Box<F>>>,
    pub polls: usize,
}

impl<F: Future> DropAfter<F> {
    pub(super) fn new(inner: F, polls: usize) -> Self {
        Self { inner: Some(Box::pin(inner)), polls }
    }
}

impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        self.polls -= 1;
        let inner = self.inner.as_mut().expect("polled after its end");
        if let Poll::Ready(output) = inner.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if self.polls == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// A certificate authority with a directory for its files.
pub(super) struct Authority {
    dir: TempDir,
    params: CertificateParams,
    key: KeyPair,
    pub ca_file: PathBuf,
}

/// A key and its certificate in files.
#[derive(Clone)]
pub(super) struct Identity {
    pub key_file: PathBuf,
    pub cert_file: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        // No two authorities have the same name.
        params.distinguished_name.push(DnType::CommonName, dir.path().to_str().unwrap());
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, params, key, ca_file }
    }

    /// A certificate for these alternative names, or for the common name `common` if there are none.
    pub(super) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let cert = params.signed_by(&key, &issuer).unwrap();
        self.write(&cert.pem(), &key.serialize_pem())
    }

    pub(super) fn write(&self, cert: &str, key: &str) -> Identity {
        let count = std::fs::read_dir(self.dir.path()).unwrap().count();
        let cert_file = self.dir.path().join(format!("{count}.crt"));
        let key_file = self.dir.path().join(format!("{count}.key"));
        std::fs::write(&cert_file, cert).unwrap();
        std::fs::write(&key_file, key).unwrap();
        Identity { key_file, cert_file }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A context that shows a certificate for `localhost` to clients and believes this authority.
    pub(super) fn context(&self, client: SslMode, server: SslMode) -> TlsContext {
        let shown = self.issue(&["localhost"], |_| {});
        TlsContext::load(&settings(client, Some(&shown), Some(self)), &settings(server, None, Some(self)))
            .unwrap()
    }
}

pub(super) fn settings(mode: SslMode, shown: Option<&Identity>, believed: Option<&Authority>) -> TlsSettings {
    TlsSettings {
        mode,
        key_file: shown.map(|identity| identity.key_file.clone()),
        cert_file: shown.map(|identity| identity.cert_file.clone()),
        ca_file: believed.map(|authority| authority.ca_file.clone()),
    }
}
