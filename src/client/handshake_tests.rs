//! Fresh clients, byte for byte, over real sockets.

use std::time::Duration;

use tokio::join;

use super::end::{EndClass, LoginEnd};
use super::handshake::{GreetEnv, Greeting, greet};
use crate::config::SslMode;
use crate::net::{Stream, TlsContext, Turnstile, clock};
use crate::proto::{PgError, SqlState};
use crate::server::test_net::{DropAfter, read_all, read_some, soon, tcp_pair, tls, unix_pair};

const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const START: &[u8] = b"\0\0\0\x1f\0\x03\0\0user\0bob\0database\0app\0\0";

const fn env<'a>(tls: &'a TlsContext, handshakes: &'a Turnstile) -> GreetEnv<'a> {
    GreetEnv { tls, handshakes, deadline: None }
}

async fn greeted(stream: Stream, ctx: &TlsContext) -> Result<Greeting, LoginEnd> {
    soon(greet(stream, &env(ctx, &Turnstile::new(1)))).await
}

/// Sends `bytes`, ends its direction, and returns what came back with how it ended.
async fn say(ctx: &TlsContext, bytes: &[u8]) -> (Vec<u8>, Result<Greeting, LoginEnd>) {
    let (ours, mut peer) = tcp_pair().await;
    peer.write_all(bytes).await.unwrap();
    let result = greeted(ours, ctx).await;
    match result {
        Ok(greeting) => (Vec::new(), Ok(greeting)),
        Err(end) => (soon(read_all(&mut peer)).await, Err(end)),
    }
}

fn error(answer: &[u8]) -> PgError {
    assert_eq!(answer[0], b'E');
    PgError::parse(&answer[5..])
}

fn user(greeting: Greeting) -> (Stream, String) {
    match greeting {
        Greeting::Login { stream, message } => (stream, message.user),
        Greeting::Cancel { .. } => panic!("a cancel"),
    }
}

#[tokio::test]
async fn r75_a_startup_packet_may_come_in_any_pieces() {
    let ctx = tls(SslMode::Disable);
    for cut in 0..START.len() {
        let (ours, mut peer) = tcp_pair().await;
        let talk = async {
            peer.write_all(&START[..cut]).await.unwrap();
            tokio::task::yield_now().await;
            peer.write_all(&START[cut..]).await.unwrap();
            peer
        };
        let (greeting, _peer) = join!(greeted(ours, &ctx), talk);
        assert_eq!(user(greeting.unwrap()).1, "bob", "cut at byte {cut}");
    }
}

#[tokio::test]
async fn what_follows_the_startup_packet_is_left_for_others() {
    let (ours, mut peer) = tcp_pair().await;
    peer.write_all(&[START, b"p\0\0\0\x05\0"].concat()).await.unwrap();
    let (mut stream, _) = user(greeted(ours, &tls(SslMode::Disable)).await.unwrap());
    assert_eq!(read_some(&mut stream, 6).await, b"p\0\0\0\x05\0");
}

#[tokio::test]
async fn b1_s4_data_behind_a_tls_request_is_never_a_packet() {
    let (answer, end) = say(&tls(SslMode::Disable), &[SSL, START].concat()).await;
    assert_eq!(answer[0], b'N');
    let told = error(&answer[1..]);
    assert_eq!(told.code, SqlState::PROTOCOL_VIOLATION);
    assert_eq!(told.message, "received unencrypted data after SSL request");
    assert_eq!(end.unwrap_err().class, EndClass::Protocol);
}

#[tokio::test]
async fn b1_s4_with_tls_the_same_is_said_inside_it() {
    let ctx = tls(SslMode::Prefer);
    let (ours, mut peer) = tcp_pair().await;
    peer.write_all(&[SSL, START].concat()).await.unwrap();
    let client = async {
        assert_eq!(read_some(&mut peer, 1).await, b"S");
        let mut peer = peer.connect_tls(&ctx, "localhost").await.unwrap();
        read_all(&mut peer).await
    };
    let (greeting, answer) = join!(greeted(ours, &ctx), soon(client));
    assert_eq!(error(&answer).message, "received unencrypted data after SSL request");
    assert_eq!(greeting.unwrap_err().class, EndClass::Protocol);
}

