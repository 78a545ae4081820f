//! Names of functions and schemas that matter wherever they stand as code.

use memchr::memchr_iter;

use super::Features;
use super::judge::Judge;
use super::lexer::{Kind, Token};
use super::name::{MAX_KEYWORD, folded, string};

/// Tokens of one call's arguments that are looked at.
const MAX_ARGUMENT_TOKENS: usize = 256;

/// What the name of the temporary schema begins with.
const PG_TEMP: &[u8] = b"pg_temp";

impl Judge<'_> {
    /// Notes what an identifier or a keyword may do by itself.
    pub(super) fn watch(&mut self, token: Token) {
        let mut word = self.lexer.bytes(token);
        if token.kind == Kind::Quoted {
            word = word.get(1..word.len().saturating_sub(1)).unwrap_or_default();
        }
        if !matches!(word, [b's' | b'S' | b'p' | b'P' | b'i' | b'I', _, _, _, ..]) {
            return;
        }
        if word.get(..PG_TEMP.len()).is_some_and(|start| start.eq_ignore_ascii_case(PG_TEMP)) {
            return self.note(Features::TEMP);
        }
        match folded(word, &mut [0; MAX_KEYWORD]) {
            b"set_config" => self.set_config(),
            b"setseed" => self.note(Features::SEED),
            // An UPDATE of it sets what its rows name.
            b"pg_settings" if self.may_update => {
                self.note(Features::SET_CONFIG | Features::UNJUDGED_SETTINGS);
            }
            b"pg_notify" => self.note(Features::NOTIFY),
            b"pg_advisory_lock"
            | b"pg_advisory_lock_shared"
            | b"pg_try_advisory_lock"
            | b"pg_try_advisory_lock_shared" => self.note(Features::ADVISORY_LOCK),
            b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
                self.note(Features::ADVISORY_UNLOCK);
            }
            b"into" if token.kind == Kind::Word && !self.after_insert() => self.select_into(),
            _ => {}
        }
    }

    fn select_into(&mut self) {
        let mut ahead = self.lexer;
        let mut next = ahead.next();
        if self.is_any(next, &[b"local", b"global"]) {
            next = ahead.next();
        }
        if self.is_any(next, &[b"temp", b"temporary"]) {
            self.note(Features::TEMP);
        }
    }

    /// set_config(name, value, is_local), the name of which has just been read. Its arguments are looked at ahead:
    /// they are watched afterwards, as anything.
    fn set_config(&mut self) {
        let mut ahead = self.lexer;
        let (mut name, mut local, mut to_null) = (None, false, false);
        let mut closed = false;
        if ahead.next().kind == Kind::Mark(b'(') {
            let (mut depth, mut argument, mut length) = (0_usize, 0_usize, 0_usize);
            for _ in 0..MAX_ARGUMENT_TOKENS {
                let token = ahead.next();
                match token.kind {
                    Kind::End | Kind::Broken => break,
                    Kind::Mark(b')' | b']') if depth == 0 => {
                        closed = true;
                        break;
                    }
                    Kind::Mark(b',') if depth == 0 => {
                        (argument, length) = (argument + 1, 0);
                        continue;
                    }
                    Kind::Mark(b'(' | b'[') => depth += 1,
                    Kind::Mark(b')' | b']') => depth -= 1,
                    Kind::Mark(_)
                    | Kind::Word
                    | Kind::Quoted
                    | Kind::UnicodeName
                    | Kind::Text(_)
                    | Kind::Number
                    | Kind::Param => {}
                }
                length += 1;
                match argument {
                    0 => name = if length == 1 { string(&ahead, token) } else { None },
                    1 => to_null = length == 1 && self.is(token, b"null"),
                    2 => local = length == 1 && self.is(token, b"true"),
                    _ => {}
                }
            }
        }
        let local = local && closed;
        self.note(if local { Features::SET_LOCAL } else { Features::SET_CONFIG });
        if to_null && !local {
            self.note(Features::RESET);
        }
        self.touch(name.as_deref(), local);
    }
}

/// Whether a string speaks of the temporary schema.
pub(crate) fn names_temp(text: &[u8]) -> bool {
    memchr_iter(b'_', text).any(|at| {
        let start = at.saturating_sub(2);
        text.get(start..start + PG_TEMP.len()).is_some_and(|word| word.eq_ignore_ascii_case(PG_TEMP))
    })
}
