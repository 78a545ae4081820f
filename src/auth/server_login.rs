//! The exchange by which we prove to a server who we are.
//!
//! Owns: the answers to authentication requests, and the check of the server's own proof. Does not know:
//! sockets, TLS, where credentials come from. What the server says is bounded before it is used (S11), and a
//! server that began SCRAM is not believed before it has shown its signature.
//!
//! ```text
//!  Start --Ok-------------------------------------------------------> Done      (the server trusts us)
//!  Start --cleartext, MD5--> Answered --Ok--------------------------> Done
//!  Start --SASL--> First --continue--> [Deriving] --> Final --final--> Verified --Ok--> Done
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::hash::Key;
use super::login_error::LoginError;
use super::random::Nonce;
use super::scram::{Derivation, Derived, MAX_ITERATIONS, ScramKeys};
use super::scram_text::{ServerFirst, parse_server_final};
use super::secret::{Md5Hash, StoredSecret};
use crate::config::Secret;

/// The mechanism we speak.
const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// `n,,` in base64: no channel binding.
const NO_BINDING: &[u8] = b"c=biws,r=";

/// What is known of the password for a server.
#[derive(Clone)]
pub enum ServerSecret {
    /// Nothing. Serves a server that does not ask.
    None,
    /// The password: serves every method.
    Password(Secret),
    /// The MD5 of password and user name: serves MD5.
    Md5(Md5Hash),
    /// The keys out of a client's proof: serve SCRAM with the identical verifier.
    Keys(ScramKeys),
    /// A verifier whose keys no client has shown: serves nothing.
    VerifierOnly,
}

/// As whom to log in to a server.
#[derive(Clone)]
pub struct ServerCredentials {
    /// The name of our startup packet.
    pub user: String,
    /// What is known of the password.
    pub secret: ServerSecret,
}

impl ServerCredentials {
    /// Credentials from what is stored of this user. `keys`, if any, are those of a client of the *same* user;
    /// they count only where the stored secret is the verifier they belong to.
    pub fn from_stored(user: &str, stored: Option<&StoredSecret>, keys: Option<&ScramKeys>) -> Self {
        let secret = match stored {
            None => ServerSecret::None,
            Some(StoredSecret::Plain(password)) => ServerSecret::Password(password.clone()),
            Some(StoredSecret::Md5(hash)) => ServerSecret::Md5(hash.clone()),
            Some(StoredSecret::Scram(verifier)) => keys
                .filter(|keys| bool::from(verifier.fits(keys)))
                .map_or(ServerSecret::VerifierOnly, |keys| ServerSecret::Keys(keys.clone())),
        };
        Self { user: user.to_owned(), secret }
    }
}

impl std::fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.secret {
            ServerSecret::None => "None",
            ServerSecret::Password(_) => "Password(***)",
            ServerSecret::Md5(_) => "Md5(***)",
            ServerSecret::Keys(_) => "Keys(***)",
            ServerSecret::VerifierOnly => "VerifierOnly",
        };
        f.debug_struct("ServerCredentials").field("user", &self.user).field("secret", &kind).finish()
    }
}

/// What to do after an authentication request.
pub enum LoginStep {
    /// Send this complete message. It may hold a password: never log it.
    Send(Vec<u8>),
    /// Nothing; the server goes on.
    Wait,
    /// Run this off the loop and give the result to [`ServerLogin::on_derived`]; feed nothing until then.
    Derive(Derivation),
    /// We are in.
    Done,
}

impl std::fmt::Debug for LoginStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(message) => write!(f, "Send({} bytes)", message.len()),
            Self::Wait => f.write_str("Wait"),
            Self::Derive(derivation) => derivation.fmt(f),
            Self::Done => f.write_str("Done"),
        }
    }
}

/// The machine that logs in to one server. Any error is final. No memory beyond the credentials and one SCRAM
/// text of bounded length.
pub struct ServerLogin {
    credentials: ServerCredentials,
    nonce: String,
    sent_clear_password: bool,
    state: State,
}

enum State {
    Start,
    Answered,
    First,
    Deriving(Spoken),
    Final { signature: Key },
    Verified,
    Done,
}