#[tokio::test]
async fn b2_data_behind_a_gssapi_request_is_never_a_packet() {
    let (answer, _) = say(&tls(SslMode::Disable), &[GSS, START].concat()).await;
    assert_eq!(answer[0], b'N');
    assert_eq!(error(&answer[1..]).message, "received unencrypted data after GSSAPI encryption request");
}

#[tokio::test]
async fn b3_b4_b5_b6_b35b_nonsense_is_answered_by_silence() {
    for bytes in [
        &b"\0\0\0\0"[..],
        b"\0\0\0\x03",
        b"\0\0\0\x07\0\x03\0",
        b"\x7f\xff\xff\xff\0\x03\0\0",
        b"\xff\xff\xff\xff",
        b"\x80\0\0\0",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\0\0\x27\x15\0\x03\0\0",
        b"\0\0\0\x0f\x04\xd2\x16\x2e\0\0\0\x01\0\0\0",
    ] {
        let (answer, end) = say(&tls(SslMode::Prefer), bytes).await;
        assert_eq!(answer, b"", "{bytes:?}");
        assert_eq!(end.unwrap_err().class, EndClass::Protocol);
    }
}

#[tokio::test]
async fn b7_b28a_b35c_errors_are_told_in_the_format_that_is_understood() {
    let ctx = tls(SslMode::Disable);
    let (answer, _) = say(&ctx, b"\0\0\0\x10\0\x03\0\0user\0bob").await;
    assert_eq!(error(&answer).code, SqlState::PROTOCOL_VIOLATION, "b7a");
    let (answer, _) = say(&ctx, b"\0\0\0\x09\0\x03\0\0\0").await;
    assert_eq!(error(&answer).code, SqlState::INVALID_AUTHORIZATION, "b35c");
    let (answer, _) = say(&ctx, b"\0\0\0\x08\0\x02\0\0").await;
    assert!(answer.starts_with(b"EFATAL:  unsupported frontend protocol 2.0"), "b28a");
}

