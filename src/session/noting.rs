//! What is noted beyond the words of a text: values that name settings, and what RESET is for a client with startup values.

use std::rc::Rc;

use super::TrackedNames;
use super::catalog::{Catalog, Statement};
use super::conversation::Session;
use super::settings::MAX_SETTINGS;
use super::sql::{self, Digest, Features};
use super::wishes::Restore;
use crate::proto::{BindView, FrameHeader, HEADER_LEN};

/// A Bind up to this size is held whole if its values may name settings.
const MAX_NAMING_BIND: usize = 16 * 1024;

/// Whether a value may be the name of a setting that PostgreSQL does not know: two names and a dot, at least.
fn may_name_setting(value: &[u8]) -> bool {
    let is_part = |part: &[u8]| {
        part.first().is_some_and(|&b| b == b'_' || b >= 0x80 || b.is_ascii_alphabetic())
            && part.iter().all(|&b| matches!(b, b'_' | b'$' | 0x80..) || b.is_ascii_alphanumeric())
    };
    value.contains(&b'.') && value.len() <= sql::MAX_SETTING_NAME && value.split(|&b| b == b'.').all(is_part)
}

/// What sets those settings that a text names.
const SETS: Features = Features::SET.with(Features::SET_LOCAL).with(Features::SET_CONFIG);

/// What one text does besides resetting settings so that nobody can tell what it amounts to.
const BESIDE_RESETS: Features = Features::UNJUDGED_SETTINGS
    .with(Features::UNJUDGED)
    .with(Features::OPAQUE)
    .with(Features::EXECUTE)
    .with(Features::TRANSACTION);

/// Settings beyond the followed ones that decide what names and literals in a text mean when it is parsed.
const READING: [&[u8]; 6] = [
    b"search_path",
    b"array_nulls",
    b"backslash_quote",
    b"lc_monetary",
    b"transform_null_equals",
    b"xmloption",
];

impl Session {
    /// Stands for what decides the meaning of literals in this client's texts.
    pub(super) fn literals(&self, catalog: &Catalog) -> u64 {
        let settings = self.wishes.settings();
        let others = READING.iter().map(|name| settings.get(name));
        catalog.literals_of(TrackedNames::READING.iter().map(|&at| self.params.value(at)).chain(others))
    }

    /// The statement to use where the server lacks this one, which other clients share: the same, unless the client
    /// has changed since what decides its literals.
    pub(super) fn as_read_now(&self, statement: Rc<Statement>, catalog: &mut Catalog) -> Rc<Statement> {
        let literals = self.literals(catalog);
        if statement.is_private() || statement.literals() == literals {
            return statement;
        }
        catalog.intern(statement.rest(), literals)
    }

    /// A statement made with PREPARE is closed; the server is asked afterwards whether it was.
    pub(super) fn forget_prepared_by_sql(&mut self, name: &[u8]) {
        if let Some(pins) = &mut self.pins {
            pins.prepared.retain(|known| **known != *name);
        }
    }

    /// Notes the values of a Bind that may name settings: PostgreSQL does not list those it does not know (S34). `false`
    /// if not all of them are there yet.
    pub(super) fn note_values(&mut self, view: &BindView<'_>, header: FrameHeader, body: &[u8]) -> bool {
        let Some(traces) = &mut self.traces else { return true };
        if !traces.features.intersects(Features::UNJUDGED_SETTINGS) || header.wire_len > MAX_NAMING_BIND {
            return true;
        }
        let whole = body.len() + HEADER_LEN >= header.wire_len;
        for name in view.values(body).filter(|value| may_name_setting(value)) {
            if traces.names.len() < MAX_SETTINGS
                && !traces.names.iter().any(|known| known.eq_ignore_ascii_case(name))
            {
                traces.names.push(name.to_ascii_lowercase().into());
            }
        }
        whole
    }

    /// RESET goes back to the server's defaults; the client's are those of its startup packet.
    pub(super) fn note_resets(&mut self, digest: &Digest) {
        let resets = Features::RESET | Features::RESET_ALL | Features::DISCARD_ALL;
        // Beside an end of the transaction what is put in force afterwards might be too much.
        if !digest.features.intersects(resets) || digest.features.intersects(BESIDE_RESETS) {
            return;
        }
        let Some(startup) = self.wishes.startup() else { return };
        if digest.features.intersects(Features::RESET_ALL | Features::DISCARD_ALL) {
            self.restore = Some(if digest.settings.is_empty() {
                Restore::All
            } else {
                Restore::Except(digest.settings.clone())
            });
            return;
        }
        if !startup.is_empty() && !digest.features.intersects(SETS) {
            self.restore = Some(Restore::Named(digest.settings.clone()));
        }
    }
}
