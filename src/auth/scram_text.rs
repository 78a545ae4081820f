//! The texts of SCRAM (RFC 5802, section 7) as both sides read them.
//!
//! Owns: how each of the four messages is cut into attributes, and which of them are refused as malformed. Does
//! not know: keys, users, states. Every number and length is judged here, before anything is done with it (S11).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::hash::Key;
use super::scram::{decode_key, parse_iterations};
use crate::proto::{PgError, SqlState};

/// Longest SCRAM text we read from a server. PostgreSQL sends about 100 bytes; this is what it accepts itself
/// (R60), and bounds the nonce (S11).
pub(super) const MAX_SERVER_TEXT: usize = 1024;

/// Longest salt we accept from a server; PostgreSQL makes 16 bytes, other writers of verifiers up to 64.
pub(super) const MAX_SALT_LEN: usize = 256;

/// client-first-message.
#[derive(Debug)]
pub(super) struct ClientFirst {
    /// `n`: no channel binding; `y`: the client could, and thinks that we cannot.
    pub(super) flag: u8,
    /// client-first-message-bare.
    pub(super) bare: Vec<u8>,
    /// The client's nonce.
    pub(super) nonce: Vec<u8>,
}

/// client-final-message.
pub(super) struct ClientFinal<'a> {
    /// The value of `c`, still in base64.
    pub(super) channel_binding: &'a [u8],
    /// The value of `r`.
    pub(super) nonce: &'a [u8],
    /// client-final-message-without-proof.
    pub(super) without_proof: &'a [u8],
    /// The value of `p`.
    pub(super) proof: Key,
}

/// server-first-message.
#[derive(Debug)]
pub(super) struct ServerFirst<'a> {
    /// Both nonces, the client's first.
    pub(super) nonce: &'a [u8],
    /// The salt, decoded.
    pub(super) salt: Vec<u8>,
    /// The rounds.
    pub(super) iterations: u32,
}

/// PostgreSQL's answer to a text that is no SCRAM. The detail is one of a few fixed texts.
pub(super) fn malformed(detail: &'static str) -> PgError {
    PgError::fatal(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message").with_detail(detail)
}

fn unsupported(message: &'static str) -> PgError {
    PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, message)
}

/// Takes one `a=value` from the front; `None` when there is none.
fn attribute<'a>(rest: &mut Option<&'a [u8]>) -> Option<(u8, &'a [u8])> {
    let text = (*rest)?;
    let (item, behind) = match text.iter().position(|&byte| byte == b',') {
        Some(comma) => (&text[..comma], Some(&text[comma + 1..])),
        None => (text, None),
    };
    let (&name, item) = item.split_first()?;
    let (&b'=', value) = item.split_first()? else { return None };
    *rest = behind;
    name.is_ascii_alphabetic().then_some((name, value))
}

fn expect<'a>(rest: &mut Option<&'a [u8]>, name: u8) -> Option<&'a [u8]> {
    attribute(rest).filter(|&(found, _)| found == name).map(|(_, value)| value)
}

fn printable(nonce: &[u8]) -> bool {
    !nonce.is_empty() && nonce.iter().all(|&byte| byte.is_ascii_graphic() && byte != b',')
}

fn refuse_odd_bytes(text: &[u8]) -> Result<(), PgError> {
    if text.is_empty() {
        return Err(malformed("The message is empty."));
    }
    if text.contains(&0) {
        return Err(malformed("Message length does not match input length."));
    }
    Ok(())
}

