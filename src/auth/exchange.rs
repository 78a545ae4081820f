//! The exchange by which a client proves who it is.
//!
//! Owns: what is asked, in which order, what each answer means, and the verdict. Does not know: where secrets
//! come from, sockets, the true cause's way into the log. An unknown user, and one whose secret cannot be used,
//! gets a mock exchange of the configured method: the same messages and round trips, the same work, and at its
//! end the same error as a wrong password (S14, R84).
//!
//! ```text
//!  Cleartext --p--> Deriving --derived--> Accepted
//!  Md5 ------p--------------------------> Accepted
//!  SaslChoice --p--> SaslFinal --p------> Accepted      SaslChoice --p, no data--> SaslFirst --p--> SaslFinal
//!  (everything else, in any state) -----> Done, and an error
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::answers::{MECHANISM, initial_response, password_in, refusal, violation};
use super::hash::{Key, sha256};
use super::random::{AuthSeed, Nonce};
use super::scram::{
    CachedVerifier, Derivation, Derived, MAX_ITERATIONS, ScramKeys, ScramVerifier, VerifierFor, VerifierJob,
    verifier_for,
};
use super::scram_text::{ClientFinal, ClientFirst};
use super::secret::{Md5Hash, StoredSecret};
use crate::config::{AuthType, Secret};
use crate::proto::{AuthRequest, PgError, SqlState};

/// Largest length word of a password answer; what PostgreSQL accepts (R59).
pub const MAX_PASSWORD_LEN: usize = 65_535;

/// Largest length word of a SASL answer; what PostgreSQL accepts (R60).
pub const MAX_SASL_LEN: usize = 1_024;

/// Bytes of a length word, which counts itself.
const LENGTH_WORD: usize = 4;

/// What is known about the name that wants in.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// No such user.
    Unknown,
    /// The user exists, but has no password that could match: none at all, an empty one, an expired one.
    NoSecret,
    /// The user and the stored secret.
    Known(&'a StoredSecret),
}

/// One login to be decided.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// How this client must prove itself.
    pub method: AuthType,
    /// The name of the startup packet; the login ends as this user or fails (S3).
    pub user: &'a str,
    /// What is known about this name.
    pub identity: Identity<'a>,
    /// The verifier derived at an earlier login of this user, if any. It may be stale.
    pub cached: Option<&'a CachedVerifier>,
}

/// How a login begins.
#[derive(Debug)]
pub enum Start {
    /// No proof is asked (trust).
    Accepted(Accepted),
    /// Send the request, then feed the answers to the exchange.
    Ask(Exchange, AuthRequest),
    /// SCRAM with a plain secret: run the job off the loop, keep its result for this user, and begin again with
    /// it as [`Login::cached`].
    Derive(VerifierJob),
}

/// What follows from an answer.
#[derive(Debug)]
pub enum Step {
    /// Send this, and wait for the next answer.
    Continue(AuthRequest),
    /// Run this off the loop and give the result to [`Exchange::on_derived`]; read nothing until then.
    Derive(Derivation),
    /// The client is who it says.
    Accepted(Accepted),
}

/// The client is who it says, and what came to light on the way.
#[derive(Debug, Default)]
pub struct Accepted {
    /// After SCRAM: the keys by which a server with the identical verifier can be entered.
    pub keys: Option<ScramKeys>,
    /// To be sent before `AuthenticationOk`.
    pub extra: Option<AuthRequest>,
    /// After a clear-text login: the password that was proved. `None` if it was right but is no UTF-8.
    pub password: Option<Secret>,
}

/// The machine that talks to one client until it is accepted or refused. Any error is final.
pub struct Exchange {
    user: String,
    /// Why this exchange cannot end well, if it is a mock.
    doomed: Option<&'static str>,
    note: Option<&'static str>,
    state: State,
}

enum State {
    Cleartext { check: Check },
    Deriving { check: Check, password: Zeroizing<Vec<u8>> },
    Md5 { expected: Zeroizing<Vec<u8>> },
    SaslChoice(Scram),
    SaslFirst(Scram),
    SaslFinal(Scram, Opening),
    Done,
}

