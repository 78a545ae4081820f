//! Logins, byte for byte, over real sockets.

use std::cell::RefCell;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::join;

use super::end::{EndClass, LoginEnd};
use super::login::{Authenticated, Identity, LoginEnv, Rights, authenticate};
use super::test_config::config;
use super::verifiers::{VerifierCache, warm_verifiers};
use crate::auth::AuthSeed;
use crate::config::{AuthType, Config};
use crate::net::{Stream, Turnstile};
use crate::proto::{PgError, Replication, StartupMessage};
use crate::server::test_net::{read_all, read_some, soon, tcp_pair, unix_pair};

const OWN_UID_UNKNOWN: u32 = u32::MAX;
pub(super) const AUTH_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

pub(super) fn asks(user: &str, database: &str) -> StartupMessage {
    StartupMessage { user: user.into(), database: database.into(), ..StartupMessage::default() }
}

pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [b"p", &length.to_be_bytes()[..], body].concat()
}

/// One message: its type and body.
pub(super) async fn message(peer: &mut Stream) -> (u8, Vec<u8>) {
    let header = read_some(peer, 5).await;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    (header[0], read_some(peer, usize::try_from(length).unwrap() - 4).await)
}

/// Logs in as the client would, and tells which messages came, errors included, until the end or success.
async fn scram(peer: &mut Stream, password: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut seen = vec![message(peer).await];
    if seen[0].1 != b"\0\0\0\x0aSCRAM-SHA-256\0\0" {
        return seen;
    }
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    let length = u32::try_from(scram.message().len()).unwrap().to_be_bytes();
    peer.write_all(&framed(&[b"SCRAM-SHA-256\0", &length[..], scram.message()].concat())).await.unwrap();
    seen.push(message(peer).await);
    scram.update(&seen[1].1[4..]).unwrap();
    peer.write_all(&framed(scram.message())).await.unwrap();
    seen.push(message(peer).await);
    if seen[2].0 == b'R' {
        scram.finish(&seen[2].1[4..]).unwrap();
        seen.push(message(peer).await);
    }
    seen
}

/// Answers with a wrong password, as the method has it; every message that came.
async fn guess(method: AuthType, peer: &mut Stream) -> Vec<(u8, Vec<u8>)> {
    if method == AuthType::ScramSha256 {
        return scram(peer, b"wrong").await;
    }
    let first = message(peer).await;
    peer.write_all(&framed(b"wrong\0")).await.unwrap();
    vec![first, message(peer).await]
}

/// Everything a login needs beside the connection.
pub(super) struct Setup {
    config: Config,
    pub(super) verifiers: RefCell<VerifierCache>,
    pub(super) derivations: Turnstile,
    seed: AuthSeed,
}

impl Setup {
    pub(super) fn new(auth_type: AuthType) -> Self {
        let config = Config { auth_type, ..config() };
        let derivations = Turnstile::new(1);
        Self { config, verifiers: RefCell::default(), derivations, seed: AuthSeed::new([7; 32]) }
    }

    pub(super) fn env(&self) -> LoginEnv<'_> {
        LoginEnv {
            config: &self.config,
            verifiers: &self.verifiers,
            derivations: &self.derivations,
            seed: &self.seed,
            own_uid: OWN_UID_UNKNOWN,
            deadline: None,
        }
    }

    /// The login of `asked` against a client that behaves like `client`; what has to be sent is sent.
    pub(super) async fn login<T>(
        &self,
        asked: &StartupMessage,
        client: impl AsyncFnOnce(&mut Stream) -> T,
    ) -> (Result<Authenticated, LoginEnd>, T) {
        let (mut ours, mut peer) = tcp_pair().await;
        let server = async {
            let ended = authenticate(&mut ours, asked, &self.env()).await;
            let mut words = Vec::new();
            match &ended {
                Ok(authenticated) => words.clone_from(&authenticated.accepted),
                Err(end) => {
                    if let Some(tell) = &end.tell {
                        tell.put(&mut words);
                    }
                }
            }
            let _ = ours.write_all(&words).await;
            drop(ours);
            ended
        };
        soon(async { join!(server, client(&mut peer)) }).await
    }

    /// A login by SCRAM: how it ended, and the last message the client saw.
    async fn by_scram(&self, asked: &StartupMessage, password: &[u8]) -> Outcome {
        let (ended, mut seen) = self.login(asked, async |peer| scram(peer, password).await).await;
        let last = seen.pop().unwrap();
        Outcome { ended, last }
    }

    /// The answer to `words` sent in response to the first authentication request.
    pub(super) async fn answer(&self, words: &[u8]) -> (Result<Authenticated, LoginEnd>, Vec<u8>) {
        self.login(&asks("bob", "app"), async |peer| {
            message(peer).await;
            peer.write_all(words).await.unwrap();
            read_all(peer).await
        })
        .await
    }
}