impl ClientFirst {
    /// Reads client-first-message. Channel binding is not offered: `p` is refused, `y` is legal (R87, S17).
    pub(super) fn parse(text: &[u8]) -> Result<Self, PgError> {
        refuse_odd_bytes(text)?;
        let (&flag, rest) = text.split_first().ok_or_else(|| malformed("The message is empty."))?;
        match flag {
            b'n' | b'y' => {}
            b'p' => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes \
                     channel binding data.",
                ));
            }
            _ => return Err(malformed("Unexpected channel-binding flag.")),
        }
        let Some(rest) = rest.strip_prefix(b",") else {
            return Err(malformed("Comma expected."));
        };
        if rest.first() == Some(&b'a') {
            return Err(unsupported("client uses authorization identity, but it is not supported"));
        }
        let Some(bare) = rest.strip_prefix(b",") else {
            return Err(malformed("Unexpected attribute in client-first-message."));
        };
        Ok(Self { flag, bare: bare.to_vec(), nonce: Self::nonce_of(bare)?.to_vec() })
    }

    fn nonce_of(bare: &[u8]) -> Result<&[u8], PgError> {
        if bare.first() == Some(&b'm') {
            return Err(unsupported("client requires an unsupported SCRAM extension"));
        }
        let mut rest = Some(bare);
        // The name in here is ignored, as PostgreSQL does: who logs in was said in the startup packet (S3).
        expect(&mut rest, b'n').ok_or_else(|| malformed("Attribute \"n\" expected."))?;
        let nonce = expect(&mut rest, b'r').ok_or_else(|| malformed("Attribute \"r\" expected."))?;
        if !printable(nonce) {
            return Err(PgError::fatal(
                SqlState::PROTOCOL_VIOLATION,
                "non-printable characters in SCRAM nonce",
            ));
        }
        while rest.is_some() {
            attribute(&mut rest).ok_or_else(|| malformed("Attribute expected."))?;
        }
        Ok(nonce)
    }
}

impl<'a> ClientFinal<'a> {
    /// Reads client-final-message. The proof must be the last attribute.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, PgError> {
        refuse_odd_bytes(text)?;
        let comma = text.iter().rposition(|&byte| byte == b',');
        let (without_proof, last) = match comma {
            Some(comma) => (&text[..comma], &text[comma + 1..]),
            None => (&text[..0], text),
        };
        let mut rest = Some(without_proof);
        let channel_binding =
            expect(&mut rest, b'c').ok_or_else(|| malformed("Attribute \"c\" expected."))?;
        let nonce = expect(&mut rest, b'r').ok_or_else(|| malformed("Attribute \"r\" expected."))?;
        while rest.is_some() {
            match attribute(&mut rest) {
                Some((b'p', _)) => {
                    return Err(malformed("Garbage found at the end of client-final-message."));
                }
                Some(_) => {}
                None => return Err(malformed("Attribute expected.")),
            }
        }
        let proof = last
            .strip_prefix(b"p=")
            .and_then(decode_key)
            .ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
        Ok(Self { channel_binding, nonce, without_proof, proof })
    }
}

impl<'a> ServerFirst<'a> {
    /// Reads server-first-message; `Err` says what is wrong with it. Nothing but the text is trusted: the nonce
    /// must be ours and more, the salt neither empty nor long, the rounds a positive number (S11).
    pub(super) fn parse(text: &'a [u8], our_nonce: &[u8]) -> Result<Self, &'static str> {
        if text.len() > MAX_SERVER_TEXT {
            return Err("the SCRAM message is too long");
        }
        let mut rest = Some(text);
        let nonce = expect(&mut rest, b'r').ok_or("the SCRAM message does not begin with a nonce")?;
        if !printable(nonce) {
            return Err("the SCRAM nonce has unprintable characters");
        }
        if !nonce.starts_with(our_nonce) || nonce.len() == our_nonce.len() {
            return Err("the SCRAM nonce does not extend ours");
        }
        let salt = expect(&mut rest, b's').ok_or("the SCRAM message has no salt")?;
        let salt = STANDARD.decode(salt).map_err(|_| "the SCRAM salt is not base64")?;
        if salt.is_empty() || salt.len() > MAX_SALT_LEN {
            return Err("the SCRAM salt is empty or too long");
        }
        let iterations = expect(&mut rest, b'i').ok_or("the SCRAM message has no iteration count")?;
        let iterations = parse_iterations(iterations).ok_or("the SCRAM iteration count is not valid")?;
        if rest.is_some() {
            return Err("the SCRAM message has something behind its end");
        }
        Ok(Self { nonce, salt, iterations })
    }
}

/// Reads server-final-message: the signature, or `None` for an error or for anything that is none.
pub(super) fn parse_server_final(text: &[u8]) -> Option<Key> {
    if text.len() > MAX_SERVER_TEXT {
        return None;
    }
    let mut rest = Some(text);
    let signature = expect(&mut rest, b'v')?;
    rest.is_none().then(|| decode_key(signature))?
}
