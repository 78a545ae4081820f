//! Names as PostgreSQL reads them from tokens.

use super::lexer::{Kind, Lexer, Quoting, Token};

/// Bytes of an identifier that count.
const NAME_LEN: usize = 63;

/// The longest word that is compared with keywords.
pub(super) const MAX_KEYWORD: usize = 32;

/// A word in small letters, for comparing with keywords; empty if it is longer than any.
pub(super) fn folded<'b>(word: &[u8], buffer: &'b mut [u8; MAX_KEYWORD]) -> &'b [u8] {
    let Some(place) = buffer.get_mut(..word.len()) else { return &[] };
    place.copy_from_slice(word);
    place.make_ascii_lowercase();
    place
}

/// The name that an identifier stands for. `None` if that takes knowing more: escapes, or a cut within characters.
pub(super) fn identifier(lexer: &Lexer<'_>, token: Token) -> Option<Vec<u8>> {
    let mut name = if token.kind == Kind::Word {
        lexer.bytes(token).to_ascii_lowercase()
    } else if token.kind == Kind::Quoted {
        unquoted(lexer.bytes(token), b'"')
    } else {
        return None;
    };
    if name.len() > NAME_LEN {
        if !name.is_ascii() {
            return None;
        }
        name.truncate(NAME_LEN);
    }
    Some(name)
}

/// The value of a string, if it is written without escapes.
pub(super) fn string(lexer: &Lexer<'_>, token: Token) -> Option<Vec<u8>> {
    let bytes = lexer.bytes(token);
    let Kind::Text(quoting) = token.kind else { return None };
    match quoting {
        Quoting::Simple => Some(unquoted(bytes, b'\'')),
        Quoting::Dollar => {
            let tag = bytes.iter().skip(1).position(|byte| *byte == b'$')? + 2;
            Some(bytes.get(tag..bytes.len().checked_sub(tag)?)?.to_vec())
        }
        Quoting::Unicode | Quoting::Other => None,
    }
}

fn unquoted(bytes: &[u8], quote: u8) -> Vec<u8> {
    let inner = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
    let mut out = Vec::with_capacity(inner.len());
    let mut second = false;
    for byte in inner {
        second = *byte == quote && !second;
        if !second {
            out.push(*byte);
        }
    }
    out
}
