//! What counts beyond the words of a text: values that name settings, and what its names and literals mean while it is
//! parsed.

use std::rc::Rc;

use super::TrackedNames;
use super::catalog::{Catalog, Statement};
use super::conversation::{Recall, Session};
use super::settings::{MAX_SETTINGS, ROLE, SEARCH_PATH, SESSION_AUTHORIZATION};
use super::sql::{self, Features};
use super::statements::Lookup;
use crate::proto::{BindView, FrameHeader, HEADER_LEN};

/// How our own names of statements begin.
const OUR_NAMES: &[u8] = b"pooler_";

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

/// Settings beyond the followed ones that decide what names and literals in a text mean when it is parsed.
const READING: [&[u8]; 8] = [
    ROLE,
    SESSION_AUTHORIZATION,
    SEARCH_PATH,
    b"array_nulls",
    b"backslash_quote",
    b"lc_monetary",
    b"transform_null_equals",
    b"xmloption",
];

impl Session {
    /// What makes a text another statement for this client than for others: what decides the meaning of its names and
    /// literals when it is parsed (R55).
    pub(super) fn in_force(&self) -> Vec<u8> {
        let settings = self.wishes.settings();
        let params = TrackedNames::READING.iter().map(|&at| self.params.value(at));
        let mut bytes = Vec::new();
        for value in params.chain(READING.iter().map(|name| settings.get(name))) {
            bytes.extend(value.unwrap_or_default());
            bytes.push(0);
        }
        bytes
    }

    /// The statement to use where the server lacks this one, which other clients share: the same, unless the client
    /// has changed since what decides its meaning.
    pub(super) fn as_read_now(&self, statement: Rc<Statement>, catalog: &mut Catalog) -> Rc<Statement> {
        let (key, rest_len) = statement.key();
        let in_force = self.in_force();
        if statement.is_private() || key.get(rest_len..) == Some(&*in_force) {
            return statement;
        }
        catalog.intern(statement.rest(), &in_force)
    }

    /// Whether it hangs on an answer to come which statements there are at all: DEALLOCATE ALL is on its way.
    pub(super) fn awaits_forgetting(&mut self) -> bool {
        if self.inflight.is_empty() {
            self.recall = Recall::Sure;
        }
        self.recall == Recall::InDoubt
    }

    /// Whether a name may be that of a statement made with PREPARE: if the server has not been asked yet, it would know.
    /// Names of ours are nobody's to use.
    pub(super) fn may_be_prepared_by_sql(&self, name: &[u8]) -> bool {
        const MAKES: Features = Features::PREPARE.with(Features::OPAQUE).with(Features::UNJUDGED);
        let unknown = || matches!(self.names.find(name, self.segment), Lookup::Missing);
        let just_made = || self.traces.as_ref().is_some_and(|traces| traces.features.intersects(MAKES));
        let may_be = just_made() && !name.is_empty() && !name.starts_with(OUR_NAMES);
        (may_be || self.is_prepared_by_sql(name)) && unknown()
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
}
