//! Cancel requests to fake servers, over real sockets.

use std::time::Duration;

use tokio::join;
use tokio::sync::Notify;

use super::cancel::{CancelError, CancelTarget, send_cancel};
use super::error::OpenCause;
use super::open::{ServerPlan, open};
use super::test_net::{DropAfter, read_all, read_some, soon};
use super::tests::{AUTH_OK, READY, SSL, STARTUP, accept_until, listen, plan};
use crate::config::SslMode;
use crate::net::{Listener, Stream, TlsContext, clock};

/// A TLS server on this end of the connection.
async fn accept_tls(mut stream: Stream, tls: &TlsContext) -> Stream {
    assert_eq!(read_some(&mut stream, 8).await, SSL);
    stream.write_all(b"S").await.unwrap();
    stream.accept_tls(tls).await.unwrap()
}

/// Opens over TLS and returns what is needed to cancel.
async fn opened_over_tls(listener: &Listener, plan: &ServerPlan) -> (CancelTarget, Stream, Stream) {
    let server = async {
        let stream = listener.accept().await.unwrap().attach().unwrap();
        let mut stream = accept_tls(stream, &plan.tls).await;
        assert_eq!(read_some(&mut stream, STARTUP.len()).await, STARTUP);
        stream.write_all(&[AUTH_OK, b"K\0\0\0\x0c\0\0\0\x2a\0\0\0\x07", READY].concat()).await.unwrap();
        stream
    };
    let (opened, server) = soon(async { join!(open(plan, None), server) }).await;
    let opened = opened.unwrap();
    assert!(opened.stream.is_tls());
    let target = opened.cancel_target(plan).unwrap();
    (target, opened.stream, server)
}

#[tokio::test]
async fn s39_r9_a_cancel_uses_the_same_tls_and_waits_for_the_end() {
    let (listener, port) = listen();
    let plan = plan(port, SslMode::Prefer);
    let (target, ..) = opened_over_tls(&listener, &plan).await;
    let server = async {
        let stream = listener.accept().await.unwrap().attach().unwrap();
        let mut stream = accept_tls(stream, &plan.tls).await;
        let request = read_some(&mut stream, 16).await;
        assert_eq!(request, b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x2a\0\0\0\x07");
    };
    let deadline = clock::now() + Duration::from_secs(10);
    let (sent, ()) = soon(async { join!(send_cancel(&target, deadline), server) }).await;
    sent.unwrap();
    assert!(!format!("{target:?}").contains("secret"));
}

#[tokio::test]
async fn s39_a_cancel_of_an_encrypted_session_is_never_sent_in_the_clear() {
    let (listener, port) = listen();
    let plan = plan(port, SslMode::Prefer);
    let (target, ..) = opened_over_tls(&listener, &plan).await;
    let server = async {
        let mut stream = listener.accept().await.unwrap().attach().unwrap();
        assert_eq!(read_some(&mut stream, 8).await, SSL);
        stream.write_all(b"N").await.unwrap();
        read_all(&mut stream).await
    };
    let deadline = clock::now() + Duration::from_secs(10);
    let (sent, rest) = soon(async { join!(send_cancel(&target, deadline), server) }).await;
    assert!(matches!(sent, Err(CancelError::Open(OpenCause::TlsRefused))));
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn r9_the_wait_for_a_cancel_is_bounded_in_time_and_bytes() {
    let (listener, port) = listen();
    let plan = plan(port, SslMode::Disable);
    for talks in [true, false] {
        let server = async {
            let mut stream = listener.accept().await.unwrap().attach().unwrap();
            read_some(&mut stream, STARTUP.len()).await;
            stream.write_all(&[AUTH_OK, b"K\0\0\0\x0c\0\0\0\x2a\0\0\0\x07", READY].concat()).await.unwrap();
            let mut second = listener.accept().await.unwrap().attach().unwrap();
            let _ = second.read_exact(&mut [0; 16]).await;
            while talks && second.write_all(&[b'x'; 512]).await.is_ok() {}
            (stream, second)
        };
        let client = async {
            let opened = open(&plan, None).await.unwrap();
            let target = opened.cancel_target(&plan).unwrap();
            let patience = Duration::from_millis(if talks { 10_000 } else { 100 });
            send_cancel(&target, clock::now() + patience).await.unwrap_err()
        };
        let (failed, _held) = soon(async { join!(client, server) }).await;
        assert_eq!(matches!(failed, CancelError::Answered), talks, "{failed}");
    }
}

#[tokio::test]
async fn a_cancel_dropped_at_any_poll_closes_its_connection() {
    for polls in 0..200 {
        let (listener, port) = listen();
        let plan = plan(port, SslMode::Prefer);
        let (target, ..) = Box::pin(opened_over_tls(&listener, &plan)).await;
        let over = Notify::new();
        let deadline = clock::now() + Duration::from_secs(10);
        let sending = async {
            let sent = DropAfter { inner: Box::pin(send_cancel(&target, deadline)), polls }.await;
            over.notify_one();
            sent
        };
        let server = async {
            let mut stream = accept_until(&listener, &over).await?;
            stream.read_exact(&mut [0; 8]).await.ok()?;
            stream.write_all(b"S").await.ok()?;
            let mut stream = stream.accept_tls(&plan.tls).await.ok()?;
            stream.read_exact(&mut [0; 16]).await.ok()?;
            stream.shutdown().await.ok()
        };
        let (sent, _ended) = soon(async { join!(sending, server) }).await;
        if let Some(sent) = sent {
            assert!(sent.is_ok() && polls > 2);
            return;
        }
    }
    panic!("never finished");
}
