//! Prepared statements: names as the client knows them, and what each server has under the pooler's names.
//!
//! A record changes when the server answers, not when the request is sent (R52). What was sent but not answered
//! stands in a queue beside the record; a question that depends on an answer from an earlier segment (one that a
//! Sync has ended) is answered with [`Lookup::Wait`].

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::catalog::Statement;

/// Names one client may have at once; a client that needs more leaks them.
pub(super) const MAX_CLIENT_STATEMENTS: usize = 65_536;

/// Bytes of a statement name that count; PostgreSQL's own tables cut at NAMEDATALEN - 1.
const NAME_LEN: usize = 63;

/// Answer to "does it exist?" while replies are still owed.
#[derive(Debug)]
pub enum Lookup<T> {
    /// Yes.
    Found(T),
    /// No.
    Missing,
    /// It depends on a reply of an earlier segment: ask again when that has come.
    Wait,
}

/// One client's names.
#[derive(Debug, Default)]
pub struct ClientStatements {
    names: HashMap<Box<[u8]>, Rc<Statement>>,
    sent: VecDeque<SentName>,
}

#[derive(Debug)]
struct SentName {
    name: Box<[u8]>,
    /// What the name will stand for; `None` when it was closed.
    becomes: Option<Rc<Statement>>,
    segment: u64,
}

impl ClientStatements {
    /// What `name` stands for at this point of the client's stream.
    pub fn find(&self, name: &[u8], segment: u64) -> Lookup<Rc<Statement>> {
        let name = cut(name);
        let found = match self.sent.iter().rev().find(|sent| *sent.name == *name) {
            Some(sent) if sent.segment != segment => return Lookup::Wait,
            Some(sent) => sent.becomes.as_ref(),
            None => self.names.get(name),
        };
        found.map_or(Lookup::Missing, |statement| Lookup::Found(Rc::clone(statement)))
    }

    /// Notes a Parse (`Some`) or Close (`None`) on its way.
    pub fn send(&mut self, name: &[u8], becomes: Option<Rc<Statement>>, segment: u64) {
        self.sent.push_back(SentName { name: cut(name).into(), becomes, segment });
    }

    /// The oldest change on its way has happened.
    pub fn confirm(&mut self) {
        match self.sent.pop_front() {
            Some(SentName { name, becomes: Some(statement), .. }) => {
                self.names.insert(name, statement);
            }
            Some(SentName { name, becomes: None, .. }) => {
                self.names.remove(&name);
            }
            None => {}
        }
    }

    /// The oldest change on its way will not happen.
    pub fn revoke(&mut self) {
        self.sent.pop_front();
    }

    /// Forgets all names, after DEALLOCATE ALL or DISCARD ALL.
    pub fn clear(&mut self) {
        self.names.clear();
    }

    /// Names in use.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name is in use.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether no further name may be made.
    pub fn is_full(&self) -> bool {
        self.names.len() + self.sent.len() >= MAX_CLIENT_STATEMENTS
    }
}

fn cut(name: &[u8]) -> &[u8] {
    name.get(..NAME_LEN).unwrap_or(name)
}

/// What one server has prepared, by statement; the least recently used beyond the limit are closed.
#[derive(Debug, Default)]
pub struct ServerStatements {
    ready: HashMap<u64, Slot>,
    parsing: VecDeque<(Rc<Statement>, u64)>,
    closing: VecDeque<u64>,
    stale: Vec<u64>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    statement: Rc<Statement>,
    used: u64,
    closing: bool,
}

impl Slot {
    /// A statement whose text was not kept cannot come back, so it does not go either.
    fn may_go(&self, since: u64) -> bool {
        !self.closing && self.used <= since && !self.statement.rest().is_empty()
    }
}

impl ServerStatements {
    /// Whether the server has a statement at this point of the stream; marks it used.
    pub fn find(&mut self, statement: &Statement, segment: u64) -> Lookup<()> {
        self.clock += 1;
        if let Some(slot) = self.ready.get_mut(&statement.id()) {
            slot.used = self.clock;
            return if slot.closing { Lookup::Wait } else { Lookup::Found(()) };
        }
        match self.parsing.iter().rev().find(|(sent, _)| sent.id() == statement.id()) {
            Some((_, sent_in)) if *sent_in == segment => Lookup::Found(()),
            Some(_) => Lookup::Wait,
            None => Lookup::Missing,
        }
    }

