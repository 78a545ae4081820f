//! The keys of SCRAM-SHA-256 (RFC 5802, RFC 7677) and how they come from a password.
//!
//! Owns: the stored verifier, the keys recovered from a client's proof, the derivation of both, the cache entry
//! of a derived verifier. Does not know: messages, states. Everything here is `Send`, so that a derivation may
//! run on another thread.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::hash::{KEY_LEN, Key, hmac, salted_password, sha256};
use super::random::AuthSeed;
use super::secret::StoredSecret;

/// Rounds for verifiers that we derive and for mock exchanges: PostgreSQL's and PgBouncer's default.
pub const SCRAM_ITERATIONS: u32 = 4096;

/// Most rounds that we run on the word of somebody else (S11): the default cap of pgjdbc, tens of milliseconds.
pub const MAX_ITERATIONS: u32 = 100_000;

/// What is needed to check a SCRAM-SHA-256 proof, and to prove to the client that we know its password.
#[derive(Clone)]
pub struct ScramVerifier {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Key,
    server_key: Key,
}

impl ScramVerifier {
    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the form of `pg_authid`. `None` for
    /// anything else: no iterations, an empty salt, keys that are not 32 bytes, broken base64.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("SCRAM-SHA-256$")?;
        let (cost, keys) = rest.split_once('$')?;
        let (iterations, salt) = cost.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        let iterations = parse_iterations(iterations.as_bytes())?;
        Some(Self {
            salt,
            iterations,
            stored_key: decode_key(stored_key.as_bytes())?,
            server_key: decode_key(server_key.as_bytes())?,
        })
    }

    /// The verifier of a password. Expensive (see [`Derivation::run`]); zero rounds count as one.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        Derivation::new(password, salt.to_vec(), iterations).run().verifier()
    }

    pub(super) const fn from_parts(salt: Vec<u8>, iterations: u32, stored_key: Key, server_key: Key) -> Self {
        Self { salt, iterations, stored_key, server_key }
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub(super) const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Checks the client's proof over `auth_message`. The ClientKey falls out of a right proof; of a wrong one
    /// only noise.
    pub(super) fn check_proof(&self, proof: &[u8; KEY_LEN], auth_message: &[&[u8]]) -> (Choice, ScramKeys) {
        let signature = hmac(&self.stored_key, auth_message);
        let client_key = xor(proof, &signature);
        let right = sha256(&*client_key).ct_eq(&*self.stored_key);
        let keys = ScramKeys {
            client_key,
            server_key: self.server_key.clone(),
            salt: self.salt.clone(),
            iterations: self.iterations,
        };
        (right, keys)
    }

    /// What must be run to check a password against this verifier.
    pub(super) fn derivation(&self, password: &[u8]) -> Derivation {
        Derivation::new(password, self.salt.clone(), self.iterations)
    }

    /// Whether these keys came out of the password behind this verifier. Salt and rounds are no secret.
    pub(super) fn fits(&self, keys: &ScramKeys) -> Choice {
        let public = self.salt == keys.salt && self.iterations == keys.iterations;
        sha256(&*keys.client_key).ct_eq(&*self.stored_key)
            & keys.server_key.ct_eq(&*self.server_key)
            & Choice::from(u8::from(public))
    }
}

impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramVerifier(***)")
    }
}

/// The keys of a user who has just proved to know the password: enough to log in, as this user, to a server
/// that stores the identical verifier. As good as the password there, and treated like it.
#[derive(Clone)]
pub struct ScramKeys {
    client_key: Key,
    server_key: Key,
    salt: Vec<u8>,
    iterations: u32,
}

impl ScramKeys {
    /// Whether a server that announces this salt and this cost stores the verifier of these keys, as far as can
    /// be told before the proof.
    pub(super) fn made_for(&self, salt: &[u8], iterations: u32) -> bool {
        self.salt == salt && self.iterations == iterations
    }

    /// The proof over `auth_message`, for the server.
    pub(super) fn proof(&self, auth_message: &[&[u8]]) -> Key {
        let stored_key = sha256(&*self.client_key);
        xor(&self.client_key, &hmac(&stored_key, auth_message))
    }

    /// The signature by which the other side proves that it knows the verifier.
    pub(super) fn server_signature(&self, auth_message: &[&[u8]]) -> Key {
        hmac(&self.server_key, auth_message)
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(***)")
    }
}

/// PBKDF2 to be done: the expensive step of a login, apart from everything else so that it can run off the loop.
pub struct Derivation {
    password: Zeroizing<Vec<u8>>,
    salt: Vec<u8>,
    iterations: u32,
}

