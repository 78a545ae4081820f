//! Fake servers, byte for byte, over real sockets.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::join;
use tokio::sync::Notify;

use super::error::{OpenCause, OpenError, OpenKind};
use super::open::{Opened, ServerKey, ServerPlan, open};
use super::test_net::{DropAfter, read_all, read_some, sockets, soon, tls_pair};
use crate::auth::{ServerCredentials, ServerSecret};
use crate::config::{Secret, SslMode};
use crate::net::{Listener, Stream, Target, clock};

pub(super) const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
pub(super) const STARTUP: &[u8] = b"\0\0\0\x33\0\x03\0\0user\0web\0database\0shop\0application_name\0p\0\0";
pub(super) const AUTH_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
pub(super) const READY: &[u8] = b"Z\0\0\0\x05I";

pub(super) fn listen() -> (Listener, u16) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (Listener::from_std(socket, &sockets()).unwrap(), port)
}

pub(super) fn plan(port: u16, mode: SslMode) -> ServerPlan {
    ServerPlan {
        target: Target { host: "localhost".into(), port },
        database: "shop".into(),
        user: "web".into(),
        credentials: ServerCredentials {
            user: "web".into(),
            secret: ServerSecret::Password(Secret::new("secret")),
        },
        startup: vec![("application_name".into(), "p".into())],
        tls: Arc::new(tls_pair(SslMode::Require, mode)),
        sockets: sockets(),
    }
}

/// The next connection, or nothing if it is `over` before one comes.
pub(super) async fn accept_until(listener: &Listener, over: &Notify) -> Option<Stream> {
    tokio::select! {
        biased;
        accepted = listener.accept() => accepted.unwrap().attach().ok(),
        () = over.notified() => None,
    }
}

/// Opens by a plan against a server that behaves like `script`.
async fn against<F>(mode: SslMode, script: impl FnOnce(Stream) -> F) -> Result<Opened, OpenError>
where
    F: Future<Output = Option<Stream>>,
{
    let (listener, port) = listen();
    let plan = plan(port, mode);
    let server = async { script(listener.accept().await.unwrap().attach().unwrap()).await };
    // The script's stream is held until the attempt is over.
    let (opened, _held) = soon(async { join!(open(&plan, None), server) }).await;
    opened
}

/// A server without TLS that hears the startup packet and then says `words`.
async fn said(words: &[u8]) -> Result<Opened, OpenError> {
    against(SslMode::Disable, async |mut stream: Stream| {
        assert_eq!(read_some(&mut stream, STARTUP.len()).await, STARTUP);
        stream.write_all(words).await.ok()?;
        Some(stream)
    })
    .await
}

/// A server without TLS that asks for a clear-text password and then says `words`.
async fn said_after_password(words: &[u8]) -> Result<Opened, OpenError> {
    against(SslMode::Disable, async |mut stream: Stream| {
        read_some(&mut stream, STARTUP.len()).await;
        stream.write_all(b"R\0\0\0\x08\0\0\0\x03").await.unwrap();
        assert_eq!(read_some(&mut stream, 12).await, b"p\0\0\0\x0bsecret\0");
        stream.write_all(words).await.ok()?;
        Some(stream)
    })
    .await
}

/// A server that hears a TLS request and answers with `words`.
async fn answered(mode: SslMode, words: &[u8]) -> Result<Opened, OpenError> {
    against(mode, async |mut stream: Stream| {
        assert_eq!(read_some(&mut stream, 8).await, SSL);
        stream.write_all(words).await.ok()?;
        Some(stream)
    })
    .await
}

fn error(code: &str, text: &str) -> Vec<u8> {
    let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    framed(b'E', body.as_bytes())
}

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// What a client would be told.
fn told(error: &OpenError) -> (String, String) {
    let told = error.for_client.as_ref().unwrap();
    (told.code.to_string(), told.message.to_string())
}

#[tokio::test]
async fn r49_a_login_may_bring_notices_and_parameters_in_any_order() {
    let words = [
        &framed(b'N', b"SNOTICE\0C00000\0Mhello\0\0")[..],
        b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0",
        AUTH_OK,
        &framed(b'S', b"TimeZone\0UTC\0"),
        &framed(b'N', b"SNOTICE\0C00000\0Mhello\0\0"),
        b"K\0\0\0\x0c\0\0\0\x2a\0\0\0\x07",
        &framed(b'S', b"search_path\0\0"),
        &framed(b'S', b"TimeZone\0GMT\0"),
        READY,
    ]
    .concat();
    let opened = said(&words).await.unwrap();
    assert_eq!(opened.key, Some(ServerKey { process_id: 42, secret: vec![0, 0, 0, 7] }));
    let expected: [(Vec<u8>, Vec<u8>); 2] =
        [(b"TimeZone".to_vec(), b"GMT".to_vec()), (b"search_path".to_vec(), Vec::new())];
    assert_eq!(opened.parameters, expected);
    assert!(!opened.stream.has_unread());
}