/// How a clear-text password is checked: against all three forms a secret may have. Those which this user's has
/// not are mocks that nothing fits. So the time tells neither the form, nor whether there is a secret (S14). Only a
/// verifier with another number of rounds than the default stands out, as it does in SCRAM itself.
struct Check {
    text: Key,
    hash: Md5Hash,
    verifier: ScramVerifier,
}

struct Scram {
    verifier: ScramVerifier,
    server_nonce: String,
}

/// What was said in the first round of SCRAM.
struct Opening {
    client: ClientFirst,
    server_first: Vec<u8>,
    nonce: Vec<u8>,
}

impl Exchange {
    /// Begins a login. Cheap: what is expensive is handed out as [`Start::Derive`] or [`Step::Derive`].
    ///
    /// Trust asks nothing: a known user is in at once, with or without a secret. That alone tells known names
    /// from others, so an unknown one is refused at once too, with the common text, instead of being asked for a
    /// password that nobody else is asked for.
    ///
    /// MD5 with a user whose secret is a SCRAM verifier does SCRAM, as PgBouncer and PostgreSQL do.
    ///
    /// # Errors
    /// 28P01 for an unknown user under trust.
    pub fn begin(login: &Login<'_>, seed: &AuthSeed, nonce: &Nonce) -> Result<Start, PgError> {
        let stored = match login.identity {
            Identity::Known(stored) => Some(stored),
            Identity::Unknown | Identity::NoSecret => None,
        };
        match (login.method, stored) {
            (AuthType::Trust, _) => {
                Self::trust(login.user, !matches!(login.identity, Identity::Unknown)).map(Start::Accepted)
            }
            (AuthType::Plain, _) => Ok(Self::begin_cleartext(login, stored, seed)),
            (AuthType::ScramSha256, _) | (AuthType::Md5, Some(StoredSecret::Scram(_))) => {
                Ok(Self::begin_scram(login, stored, seed, nonce))
            }
            (AuthType::Md5, _) => Ok(Self::begin_md5(login, stored, seed, nonce)),
        }
    }

    /// The whole login where nothing is asked: it needs neither a secret nor a nonce.
    ///
    /// # Errors
    /// 28P01 for an unknown user.
    pub fn trust(user: &str, is_known: bool) -> Result<Accepted, PgError> {
        if is_known { Ok(Accepted::default()) } else { Err(refusal(user)) }
    }

    fn begin_cleartext(login: &Login<'_>, stored: Option<&StoredSecret>, seed: &AuthSeed) -> Start {
        let mut doomed = missing(login.identity);
        let mut check = Check {
            text: seed.mock_text(login.user),
            hash: seed.mock_md5(login.user),
            verifier: seed.mock_verifier(login.user),
        };
        match stored {
            Some(StoredSecret::Plain(password)) => check.text = sha256(password.reveal().as_bytes()),
            Some(StoredSecret::Md5(hash)) => check.hash = hash.clone(),
            Some(StoredSecret::Scram(verifier)) if verifier.iterations() > MAX_ITERATIONS => {
                doomed = Some("the verifier's iteration count is too high to check a password");
            }
            Some(StoredSecret::Scram(verifier)) => check.verifier = verifier.clone(),
            None => {}
        }
        Self::ask(login, doomed, State::Cleartext { check }, AuthRequest::CleartextPassword)
    }

    fn begin_md5(login: &Login<'_>, stored: Option<&StoredSecret>, seed: &AuthSeed, nonce: &Nonce) -> Start {
        let mock = seed.mock_md5(login.user);
        let hash = match stored {
            Some(StoredSecret::Plain(password)) => Md5Hash::of(login.user, password.reveal().as_bytes()),
            Some(StoredSecret::Md5(hash)) => hash.clone(),
            Some(StoredSecret::Scram(_)) | None => mock,
        };
        let salt = nonce.md5_salt();
        let state = State::Md5 { expected: hash.answer(salt) };
        Self::ask(login, missing(login.identity), state, AuthRequest::Md5Password(salt))
    }