impl Derivation {
    pub(super) fn new(password: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        Self { password: Zeroizing::new(password.to_vec()), salt, iterations: iterations.max(1) }
    }

    /// Does the work: two SHA-256 blocks per round, one to three milliseconds for 4096 rounds, never more than
    /// [`MAX_ITERATIONS`] rounds on the word of a server or of a stored verifier.
    pub fn run(self) -> Derived {
        let salted = salted_password(&self.password, &self.salt, self.iterations);
        Derived { salted, salt: self.salt, iterations: self.iterations }
    }
}

impl std::fmt::Debug for Derivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Derivation({} rounds)", self.iterations)
    }
}

/// What PBKDF2 gave: the SaltedPassword of RFC 5802.
pub struct Derived {
    salted: Key,
    salt: Vec<u8>,
    iterations: u32,
}

impl Derived {
    pub(super) fn keys(self) -> ScramKeys {
        ScramKeys {
            client_key: hmac(&self.salted, &[b"Client Key"]),
            server_key: hmac(&self.salted, &[b"Server Key"]),
            salt: self.salt,
            iterations: self.iterations,
        }
    }

    pub(super) fn verifier(self) -> ScramVerifier {
        let keys = self.keys();
        ScramVerifier {
            stored_key: sha256(&*keys.client_key),
            server_key: keys.server_key,
            salt: keys.salt,
            iterations: keys.iterations,
        }
    }
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived(***)")
    }
}

/// A verifier derived from a plain secret, to be kept per user. It remembers for which name and secret it was
/// made, and is derived anew when the secret has changed: a stale entry cannot let an old password in.
#[derive(Clone)]
pub struct CachedVerifier {
    verifier: ScramVerifier,
    fingerprint: Key,
}

impl std::fmt::Debug for CachedVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CachedVerifier(***)")
    }
}

/// The derivation of a [`CachedVerifier`]. Expensive, as [`Derivation`] is.
///
/// The first SCRAM login of a user with a plain secret waits for it and so takes longer than the login of an
/// unknown user; a shell that runs it for all plain secrets when they are loaded closes that difference (S14).
#[derive(Debug)]
pub struct VerifierJob {
    derivation: Derivation,
    fingerprint: Key,
}

impl VerifierJob {
    /// The job for this secret; `None` unless it is plain text.
    pub fn new(user: &str, secret: &StoredSecret, seed: &AuthSeed) -> Option<Self> {
        let StoredSecret::Plain(password) = secret else { return None };
        let password = password.reveal().as_bytes();
        Some(Self {
            derivation: Derivation::new(password, seed.salt(user), SCRAM_ITERATIONS),
            fingerprint: seed.fingerprint(user, password),
        })
    }

    /// Does the work; see [`Derivation::run`].
    pub fn run(self) -> CachedVerifier {
        CachedVerifier { verifier: self.derivation.run().verifier(), fingerprint: self.fingerprint }
    }
}

/// What SCRAM with a client can start from.
pub(super) enum VerifierFor {
    Ready(ScramVerifier),
    Derive(VerifierJob),
    /// An MD5 hash: no verifier can be made of it.
    Impossible,
}

/// The verifier for this secret, from the cache where that is still good.
pub(super) fn verifier_for(
    user: &str,
    secret: &StoredSecret,
    cached: Option<&CachedVerifier>,
    seed: &AuthSeed,
) -> VerifierFor {
    if let StoredSecret::Scram(verifier) = secret {
        return VerifierFor::Ready(verifier.clone());
    }
    let Some(job) = VerifierJob::new(user, secret, seed) else { return VerifierFor::Impossible };
    match cached {
        Some(cached) if bool::from(cached.fingerprint.ct_eq(&*job.fingerprint)) => {
            VerifierFor::Ready(cached.verifier.clone())
        }
        _ => VerifierFor::Derive(job),
    }
}

/// A positive decimal number that fits 31 bits, digits only.
pub(super) fn parse_iterations(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: i32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    u32::try_from(number).ok().filter(|&number| number > 0)
}

/// A key in base64.
pub(super) fn decode_key(text: &[u8]) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let mut key = Zeroizing::new([0u8; KEY_LEN]);
    (bytes.len() == KEY_LEN).then(|| key.copy_from_slice(&bytes))?;
    Some(key)
}

fn xor(left: &[u8; KEY_LEN], right: &[u8; KEY_LEN]) -> Key {
    let mut out = Zeroizing::new(*left);
    for (byte, other) in out.iter_mut().zip(right) {
        *byte ^= other;
    }
    out
}