#[tokio::test]
async fn b24_keys_may_be_missing_or_long() {
    let opened = said(&[AUTH_OK, READY].concat()).await.unwrap();
    assert_eq!(opened.key, None, "b24b");
    let key = [&[0, 0, 0, 1][..], &[9; 256]].concat();
    let opened = said(&[AUTH_OK, &framed(b'K', &key), READY].concat()).await.unwrap();
    assert_eq!(opened.key.unwrap().secret, [9; 256], "b24c");
}

#[tokio::test]
async fn b24a_s43_malformed_and_oversized_messages_end_that_server() {
    let after_ok = |words: &[u8]| [AUTH_OK, words].concat();
    for words in [
        after_ok(b"S\0\0\0\x0cTimeZone"), // b24a
        after_ok(b"K\0\0\0\x09\0\0\0\x01\0"),
        after_ok(b"Z\0\0\0\x05T"),
        after_ok(b"Z\0\0\0\x06II"),
        after_ok(b"R\0\0\0\x08\0\0\0\0"),
        after_ok(b"D\0\0\0\x04"),
        after_ok(b"S\x7f\xff\xff\xff"),
        after_ok(b"S\xff\xff\xff\xff"),
        after_ok(&[READY, b"S\0\0\0\x08a\0b\0"].concat()),
        b"K\0\0\0\x0c\0\0\0\x2a\0\0\0\x07".to_vec(),
        b"Z\0\0\0\x05I".to_vec(),
        b"R\0\0\x08\0".to_vec(),
        b"R\0\0\0\x04".to_vec(),
        framed(b'N', &[b'x'; 1000]).repeat(1100),
    ] {
        let failed = said(&words).await.unwrap_err();
        let log = failed.to_string();
        assert!(matches!(failed.cause, OpenCause::Protocol(_) | OpenCause::Credentials(_)), "{log}");
        assert!(log.contains("localhost:"), "{log}");
        assert!(!told(&failed).1.contains("localhost"), "{log}");
    }
}

#[tokio::test]
async fn b19_an_error_may_lack_everything() {
    for words in [&b"E\0\0\0\x12SERROR\0Moops\0\0"[..], b"E\0\0\0\x0aSERROR", b"E\0\0\0\x05\0"] {
        for failed in [said(words).await, said(&[AUTH_OK, words].concat()).await] {
            let failed = failed.unwrap_err();
            assert!(matches!(failed.cause, OpenCause::Server(_)));
            assert_eq!(told(&failed).0, "XX000");
        }
    }
}

#[tokio::test]
async fn f6_f7_f8_a_refusal_is_told_apart_from_a_server_that_cannot_now() {
    for (code, kind) in [
        ("28P01", OpenKind::Refused),
        ("28000", OpenKind::Refused),
        ("3D000", OpenKind::Refused),
        ("42501", OpenKind::Refused),
        ("57P03", OpenKind::Unreachable),
        ("57P01", OpenKind::Unreachable),
        ("53300", OpenKind::Unreachable),
    ] {
        let failed = said_after_password(&error(code, "no")).await.unwrap_err();
        assert_eq!(failed.kind, kind, "{code}");
        assert_eq!(told(&failed), (code.to_owned(), "no".to_owned()), "the server's own words");
    }
}

#[tokio::test]
async fn f9_a_server_that_is_not_there_is_unreachable() {
    let (listener, port) = listen();
    drop(listener);
    let failed = open(&plan(port, SslMode::Disable), None).await.unwrap_err();
    assert!(matches!(failed.cause, OpenCause::Connect(_)));
    assert_eq!((failed.kind, told(&failed).0), (OpenKind::Unreachable, "08006".to_owned()));
    let hangs_up = async |mut stream: Stream| {
        read_some(&mut stream, STARTUP.len()).await;
        None
    };
    let failed = against(SslMode::Disable, hangs_up).await.unwrap_err();
    assert!(matches!(failed.cause, OpenCause::Lost(_)), "{failed}");
    assert_eq!(failed.kind, OpenKind::Unreachable);
}

#[tokio::test]
async fn f11_one_deadline_covers_the_whole_login_after_any_byte() {
    let words = [AUTH_OK, &framed(b'S', b"TimeZone\0UTC\0"), READY].concat();
    for stop in 0..words.len() {
        let (listener, port) = listen();
        let plan = plan(port, SslMode::Disable);
        let server = async {
            let mut stream = listener.accept().await.unwrap().attach().unwrap();
            // On a busy machine time may be up even before this.
            let heard = stream.read_exact(&mut [0; STARTUP.len()]).await;
            let _ = heard.is_ok() && stream.write_all(&words[..stop]).await.is_ok();
            stream
        };
        let deadline = clock::now() + Duration::from_millis(40);
        let (opened, mut held) = soon(async { join!(open(&plan, Some(deadline)), server) }).await;
        let failed = opened.unwrap_err();
        assert!(matches!(failed.cause, OpenCause::Timeout), "stopped after {stop} bytes: {failed}");
        assert_eq!(soon(read_all(&mut held)).await, b"", "closed");
    }
}

