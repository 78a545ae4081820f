//! The hash functions of the exchanges, in the form in which they are needed here.
//!
//! Owns: HMAC-SHA-256, PBKDF2, MD5 as PostgreSQL uses it, SASLprep. Does not know: messages,
//! states.

use std::borrow::Cow;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Length of SHA-256 and of every SCRAM-SHA-256 key.
pub(super) const KEY_LEN: usize = 32;

/// Block size of SHA-256, to which HMAC pads its key (RFC 2104).
const BLOCK_LEN: usize = 64;

/// A key that is wiped when dropped.
pub(super) type Key = Zeroizing<[u8; KEY_LEN]>;

/// SHA-256 of the bytes.
pub(super) fn sha256(bytes: &[u8]) -> Key {
    Zeroizing::new(Sha256::digest(bytes).into())
}

/// HMAC-SHA-256 of the parts, one after the other.
pub(super) fn hmac(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> Key {
    // HMAC pads a short key with zeros up to the block; doing it here leaves no key length that could be refused.
    let mut block = Zeroizing::new([0u8; BLOCK_LEN]);
    block[..KEY_LEN].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// `Hi()` of RFC 5802: PBKDF2 with HMAC-SHA-256. This is the expensive one.
pub(super) fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let mut out = Zeroizing::new([0u8; KEY_LEN]);
    pbkdf2::pbkdf2_hmac::<Sha256>(&saslprep(password), salt, iterations, &mut *out);
    out
}

/// The password as SCRAM hashes it: normalised by SASLprep, or as it is where that is not possible (no UTF-8,
/// a forbidden character, nothing left), which is what PostgreSQL and libpq do.
fn saslprep(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    match prepared {
        Some(Cow::Owned(text)) if !text.is_empty() => Zeroizing::new(text.into_bytes()),
        _ => Zeroizing::new(password.to_vec()),
    }
}

/// Lower-case hex of the MD5 of the parts, one after the other.
pub(super) fn md5_hex(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    to_hex(&md5.finalize().into())
}

/// Lower-case hex of sixteen bytes.
pub(super) fn to_hex(bytes: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = Zeroizing::new([0u8; 32]);
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0x0f)];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saslprep_normalises_or_leaves_alone() {
        // RFC 4013, section 3, and what PostgreSQL does with what the RFC forbids.
        assert_eq!(&*saslprep("I\u{ad}X".as_bytes()), b"IX");
        assert_eq!(&*saslprep("\u{2168}".as_bytes()), b"IX");
        assert_eq!(&*saslprep("a\u{a0}b".as_bytes()), b"a b");
        assert_eq!(&*saslprep(b"user"), b"user");
        assert_eq!(&*saslprep(b"\x07"), b"\x07");
        assert_eq!(&*saslprep("\u{627}1".as_bytes()), "\u{627}1".as_bytes());
        assert_eq!(&*saslprep(b"\xff\xfe"), b"\xff\xfe");
        assert_eq!(&*saslprep("\u{ad}".as_bytes()), "\u{ad}".as_bytes(), "nothing would be left");
    }

    #[test]
    fn hmac_equals_the_vector_of_rfc_4231() {
        // Test case 1: a key of twenty 0x0b; HMAC reads the zeros behind it as padding.
        let mut key = [0u8; KEY_LEN];
        key[..20].fill(0x0b);
        let expected = [
            0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b,
            0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7,
        ];
        assert_eq!(*hmac(&key, &[b"Hi ", b"There"]), expected);
    }

    #[test]
    fn md5_equals_the_vector_of_rfc_1321() {
        assert_eq!(&*md5_hex(&[b"message", b" digest"]), b"f96b697d7cb7938d525a2f31aaf161d0");
    }
}
