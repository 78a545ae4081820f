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
    let mut place = Place::Start;
    let mut number_end = None;
    loop {
        let token = lexer.next();
        if token.kind == Kind::End {
            return out;
        }
        place = place.behind(&lexer, token);
        let in_number = token.kind == Kind::Word && number_end == Some(token.start);
        number_end = (in_number || token.kind == Kind::Number).then_some(token.end);
        if in_number {
            last_end = token.end;
            continue; // the rest of 0x1F or 1_000, as newer versions read it
        }
        let gap = token.start > last_end && !out.is_empty();
        last_end = token.end;
        let room = MAX_SAMPLE - CUT.len() - length;
        let value =
            place == Place::Value && matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeName);
        let shown = if value { "?".into() } else { shown(&lexer, token, room) };
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

/// Where in a statement a token stands, as far as SET goes: its values may be words, and are as good as literals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// In what is made or altered, which may be given settings of its own.
    Defining,
    Set,
    /// Behind the sign, or TO, of a SET.
    Sign,
    Value,
    Other,
}

impl Place {
    /// The place of the token behind one in this place.
    fn behind(self, lexer: &Lexer<'_>, token: Token) -> Self {
        let is = |word: &[u8]| token.kind == Kind::Word && lexer.bytes(token).eq_ignore_ascii_case(word);
        match self {
            _ if token.kind == Kind::Mark(b';') => Self::Start,
            Self::Start | Self::Defining if is(b"set") => Self::Set,
            Self::Start if is(b"alter") || is(b"create") => Self::Defining,
            Self::Defining => Self::Defining,
            Self::Set if token.kind == Kind::Mark(b'=') || is(b"to") => Self::Sign,
            Self::Sign | Self::Value => Self::Value,
            Self::Set => Self::Set,
            Self::Start | Self::Other => Self::Other,
        }
    }
}

/// Whether a text says ON COMMIT DROP somewhere: what is temporary in it is, as a rule, over with its transaction.
pub(crate) fn drops_at_commit(text: &[u8], reading: Reading) -> bool {
    const WORDS: [&[u8]; 3] = [b"on", b"commit", b"drop"];
    let mut lexer = Lexer::new(text, reading);
    let mut seen = 0;
    while let Some(word) = WORDS.get(seen) {
        let token = lexer.next();
        if matches!(token.kind, Kind::End | Kind::Broken) {
            return false;
        }
        let is = |word: &[u8]| token.kind == Kind::Word && lexer.bytes(token).eq_ignore_ascii_case(word);
        seen = if is(word) { seen + 1 } else { usize::from(is(b"on")) };
    }
    true
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