#[tokio::test]
async fn b17_s5_data_behind_the_answer_in_the_clear_ends_the_connection() {
    for mode in [SslMode::Prefer, SslMode::Require] {
        let failed = answered(mode, b"SZ\0\0\0\x05I").await.unwrap_err();
        assert!(matches!(failed.cause, OpenCause::TlsAnswer(_) | OpenCause::Tls(_)), "{failed}");
    }
    let failed = answered(SslMode::Prefer, &[b"N", AUTH_OK, READY].concat()).await.unwrap_err();
    assert!(matches!(failed.cause, OpenCause::TlsAnswer(_)), "{failed}");
}

#[tokio::test]
async fn b18_s6_text_before_tls_reaches_the_log_and_no_client() {
    let mut words = b"E\0\0\xff\xff".to_vec();
    words.resize(5 + 65_531, b'M');
    for mode in [SslMode::Prefer, SslMode::Require] {
        let failed = answered(mode, &words).await.unwrap_err();
        let log = failed.to_string();
        assert!(log.contains("unauthenticated text") && log.len() < 500, "{log}");
        assert_eq!(failed.kind, OpenKind::Unreachable);
        assert!(!told(&failed).1.contains('M'));
    }
}

#[tokio::test]
async fn r103_only_a_clear_no_leads_to_plain_text_and_only_where_that_is_allowed() {
    for mode in [SslMode::Require, SslMode::VerifyCa] {
        let failed = answered(mode, b"N").await.unwrap_err();
        assert!(matches!(failed.cause, OpenCause::TlsRefused));
    }
    for mode in [SslMode::Allow, SslMode::Prefer] {
        let opened = against(mode, async |mut stream: Stream| {
            assert_eq!(read_some(&mut stream, 8).await, SSL);
            stream.write_all(b"N").await.unwrap();
            assert_eq!(read_some(&mut stream, STARTUP.len()).await, STARTUP);
            stream.write_all(&[AUTH_OK, READY].concat()).await.unwrap();
            Some(stream)
        })
        .await
        .unwrap();
        assert!(!opened.stream.is_tls());
    }
}

#[tokio::test]
async fn b20_s11_what_a_server_says_in_scram_is_bounded_before_it_is_used() {
    let long = [b"r=".to_vec(), vec![b'z'; 64 * 1024], b",s=c2FsdA==,i=4096".to_vec()].concat();
    for text in [&b"r=abcXYZ,s=c2FsdA==,i=2147483647"[..], b"r=zzz,s=c2FsdA==,i=4096", &long] {
        let failed = against(SslMode::Disable, async |mut stream: Stream| {
            read_some(&mut stream, STARTUP.len()).await;
            stream.write_all(&framed(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).await.unwrap();
            let header = read_some(&mut stream, 5).await;
            assert_eq!(header[0], b'p');
            read_some(&mut stream, usize::from(header[4]) - 4).await;
            stream.write_all(&framed(b'R', &[b"\0\0\0\x0b", text].concat())).await.ok()?;
            Some(stream)
        })
        .await
        .unwrap_err();
        assert!(matches!(failed.cause, OpenCause::Credentials(_) | OpenCause::Protocol(_)), "{failed}");
    }
}

#[tokio::test]
async fn s41_a_second_attempt_knows_nothing_of_the_first() {
    let (listener, port) = listen();
    let plan = plan(port, SslMode::Disable);
    for half in [true, false] {
        let server = async {
            let mut stream = listener.accept().await.unwrap().attach().unwrap();
            assert_eq!(read_some(&mut stream, STARTUP.len()).await, STARTUP);
            if half {
                stream.write_all(&[AUTH_OK, &framed(b'S', b"TimeZone\0evil\0")].concat()).await.unwrap();
                return None;
            }
            stream.write_all(&[AUTH_OK, READY].concat()).await.unwrap();
            Some(stream)
        };
        let (opened, _held) = soon(async { join!(open(&plan, None), server) }).await;
        assert_eq!(opened.is_err(), half);
        assert!(opened.is_err() || opened.unwrap().parameters.is_empty());
    }
}

#[tokio::test]
async fn an_opening_dropped_at_any_poll_closes_its_connection() {
    for polls in 0..200 {
        let (listener, port) = listen();
        let plan = plan(port, SslMode::Disable);
        let over = Notify::new();
        let opening = async {
            let dropped = DropAfter { inner: Box::pin(open(&plan, None)), polls }.await;
            over.notify_one();
            dropped.map(|opened| opened.is_ok())
        };
        let server = async {
            let mut stream = accept_until(&listener, &over).await?;
            stream.write_all(&[AUTH_OK, READY].concat()).await.ok()?;
            Some(stream)
        };
        let (opened, server) = soon(async { join!(opening, server) }).await;
        if let Some(mut server) = server {
            read_all(&mut server).await;
        }
        if opened.is_some() {
            assert!(opened == Some(true) && polls > 1);
            return;
        }
    }
    panic!("never finished");
}
