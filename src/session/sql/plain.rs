//! Tells texts that surely leave the session alone, at a glance.
//!
//! Works on bytes, whatever they are part of: all that it looks for would be there, byte by byte, if it mattered.

use super::Reading;
use super::lexer::{Kind, Lexer};
use super::verb::{Start, start};

/// Bytes looked at together.
const BLOCK: usize = 16;

/// Makes a capital letter small; leaves small letters, blanks and what else is compared here as it is.
const SMALL: u8 = 0x20;

/// What an underscore becomes with it.
const UNDERSCORE: u8 = b'_' | SMALL;

/// Whether `text` is one statement of a harmless kind, and has no trace of a name that matters.
pub(super) fn is_plain(text: &[u8]) -> bool {
    match common_start(text) {
        Common::Whole => return true,
        Common::Word => return !suspicious(text.get(COMMON_WORD..).unwrap_or_default()),
        Common::Other => {}
    }
    let mut lexer = Lexer::new(text, Reading { standard_strings: true, ascii_safe: true });
    let mut head = lexer.next();
    while head.kind == Kind::Mark(b';') {
        head = lexer.next();
    }
    let nothing = head.kind == Kind::End;
    while head.kind == Kind::Mark(b'(') {
        head = lexer.next();
    }
    if head.kind != Kind::Word {
        return nothing;
    }
    matches!(start(lexer.bytes(head)), Start::Plain | Start::Transaction)
        && !suspicious(text.get(head.end..).unwrap_or_default())
}

/// Letters of each of the most common words.
const COMMON_WORD: usize = 6;

/// How a text begins.
enum Common {
    /// It is one of the most common texts as a whole.
    Whole,
    /// With one of the most common words.
    Word,
    /// Some other way.
    Other,
}

/// Looks at the first eight bytes of a text at once.
fn common_start(text: &[u8]) -> Common {
    let head = text.first_chunk().copied().unwrap_or_else(|| {
        let mut head = [b' '; 8];
        head.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
        head
    });
    let small = u64::from_be_bytes(head) | u64::from_be_bytes([SMALL; 8]);
    let is = |word: &&[u8; 8]| small == u64::from_be_bytes(**word);
    let begins = |word: &&[u8; 8]| (small ^ u64::from_be_bytes(**word)) >> u8::BITS == 0;
    if [b"select  ", b"update  ", b"insert  ", b"delete  "].iter().any(begins) {
        return Common::Word;
    }
    let whole = [b"begin   ", b"begin;  ", b"commit  ", b"commit; ", b"rollback", b"end     "];
    if text.len() <= head.len() && whole.iter().any(is) { Common::Whole } else { Common::Other }
}

/// Whether there is a second statement, an identifier with escapes, or a name or keyword that matters.
fn suspicious(text: &[u8]) -> bool {
    let text = without_end(text);
    let mut at = 0;
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let hits = strikes(block);
        if hits != 0 && confirmed(text, at, hits) {
            return true;
        }
        at += BLOCK;
    }
    // What is left is shorter than a block: look at the last whole one, if there is one.
    let (block, at) = if let Some(block) = text.last_chunk() {
        (*block, text.len() - (BLOCK + 1))
    } else {
        let mut block = [0; BLOCK + 1];
        block.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
        (block, 0)
    };
    let hits = strikes(&block);
    hits != 0 && confirmed(text, at, hits)
}

/// `text` without the semicolons and blanks at its end.
fn without_end(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [inner @ .., b';' | b' ' | b'\t' | b'\n' | b'\r'] = text {
        text = inner;
    }
    text
}

/// Where a block may hold something, a byte for each place, the first one lowest: two letters that each word that
/// matters has, and few others have. Without branches, so that the compiler compares all bytes of a block at once.
#[inline]
fn strikes(block: &[u8; BLOCK + 1]) -> u128 {
    let [here @ .., _] = block;
    let [_, next @ ..] = block;
    let mut hits = [0_u8; BLOCK];
    for ((hit, here), next) in hits.iter_mut().zip(here).zip(next) {
        let (here, next) = (here | SMALL, next | SMALL);
        let is = |a: u8, b: u8| if a == b { u8::MAX } else { 0 };
        *hit = is(here, b'p') & is(next, b'g') // pg_temp, pg_notify, pg_advisory_lock ...
            | is(here, b'm') & is(next, b'p') // temp, temporary
            | is(here, b'e') & is(next, b't') // set_config, setseed
            | is(here, b';')
            | is(here, b'&');
    }
    u128::from_le_bytes(hits)
}

/// Whether one of the hits in the block at `start` is something that matters.
fn confirmed(text: &[u8], start: usize, hits: u128) -> bool {
    let small = |at: usize| text.get(at).map_or(0, |byte| byte | SMALL);
    let mut hits = hits;
    while hits != 0 {
        let place = hits.trailing_zeros() / u8::BITS;
        hits &= !(u128::from(u8::MAX) << (place * u8::BITS));
        let at = start + place as usize;
        let matters = match small(at) {
            b'p' => small(at + 2) == UNDERSCORE,
            b'm' => at >= 2 && small(at - 2) == b't' && small(at - 1) == b'e',
            b'e' => at >= 1 && small(at - 1) == b's' && matches!(small(at + 2), b's' | UNDERSCORE),
            _ => true, // a semicolon, or U& of an identifier with escapes
        };
        if matters {
            return true;
        }
    }
    false
}
