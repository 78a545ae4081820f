//! What counts beyond the words of a text: values that name settings, and what its names and literals mean while it is
//! parsed.

use std::rc::Rc;

use super::TrackedNames;
use super::catalog::{Catalog, Statement};
use super::conversation::{Recall, Session, Turn};
use super::names::cut;
use super::params::ParamSet;
use super::settings::{MAX_SETTINGS, ROLE, SEARCH_PATH, SESSION_AUTHORIZATION, Settings};
use super::sql::{self, Digest, Features};
use super::statements::Lookup;
use super::survey::PinReasons;
use crate::config::SessionState;
use crate::proto::{BindView, FrameHeader, HEADER_LEN, TxStatus};

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

/// Words in a text that may be such names: of literals, of the body of a DO, of what a function is given as a document.
fn names_within(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let continues = |b: u8| matches!(b, b'_' | b'$' | b'.' | 0x80..) || b.is_ascii_alphanumeric();
    text.split(move |&b| !continues(b)).filter(|word| word.is_ascii() && may_name_setting(word))
}

/// What may touch settings by names that it does not tell, or tells somewhere within.
const NAMELESS: Features = Features::UNJUDGED_SETTINGS.with(Features::OPAQUE).with(Features::UNJUDGED);

/// Settings beyond the followed ones that decide what names and literals in a text mean when it is parsed, or how
/// constants read when it is planned: PostgreSQL folds the text of a number or of bytes into the plan.
const READING: [&[u8]; 12] = [
    ROLE,
    SESSION_AUTHORIZATION,
    SEARCH_PATH,
    b"array_nulls",
    b"backslash_quote",
    b"bytea_output",
    b"extra_float_digits",
    b"lc_monetary",
    b"quote_all_identifiers",
    b"timezone_abbreviations",
    b"transform_null_equals",
    b"xmloption",
];

/// Settings that decide which plan is made, besides those told by how their names begin or end.
const PLANNING: [&[u8]; 14] = [
    b"constraint_exclusion",
    b"cursor_tuple_fraction",
    b"debug_parallel_query",
    b"effective_cache_size",
    b"effective_io_concurrency",
    b"force_parallel_mode",
    b"hash_mem_multiplier",
    b"max_parallel_workers_per_gather",
    b"min_parallel_index_scan_size",
    b"min_parallel_table_scan_size",
    b"parallel_leader_participation",
    b"plan_cache_mode",
    b"recursive_worktable_factor",
    b"work_mem",
];

/// Whether a setting, beyond the followed ones, makes a text another statement (R55).
fn decides(name: &[u8]) -> bool {
    let begins = |start: &&[u8]| name.starts_with(start);
    let ends = |end: &&[u8]| name.ends_with(end);
    READING.contains(&name)
        || PLANNING.contains(&name)
        || [&b"enable_"[..], b"geqo", b"jit"].iter().any(begins)
        || [&b"_collapse_limit"[..], b"_cost"].iter().any(ends)
}

/// Those of a client's settings that do, sorted by name.
fn deciding(settings: &Settings) -> impl Iterator<Item = (&[u8], &[u8])> {
    settings.iter().filter(|(name, _)| decides(name))
}

/// What may change the meaning of names without a setting that tells: a temporary table hides another of its name.
const AT_LARGE: Features = Features::TEMP
    .with(Features::RESET_ALL)
    .with(Features::DISCARD_ALL)
    .with(Features::UNJUDGED_SETTINGS)
    .with(Features::OPAQUE)
    .with(Features::UNJUDGED);

/// Whether it is known what decides the meaning of the client's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is.
    Known,
    /// Something under way, or in this transaction, may have changed it unseen. What the client prepares meanwhile is
    /// its own: this number makes it so, once it is needed.
    InDoubt(Option<u64>),
}

/// What makes a text another statement for some clients than for others: what decides the meaning of its names and
/// literals when it is parsed, and its plan (R55).
#[derive(Debug)]
pub(super) struct InForce {
    params: ParamSet,
    settings: Settings,
    /// The values, as part of a key.
    pub(super) bytes: Rc<[u8]>,
}

impl Default for InForce {
    fn default() -> Self {
        Self::new(&ParamSet::default(), &Settings::default())
    }
}

impl InForce {
    /// Of a client with these values.
    pub(super) fn new(params: &ParamSet, settings: &Settings) -> Self {
        let mut bytes = Vec::new();
        for value in TrackedNames::READING.iter().map(|&at| params.value(at)) {
            bytes.extend(value.is_some().then_some(b'=')); // an empty search path is not the usual one
            bytes.extend(value.unwrap_or_default());
            bytes.push(0);
        }
        for (name, value) in deciding(settings) {
            bytes.extend([name, b"=", value, b"\0"].concat());
        }
        Self { params: params.clone(), settings: settings.clone(), bytes: bytes.into() }
    }

    /// Whether it is that of a client with these values, too.
    pub(super) fn is_of(&self, params: &ParamSet, settings: &Settings) -> bool {
        let same_params =
            || TrackedNames::READING.iter().all(|&at| params.value(at) == self.params.value(at));
        let same_settings = || deciding(settings).eq(deciding(&self.settings));
        (self.params.is_shared_with(params) || same_params())
            && (self.settings.is_shared_with(settings) || same_settings())
    }
}

impl Session {
    /// A text is about to run: what comes behind it may be read otherwise.
    pub(super) fn note_meaning(&mut self, digest: &Digest, names: &TrackedNames) {
        let reads = |name: &[u8]| {
            let mut reported = TrackedNames::READING.iter().map(|&at| names.name(at).as_bytes());
            decides(name) || reported.any(|known| known.eq_ignore_ascii_case(name))
        };
        if digest.features.intersects(AT_LARGE) || digest.settings.iter().any(|name| reads(name)) {
            self.doubt_meaning();
        }
    }

