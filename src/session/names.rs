//! Names of prepared statements as one client knows them.
//!
//! As everywhere, a record changes when the answer comes (R52): what was sent but not answered stands in a queue
//! beside it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::catalog::Statement;
use super::statements::Lookup;
use super::word::Word;

/// Names one client may have at once; a client that needs more leaks them.
pub(super) const MAX_CLIENT_STATEMENTS: usize = 65_536;

/// Bytes that the names of one client may keep alive, their texts counted in full though others may share them.
/// Several times what drivers' own caches hold (pgjdbc stops at 5 MiB, others at a few hundred texts).
pub(super) const MAX_CLIENT_STATEMENT_BYTES: usize = 32 * 1024 * 1024;

/// What a name costs beside its bytes: its places in tables, allocations.
const NAME_OVERHEAD: usize = 128;

/// Bytes of a statement name that count; PostgreSQL's own tables cut at NAMEDATALEN - 1.
const NAME_LEN: usize = 63;

/// One client's names. Most clients never use any, and those need no room for them.
#[derive(Debug, Default)]
pub struct ClientStatements(Option<Box<Names>>);

#[derive(Debug, Default)]
struct Names {
    /// Names are the client's to choose: sorted, they cannot be chosen so that one is slow to find, and need no hash
    /// that would see to it.
    known: BTreeMap<Word, Name>,
    sent: VecDeque<SentName>,
    /// What `known` and `sent` cost.
    bytes: usize,
    /// How many of `known` and `sent` stand for statements whose text was not kept.
    private: usize,
}

#[derive(Debug)]
struct Name {
    statement: Rc<Statement>,
    /// The client was told that there is no such statement, so it may make one.
    told_lost: bool,
    /// The generation of the plan whose columns the client has asked for, if it has.
    described: Option<u32>,
    /// The answer is still to come.
    asked: bool,
}

#[derive(Debug)]
struct SentName {
    name: Word,
    /// What the name will stand for; `None` when it was closed.
    becomes: Option<Rc<Statement>>,
    described: Option<u32>,
    segment: u64,
}

impl ClientStatements {
    /// What `name` stands for at this point of the client's stream.
    pub fn find(&self, name: &[u8], segment: u64) -> Lookup<Rc<Statement>> {
        match self.find_promised(name, segment) {
            Lookup::Found((statement, _)) => Lookup::Found(statement),
            Lookup::Missing => Lookup::Missing,
            Lookup::Wait => Lookup::Wait,
        }
    }

    /// The same, with the generation of the plan whose columns the client has asked for, if it has.
    pub fn find_promised(&self, name: &[u8], segment: u64) -> Lookup<(Rc<Statement>, Option<u32>)> {
        let Some(this) = &self.0 else { return Lookup::Missing };
        let name = cut(name);
        let found = match this.sent.iter().rev().find(|sent| *sent.name == *name) {
            Some(sent) if sent.segment != segment => return Lookup::Wait,
            Some(sent) => sent.becomes.as_ref().map(|statement| (statement, sent.described)),
            None => this.known.get(name).map(|known| (&known.statement, known.described)),
        };
        found.map_or(Lookup::Missing, |(statement, promised)| Lookup::Found((Rc::clone(statement), promised)))
    }

    /// Notes a Parse (`Some`) or Close (`None`) on its way.
    pub fn send(&mut self, name: &[u8], becomes: Option<Rc<Statement>>, segment: u64) {
        let this = self.0.get_or_insert_default();
        let name = cut(name);
        this.count(name, becomes.as_deref());
        this.sent.push_back(SentName { name: name.into(), becomes, described: None, segment });
    }

    /// The oldest change on its way has happened.
    pub fn confirm(&mut self) {
        if let Some(this) = &mut self.0 {
            this.confirm();
        }
    }

    /// The oldest change on its way will not happen.
    pub fn revoke(&mut self) {
        let Some(this) = &mut self.0 else { return };
        if let Some(SentName { name, becomes, .. }) = this.sent.pop_front() {
            this.discount(&name, becomes.as_deref());
        }
    }

    /// Forgets all names, after DEALLOCATE ALL or DISCARD ALL.
    pub fn clear(&mut self) {
        let Some(this) = &mut self.0 else { return };
        for (name, known) in std::mem::take(&mut this.known) {
            this.discount(&name, Some(&known.statement));
        }
        if this.sent.is_empty() {
            self.0 = None;
        }
    }

    /// The client was told that a statement does not exist. Those whose text was not kept are gone indeed; others
    /// will be parsed again when they are used, unless the client makes them anew before.
    pub fn lose(&mut self, id: u64) {
        if let Some(this) = &mut self.0 {
            this.lose(id);
        }
    }

    /// Whether the client was told that its statement of this name does not exist.
    pub fn was_told_lost(&self, name: &[u8]) -> bool {
        let name = cut(name);
        self.0.as_ref().is_some_and(|this| {
            this.known.get(name).is_some_and(|known| known.told_lost)
                && this.sent.iter().all(|sent| *sent.name != *name)
        })
    }

    /// The client asks which columns a statement has: those of a plan of this generation.
    pub fn describe(&mut self, name: &[u8], generation: u32) {
        let Some(this) = &mut self.0 else { return };
        let name = cut(name);
        if let Some(sent) = this.sent.iter_mut().rev().find(|sent| *sent.name == *name) {
            sent.described = Some(generation);
        } else if let Some(known) = this.known.get_mut(name) {
            (known.described, known.asked) = (Some(generation), true);
        }
    }

