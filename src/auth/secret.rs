//! What is stored about a user's password.
//!
//! Owns: the three forms a secret may have, and how a text of the configuration is told to be one of them. Does
//! not know: where the text came from. No form has `PartialEq` or shows itself in `Debug` (S16).

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::hash::md5_hex;
use super::scram::ScramVerifier;
use crate::config::Secret;

/// What is known of a user's password.
#[derive(Clone)]
pub enum StoredSecret {
    /// The password itself.
    Plain(Secret),
    /// `md5` and the hash of password and name.
    Md5(Md5Hash),
    /// A SCRAM-SHA-256 verifier.
    Scram(ScramVerifier),
}

impl StoredSecret {
    /// Reads a secret as PgBouncer and PostgreSQL do: `md5` with 32 lower-case hex digits is an MD5 hash, a well
    /// formed `SCRAM-SHA-256$...` a verifier, and *everything else is the password itself*, malformed hashes and
    /// verifiers included. `None` for an empty text, which matches no password.
    pub fn parse(secret: &Secret) -> Option<Self> {
        let text = secret.reveal();
        if text.is_empty() {
            None
        } else if let Some(hash) = Md5Hash::parse(text) {
            Some(Self::Md5(hash))
        } else if let Some(verifier) = ScramVerifier::parse(text) {
            Some(Self::Scram(verifier))
        } else {
            Some(Self::Plain(secret.clone()))
        }
    }
}

impl std::fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(***)",
            Self::Md5(_) => "Md5(***)",
            Self::Scram(_) => "Scram(***)",
        })
    }
}

/// The MD5 of password and user name, in hex and without the word `md5`. To an MD5 login it is as good as the
/// password.
#[derive(Clone)]
pub struct Md5Hash(Zeroizing<[u8; 32]>);

impl Md5Hash {
    /// Reads `md5` and 32 lower-case hex digits; anything else gives `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.strip_prefix("md5")?.as_bytes().try_into().ok()?;
        let digits = Zeroizing::new(digits);
        digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    /// The hash of this password for this name.
    pub fn of(user: &str, password: &[u8]) -> Self {
        Self(md5_hex(&[password, user.as_bytes()]))
    }

    /// Wraps 32 hex digits.
    pub(super) const fn from_hex(digits: Zeroizing<[u8; 32]>) -> Self {
        Self(digits)
    }

    /// What a client must answer to this salt: `md5` and 32 hex digits.
    pub(super) fn answer(&self, salt: [u8; 4]) -> Zeroizing<Vec<u8>> {
        let mut answer = Zeroizing::new(Vec::with_capacity(35));
        answer.extend(b"md5");
        answer.extend(md5_hex(&[&*self.0, &salt]).iter());
        answer
    }
}

impl ConstantTimeEq for Md5Hash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&*other.0)
    }
}

impl std::fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Hash(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn kind(text: &str) -> String {
        format!("{:?}", StoredSecret::parse(&Secret::new(text)))
    }

    #[test]
    fn a_text_is_recognised_as_pgbouncer_does() {
        assert_eq!(kind(VERIFIER), "Some(Scram(***))");
        assert_eq!(kind("md5f96b697d7cb7938d525a2f31aaf161d0"), "Some(Md5(***))");
        assert_eq!(kind(""), "None");
        let plain = [
            "hunter2",
            "md5F96B697D7CB7938D525A2F31AAF161D0",
            "md5f96b697d7cb7938d525a2f31aaf161d",
            "md5f96b697d7cb7938d525a2f31aaf161d00",
            "MD5f96b697d7cb7938d525a2f31aaf161d0",
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:BBBB",
            &VERIFIER[..VERIFIER.len() - 1],
            &VERIFIER.replace("4096", "0"),
            &VERIFIER.replace("4096", "+4096"),
            &VERIFIER.replace("4096", "-1"),
            &VERIFIER.replace("4096", "4294967296"),
            &VERIFIER.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            &VERIFIER.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "###"),
            &VERIFIER.replace("SHA-256", "SHA-512"),
        ];
        for text in plain {
            assert_eq!(kind(text), "Some(Plain(***))", "{text}");
        }
    }

    #[test]
    fn s16_a_hash_is_compared_to_its_last_digit() {
        let hash = Md5Hash::of("bob", b"hunter2");
        let text = format!("md5{}", String::from_utf8_lossy(&*hash.0));
        assert!(bool::from(hash.ct_eq(&Md5Hash::parse(&text).expect("well formed"))));
        for at in 3..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = Md5Hash::parse(&String::from_utf8(wrong).expect("ASCII")).expect("well formed");
            assert!(!bool::from(hash.ct_eq(&wrong)), "digit {at}");
        }
        assert!(!bool::from(hash.ct_eq(&Md5Hash::of("ann", b"hunter2"))), "the name is part of the hash");
    }

    #[test]
    fn an_md5_answer_equals_that_of_the_driver() {
        let salt = [0x2a, 0x3d, 0x8f, 0xe0];
        let answer = Md5Hash::of("md5_user", b"password").answer(salt);
        let oracle = postgres_protocol::authentication::md5_hash(b"md5_user", b"password", salt);
        assert_eq!(&*answer, oracle.as_bytes());
    }
}
