//! Promises of the way from plain to TLS.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::rt::spawn_local;
use super::testing::{Authority, DropAfter, loopback, options, read_exactly, run, target_of, tcp_pair};
use super::testing::{settings, unix_pair};
use super::{Detached, Listener, Stream, Target, TlsContext, connect};
use crate::config::SslMode;

fn client_layer(conn: rustls::ClientConnection) -> Box<super::tls_io::TlsLayer> {
    Box::new(super::tls_io::TlsLayer::new(rustls::Connection::Client(conn)))
}

fn simple_context() -> (Authority, TlsContext) {
    let authority = Authority::new();
    let ctx = authority.context(SslMode::Require, SslMode::VerifyFull);
    (authority, ctx)
}

/// A relay that hands on one byte at a time, each in a segment of its own.
async fn dripping_relay(to: Target) -> Target {
    async fn drip(from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) -> io::Result<()> {
        let mut from = tokio::io::BufReader::new(from);
        loop {
            match from.read_u8().await {
                Ok(byte) => to.write_all(&[byte]).await?,
                Err(_) => return to.shutdown().await,
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    spawn_local("relay", async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect((to.host.as_str(), to.port)).await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let _ended = tokio::join!(drip(near_read, far_write), drip(far_read, near_write));
    });
    Target { host: here.ip().to_string(), port: here.port() }
}

#[test]
fn s51_a_handshake_in_single_bytes_succeeds() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let listener = loopback();
        let relay = dripping_relay(target_of(&listener)).await;
        let near = connect(&relay, &options(), None).await.unwrap();
        let far = listener.accept().await.unwrap().attach().unwrap();
        let (near, far) = tokio::join!(near.connect_tls(&ctx, "localhost"), far.accept_tls(&ctx));
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        near.write_all(b"ping").await.unwrap();
        assert_eq!(read_exactly(&mut far, 4).await, b"ping");
        far.write_all(b"pong").await.unwrap();
        assert_eq!(read_exactly(&mut near, 4).await, b"pong");
    });
}

#[test]
fn both_ends_name_version_and_cipher_as_openssl_does() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let (near, far) = tcp_pair().await;
        let (near, far) = tokio::join!(near.connect_tls(&ctx, "localhost"), far.accept_tls(&ctx));
        let (near, far) = (near.unwrap(), far.unwrap());
        assert!(near.is_tls() && far.is_tls());
        assert_eq!(near.tls_info(), far.tls_info());
        let info = near.tls_info().unwrap().to_string();
        assert!(info.starts_with("TLSv1.3/TLS_AES_"), "{info}");
        assert_eq!(
            super::tls_info::openssl_name("TLS13_CHACHA20_POLY1305_SHA256"),
            "TLS_CHACHA20_POLY1305_SHA256"
        );
        assert_eq!(
            super::tls_info::openssl_name("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
            "ECDHE-RSA-AES256-GCM-SHA384"
        );
        assert_eq!(
            super::tls_info::openssl_name("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        );
    });
}

#[test]
fn s4_clear_text_before_the_handshake_is_refused_in_both_roles() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let (mut near, mut far) = tcp_pair().await;
        near.put_back(b"injected");
        far.put_back(b"injected");
        for refused in [near.connect_tls(&ctx, "localhost").await, far.accept_tls(&ctx).await] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("unencrypted data"), "{error}");
        }
    });
}

#[test]
fn s4_s5_clear_text_in_place_of_the_handshake_is_never_read() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        // Towards the server role: a startup packet where a ClientHello belongs.
        let (mut near, far) = tcp_pair().await;
        near.write_all(b"\0\0\0\x10\0\x03\0\0user\0x\0\0").await.unwrap();
        assert_eq!(far.accept_tls(&ctx).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        // Towards the client role: an AuthenticationOk where a ServerHello belongs.
        let (near, mut far) = tcp_pair().await;
        far.write_all(b"R\0\0\0\x08\0\0\0\0").await.unwrap();
        let error = near.connect_tls(&ctx, "localhost").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    });
}

#[test]
fn tls_inside_tls_is_refused() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let (near, far) = tcp_pair().await;
        let (near, far) = tokio::join!(near.connect_tls(&ctx, "localhost"), far.accept_tls(&ctx));
        assert!(near.unwrap().connect_tls(&ctx, "localhost").await.is_err());
        assert!(far.unwrap().accept_tls(&ctx).await.is_err());
    });
}

