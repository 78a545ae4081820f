//! What the tests of this room share: stored secrets, and a client that plays an exchange to its end.
//!
//! The client is that of the `postgres-protocol` crate: an oracle that shares no code with this room.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::*;
use crate::config::{AuthType, Secret};
use crate::proto::{AuthRequest, PgError};

pub(super) const METHODS: [AuthType; 4] =
    [AuthType::Trust, AuthType::Plain, AuthType::Md5, AuthType::ScramSha256];

pub(super) fn seed() -> AuthSeed {
    AuthSeed::new([0x5e; 32])
}

pub(super) fn nonce() -> Nonce {
    Nonce::new([0x0e; 18])
}

pub(super) fn plain(password: &str) -> StoredSecret {
    StoredSecret::parse(&Secret::new(password)).expect("not empty")
}

pub(super) fn md5(user: &str, password: &str) -> StoredSecret {
    StoredSecret::Md5(Md5Hash::of(user, password.as_bytes()))
}

/// Few rounds: unoptimised builds need a while for 4096.
pub(super) fn scram(password: &str) -> StoredSecret {
    StoredSecret::Scram(ScramVerifier::derive(password.as_bytes(), b"0123456789abcdef", 64))
}

/// Begins an exchange, with its derivation done if it needs one.
pub(super) fn begin(method: AuthType, user: &str, identity: Identity<'_>) -> Result<Start, PgError> {
    let login = Login { method, user, identity, cached: None };
    match Exchange::begin(&login, &seed(), &nonce())? {
        Start::Derive(job) => {
            let cached = job.run();
            Exchange::begin(&Login { cached: Some(&cached), ..login }, &seed(), &nonce())
        }
        start @ (Start::Accepted(_) | Start::Ask(..)) => Ok(start),
    }
}

/// As [`begin`] where a proof is asked.
pub(super) fn asked(method: AuthType, user: &str, identity: Identity<'_>) -> (Exchange, AuthRequest) {
    match begin(method, user, identity).expect("an exchange") {
        Start::Ask(exchange, request) => (exchange, request),
        start @ (Start::Accepted(_) | Start::Derive(_)) => panic!("{start:?}"),
    }
}

/// How a login went.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) verdict: Result<Accepted, PgError>,
    /// Each message to the client before the verdict: its kind and its length.
    pub(super) asked: Vec<(i32, usize)>,
    /// The derivations that had to be run during the exchange.
    pub(super) derivations: usize,
    pub(super) note: Option<&'static str>,
}

/// One message of type `R`: its body.
pub(super) fn body_of(request: &AuthRequest) -> Vec<u8> {
    let mut message = Vec::new();
    request.put(&mut message);
    assert_eq!(message[0], b'R');
    message.split_off(5)
}

/// The body of a SASLInitialResponse.
pub(super) fn initial(mechanism: &str, text: &[u8]) -> Vec<u8> {
    let length = i32::try_from(text.len()).expect("short");
    [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), text].concat()
}

/// Plays a whole login as a driver would.
pub(super) fn play(method: AuthType, user: &str, identity: Identity<'_>, password: &[u8]) -> Played {
    let mut played =
        Played { verdict: Ok(Accepted::default()), asked: Vec::new(), derivations: 0, note: None };
    let (mut exchange, mut request) = match begin(method, user, identity) {
        Ok(Start::Ask(exchange, request)) => (exchange, request),
        Ok(Start::Accepted(accepted)) => return Played { verdict: Ok(accepted), ..played },
        Ok(Start::Derive(_)) => panic!("derived twice"),
        Err(error) => return Played { verdict: Err(error), ..played },
    };
    let mut client = ScramSha256::new(password, ChannelBinding::unsupported());
    loop {
        let body = body_of(&request);
        played.asked.push((i32::from_be_bytes([body[0], body[1], body[2], body[3]]), body.len()));
        let answer = match &request {
            AuthRequest::CleartextPassword => [password, b"\0"].concat(),
            AuthRequest::Md5Password(salt) => {
                [md5_hash(user.as_bytes(), password, *salt).as_bytes(), b"\0"].concat()
            }
            AuthRequest::Sasl(mechanisms) => {
                assert_eq!(mechanisms, &["SCRAM-SHA-256"]);
                initial("SCRAM-SHA-256", client.message())
            }
            AuthRequest::SaslContinue(text) => {
                client.update(text).expect("our first text is good");
                client.message().to_vec()
            }
            AuthRequest::Ok | AuthRequest::SaslFinal(_) => panic!("{request:?} is no question"),
        };
        let mut step = exchange.on_message(b'p', &answer);
        if let Ok(Step::Derive(derivation)) = step {
            played.derivations += 1;
            step = exchange.on_derived(derivation.run());
        }
        played.note = exchange.note();
        match step {
            Ok(Step::Continue(next)) => request = next,
            Ok(Step::Derive(_)) => panic!("two derivations for one answer"),
            Ok(Step::Accepted(accepted)) => {
                if let Some(AuthRequest::SaslFinal(text)) = &accepted.extra {
                    client.finish(text).expect("our signature is good");
                }
                return Played { verdict: Ok(accepted), ..played };
            }
            Err(error) => return Played { verdict: Err(error), ..played },
        }
    }
}
