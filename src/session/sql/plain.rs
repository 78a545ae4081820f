//! Tells texts that surely leave the session alone, at a glance.

use super::Reading;
use super::lexer::{Kind, Lexer};
use super::verb::{Start, start};

/// Whether `text` is one statement of a harmless kind, and has no trace of a name that matters.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text, Reading { standard_strings: true, ascii_safe: true });
    let mut head = lexer.next();
    while matches!(head.kind, Kind::Mark(b';' | b'(')) {
        head = lexer.next();
    }
    match head.kind {
        Kind::End => return true,
        Kind::Word => {}
        _ => return false,
    }
    if !matches!(start(lexer.bytes(head)), Start::Plain | Start::Transaction) {
        return false;
    }
    !suspicious(text.get(head.end..).unwrap_or_default())
}

fn suspicious(text: &[u8]) -> bool {
    let end = text.iter().rposition(|byte| !matches!(byte, b';' | b' ' | b'\t' | b'\n' | b'\r'));
    let Some(end) = end else { return false };
    let text = text.get(..=end).unwrap_or_default();
    text.iter().any(|byte| matches!(byte, b';' | b'&'))
        || text.windows(4).any(|window| {
            let [a, b, c, d] = window else { return false };
            matches!(
                [a | 0x20, b | 0x20, c | 0x20, d | 0x20],
                [b't', b'e', b'm', b'p'] | [b's', b'e', b't', 0x7f | b's'] | [b'p', b'g', 0x7f, _]
            )
        })
}