#[derive(Debug)]
struct Outcome {
    ended: Result<Authenticated, LoginEnd>,
    last: (u8, Vec<u8>),
}

pub(super) fn told(answer: &[u8]) -> PgError {
    assert_eq!(answer[0], b'E', "{answer:?}");
    PgError::parse(&answer[5..])
}

pub(super) fn code(error: &PgError) -> &str {
    error.code.as_str()
}

#[tokio::test]
async fn a_client_that_proves_itself_is_let_in() {
    let setup = Setup::new(AuthType::ScramSha256);
    let asked =
        StartupMessage { parameters: vec![("timezone".into(), b"UTC".to_vec())], ..asks("bob", "app") };
    for _first_and_cached in 0..2 {
        let outcome = setup.by_scram(&asked, b"secret").await;
        let authenticated = outcome.ended.unwrap();
        assert_eq!((authenticated.identity, authenticated.database.as_str()), (Identity::Application, "app"));
        assert_eq!(authenticated.parameters, [("TimeZone".to_owned(), b"UTC".to_vec())]);
        assert!(authenticated.scram_keys.is_some() && authenticated.accepted.ends_with(AUTH_OK));
        assert_eq!(outcome.last, (b'R', vec![0; 4]));
    }
    assert_eq!(setup.verifiers.borrow().len(), 1, "derived once");
}

#[tokio::test]
async fn a_changed_password_makes_the_cached_verifier_worthless() {
    let mut setup = Setup::new(AuthType::ScramSha256);
    assert!(setup.by_scram(&asks("bob", "app"), b"secret").await.ended.is_ok());
    let changed = crate::config::Secret::new("changed");
    setup.config.users.get_mut("bob").unwrap().secret = Some(crate::config::SecretEq(changed));
    assert!(setup.by_scram(&asks("bob", "app"), b"secret").await.ended.is_err());
    assert!(setup.by_scram(&asks("bob", "app"), b"changed").await.ended.is_ok());
}

#[tokio::test]
async fn verifiers_can_be_made_before_they_are_needed() {
    let setup = Setup::new(AuthType::ScramSha256);
    warm_verifiers(&setup.config, &setup.seed, &setup.verifiers, &setup.derivations).await;
    assert_eq!(setup.verifiers.borrow().len(), 4, "bob, admin, stats, pooler: the plain ones");
    assert!(setup.by_scram(&asks("bob", "app"), b"secret").await.ended.is_ok());
}

#[tokio::test]
async fn clear_text_and_md5_let_in_as_well() {
    let setup = Setup::new(AuthType::Plain);
    let (ended, last) = setup.answer(&framed(b"secret\0")).await;
    assert_eq!(ended.unwrap().password.unwrap().reveal(), "secret");
    assert_eq!(last, AUTH_OK);
    let setup = Setup::new(AuthType::Md5);
    let (ended, ()) = setup
        .login(&asks("ann", "app"), async |peer| {
            let salt: [u8; 4] = message(peer).await.1[4..].try_into().unwrap();
            let hash = postgres_protocol::authentication::md5_hash(b"ann", b"secret", salt);
            peer.write_all(&framed(&[hash.as_bytes(), b"\0"].concat())).await.unwrap();
        })
        .await;
    assert_eq!(ended.unwrap().user, "ann");
}

#[tokio::test]
async fn s14_r84_unknown_names_and_wrong_passwords_look_the_same_from_outside() {
    for method in [AuthType::ScramSha256, AuthType::Plain, AuthType::Md5] {
        let setup = Setup::new(method);
        let mut seen = Vec::new();
        for (user, database) in
            [("bob", "app"), ("nobody", "app"), ("bob", "none"), ("eve", "app"), ("ann", "x")]
        {
            let (ended, answers) =
                setup.login(&asks(user, database), async |peer| guess(method, peer).await).await;
            let end = ended.unwrap_err();
            assert_eq!(end.class, EndClass::Unproven, "{end:?}");
            let tell = end.tell.unwrap();
            assert_eq!(tell.message, format!("password authentication failed for user \"{user}\""));
            let shape: Vec<_> = answers.iter().map(|(tag, body)| (*tag, body.len())).collect();
            seen.push((code(&tell).to_owned(), shape[..shape.len() - 1].to_vec()));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "codes, round trips and lengths differ: {seen:?}");
    }
}

