//! The random bytes that logins need, as values that a test can choose.
//!
//! Owns: the nonce of one login, the seed of one process and what is derived from it. Does not know: exchanges.
//! Only [`random`] asks the operating system.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::hash::{KEY_LEN, Key, hmac, to_hex};
use super::scram::{SCRAM_ITERATIONS, ScramVerifier};
use super::secret::Md5Hash;

/// Random bytes of one nonce; what PostgreSQL uses (`SCRAM_RAW_NONCE_LEN`).
const NONCE_LEN: usize = 18;

/// Bytes of the salts we make; what PostgreSQL uses (`SCRAM_DEFAULT_SALT_LEN`).
const SALT_LEN: usize = 16;

/// The operating system gave no random bytes; no login can be made.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no random bytes from the operating system: {0}")]
pub struct EntropyError(getrandom::Error);

/// Random bytes, fit for secrets.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(EntropyError)?;
    Ok(bytes)
}

/// Bytes that [`RandomStock`] asks for at once.
const STOCK: usize = 256;

/// Random bytes, fit for secrets, that are asked for many at a time: a question to the operating system costs more than
/// the bytes. Each is given out once and wiped here.
#[derive(Default)]
pub struct RandomStock(Zeroizing<Vec<u8>>);

impl RandomStock {
    /// Bytes that nobody else has, or will have.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], EntropyError> {
        if self.0.len() < N {
            self.0 = Zeroizing::new(random::<STOCK>()?.to_vec());
        }
        let rest = self.0.len().saturating_sub(N);
        let mut taken = [0; N];
        if let Some(last) = self.0.get_mut(rest..).filter(|last| last.len() == N) {
            taken.swap_with_slice(last);
        } else {
            taken = random()?; // more than a stock holds
        }
        self.0.truncate(rest);
        Ok(taken)
    }
}

impl std::fmt::Debug for RandomStock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RandomStock(***)")
    }
}

/// Fresh randomness for one login, on either side. Never use one twice.
#[derive(Debug)]
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// A nonce from the operating system.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn from_os() -> Result<Self, EntropyError> {
        random().map(Self)
    }

    /// A nonce of these bytes, which must be random outside tests.
    pub const fn new(bytes: [u8; NONCE_LEN]) -> Self {
        Self(bytes)
    }

    /// As SCRAM sends it: 24 printable characters.
    pub(super) fn text(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// As the MD5 request sends it.
    pub(super) const fn md5_salt(&self) -> [u8; 4] {
        [self.0[0], self.0[1], self.0[2], self.0[3]]
    }
}

/// Bytes of a long cancel secret beyond the first four: 32 in all, as PostgreSQL has since version 18.
pub const CANCEL_TAIL: usize = 28;

/// The secret of one process behind everything that must look stored but is not: the salts of unknown users and
/// of users whose secret is plain text.
///
/// Both get their salt by the same rule, so a salt does not tell one from the other (S14). It is constant per
/// name for as long as the seed is; processes that answer on one port should share a seed.
#[derive(Clone)]
pub struct AuthSeed(Key);

impl AuthSeed {
    /// A seed from the operating system.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn from_os() -> Result<Self, EntropyError> {
        random().map(Self::new)
    }

    /// A seed of these bytes, which must be secret outside tests.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The salt of this name.
    pub(super) fn salt(&self, user: &str) -> Vec<u8> {
        hmac(&self.0, &[b"salt\0", user.as_bytes()])[..SALT_LEN].to_vec()
    }

    /// A verifier that no password fits, to be shown for names that have none.
    pub(super) fn mock_verifier(&self, user: &str) -> ScramVerifier {
        let key = |label: &[u8]| hmac(&self.0, &[label, user.as_bytes()]);
        ScramVerifier::from_parts(self.salt(user), SCRAM_ITERATIONS, key(b"stored\0"), key(b"server\0"))
    }

    /// The SHA-256 of no password that anybody could know.
    pub(super) fn mock_text(&self, user: &str) -> Key {
        hmac(&self.0, &[b"text\0", user.as_bytes()])
    }

    /// An MD5 hash that no password fits.
    pub(super) fn mock_md5(&self, user: &str) -> Md5Hash {
        let mac = hmac(&self.0, &[b"md5\0", user.as_bytes()]);
        let mut half = Zeroizing::new([0u8; 16]);
        half.copy_from_slice(&mac[..16]);
        Md5Hash::from_hex(to_hex(&half))
    }

    /// What follows the first four bytes of a long cancel secret.
    pub fn cancel_tail(&self, process_id: i32, secret: i32) -> [u8; CANCEL_TAIL] {
        let mac = hmac(&self.0, &[b"cancel\0", &process_id.to_be_bytes(), &secret.to_be_bytes()]);
        let mut tail = [0; CANCEL_TAIL];
        tail.copy_from_slice(&mac[..CANCEL_TAIL]);
        tail
    }

    /// Whether somebody has shown just this, in a time that does not depend on where it differs (S16).
    pub fn is_cancel_tail(&self, process_id: i32, secret: i32, shown: &[u8; CANCEL_TAIL]) -> bool {
        let tail = self.cancel_tail(process_id, secret);
        tail.iter().zip(shown).fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs)) == 0
    }

    /// Ties a cached verifier to the secret it was derived from.
    pub(super) fn fingerprint(&self, user: &str, password: &[u8]) -> Key {
        hmac(&self.0, &[b"cache\0", user.as_bytes(), b"\0", password])
    }
}

impl std::fmt::Debug for AuthSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthSeed(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_system_gives_a_different_nonce_each_time() {
        let (one, other) = (Nonce::from_os().expect("entropy"), Nonce::from_os().expect("entropy"));
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), 24);
    }

    #[test]
    fn a_stock_gives_each_byte_out_once_and_keeps_none() {
        let mut stock = RandomStock::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 * STOCK / 16 {
            let taken = stock.take::<16>().expect("entropy");
            assert!(taken != [0; 16] && seen.insert(taken));
            assert!(!stock.0.windows(16).any(|kept| kept == taken), "no longer here");
        }
        assert_ne!(stock.take::<300>().expect("entropy"), [0; 300], "more than it ever has");
        assert_eq!(format!("{stock:?}"), "RandomStock(***)");
    }

    #[test]
    fn s14_a_salt_is_constant_per_name_and_seed() {
        let seed = AuthSeed::new([7; 32]);
        assert_eq!(seed.salt("ann"), seed.salt("ann"));
        assert_ne!(seed.salt("ann"), seed.salt("bob"));
        assert_ne!(seed.salt("ann"), AuthSeed::new([8; 32]).salt("ann"));
        assert_eq!(seed.salt("ann").len(), SALT_LEN);
    }
}