#[test]
fn a_peer_that_leaves_in_mid_handshake_is_an_early_end() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let (near, far) = tcp_pair().await;
        drop(near);
        assert_eq!(far.accept_tls(&ctx).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn without_tls_configured_neither_role_begins() {
    run(|| async {
        let off = settings(SslMode::Disable, None, None);
        let ctx = TlsContext::load(&off, &off).unwrap();
        let (near, far) = tcp_pair().await;
        assert_eq!(near.connect_tls(&ctx, "x").await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(far.accept_tls(&ctx).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
}

/// What becomes of a client that offers these protocols, and of whose handshake three bytes were already read.
async fn direct(protocols: &[&[u8]]) -> io::Result<Stream> {
    let (_authority, ctx) = simple_context();
    let mut config = rustls::ClientConfig::clone(ctx.connecting().unwrap());
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    let conn = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let (near, mut far) = tcp_pair().await;
    let client = spawn_local("client", near.handshake(client_layer(conn)));
    let received = read_exactly(&mut far, 3).await;
    let accepted = far.accept_direct_tls(&ctx, &received).await;
    drop(client.await);
    accepted
}

#[test]
fn s51_notices_of_closing_inside_the_handshake_neither_spin_nor_go_on_for_ever() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let close_notify = b"\x15\x03\x03\x00\x02\x01\x00";
        for (times, outcome) in [(1, io::ErrorKind::UnexpectedEof), (100, io::ErrorKind::InvalidData)] {
            // Unauthenticated as it is, one of them decides nothing; the end that follows does.
            let (mut near, far) = tcp_pair().await;
            near.write_all(&close_notify.repeat(times)).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(far.accept_tls(&ctx).await.unwrap_err().kind(), outcome);
            let (near, mut far) = tcp_pair().await;
            far.write_all(&close_notify.repeat(times)).await.unwrap();
            far.shutdown().await.unwrap();
            assert_eq!(near.connect_tls(&ctx, "localhost").await.unwrap_err().kind(), outcome);
        }
    });
}

#[test]
fn tls_of_version_one_two_works_and_is_named() {
    run(|| async {
        let (authority, ctx) = simple_context();
        let (_, roots) = super::pem::read_roots(&authority.ca_file).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let conn = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let (near, far) = tcp_pair().await;
        let (near, far) = tokio::join!(near.handshake(client_layer(conn)), far.accept_tls(&ctx));
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let info = far.tls_info().map(|info| info.to_string());
        assert_eq!(info.as_deref(), Some("TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384"));
        near.write_all(b"old").await.unwrap();
        assert_eq!(read_exactly(&mut far, 3).await, b"old");
    });
}

#[test]
fn direct_tls_wants_the_protocol_named() {
    run(|| async {
        assert!(direct(&[b"postgresql"]).await.is_ok());
        assert!(direct(&[b"h2", b"postgresql"]).await.is_ok());
        assert!(direct(&[b"http/1.1"]).await.is_err());
        let unnamed = direct(&[]).await.unwrap_err();
        assert!(unnamed.to_string().contains("ALPN"), "{unnamed}");
    });
}

#[test]
fn a_handshake_cancelled_at_any_poll_closes_the_connection() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        for polls in 0..100 {
            let (near, far) = tcp_pair().await;
            let (accepting, mut connecting) = (DropAfter::new(far.accept_tls(&ctx), polls), near);
            // The other role in clear: it only has to see the end.
            if polls == 0 {
                assert!(accepting.await.is_none());
                assert_eq!(connecting.read(&mut [0; 1]).await.unwrap(), 0);
                continue;
            }
            let (accepted, connected) = tokio::join!(accepting, connecting.connect_tls(&ctx, "localhost"));
            let Some(accepted) = accepted else {
                // Ended by the peer at some point of the handshake, or right after it.
                if let Ok(mut connected) = connected {
                    assert_eq!(connected.read(&mut [0; 1]).await.unwrap_or(0), 0);
                }
                continue;
            };
            let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
            accepted.write_all(b"!").await.unwrap();
            assert_eq!(read_exactly(&mut connected, 1).await, b"!");
            assert!(polls > 1, "the handshake never waited, so nothing was cancelled");
            return;
        }
        panic!("the handshake never ended");
    });
}

#[test]
fn a_connecting_handshake_cancelled_at_any_poll_closes_the_connection() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        for polls in 0..100 {
            let (near, far) = tcp_pair().await;
            let connecting = DropAfter::new(near.connect_tls(&ctx, "localhost"), polls);
            let (connected, accepted) = tokio::join!(connecting, far.accept_tls(&ctx));
            match connected {
                Some(connected) => return drop((connected.unwrap(), accepted.unwrap())),
                None => assert!(accepted.is_err(), "cancelled after {polls} polls"),
            }
        }
        panic!("the handshake never ended");
    });
}

#[test]
fn a_unix_socket_can_carry_tls_too() {
    run(|| async {
        let (_authority, ctx) = simple_context();
        let (near, far) = unix_pair().await;
        let (near, far) = tokio::join!(near.connect_tls(&ctx, "localhost"), far.accept_tls(&ctx));
        assert!(near.unwrap().is_tls() && far.unwrap().is_tls());
    });
}

#[test]
fn what_travels_between_threads_can_be_sent() {
    fn sendable<T: Send>() {}
    fn shareable<T: Send + Sync>() {}
    sendable::<Detached>();
    shareable::<Listener>();
    shareable::<TlsContext>();
}
