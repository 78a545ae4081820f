//! Statement texts of one pool, each once.
//!
//! A statement is shared by text, parameter types and what was in force when it was parsed, within one pool: that is
//! one database and one login role (R55). PostgreSQL reads some constants when it parses, a date with `TimeZone` for
//! instance, and a name means what the search path and the role of that moment make of it (S32).

use std::borrow::Borrow;
use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::meaning::InForce;
use super::params::ParamSet;
use super::settings::Settings;
use super::sql::{self, Digest};
use super::tracking::USUAL_READING;

/// One statement text with its parameter types, prepared under one name wherever it is needed.
#[derive(Debug)]
pub struct Statement {
    id: u64,
    server_name: Box<[u8]>,
    /// Text and types, then what was in force.
    key: Box<[u8]>,
    /// Bytes of text and types.
    rest_len: usize,
    /// Counts how often its plans were found stale.
    generation: Cell<u32>,
    /// Fingerprint of the columns that clients were told of, by plans of this generation.
    columns: Cell<Option<u64>>,
    /// What it may do to a session, read as most clients write.
    digest: OnceCell<Option<Box<Digest>>>,
    /// It surely does nothing to a session, however it is read.
    plain: OnceCell<bool>,
}

impl Statement {
    fn new(id: u64, key: Box<[u8]>, rest_len: usize) -> Self {
        Self {
            id,
            server_name: server_name(id),
            key,
            rest_len,
            generation: Cell::new(0),
            columns: Cell::new(None),
            digest: OnceCell::new(),
            plain: OnceCell::new(),
        }
    }

    /// Its number in the pool.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The pooler's name for it on servers.
    pub fn server_name(&self) -> &[u8] {
        &self.server_name
    }

    /// Text and types as in a Parse behind the name; nothing if it is private.
    pub fn rest(&self) -> &[u8] {
        self.key.get(..self.rest_len).unwrap_or_default()
    }

    /// Text, types and what was in force, and how much of it is text and types.
    pub(super) fn key(&self) -> (&[u8], usize) {
        (&self.key, self.rest_len)
    }

    /// How often its plans were found stale: one made earlier is not run any more.
    pub(super) const fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// A plan of it was found stale, so those on other servers are, too.
    pub(super) fn age(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.columns.set(None);
    }

    /// Whether clients were told of its columns.
    pub(super) const fn has_known_columns(&self) -> bool {
        self.columns.get().is_some()
    }

    /// Its columns are described. If others were before, plans and promises of that time are void; whether they are.
    pub(super) fn note_columns(&self, seen: u64) -> bool {
        let changed = self.columns.get().is_some_and(|known| known != seen);
        if changed {
            self.age();
        }
        self.columns.set(Some(seen));
        changed
    }

    /// What it may do to a session, if anything, for a client whose texts are read as most are.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.digest.get_or_init(|| sql::digest(text_of(self.rest()), USUAL_READING)).as_deref()
    }

    /// Whether it surely does nothing to a session, however its text is read.
    pub(super) fn is_plain(&self) -> bool {
        *self.plain.get_or_init(|| sql::is_plain(text_of(self.rest())))
    }

    /// Whether the text was too large to keep, so that it exists on one server only.
    pub fn is_private(&self) -> bool {
        self.rest_len == 0
    }
}

/// The text in front of the types in what a Parse holds behind its name.
pub(super) fn text_of(rest: &[u8]) -> &[u8] {
    rest.split(|&b| b == 0).next().unwrap_or_default()
}

struct ByText(Rc<Statement>);

impl Borrow<[u8]> for ByText {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByText {}

/// All statements of one pool, each text once.
#[derive(Default)]
pub struct Catalog {
    /// In the upper bits of every number given here, see [`Catalog::of_share`].
    origin: u16,
    statements: HashSet<ByText>,
    last_id: u64,
    sweep_at: usize,
    /// Bytes of text that have come since the last sweep.
    unswept: usize,
    /// Memory for the key of a text that is looked up.
    key: Vec<u8>,
    /// What was in force for the client that asked last: most have the same.
    usual: InForce,
}

/// Bits of a statement's number below its origin: enough for a million statements a second for eight years.
const ORIGIN_SHIFT: u32 = 48;

/// The pooler's name for a statement on servers. A server may move from one share of its pool to another, so their
/// names differ.
fn server_name(id: u64) -> Box<[u8]> {
    let (origin, number) = (id >> ORIGIN_SHIFT, id & ((1 << ORIGIN_SHIFT) - 1));
    let name = if origin == 0 { format!("pooler_{number}") } else { format!("pooler_{origin}_{number}") };
    name.into_bytes().into()
}

impl Catalog {
    /// An empty catalog of this share of a pool, 0 for the whole or the home share: no other share's catalog gives the
    /// same numbers and names.
    pub fn of_share(share: u16) -> Self {
        Self { origin: share, ..Self::default() }
    }