#[tokio::test]
async fn the_log_names_the_true_cause_on_one_line() {
    let setup = Setup::new(AuthType::ScramSha256);
    let reason =
        async |user: &str| setup.by_scram(&asks(user, "app"), b"wrong").await.ended.unwrap_err().reason;
    assert!(reason("nobody").await.contains("no such user"));
    assert!(reason("bob").await.contains("wrong password"));
    assert!(reason("ann").await.contains("MD5"));
    assert!(!reason("a\nFATAL x").await.contains('\n'), "b8a");
}

#[tokio::test]
async fn an_unknown_database_is_told_to_those_who_proved_themselves() {
    let setup = Setup::new(AuthType::ScramSha256);
    let (ended, seen) = setup
        .login(&asks("bob", "none"), async |peer| {
            let seen = scram(peer, b"secret").await;
            assert_eq!(seen.last().unwrap(), &(b'R', vec![0; 4]));
            read_all(peer).await
        })
        .await;
    let tell = told(&seen);
    assert_eq!((code(&tell), tell.message.as_ref()), ("3D000", "database \"none\" does not exist"));
    assert_eq!(ended.unwrap_err().class, EndClass::Refused);
}

#[tokio::test]
async fn r78_parameters_and_replication_are_judged_after_the_proof() {
    let setup = Setup::new(AuthType::ScramSha256);
    let odd = StartupMessage { parameters: vec![("jit".into(), b"on".to_vec())], ..asks("bob", "app") };
    let end = setup.by_scram(&odd, b"wrong").await.ended.unwrap_err();
    assert_eq!(code(&end.tell.unwrap()), "28P01");
    let wanted = setup.by_scram(&odd, b"secret").await.ended.unwrap().parameters;
    assert_eq!(wanted, [("jit".to_owned(), b"on".to_vec())], "its value is PostgreSQL's to judge");
    let replica = StartupMessage { replication: Replication::Logical, ..asks("bob", "app") };
    let end = setup.by_scram(&replica, b"secret").await.ended.unwrap_err();
    assert_eq!(code(&end.tell.unwrap()), "0A000");
}

#[tokio::test]
async fn the_console_is_for_those_who_are_named() {
    let setup = Setup::new(AuthType::ScramSha256);
    for database in ["pgbouncer", "pooler"] {
        let identity = async |user: &str| setup.by_scram(&asks(user, database), b"secret").await.ended;
        assert_eq!(identity("admin").await.unwrap().identity, Identity::Console(Rights::Admin));
        assert_eq!(identity("stats").await.unwrap().identity, Identity::Console(Rights::Stats));
        for other in ["bob", "pooler"] {
            let tell = identity(other).await.unwrap_err().tell.unwrap();
            assert_eq!((code(&tell), tell.message.as_ref()), ("28000", "not allowed"));
        }
        assert!(setup.by_scram(&asks("admin", database), b"wrong").await.ended.is_err());
    }
}

#[tokio::test]
async fn the_own_user_on_a_unix_socket_is_admin_without_a_password() {
    let setup = Setup::new(AuthType::ScramSha256);
    let (mut ours, mut peer, dir) = unix_pair().await;
    let own_uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap());
    let env = LoginEnv { own_uid, ..setup.env() };
    let authenticated = soon(authenticate(&mut ours, &asks("pooler", "pgbouncer"), &env)).await.unwrap();
    assert_eq!(authenticated.identity, Identity::Console(Rights::Admin));
    assert_eq!(authenticated.accepted, AUTH_OK);
    for (asked, env) in [
        (asks("bob", "pgbouncer"), env),
        (asks("pooler", "app"), env),
        (asks("pooler", "pooler"), LoginEnv { own_uid: OWN_UID_UNKNOWN, ..env }),
    ] {
        let client = async {
            assert_eq!(message(&mut peer).await.1[3], 10, "asked to prove itself");
            peer.write_all(&framed(b"nonsense")).await.unwrap();
        };
        let (ended, ()) = soon(async { join!(authenticate(&mut ours, &asked, &env), client) }).await;
        assert!(ended.is_err());
    }
}