/// Both texts over which proof and signature are made.
struct Spoken {
    server_first: Vec<u8>,
    without_proof: Vec<u8>,
}

impl ServerLogin {
    /// A login that has not begun.
    pub fn new(credentials: ServerCredentials, nonce: &Nonce) -> Self {
        Self { credentials, nonce: nonce.text(), sent_clear_password: false, state: State::Start }
    }

    /// Whether the password was handed out to be sent as clear text. It is sent without TLS too, if the server
    /// asks, as PgBouncer does; the shell may want to say so.
    pub const fn sent_clear_password(&self) -> bool {
        self.sent_clear_password
    }

    /// The server sent an authentication request (type `R`): its body. Cheap; what is expensive is handed out.
    ///
    /// # Errors
    /// The login is over: close the connection.
    pub fn on_auth_request(&mut self, body: &[u8]) -> Result<LoginStep, LoginError> {
        let state = std::mem::replace(&mut self.state, State::Done);
        let (code, data) = body.split_first_chunk::<4>().ok_or(LoginError::Malformed("no code"))?;
        let code = i32::from_be_bytes(*code);
        match (code, state) {
            (0, State::Start | State::Answered | State::Verified) if data.is_empty() => Ok(LoginStep::Done),
            (0, State::Start | State::Answered | State::Verified) => {
                Err(LoginError::Malformed("something behind its end"))
            }
            (0, State::First | State::Deriving(_) | State::Final { .. }) => Err(LoginError::SignatureSkipped),
            (3, State::Start) => self.send_cleartext(data),
            (5, State::Start) => self.send_md5(data),
            (10, State::Start) => self.begin_scram(data),
            (11, State::First) => self.on_server_first(data),
            (12, State::Final { signature }) => self.on_server_final(&signature, data),
            (0 | 3 | 5 | 10 | 11 | 12, _) => Err(LoginError::OutOfOrder(code)),
            _ => Err(LoginError::UnsupportedMethod(code)),
        }
    }

    /// The result of the derivation that [`LoginStep::Derive`] asked for.
    ///
    /// # Errors
    /// As [`Self::on_auth_request`].
    pub fn on_derived(&mut self, derived: Derived) -> Result<LoginStep, LoginError> {
        let State::Deriving(spoken) = std::mem::replace(&mut self.state, State::Done) else {
            return Err(LoginError::Malformed("no derivation was asked for"));
        };
        self.prove(&derived.keys(), &spoken)
    }

    /// The password, as far as it can be sent: a NUL would end it early on the wire.
    fn password(&self, method: &'static str) -> Result<&str, LoginError> {
        match &self.credentials.secret {
            ServerSecret::Password(password) => {
                let text = password.reveal();
                if text.is_empty() || text.contains('\0') { Err(LoginError::NoPassword) } else { Ok(text) }
            }
            ServerSecret::None => Err(LoginError::NoPassword),
            ServerSecret::Md5(_) | ServerSecret::Keys(_) | ServerSecret::VerifierOnly => {
                Err(LoginError::WrongPasswordType(method))
            }
        }
    }

    /// PgBouncer sends a stored hash or verifier here. No server takes it for the password, and it would learn
    /// a text that is as good as one elsewhere; we end the login instead.
    fn send_cleartext(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        refuse_rest(data)?;
        let message = answer(&[self.password("cleartext")?.as_bytes(), b"\0"])?;
        self.sent_clear_password = true;
        self.state = State::Answered;
        Ok(LoginStep::Send(message))
    }

    fn send_md5(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        let salt: [u8; 4] = data.try_into().map_err(|_| LoginError::Malformed("no salt of 4 bytes"))?;
        let hash = if let ServerSecret::Md5(hash) = &self.credentials.secret {
            hash.clone()
        } else {
            Md5Hash::of(&self.credentials.user, self.password("MD5")?.as_bytes())
        };
        self.state = State::Answered;
        Ok(LoginStep::Send(answer(&[&hash.answer(salt), b"\0"])?))
    }