    fn begin_scram(
        login: &Login<'_>,
        stored: Option<&StoredSecret>,
        seed: &AuthSeed,
        nonce: &Nonce,
    ) -> Start {
        // Made for known users too: the time of the first answer shall not tell.
        let mock = seed.mock_verifier(login.user);
        let (verifier, doomed) = match stored
            .map(|stored| verifier_for(login.user, stored, login.cached, seed))
        {
            Some(VerifierFor::Ready(verifier)) => (verifier, None),
            Some(VerifierFor::Derive(job)) => return Start::Derive(job),
            Some(VerifierFor::Impossible) => (mock, Some("SCRAM authentication failed: user has MD5 secret")),
            None => (mock, missing(login.identity)),
        };
        let scram = Scram { verifier, server_nonce: nonce.text() };
        Self::ask(login, doomed, State::SaslChoice(scram), AuthRequest::Sasl(vec![MECHANISM]))
    }

    fn ask(login: &Login<'_>, doomed: Option<&'static str>, state: State, request: AuthRequest) -> Start {
        Start::Ask(Self { user: login.user.to_owned(), doomed, note: doomed, state }, request)
    }

    /// Why the login fails or has failed, for our log only: the client must not learn it (S14). Known from the
    /// beginning for a mock exchange.
    pub const fn note(&self) -> Option<&'static str> {
        self.note
    }

    /// Largest length word to be accepted for the next message, to be enforced before its body is buffered.
    pub const fn max_message_len(&self) -> usize {
        match self.state {
            State::Cleartext { .. } | State::Deriving { .. } | State::Md5 { .. } | State::Done => {
                MAX_PASSWORD_LEN
            }
            State::SaslChoice(_) | State::SaslFirst(_) | State::SaslFinal(..) => MAX_SASL_LEN,
        }
    }

    /// The message was longer than [`Self::max_message_len`]: ends the exchange with the error to be sent
    /// (R59, R60, R64).
    pub fn on_oversized(&mut self) -> PgError {
        let sasl = self.max_message_len() == MAX_SASL_LEN;
        self.state = State::Done;
        self.note = Some("message too long");
        if sasl { refusal(&self.user) } else { violation("invalid message length") }
    }

    /// The client sent a message: its type and its body without the length word.
    ///
    /// # Errors
    /// The FATAL error to be sent; the exchange is over (R80 to R87). A wrong password, an unknown user and an
    /// unusable secret give the same one.
    pub fn on_message(&mut self, tag: u8, body: &[u8]) -> Result<Step, PgError> {
        if body.len().saturating_add(LENGTH_WORD) > self.max_message_len() {
            return Err(self.on_oversized());
        }
        let state = std::mem::replace(&mut self.state, State::Done);
        let expected = match state {
            State::Cleartext { .. } | State::Md5 { .. } => "expected password response, got message type",
            State::SaslChoice(_) | State::SaslFirst(_) | State::SaslFinal(..) => {
                "expected SASL response, got message type"
            }
            State::Deriving { .. } | State::Done => "invalid frontend message type",
        };
        if tag != b'p' || matches!(state, State::Deriving { .. } | State::Done) {
            self.note = Some("unexpected message");
            return Err(PgError::fatal(SqlState::PROTOCOL_VIOLATION, format!("{expected} {tag}")));
        }
        let answer = self.take_answer(state, body);
        if answer.is_err() && self.note.is_none() {
            self.note = Some("malformed message");
        }
        answer
    }

    fn take_answer(&mut self, state: State, body: &[u8]) -> Result<Step, PgError> {
        match state {
            State::Cleartext { check } => {
                let password = Zeroizing::new(password_in(body)?.to_vec());
                let derivation = check.verifier.derivation(&password);
                self.state = State::Deriving { check, password };
                Ok(Step::Derive(derivation))
            }
            State::Md5 { expected } => {
                let right = password_in(body)?.ct_eq(&expected);
                self.verdict(right, Accepted::default())
            }
            State::SaslChoice(scram) => {
                if let Some(text) = initial_response(body)? {
                    self.on_client_first(scram, text)
                } else {
                    self.state = State::SaslFirst(scram);
                    Ok(Step::Continue(AuthRequest::SaslContinue(Vec::new())))
                }
            }
            State::SaslFirst(scram) => self.on_client_first(scram, body),
            State::SaslFinal(scram, opening) => self.on_client_final(&scram, &opening, body),
            State::Deriving { .. } | State::Done => Err(violation("unexpected message")),
        }
    }

    /// The result of the derivation that [`Step::Derive`] asked for.
    ///
    /// # Errors
    /// As [`Self::on_message`].
    pub fn on_derived(&mut self, derived: Derived) -> Result<Step, PgError> {
        let State::Deriving { check, password } = std::mem::replace(&mut self.state, State::Done) else {
            self.note = Some("unexpected derivation");
            return Err(refusal(&self.user));
        };
        let right = sha256(&password).ct_eq(&*check.text)
            | Md5Hash::of(&self.user, &password).ct_eq(&check.hash)
            | check.verifier.fits(&derived.keys());
        let password = std::str::from_utf8(&password).ok().map(Secret::new);
        self.verdict(right, Accepted { password, ..Accepted::default() })
    }

    fn on_client_first(&mut self, scram: Scram, text: &[u8]) -> Result<Step, PgError> {
        let client = ClientFirst::parse(text)?;
        let mut nonce = client.nonce.clone();
        nonce.extend(scram.server_nonce.as_bytes());
        let mut server_first = b"r=".to_vec();
        server_first.extend(&nonce);
        let cost = format!(",s={},i={}", STANDARD.encode(scram.verifier.salt()), scram.verifier.iterations());
        server_first.extend(cost.as_bytes());
        let request = AuthRequest::SaslContinue(server_first.clone());
        self.state = State::SaslFinal(scram, Opening { client, server_first, nonce });
        Ok(Step::Continue(request))
    }

    fn on_client_final(&mut self, scram: &Scram, opening: &Opening, text: &[u8]) -> Result<Step, PgError> {
        let last = ClientFinal::parse(text)?;
        // What the client says now of channel binding must be what it said first, in base64: "n,," or "y,,".
        let header: &[u8] = if opening.client.flag == b'y' { b"eSws" } else { b"biws" };
        if last.channel_binding != header {
            return Err(violation("unexpected SCRAM channel-binding attribute in client-final-message"));
        }
        if last.nonce != opening.nonce {
            return Err(violation("invalid SCRAM response").with_detail("Nonce does not match."));
        }
        let spoken: [&[u8]; 5] =
            [&opening.client.bare, b",", &opening.server_first, b",", last.without_proof];
        let (right, keys) = scram.verifier.check_proof(&last.proof, &spoken);
        let signature: Key = keys.server_signature(&spoken);
        let last_word = format!("v={}", STANDARD.encode(*signature)).into_bytes();
        let extra = Some(AuthRequest::SaslFinal(last_word));
        self.verdict(right, Accepted { keys: Some(keys), extra, password: None })
    }

    /// The only way to [`Step::Accepted`] for a user who had to prove something.
    fn verdict(&mut self, right: Choice, accepted: Accepted) -> Result<Step, PgError> {
        let genuine = Choice::from(u8::from(self.doomed.is_none()));
        if bool::from(right & genuine) {
            return Ok(Step::Accepted(accepted));
        }
        self.note = self.doomed.or(Some("wrong password"));
        Err(refusal(&self.user))
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Cleartext { .. } => "Cleartext",
            State::Deriving { .. } => "Deriving",
            State::Md5 { .. } => "Md5",
            State::SaslChoice(_) => "SaslChoice",
            State::SaslFirst(_) => "SaslFirst",
            State::SaslFinal(..) => "SaslFinal",
            State::Done => "Done",
        };
        f.debug_struct("Exchange").field("user", &self.user).field("state", &state).finish_non_exhaustive()
    }
}

const fn missing(identity: Identity<'_>) -> Option<&'static str> {
    match identity {
        Identity::Unknown => Some("no such user"),
        Identity::NoSecret => Some("user has no password"),
        Identity::Known(_) => None,
    }
}