    /// Notes a Parse on its way.
    pub fn send_parse(&mut self, statement: Rc<Statement>, segment: u64) {
        self.parsing.push_back((statement, segment));
    }

    /// The oldest Parse on its way was answered.
    pub fn confirm_parse(&mut self) {
        if let Some((statement, _)) = self.parsing.pop_front() {
            self.clock += 1;
            let slot = Slot { used: self.clock, closing: false, statement };
            self.ready.insert(slot.statement.id(), slot);
        }
    }

    /// The oldest Parse on its way failed or was skipped.
    pub fn revoke_parse(&mut self) {
        self.parsing.pop_front();
    }

    /// The least recently used statement beyond `limit`, if there is one; it counts as closing from here on.
    /// Those used after `since` (see [`ServerStatements::mark`]) are left alone.
    pub fn evict(&mut self, limit: usize, since: u64) -> Option<Rc<Statement>> {
        if self.ready.len() - self.closing.len().min(self.ready.len()) <= limit {
            return None;
        }
        let oldest = self.ready.values_mut().filter(|s| s.may_go(since)).min_by_key(|s| s.used)?;
        oldest.closing = true;
        self.closing.push_back(oldest.statement.id());
        Some(Rc::clone(&oldest.statement))
    }

    /// The oldest Close on its way was answered.
    pub fn confirm_close(&mut self) {
        if let Some(id) = self.closing.pop_front() {
            self.ready.remove(&id);
        }
    }

    /// The oldest Close on its way was skipped.
    pub fn revoke_close(&mut self) {
        if let Some(slot) = self.closing.pop_front().and_then(|id| self.ready.get_mut(&id)) {
            slot.closing = false;
        }
    }

    /// A statement's plan cannot be used any more: it has to be closed before it is parsed again.
    pub fn spoil(&mut self, id: u64) {
        let known = self.ready.get(&id);
        if known.is_some_and(|slot| !slot.closing && !slot.statement.rest().is_empty()) {
            self.ready.remove(&id);
            self.stale.push(id);
        }
    }

    /// Whether a statement has to be closed first; whoever asks will do it.
    pub fn take_stale(&mut self, id: u64) -> bool {
        let before = self.stale.len();
        self.stale.retain(|&known| known != id);
        self.stale.len() < before
    }

    /// The Close of a spoiled statement was skipped.
    pub fn keep_stale(&mut self, id: u64) {
        self.stale.push(id);
    }

    /// A point in the order of uses, for [`ServerStatements::evict`].
    pub const fn mark(&self) -> u64 {
        self.clock
    }

    /// Forgets everything, after DEALLOCATE ALL or DISCARD ALL.
    pub fn clear(&mut self) {
        self.ready.clear();
        self.closing.clear();
        self.stale.clear();
    }

    /// Statements the server has.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether the server has none.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Catalog;

    #[test]
    fn r52_a_name_exists_when_the_server_has_answered_and_not_before() {
        let mut catalog = Catalog::default();
        let statement = catalog.intern(b"select 1\0\0\0");
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
        names.send(&[b'a'; 70], Some(catalog.intern(b"x\0\0\0")), 1);
        names.confirm();
        assert!(matches!(names.find(&[b'a'; 63], 2), Lookup::Found(_)));
        assert!(matches!(names.find(&[b'a'; 62], 2), Lookup::Missing));
    }

    #[test]
    fn r53_the_least_recently_used_goes_and_a_skipped_close_brings_it_back() {
        let mut catalog = Catalog::default();
        let mut server = ServerStatements::default();
        let all: Vec<_> = (0..3u8).map(|i| catalog.intern(&[b'q', i + 1, 0, 0, 0])).collect();
        for statement in &all {
            server.send_parse(Rc::clone(statement), 1);
            server.confirm_parse();
        }
        assert!(matches!(server.find(&all[0], 2), Lookup::Found(())));
        let mark = server.mark();
        assert_eq!(server.evict(2, mark).map(|s| s.id()), Some(all[1].id()));
        assert!(server.evict(2, mark).is_none(), "one beyond the limit, one goes");
        assert!(matches!(server.find(&all[1], 2), Lookup::Wait));
        server.revoke_close();
        assert!(matches!(server.find(&all[1], 2), Lookup::Found(())));
        assert!(server.evict(2, mark).is_some());
        server.confirm_close();
        assert_eq!(server.len(), 2);
    }
}