    pub(super) const fn doubt_meaning(&mut self) {
        if matches!(self.meaning, Meaning::Known) {
            self.meaning = Meaning::InDoubt(None);
        }
    }

    /// The server is idle and owes nothing: unless it has still to be asked, all is known.
    pub(super) const fn settle_meaning(&mut self) {
        if self.traces.is_none() {
            self.meaning = Meaning::Known;
        }
    }

    /// What a text may do, as far as it can be read; `None` if surely nothing.
    pub(super) fn digest(&self, text: &[u8]) -> Option<Box<Digest>> {
        if self.meaning == Meaning::Known && sql::is_plain(text) {
            return None;
        }
        let digest = sql::digest(text, self.reading());
        // How backslashes and characters beyond ASCII are read may just be changing.
        if self.meaning == Meaning::Known || text.is_ascii() && !text.contains(&b'\\') {
            return digest;
        }
        let mut digest = digest.unwrap_or_default();
        digest.features |= Features::UNJUDGED;
        digest.prepared = None;
        Some(digest)
    }

    /// What makes a text another statement for this client than for others.
    pub(super) fn in_force(&mut self, catalog: &mut Catalog) -> Rc<[u8]> {
        let bytes = catalog.in_force(&self.params, &self.wishes.settings());
        let number = match (&mut self.meaning, self.pins.as_deref_mut()) {
            (Meaning::InDoubt(number), _) => number,
            (Meaning::Known, Some(pins)) if pins.reasons.intersects(PinReasons::TEMPORARY) => {
                &mut pins.reading
            }
            (Meaning::Known, Some(_) | None) => return bytes,
        };
        let number = number.get_or_insert_with(|| catalog.next_id()).to_be_bytes();
        [&*bytes, number.as_slice()].concat().into()
    }

    /// The statement to use on the linked server in place of this one, and whether it has it; `None` without a server.
    pub(super) fn as_server_has(
        &mut self,
        turn: &mut Turn<'_>,
        statement: Rc<Statement>,
    ) -> Option<(Rc<Statement>, Lookup<()>)> {
        let facts = turn.facts.as_deref_mut()?;
        let found = facts.statements.find(&statement, self.segment);
        if !matches!(found, Lookup::Missing) {
            return Some((statement, found));
        }
        let statement = self.as_read_now(statement, turn.catalog);
        let found = facts.statements.find(&statement, self.segment);
        Some((statement, found))
    }

    /// The statement to use where the server lacks this one, which other clients share: the same, unless the client
    /// has changed since what decides its meaning.
    fn as_read_now(&mut self, statement: Rc<Statement>, catalog: &mut Catalog) -> Rc<Statement> {
        let (key, rest_len) = statement.key();
        let in_force = self.in_force(catalog);
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
        matches!(self.prepared_by_sql(name), Lookup::Found(()))
    }

    /// The same, or that it hangs on an answer to come: a Parse that takes the name, or fails to.
    pub(super) fn prepared_by_sql(&self, name: &[u8]) -> Lookup<()> {
        const MAKES: Features = Features::PREPARE.with(Features::OPAQUE).with(Features::UNJUDGED);
        let told = || self.traces.as_ref().is_some_and(|traces| traces.features.intersects(MAKES));
        let just_made = || told() || self.rules.session_state == SessionState::Verify && self.may_have_run();
        let may_be = just_made() && !name.is_empty() && !name.starts_with(OUR_NAMES);
        if may_be || self.is_prepared_by_sql(name) {
            match self.names.find(name, self.segment) {
                Lookup::Missing => Lookup::Found(()),
                Lookup::Found(_) => Lookup::Missing,
                Lookup::Wait => Lookup::Wait,
            }
        } else {
            Lookup::Missing
        }
    }

    /// Whether something of the client's may have been executed since its server was asked last.
    fn may_have_run(&self) -> bool {
        let is_answered = || self.inflight.is_batch_open() && self.inflight.is_empty();
        self.tx != TxStatus::Idle || self.inflight.may_copy() || is_answered()
    }

    /// A statement made with PREPARE is closed; the server is asked afterwards whether it was.
    pub(super) fn forget_prepared_by_sql(&mut self, name: &[u8]) {
        if let Some(pins) = &mut self.pins {
            pins.prepared.retain(|known| **known != *cut(name));
        }
    }

    /// Notes the values of a Bind that may name settings: PostgreSQL does not list those it does not know (S34). `false`
    /// if not all of them are there yet.
    pub(super) fn note_values(&mut self, view: &BindView<'_>, header: FrameHeader, body: &[u8]) -> bool {
        let Some(traces) = &self.traces else { return true };
        if !traces.features.intersects(NAMELESS) || header.wire_len > MAX_NAMING_BIND {
            return true;
        }
        let whole = body.len() + HEADER_LEN >= header.wire_len;
        for value in view.values(body) {
            self.note_names(Some(value).filter(|value| may_name_setting(value)));
            self.note_names(names_within(value));
        }
        whole
    }

    /// Notes the words of a text that may name settings, if something is under way that may touch such.
    pub(super) fn note_names_within(&mut self, text: &[u8]) {
        if self.traces.as_ref().is_some_and(|traces| traces.features.intersects(NAMELESS)) {
            self.note_names(names_within(text));
        }
    }

    fn note_names<'n>(&mut self, names: impl IntoIterator<Item = &'n [u8]>) {
        let Some(traces) = &mut self.traces else { return };
        for name in names {
            if traces.names.len() < MAX_SETTINGS
                && !traces.names.iter().any(|known| known.eq_ignore_ascii_case(name))
            {
                traces.names.push(name.to_ascii_lowercase().into());
            }
        }
    }
}
