//! Statement texts of one pool, each once.
//!
//! A statement is shared by text and parameter types within one pool, that is one database and one role, by clients
//! that agree on what its names and literals mean: PostgreSQL reads `date '1/2/2020'` when it parses, and a search path
//! may lead to columns of another type. Row security in force is compared by PostgreSQL itself, which plans again when it
//! differs (S32).

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::rc::Rc;

use super::sql::{self, Digest};
use super::tracking::USUAL_READING;

/// One statement text with its parameter types, prepared under one name wherever it is needed.
#[derive(Debug)]
pub struct Statement {
    id: u64,
    server_name: Box<[u8]>,
    rest: Box<[u8]>,
    /// What decided the meaning of its literals when it was first parsed.
    literals: u64,
    /// What it may do to a session, read as most clients write.
    digest: OnceCell<Option<Box<Digest>>>,
}

impl Statement {
    /// Its number in the pool.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// See [`Catalog::literals_of`].
    pub(super) const fn literals(&self) -> u64 {
        self.literals
    }

    /// The pooler's name for it on servers.
    pub fn server_name(&self) -> &[u8] {
        &self.server_name
    }

    /// Text and types as in a Parse behind the name; nothing if it is private.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// What it may do to a session, if anything, for a client whose texts are read as most are.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.digest.get_or_init(|| sql::digest(text_of(&self.rest), USUAL_READING)).as_deref()
    }

    /// Whether the text was too large to keep, so that it exists on one server only.
    pub fn is_private(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The text in front of the types in what a Parse holds behind its name.
pub(super) fn text_of(rest: &[u8]) -> &[u8] {
    rest.split(|&b| b == 0).next().unwrap_or_default()
}

/// Found by its text.
struct ByText(Rc<Statement>);

impl Borrow<[u8]> for ByText {
    fn borrow(&self) -> &[u8] {
        &self.0.rest
    }
}

impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.rest.hash(state);
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.rest == other.0.rest
    }
}

impl Eq for ByText {}

/// All statements of one pool, each text once.
#[derive(Default)]
pub struct Catalog {
    /// By what decided their literals.
    statements: HashMap<u64, HashSet<ByText>>,
    literals: RandomState,
    last_id: u64,
    sweep_at: usize,
    /// Bytes of text that have come since the last sweep.
    unswept: usize,
}

impl Catalog {
    /// Stands for all values that decide what literals in a text mean when it is parsed.
    pub(super) fn literals_of<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> u64 {
        let mut hasher = self.literals.build_hasher();
        values.for_each(|value| value.hash(&mut hasher));
        hasher.finish()
    }

    /// The statement of this text with literals of this meaning, made if new.
    pub fn intern(&mut self, rest: &[u8], literals: u64) -> Rc<Statement> {
        if let Some(known) = self.statements.get(&literals).and_then(|texts| texts.get(rest)) {
            return Rc::clone(&known.0);
        }
        self.sweep(rest.len());
        let id = self.next_id();
        let server_name = format!("pooler_{id}").into_bytes().into();
        let statement =
            Rc::new(Statement { id, server_name, rest: rest.into(), literals, digest: OnceCell::new() });
        self.statements.entry(literals).or_default().insert(ByText(Rc::clone(&statement)));
        statement
    }

    /// A statement whose text was too large to keep: it exists on one server only.
    pub fn private(&mut self) -> Rc<Statement> {
        let id = self.next_id();
        Rc::new(Statement {
            id,
            server_name: format!("pooler_{id}").into_bytes().into(),
            rest: Box::default(),
            literals: 0,
            digest: OnceCell::new(),
        })
    }

    /// A number never given before in this pool.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Forgets what no client and no server refers to, whenever the number has doubled since the last time, or
    /// much text has come.
    fn sweep(&mut self, coming: usize) {
        const SMALLEST_SWEEP: usize = 256;
        /// What texts nobody uses any more may take; to look through all of them costs little beside reading so much.
        const MAX_UNSWEPT: usize = 8 * 1024 * 1024;
        self.unswept += coming;
        if self.len() >= self.sweep_at.max(SMALLEST_SWEEP) || self.unswept > MAX_UNSWEPT {
            self.statements.retain(|_, texts| {
                texts.retain(|s| Rc::strong_count(&s.0) > 1);
                !texts.is_empty()
            });
            self.sweep_at = self.len() * 2;
            self.unswept = coming;
        }
    }

    /// Statements known.
    pub fn len(&self) -> usize {
        self.statements.values().map(HashSet::len).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("statements", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_forgets_what_nobody_uses() {
        let mut catalog = Catalog::default();
        for i in 0..100_000u32 {
            drop(catalog.intern(&i.to_be_bytes(), 0));
        }
        assert!(catalog.len() <= 512, "{}", catalog.len());
        for i in 0..200u8 {
            drop(catalog.intern(&vec![i; 256 * 1024], 0));
        }
        assert!(catalog.len() <= 32, "large ones are forgotten sooner: {}", catalog.len());
    }
}
