//! SET and RESET: which parameters, for how long.

use super::judge::Judge;
use super::lexer::{Kind, Token};
use super::name::identifier;
use super::{Features, MAX_SETTING_NAME, MAX_SETTINGS};

/// What SET SESSION CHARACTERISTICS AS TRANSACTION sets.
const CHARACTERISTICS: [&[u8]; 3] =
    [b"default_transaction_isolation", b"default_transaction_read_only", b"default_transaction_deferrable"];

impl Judge<'_> {
    /// SET [SESSION | LOCAL] ...
    pub(super) fn set(&mut self) {
        let mut head = self.token();
        let mut local = false;
        if self.is_any(head, &[b"session", b"local"]) && !self.is_variable() && !self.is_of_session() {
            local = self.is(head, b"local");
            head = self.token();
        }
        if self.is_variable() {
            return self.set_variable(head, local);
        }
        if self.is_any(head, &[b"transaction", b"constraints"]) {
            return;
        }
        if self.is(head, b"session") && self.follows(&[b"characteristics"]) {
            self.note(held(local, Features::SET));
            for name in CHARACTERISTICS {
                self.touch(Some(name), local);
            }
            return;
        }
        let name: &[u8] = if self.is(head, b"session") && self.follows(&[b"authorization"]) {
            self.token();
            b"session_authorization"
        } else if self.is(head, b"time") && self.follows(&[b"zone"]) {
            self.token();
            b"timezone"
        } else if self.is(head, b"xml") && self.follows(&[b"option"]) {
            self.token();
            b"xmloption"
        } else if self.is(head, b"names") {
            b"client_encoding"
        } else if self.is(head, b"role") {
            b"role"
        } else if self.is(head, b"schema") {
            b"search_path"
        } else {
            return self.set_variable(head, local);
        };
        let value = self.peek();
        let reset =
            self.is_any(value, &[b"default", b"local"]) || matches!(value.kind, Kind::End | Kind::Mark(b';'));
        let session = if reset { Features::RESET } else { Features::SET };
        self.note(held(local, session));
        self.touch(Some(name), local);
    }

    /// name { = | TO | FROM } ...
    fn set_variable(&mut self, head: Token, local: bool) {
        let name = self.variable(head);
        self.token();
        let value = self.peek();
        let reset = self.is(value, b"default");
        let session = if reset { Features::RESET } else { Features::SET };
        self.note(held(local, session));
        self.touch(name.as_deref(), local);
    }

    /// RESET ...
    pub(super) fn reset(&mut self) {
        let head = self.token();
        if self.is(head, b"all") {
            return self.note(Features::RESET_ALL);
        }
        if self.is(head, b"transaction") && self.follows(&[b"isolation"]) {
            return;
        }
        self.note(Features::RESET);
        if self.is(head, b"session") && self.follows(&[b"authorization"]) {
            self.touch(Some(b"session_authorization"), false);
        } else if self.is(head, b"time") && self.follows(&[b"zone"]) {
            self.touch(Some(b"timezone"), false);
        } else {
            let name = self.variable(head);
            self.touch(name.as_deref(), false);
        }
    }

    /// Whether the word just read is the name of a variable, or the first part of it.
    fn is_variable(&self) -> bool {
        let next = self.peek();
        matches!(next.kind, Kind::Mark(b'=' | b'.')) || self.is_any(next, &[b"to", b"from"])
    }

    /// Whether SESSION, just read, is the first word of what is set, and not how long it holds.
    fn is_of_session(&self) -> bool {
        self.follows(&[b"authorization"]) || self.follows(&[b"characteristics", b"as"])
    }

    /// The name of a variable that begins with `head`.
    fn variable(&mut self, head: Token) -> Option<Vec<u8>> {
        let mut name = identifier(&self.lexer, head);
        while self.peek().kind == Kind::Mark(b'.') {
            self.token();
            let token = self.token();
            let part = identifier(&self.lexer, token);
            name = name.zip(part).map(|(mut name, part)| {
                name.push(b'.');
                name.extend(part);
                name
            });
            name = name.filter(|name| name.len() <= MAX_SETTING_NAME);
        }
        name
    }

    /// Notes a parameter that is touched.
    pub(super) fn touch(&mut self, name: Option<&[u8]>, local: bool) {
        let Some(name) = name.filter(|name| name.len() <= MAX_SETTING_NAME) else {
            return self.note(Features::UNJUDGED_SETTINGS);
        };
        let name = name.to_ascii_lowercase();
        let authorization = name == b"session_authorization";
        if (authorization || name == b"role") && !local {
            self.note(Features::IDENTITY);
        }
        match &*name {
            b"session_authorization" => self.list(b"role"),
            b"seed" => self.note(Features::SEED),
            // Where libraries come from is for superusers to see: it could not be asked for under another role.
            b"dynamic_library_path" if !local => self.note(Features::LOAD),
            _ => {}
        }
        self.list(match &*name {
            // Names of old, which PostgreSQL still takes.
            b"sort_mem" => b"work_mem",
            b"vacuum_mem" => b"maintenance_work_mem",
            name => name,
        });
    }

    fn list(&mut self, name: &[u8]) {
        if self.digest.settings.iter().any(|listed| **listed == *name) {
            return;
        }
        if self.digest.settings.len() >= MAX_SETTINGS {
            return self.note(Features::UNJUDGED);
        }
        self.digest.settings.push(name.into());
    }
}

/// What setting something does: to the session, unless it holds for the transaction only.
const fn held(local: bool, session: Features) -> Features {
    if local { Features::SET_LOCAL } else { session }
}