    /// The answer has come: they are those of a plan of the statement's present generation.
    pub fn told_columns(&mut self, id: u64) {
        for known in self.0.iter_mut().flat_map(|this| this.known.values_mut()) {
            if known.statement.id() == id && known.asked {
                (known.described, known.asked) = (Some(known.statement.generation()), false);
            }
        }
    }

    /// The client hears that the plan of a statement is stale, by which its generation has changed: once is enough.
    pub fn told_of_stale_plan(&mut self, id: u64) {
        for known in self.0.iter_mut().flat_map(|this| this.known.values_mut()) {
            if known.statement.id() == id && known.described.is_some() {
                known.described = Some(known.statement.generation());
            }
        }
    }

    /// The name of a statement, if only one name stands for its text. The text may have become several statements, under
    /// settings that changed.
    pub(super) fn only_name_of(&self, rest: &[u8]) -> Option<&[u8]> {
        let mut named = self.all().filter(|(_, statement, _)| statement.rest() == rest);
        let (name, ..) = named.next()?;
        named.next().is_none().then_some(name)
    }

    /// Whether a name stands for a statement whose text was not kept, or may do so soon.
    pub const fn names_private(&self) -> bool {
        matches!(&self.0, Some(this) if this.private > 0)
    }

    /// Every name with what it stands for, and whether the client was told that there is no such statement.
    pub(super) fn all(&self) -> impl Iterator<Item = (&[u8], &Statement, bool)> {
        let known = self.0.iter().flat_map(|this| &this.known);
        known.map(|(name, known)| (&**name, &*known.statement, known.told_lost))
    }

    /// What all of it costs in memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |this| this.bytes)
    }

    /// Notes a name that a client has brought along.
    pub(super) fn bring(&mut self, name: &[u8], statement: Rc<Statement>, told_lost: bool) {
        let this = self.0.get_or_insert_default();
        this.count(name, Some(&statement));
        let described = Some(statement.generation());
        this.known.insert(name.into(), Name { statement, told_lost, described, asked: false });
    }

    /// Whether no change is on its way.
    pub fn is_settled(&self) -> bool {
        self.0.as_ref().is_none_or(|this| this.sent.is_empty())
    }

    /// Names in use.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |this| this.known.len())
    }

    /// Whether no name is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why no further name may be made, if none may. `text` is the length of what it would stand for.
    pub fn limit(&self, name: &[u8], text: usize) -> Option<&'static str> {
        let (count, bytes) =
            self.0.as_ref().map_or((0, 0), |this| (this.known.len() + this.sent.len(), this.bytes));
        if count >= MAX_CLIENT_STATEMENTS {
            return Some("too many prepared statements");
        }
        let bytes = bytes + cost(cut(name), text);
        (bytes > MAX_CLIENT_STATEMENT_BYTES).then_some("prepared statements are too large in total")
    }
}

impl Names {
    fn confirm(&mut self) {
        let Some(SentName { name, becomes, described, .. }) = self.sent.pop_front() else { return };
        if let Some(old) = self.known.remove(&name) {
            self.discount(&name, Some(&old.statement));
        }
        match becomes {
            Some(statement) => {
                let asked = described.is_some();
                self.known.insert(name, Name { statement, told_lost: false, described, asked });
            }
            None => self.discount(&name, None),
        }
    }

    fn lose(&mut self, id: u64) {
        for known in self.known.values_mut().filter(|known| known.statement.id() == id) {
            known.told_lost = true;
        }
        let gone = self.known.extract_if(.., |_, known| known.told_lost && known.statement.is_private());
        let lost: Vec<_> = gone.collect();
        for (name, known) in lost {
            self.discount(&name, Some(&known.statement));
        }
    }

    fn count(&mut self, name: &[u8], becomes: Option<&Statement>) {
        self.bytes += cost(name, becomes.map_or(0, |s| s.rest().len()));
        self.private += usize::from(becomes.is_some_and(Statement::is_private));
    }

    fn discount(&mut self, name: &[u8], was: Option<&Statement>) {
        self.bytes -= cost(name, was.map_or(0, |s| s.rest().len()));
        self.private -= usize::from(was.is_some_and(Statement::is_private));
    }
}

const fn cost(name: &[u8], text: usize) -> usize {
    name.len() + text + NAME_OVERHEAD
}

/// A name as far as it counts.
pub(super) fn cut(name: &[u8]) -> &[u8] {
    name.get(..NAME_LEN).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Catalog;

    #[test]
    fn r52_a_name_exists_when_the_server_has_answered_and_not_before() {
        let mut catalog = Catalog::default();
        let statement = catalog.intern(b"select 1\0\0\0", b"");
        let mut names = ClientStatements::default();
        names.send(b"s1", Some(Rc::clone(&statement)), 1);
        assert!(matches!(names.find(b"s1", 1), Lookup::Found(_)), "later in the same segment");
        assert!(matches!(names.find(b"s1", 2), Lookup::Wait), "in the next one it may have failed");
        names.revoke();
        assert!(matches!(names.find(b"s1", 2), Lookup::Missing), "a skipped Parse leaves no trace");
        names.send(b"s1", Some(statement), 2);
        names.confirm();
        assert!(matches!(names.find(b"s1", 3), Lookup::Found(_)));
    }

    #[test]
    fn names_are_cut_where_postgresql_cuts_them() {
        let mut catalog = Catalog::default();
        let mut names = ClientStatements::default();
        names.send(&[b'a'; 70], Some(catalog.intern(b"x\0\0\0", b"")), 1);
        names.confirm();
        assert!(matches!(names.find(&[b'a'; 63], 2), Lookup::Found(_)));
        assert!(matches!(names.find(&[b'a'; 62], 2), Lookup::Missing));
    }
}