#[tokio::test]
async fn b16_r72_a_cancel_is_handed_on_and_never_answered() {
    let (ours, mut peer) = tcp_pair().await;
    peer.write_all(b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x04\xd2\xde\xad\xbe\xef").await.unwrap();
    match greeted(ours, &tls(SslMode::Require)).await.unwrap() {
        Greeting::Cancel { process_id, secret, .. } => {
            assert_eq!((process_id, secret), (1234, vec![0xde, 0xad, 0xbe, 0xef]));
        }
        Greeting::Login { .. } => panic!("a login"),
    }
    assert_eq!(soon(read_all(&mut peer)).await, b"", "closed without an answer");
}

#[tokio::test]
async fn b28b_r50_newer_protocols_get_exactly_one_negotiation() {
    let (ours, mut peer) = tcp_pair().await;
    peer.write_all(b"\0\0\0\x1b\0\x03\x27\x0fuser\0bob\0_pq_.x\0y\0\0").await.unwrap();
    let (stream, _) = user(greeted(ours, &tls(SslMode::Disable)).await.unwrap());
    drop(stream);
    assert_eq!(soon(read_all(&mut peer)).await, b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
}

#[tokio::test]
async fn r70_each_request_is_declined_once_in_either_order() {
    let ctx = tls(SslMode::Disable);
    for requests in [[SSL, GSS], [GSS, SSL]] {
        let (ours, mut peer) = tcp_pair().await;
        let client = async {
            for request in requests {
                peer.write_all(request).await.unwrap();
                assert_eq!(read_some(&mut peer, 1).await, b"N");
            }
            peer.write_all(START).await.unwrap();
        };
        let (greeting, ()) = join!(greeted(ours, &ctx), soon(client));
        assert!(greeting.is_ok());
    }
}

#[tokio::test]
async fn b34a_a_request_that_comes_twice_is_no_version() {
    let ctx = tls(SslMode::Disable);
    for request in [SSL, GSS] {
        let (ours, mut peer) = tcp_pair().await;
        let client = async {
            peer.write_all(request).await.unwrap();
            assert_eq!(read_some(&mut peer, 1).await, b"N");
            peer.write_all(request).await.unwrap();
            read_all(&mut peer).await
        };
        let (greeting, answer) = join!(greeted(ours, &ctx), soon(client));
        assert_eq!(error(&answer).code, SqlState::FEATURE_NOT_SUPPORTED);
        assert!(greeting.is_err());
    }
}

#[tokio::test]
async fn b34b_requests_inside_tls_are_refused_and_logins_are_not() {
    let ctx = tls(SslMode::Require);
    for (packet, welcome) in [(SSL, false), (GSS, false), (START, true)] {
        let (ours, mut peer) = tcp_pair().await;
        let client = async {
            peer.write_all(SSL).await.unwrap();
            assert_eq!(read_some(&mut peer, 1).await, b"S");
            let mut peer = peer.connect_tls(&ctx, "localhost").await.unwrap();
            peer.write_all(packet).await.unwrap();
            if welcome { Vec::new() } else { read_all(&mut peer).await }
        };
        let (greeting, answer) = join!(greeted(ours, &ctx), soon(client));
        match greeting {
            Ok(greeting) => assert!(welcome && user(greeting).0.is_tls()),
            Err(_) => assert_eq!(error(&answer).code, SqlState::FEATURE_NOT_SUPPORTED),
        }
    }
}

#[tokio::test]
async fn b34c_clear_text_after_yes_ends_the_connection() {
    let ctx = tls(SslMode::Prefer);
    let (ours, mut peer) = tcp_pair().await;
    let client = async {
        peer.write_all(SSL).await.unwrap();
        assert_eq!(read_some(&mut peer, 1).await, b"S");
        peer.write_all(START).await.unwrap();
        read_all(&mut peer).await
    };
    let (greeting, _alert) = join!(greeted(ours, &ctx), soon(client));
    assert!(greeting.is_err());
}

#[tokio::test]
async fn tls_that_is_required_is_required_on_tcp_only() {
    let ctx = tls(SslMode::Require);
    let (answer, end) = say(&ctx, START).await;
    let told = error(&answer);
    assert_eq!((told.code, told.message.as_ref()), (SqlState::INVALID_AUTHORIZATION, "SSL required"));
    assert_eq!(end.unwrap_err().class, EndClass::Refused);

    let (ours, mut peer, _dir) = unix_pair().await;
    let client = async {
        peer.write_all(SSL).await.unwrap();
        assert_eq!(read_some(&mut peer, 1).await, b"N", "a Unix socket has no TLS");
        peer.write_all(START).await.unwrap();
    };
    let (greeting, ()) = join!(greeted(ours, &ctx), soon(client));
    assert!(!user(greeting.unwrap()).0.is_tls());
}

#[tokio::test]
async fn direct_tls_is_taken_where_tls_is_on() {
    let ctx = tls(SslMode::Require);
    let (ours, peer) = tcp_pair().await;
    let client = async {
        let mut peer = peer.connect_tls(&ctx, "localhost").await.unwrap();
        peer.write_all(START).await.unwrap();
        peer
    };
    let (greeting, _peer) = join!(greeted(ours, &ctx), soon(client));
    assert!(user(greeting.unwrap()).0.is_tls());
    let (answer, _) = say(&tls(SslMode::Disable), b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03").await;
    assert_eq!(answer, b"", "where it is off it is nonsense");
}

/// R109: handshakes take turns; who has not begun one keeps nobody waiting.
#[tokio::test]
async fn r109_only_so_many_shake_hands_at_a_time() {
    let (ctx, places) = (tls(SslMode::Prefer), Turnstile::new(1));
    let env = env(&ctx, &places);
    let (idle, mut idler) = tcp_pair().await;
    idler.write_all(SSL).await.unwrap();
    let idle = greet(idle, &env);
    let busy = async {
        assert_eq!(read_some(&mut idler, 1).await, b"S");
        let ticket = places.enter().await;
        let (ours, mut peer) = tcp_pair().await;
        let client = async {
            peer.write_all(SSL).await.unwrap();
            assert_eq!(read_some(&mut peer, 1).await, b"S");
            let mut peer = peer.connect_tls(&ctx, "localhost").await.unwrap();
            assert_eq!(places.free(), 0);
            peer.write_all(START).await.unwrap();
            peer
        };
        let timely = GreetEnv { deadline: Some(clock::now() + Duration::from_millis(50)), ..env };
        let (late, mut late_peer) = tcp_pair().await;
        late_peer.write_all(SSL).await.unwrap();
        let hello = async {
            assert_eq!(read_some(&mut late_peer, 1).await, b"S");
            let _ = late_peer.connect_tls(&ctx, "localhost").await;
        };
        let (refused, ()) = join!(greet(late, &timely), hello);
        assert_eq!(refused.unwrap_err().class, EndClass::Timeout);
        drop(ticket);
        let (greeting, _peer) = join!(greet(ours, &env), client);
        assert!(user(greeting.unwrap()).0.is_tls());
        drop(idler);
    };
    let (gone, ()) = soon(async { join!(idle, busy) }).await;
    assert_eq!(gone.unwrap_err().class, EndClass::Gone);
    assert_eq!(places.free(), 1);
}

#[tokio::test]
async fn r107_f25_dripping_does_not_extend_the_deadline() {
    let ctx = tls(SslMode::Disable);
    let (ours, mut peer) = tcp_pair().await;
    let deadline = clock::now() + Duration::from_millis(150);
    let drip = async {
        for byte in b"\0\0\x27\x14\0\x03\0\0user\0".iter().chain(std::iter::repeat(&b'x')) {
            if peer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let places = Turnstile::new(1);
    let env = GreetEnv { deadline: Some(deadline), ..env(&ctx, &places) };
    let greeting = async { greet(ours, &env).await };
    let (greeting, ()) = soon(async { join!(greeting, drip) }).await;
    assert_eq!(greeting.unwrap_err().class, EndClass::Timeout);
}

#[tokio::test]
async fn a_client_that_leaves_is_told_apart_from_one_that_errs() {
    let (ours, peer) = tcp_pair().await;
    drop(peer);
    assert_eq!(greeted(ours, &tls(SslMode::Disable)).await.unwrap_err().class, EndClass::Gone);
}

#[tokio::test]
async fn a_greeting_dropped_at_any_poll_closes_its_connection() {
    let ctx = tls(SslMode::Prefer);
    for polls in 0..200 {
        let (ours, mut peer) = tcp_pair().await;
        let places = Turnstile::new(1);
        let env = env(&ctx, &places);
        let greeting = DropAfter { inner: Box::pin(greet(ours, &env)), polls };
        let client = async {
            peer.write_all(SSL).await.ok()?;
            let mut answer = [0; 1];
            peer.read_exact(&mut answer).await.ok()?;
            let mut peer = peer.connect_tls(&ctx, "localhost").await.ok()?;
            peer.write_all(START).await.ok()?;
            Some(peer)
        };
        let (greeted, client) = soon(async { join!(async { greeting.await.is_some() }, client) }).await;
        if greeted {
            assert!(client.is_some() && polls > 3);
            return;
        }
        if let Some(mut peer) = client {
            assert_eq!(soon(read_all(&mut peer)).await, b"");
        }
    }
    panic!("never finished");
}