    /// The statement of this text and these types, made if new. `in_force` is what makes it another one for a client
    /// with other settings.
    pub fn intern(&mut self, rest: &[u8], in_force: &[u8]) -> Rc<Statement> {
        /// A key up to this size is put together without asking for memory.
        const KEPT_KEY: usize = 64 * 1024;
        let mut key = std::mem::take(&mut self.key);
        key.extend_from_slice(rest);
        key.extend_from_slice(in_force);
        let statement = self.intern_key(&key, rest.len());
        key.clear();
        key.shrink_to(KEPT_KEY);
        self.key = key;
        statement
    }

    /// What is in force for a client, as part of a key.
    pub(super) fn in_force(&mut self, params: &ParamSet, settings: &Settings) -> Rc<[u8]> {
        if !self.usual.is_of(params, settings) {
            self.usual = InForce::new(params, settings);
        }
        Rc::clone(&self.usual.bytes)
    }

    /// The same by [`Statement::key`].
    pub(super) fn intern_key(&mut self, key: &[u8], rest_len: usize) -> Rc<Statement> {
        if let Some(known) = self.statements.get(key) {
            return Rc::clone(&known.0);
        }
        self.sweep(key.len());
        let id = self.next_id();
        self.keep(Statement::new(id, key.into(), rest_len))
    }

    fn keep(&mut self, statement: Statement) -> Rc<Statement> {
        let statement = Rc::new(statement);
        self.statements.insert(ByText(Rc::clone(&statement)));
        statement
    }

    /// A statement that a server has brought from another worker, under the name it has there. `true` if clients here
    /// can use it: unless the same text has another name here.
    pub(super) fn adopt(&mut self, id: u64, key: Box<[u8]>, rest_len: usize) -> (Rc<Statement>, bool) {
        let statement = Statement::new(id, key, rest_len);
        if statement.is_private() {
            return (Rc::new(statement), true);
        }
        match self.statements.get(&*statement.key) {
            Some(known) if known.0.id == id => (Rc::clone(&known.0), true),
            Some(_) => (Rc::new(statement), false),
            None => {
                self.sweep(statement.key.len());
                (self.keep(statement), true)
            }
        }
    }

    /// A statement whose text was too large to keep: it exists on one server only.
    pub fn private(&mut self) -> Rc<Statement> {
        let id = self.next_id();
        Rc::new(Statement::new(id, Box::default(), 0))
    }

    /// A number never given before in this pool.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        u64::from(self.origin) << ORIGIN_SHIFT | self.last_id
    }

    /// Forgets what no client and no server refers to, whenever the number has doubled since the last time, or
    /// much text has come.
    fn sweep(&mut self, coming: usize) {
        const SMALLEST_SWEEP: usize = 256;
        /// What texts nobody uses any more may take; to look through all of them costs little beside reading so much.
        const MAX_UNSWEPT: usize = 8 * 1024 * 1024;
        self.unswept += coming;
        if self.statements.len() >= self.sweep_at.max(SMALLEST_SWEEP) || self.unswept > MAX_UNSWEPT {
            self.statements.retain(|s| Rc::strong_count(&s.0) > 1);
            self.sweep_at = self.statements.len() * 2;
            self.unswept = coming;
        }
    }

    /// Statements known.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("statements", &self.statements.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_forgets_what_nobody_uses() {
        let mut catalog = Catalog::default();
        for i in 0..100_000u32 {
            drop(catalog.intern(&i.to_be_bytes(), b""));
        }
        assert!(catalog.len() <= 512, "{}", catalog.len());
        for i in 0..200u8 {
            drop(catalog.intern(&vec![i; 256 * 1024], b""));
        }
        assert!(catalog.len() <= 32, "large ones are forgotten sooner: {}", catalog.len());
    }
}
