//! Tokens of PostgreSQL's SQL, read as its own scanner (scan.l) reads them.
//!
//! Exact where it decides what is code and what is a literal or a comment. Looser where PostgreSQL would refuse the
//! whole text: a text that does not parse does nothing, since it is parsed to its end before any of it runs.

use memchr::{memchr2, memmem};

use super::Reading;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or an identifier as it is.
    Word,
    /// "An identifier in quotes".
    Quoted,
    /// U&"...": an identifier with escapes.
    UnicodeName,
    /// A string; `Plain` says more.
    Text(Quoting),
    /// A number.
    Number,
    /// A parameter: $1.
    Param,
    /// One byte of an operator or of punctuation.
    Mark(u8),
    /// The text is over.
    End,
    /// The text is over in the middle of a literal or a comment.
    Broken,
}

/// How a string is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// Between apostrophes, in one piece, and without a backslash that could mean something.
    Simple,
    /// $$between dollars$$.
    Dollar,
    /// U&'...'.
    Unicode,
    /// Any other: escapes, bits, several pieces.
    Other,
}

/// One token and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Where the reading of a text has come to. A copy looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    standard_strings: bool,
}

/// How a quoted run goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// A backslash takes the next byte; two quotes are one.
    Backslash,
    /// Two quotes are one.
    Doubled,
    /// None at all: bits.
    None,
}

impl<'t> Lexer<'t> {
    pub(super) const fn new(text: &'t [u8], reading: Reading) -> Self {
        Self { text, at: 0, standard_strings: reading.standard_strings }
    }

    /// The bytes of a token as written.
    pub(super) fn bytes(&self, token: Token) -> &'t [u8] {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.saturating_add(ahead)).copied()
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next token; at the end, always `End` or `Broken`.
    pub(super) fn next(&mut self) -> Token {
        let whole = self.skip_blank();
        let start = self.at.min(self.text.len());
        let kind = match self.byte(0) {
            _ if !whole => Kind::Broken,
            None => Kind::End,
            Some(first) => self.token(first),
        };
        Token { kind, start, end: self.at.min(self.text.len()) }
    }

    fn token(&mut self, first: u8) -> Kind {
        match first {
            b'\'' => self.plain_string(0),
            b'"' => self.name(0, Kind::Quoted),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            _ if starts_word(first) => self.word_or_string(first),
            _ => {
                self.at += 1;
                Kind::Mark(first)
            }
        }
    }

    fn word_or_string(&mut self, first: u8) -> Kind {
        match (first | 0x20, self.byte(1), self.byte(2)) {
            (b'e', Some(b'\''), _) => self.string(1, Escapes::Backslash, Quoting::Other),
            (b'b' | b'x', Some(b'\''), _) => self.string(1, Escapes::None, Quoting::Other),
            (b'u', Some(b'&'), Some(b'\'')) => self.string(2, Escapes::Doubled, Quoting::Unicode),
            (b'u', Some(b'&'), Some(b'"')) => self.name(2, Kind::UnicodeName),
            _ => {
                let rest = self.rest();
                self.at += rest.iter().position(|byte| !continues_word(*byte)).unwrap_or(rest.len());
                Kind::Word
            }
        }
    }

    fn plain_string(&mut self, prefix: usize) -> Kind {
        let escapes = if self.standard_strings { Escapes::Doubled } else { Escapes::Backslash };
        self.string(prefix, escapes, Quoting::Simple)
    }

    /// A string whose opening quote stands `prefix` bytes ahead, with all its pieces.
    fn string(&mut self, prefix: usize, escapes: Escapes, quoting: Quoting) -> Kind {
        self.at += prefix;
        let mut quoting = quoting;
        loop {
            self.at += 1;
            let before = self.at;
            if !self.quoted(b'\'', escapes) {
                return Kind::Broken;
            }
            let escaped = escapes == Escapes::Backslash
                && memchr::memchr(b'\\', self.text.get(before..self.at).unwrap_or_default()).is_some();
            if escaped && quoting == Quoting::Simple {
                quoting = Quoting::Other;
            }
            match self.next_piece() {
                None => return Kind::Text(quoting),
                Some(at) => self.at = at,
            }
            if quoting == Quoting::Simple {
                quoting = Quoting::Other;
            }
        }
    }

