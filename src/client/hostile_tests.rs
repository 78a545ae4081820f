//! Clients that break the protocol of a login, dawdle, or vanish.

use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::join;

use super::end::EndClass;
use super::login::{LoginEnv, authenticate};
use super::login_tests::{AUTH_OK, Setup, asks, code, framed, message, told};
use crate::config::AuthType;
use crate::net::{Stream, clock};
use crate::server::test_net::{DropAfter, read_all, read_some, soon, tcp_pair};

#[tokio::test]
async fn b33_r80_r82_r83_broken_password_answers() {
    for method in [AuthType::Plain, AuthType::Md5] {
        let setup = Setup::new(method);
        for (words, expected) in [
            (&b"p\0\0\0\x06pw"[..], "08P01"), // b33a
            (b"p\0\0\0\x05\0", "28P01"),      // b33b
            (b"p\0\x01\0\0", "08P01"),        // b33c: told before the body comes
            (b"p\0\0\0\x08pw\0\0", "08P01"),
            (b"p\0\0\0\x03", "08P01"),
            (b"p\xff\xff\xff\xff", "08P01"),
            (b"Q", "08P01"), // r80: told before its length comes
        ] {
            let (ended, answer) = setup.answer(words).await;
            assert!(ended.is_err());
            assert_eq!(code(&told(&answer)), expected, "{method:?} {words:?}");
        }
    }
}

#[tokio::test]
async fn s23_the_largest_password_answer_is_read() {
    let setup = Setup::new(AuthType::Plain);
    let mut password = vec![b'x'; 65_535 - 4];
    password.pop();
    password.push(0);
    let (ended, answer) = setup.answer(&framed(&password)).await;
    assert_eq!(ended.unwrap_err().class, EndClass::Unproven);
    assert_eq!(code(&told(&answer)), "28P01");
}

#[tokio::test]
async fn b13_b14_b15_b33d_r81_broken_sasl_answers() {
    let setup = Setup::new(AuthType::ScramSha256);
    let plus = b"p\0\0\0\x3bSCRAM-SHA-256-PLUS\0\0\0\0\x20p=tls-server-end-point,,n=,r=abc";
    for (words, expected) in [
        (&b"p\0\0\0\x21SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=abc"[..], "08P01"), // b13
        (b"p\0\0\0\x21SCRAM-SHA-256\0\xff\xff\xff\xfen,,n=,r=abc", "08P01"),      // b14
        (plus, "08P01"),                                                          // b15b
        (b"p\0\0\x04\x01", "28P01"),                                              // b33d
        (b"X\0\0\0\x04", "08P01"),                                                // r81
    ] {
        let (ended, answer) = setup.answer(words).await;
        assert!(ended.is_err());
        assert_eq!(code(&told(&answer)), expected, "{words:?}");
    }
    let legal_flag = b"p\0\0\0\x21SCRAM-SHA-256\0\0\0\0\x0by,,n=,r=abc";
    let (_, challenge) = setup
        .login(&asks("bob", "app"), async |peer| {
            message(peer).await;
            peer.write_all(legal_flag).await.unwrap();
            let challenge = message(peer).await;
            peer.shutdown().await.unwrap();
            challenge
        })
        .await;
    assert!(challenge.1.starts_with(b"\0\0\0\x0br=abc"), "y is legal where PLUS is not offered (b15a)");
}

#[tokio::test]
async fn r107_a_client_that_drips_its_answer_is_told_when_time_is_up() {
    let setup = Setup::new(AuthType::Plain);
    let (mut ours, mut peer) = tcp_pair().await;
    let asked = asks("bob", "app");
    let env = LoginEnv { deadline: Some(clock::now() + Duration::from_millis(150)), ..setup.env() };
    let drip = async {
        for byte in b"p\0\0\xff\xff".iter().chain(std::iter::repeat(&b'x')) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if peer.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    let server = async {
        let end = authenticate(&mut ours, &asked, &env).await.unwrap_err();
        drop(ours);
        end
    };
    let (end, ()) = soon(async { join!(server, drip) }).await;
    assert_eq!(end.class, EndClass::Timeout);
    assert_eq!(end.tell.unwrap().message, "client_login_timeout");
}

/// R109: many first logins at once take their turns, each within its own deadline.
#[tokio::test]
async fn r109_a_login_waits_for_its_turn_to_derive_but_not_beyond_its_deadline() {
    let setup = Setup::new(AuthType::ScramSha256);
    let ticket = setup.derivations.enter().await;
    let (mut ours, _peer) = tcp_pair().await;
    let asked = asks("bob", "app");
    let env = LoginEnv { deadline: Some(clock::now() + Duration::from_millis(50)), ..setup.env() };
    let end = soon(authenticate(&mut ours, &asked, &env)).await.unwrap_err();
    assert_eq!(end.class, EndClass::Timeout);
    assert!(setup.verifiers.borrow().is_empty());
    drop(ticket);
    let (ours, mut peer) = tcp_pair().await;
    let login = async {
        let mut ours = ours;
        let authenticated = authenticate(&mut ours, &asked, &setup.env()).await.unwrap();
        ours.write_all(&authenticated.accepted).await.unwrap();
    };
    let ((), happy) = soon(async { join!(login, scram_or_end(&mut peer)) }).await;
    assert!(happy && setup.derivations.free() == 1);
}

#[tokio::test]
async fn what_follows_the_last_answer_is_left_for_others() {
    let setup = Setup::new(AuthType::Plain);
    let (mut ours, mut peer) = tcp_pair().await;
    peer.write_all(&[&framed(b"secret\0")[..], b"Q\0\0\0\x05\0"].concat()).await.unwrap();
    assert!(soon(authenticate(&mut ours, &asks("bob", "app"), &setup.env())).await.is_ok());
    assert_eq!(read_some(&mut ours, 6).await, b"Q\0\0\0\x05\0");
}

#[tokio::test]
async fn an_authentication_dropped_at_any_poll_leaves_nothing_behind() {
    let asked = asks("bob", "app");
    for polls in 0..200 {
        let setup = Setup::new(AuthType::ScramSha256);
        let (ours, mut peer) = tcp_pair().await;
        let env = setup.env();
        let login = async {
            let mut ours = ours;
            let authenticated = authenticate(&mut ours, &asked, &env).await.unwrap();
            ours.write_all(&authenticated.accepted).await.unwrap();
        };
        let login = DropAfter { inner: Box::pin(login), polls };
        let (done, happy) = soon(async { join!(login, scram_or_end(&mut peer)) }).await;
        assert_eq!(done.is_some(), happy, "after {polls} polls");
        assert!(setup.verifiers.try_borrow_mut().is_ok(), "the cache is not left borrowed");
        if happy {
            assert!(polls > 2);
            return;
        }
    }
    panic!("never finished");
}

/// As [`scram`], for a server that may go away at any time.
async fn scram_or_end(peer: &mut Stream) -> bool {
    let mut first = [0; 24];
    if peer.read(&mut first).await.unwrap_or(0) < 24 {
        return false;
    }
    let mut scram = ScramSha256::new(b"secret", ChannelBinding::unsupported());
    let length = u32::try_from(scram.message().len()).unwrap().to_be_bytes();
    let _ = peer.write_all(&framed(&[b"SCRAM-SHA-256\0", &length[..], scram.message()].concat())).await;
    let mut second = vec![0; 400];
    let read = peer.read(&mut second).await.unwrap_or(0);
    if read < 9 || scram.update(&second[9..read]).is_err() {
        return false;
    }
    let _ = peer.write_all(&framed(scram.message())).await;
    read_all(peer).await.ends_with(AUTH_OK)
}