    fn begin_scram(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        if !offers_scram(data)? {
            return Err(LoginError::NoMechanism);
        }
        match &self.credentials.secret {
            ServerSecret::Keys(_) => {}
            ServerSecret::VerifierOnly => return Err(LoginError::NoScramKeys),
            ServerSecret::None | ServerSecret::Password(_) | ServerSecret::Md5(_) => {
                self.password("SCRAM")?;
            }
        }
        let text = format!("n,,{}", self.first_bare());
        let length = i32::try_from(text.len()).map_err(|_| LoginError::Malformed("our nonce is too long"))?;
        self.state = State::First;
        Ok(LoginStep::Send(answer(&[MECHANISM, b"\0", &length.to_be_bytes(), text.as_bytes()])?))
    }

    /// client-first-message-bare. The name is left empty, as libpq does: the server knows it already.
    fn first_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    fn on_server_first(&mut self, data: &[u8]) -> Result<LoginStep, LoginError> {
        let first = ServerFirst::parse(data, self.nonce.as_bytes()).map_err(LoginError::Malformed)?;
        let mut without_proof = NO_BINDING.to_vec();
        without_proof.extend(first.nonce);
        let spoken = Spoken { server_first: data.to_vec(), without_proof };
        if let ServerSecret::Keys(keys) = &self.credentials.secret {
            let keys = keys.clone();
            if !keys.made_for(&first.salt, first.iterations) {
                return Err(LoginError::OtherVerifier);
            }
            return self.prove(&keys, &spoken);
        }
        if first.iterations > MAX_ITERATIONS {
            return Err(LoginError::TooManyIterations(first.iterations));
        }
        let password = self.password("SCRAM")?.as_bytes();
        let derivation = Derivation::new(password, first.salt, first.iterations);
        self.state = State::Deriving(spoken);
        Ok(LoginStep::Derive(derivation))
    }

    fn prove(&mut self, keys: &ScramKeys, spoken: &Spoken) -> Result<LoginStep, LoginError> {
        let bare = self.first_bare();
        let all: [&[u8]; 5] = [bare.as_bytes(), b",", &spoken.server_first, b",", &spoken.without_proof];
        let proof = STANDARD.encode(*keys.proof(&all));
        let message = answer(&[&spoken.without_proof, b",p=", proof.as_bytes()])?;
        self.state = State::Final { signature: keys.server_signature(&all) };
        Ok(LoginStep::Send(message))
    }

    fn on_server_final(&mut self, expected: &Key, data: &[u8]) -> Result<LoginStep, LoginError> {
        let signature = parse_server_final(data).ok_or(LoginError::UnreadableSignature)?;
        if !bool::from(signature.ct_eq(&**expected)) {
            return Err(LoginError::InvalidSignature);
        }
        self.state = State::Verified;
        Ok(LoginStep::Wait)
    }
}

impl std::fmt::Debug for ServerLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Start => "Start",
            State::Answered => "Answered",
            State::First => "First",
            State::Deriving(_) => "Deriving",
            State::Final { .. } => "Final",
            State::Verified => "Verified",
            State::Done => "Done",
        };
        f.debug_struct("ServerLogin")
            .field("credentials", &self.credentials)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

fn refuse_rest(data: &[u8]) -> Result<(), LoginError> {
    if data.is_empty() { Ok(()) } else { Err(LoginError::Malformed("something behind its end")) }
}

/// Whether our mechanism is in the list: strings with NUL behind each, one NUL behind all.
fn offers_scram(data: &[u8]) -> Result<bool, LoginError> {
    let names = match data {
        [0] => return Ok(false),
        [names @ .., 0, 0] => names,
        _ => return Err(LoginError::Malformed("list of mechanisms without an end")),
    };
    let mut names = names.split(|&byte| byte == 0);
    if names.clone().any(<[u8]>::is_empty) {
        return Err(LoginError::Malformed("list of mechanisms with an empty name"));
    }
    Ok(names.any(|name| name == MECHANISM))
}

/// A message of type `p` with these parts as its body.
fn answer(parts: &[&[u8]]) -> Result<Vec<u8>, LoginError> {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let word = body.checked_add(4).and_then(|word| i32::try_from(word).ok());
    let word = word.ok_or(LoginError::Malformed("our answer is too long"))?;
    let mut message = vec![b'p'];
    message.extend(word.to_be_bytes());
    for part in parts {
        message.extend(*part);
    }
    Ok(message)
}