    /// Goes behind the quote that ends a run; whether there is one.
    fn quoted(&mut self, quote: u8, escapes: Escapes) -> bool {
        let other = if escapes == Escapes::Backslash { b'\\' } else { quote };
        loop {
            let Some(found) = memchr2(quote, other, self.rest()) else {
                self.at = self.text.len();
                return false;
            };
            self.at += found;
            let escape = self.byte(0) == Some(b'\\') && escapes == Escapes::Backslash;
            if escape || escapes != Escapes::None && self.byte(1) == Some(quote) {
                self.at += 2;
            } else {
                self.at += 1;
                return true;
            }
        }
    }

    /// Where the opening quote of the next piece of a string stands: blanks with a newline among them lead there,
    /// comments to the end of the line are blanks, other comments are not.
    fn next_piece(&self) -> Option<usize> {
        let mut ahead = *self;
        let mut newline = false;
        loop {
            match ahead.byte(0)? {
                b'\n' | b'\r' => {
                    newline = true;
                    ahead.at += 1;
                }
                blank if is_blank(blank) => ahead.at += 1,
                b'-' if ahead.byte(1) == Some(b'-') => ahead.skip_line(),
                b'\'' if newline => return Some(ahead.at),
                _ => return None,
            }
        }
    }

    fn name(&mut self, prefix: usize, kind: Kind) -> Kind {
        self.at += prefix + 1;
        if self.quoted(b'"', Escapes::Doubled) { kind } else { Kind::Broken }
    }

    fn dollar(&mut self) -> Kind {
        let rest = self.rest();
        let Some(second) = self.byte(1) else {
            self.at += 1;
            return Kind::Mark(b'$');
        };
        if second.is_ascii_digit() {
            let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
            self.at += 1 + digits;
            return Kind::Param;
        }
        let Some(tag) = dollar_tag(rest) else {
            self.at += 1;
            return Kind::Mark(b'$');
        };
        self.at += tag.len();
        let Some(found) = memmem::find(self.rest(), tag) else {
            self.at = self.text.len();
            return Kind::Broken;
        };
        self.at += found + tag.len();
        Kind::Text(Quoting::Dollar)
    }

    /// A number. What follows at once is read as a word: versions that allow it to follow read it so.
    fn number(&mut self) -> Kind {
        self.skip_digits();
        if self.byte(0) == Some(b'.') {
            self.at += 1;
            self.skip_digits();
        }
        if self.byte(0).is_some_and(|byte| byte | 0x20 == b'e') {
            let sign = usize::from(matches!(self.byte(1), Some(b'+' | b'-')));
            if self.byte(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1 + sign;
                self.skip_digits();
            }
        }
        Kind::Number
    }

    fn skip_digits(&mut self) {
        while self.byte(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Goes behind blanks and comments; `false` if a comment does not end.
    pub(super) fn skip_blank(&mut self) -> bool {
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(blank), _) if is_blank(blank) => self.at += 1,
                (Some(b'-'), Some(b'-')) => self.skip_line(),
                (Some(b'/'), Some(b'*')) => {
                    if !self.skip_comment() {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    }

    /// Goes behind a comment and those within it.
    fn skip_comment(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(found) = memchr2(b'*', b'/', self.rest()) {
            self.at += found;
            match (self.byte(0), self.byte(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return true;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.at = self.text.len();
        false
    }
}

/// `$tag$` at the front of `text`.
fn dollar_tag(text: &[u8]) -> Option<&[u8]> {
    let inner = text.get(1..)?;
    let end = inner.iter().position(|byte| !continues_word(*byte) || *byte == b'$')?;
    (inner.get(end) == Some(&b'$')).then_some(())?;
    text.get(..end + 2)
}

pub(super) const fn is_blank(byte: u8) -> bool {
    // A vertical tab is a blank since PostgreSQL 16, and an error before.
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

pub(super) const fn starts_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..)
}

pub(super) const fn continues_word(byte: u8) -> bool {
    starts_word(byte) || matches!(byte, b'0'..=b'9' | b'$')
}
