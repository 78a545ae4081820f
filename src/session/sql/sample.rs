//! A text for the eyes: on one line, without its literals.

use super::Reading;
use super::lexer::{Kind, Lexer, Token};

/// Characters of a sample; what comes after is cut.
pub(super) const MAX_SAMPLE: usize = 120;

/// Stands for what was cut.
const CUT: &str = "...";

/// The text on one line: literals replaced by `?`, comments removed, blanks squeezed, cut at [`MAX_SAMPLE`].
pub(crate) fn sample(text: &[u8], reading: Reading) -> String {
    let mut lexer = Lexer::new(text, reading);
    let readable = reading.ascii_safe || text.is_ascii();
    let mut out = String::new();
    let mut length = 0;
    let mut last_end = 0;
    loop {
        let token = lexer.next();
        if token.kind == Kind::End {
            return out;
        }
        let gap = token.start > last_end && !out.is_empty();
        last_end = token.end;
        let room = MAX_SAMPLE - CUT.len() - length;
        let shown = shown(&lexer, token, room);
        let more = usize::from(gap) + shown.chars().count();
        if more > room {
            out.push_str(CUT);
            return out;
        }
        if gap {
            out.push(' ');
        }
        out.push_str(&shown);
        length += more;
        if token.kind == Kind::Broken {
            return out;
        }
        if !readable && matches!(token.kind, Kind::Text(_)) {
            // The end of a literal is uncertain: what seems to follow may be of it.
            out.push_str(CUT);
            return out;
        }
    }
}

/// A token as shown: at least one character more than there is `room` for if it does not fit.
fn shown(lexer: &Lexer<'_>, token: Token, room: usize) -> String {
    if matches!(token.kind, Kind::Text(_) | Kind::Number | Kind::Broken) {
        return "?".into();
    }
    let bytes = lexer.bytes(token);
    // A character takes four bytes at most.
    let bytes = bytes.get(..room.saturating_mul(4).saturating_add(4)).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
