//! Prepared statements: what each server has under the pooler's names.
//!
//! A record changes when the server answers, not when the request is sent (R52). What was sent but not answered
//! stands in a queue beside the record; a question that depends on an answer from an earlier segment (one that a
//! Sync has ended) is answered with [`Lookup::Wait`].

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::catalog::Statement;

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

/// What one server has prepared, by statement; the least recently used beyond the limit are closed.
#[derive(Debug, Default)]
pub struct ServerStatements {
    ready: HashMap<u64, Slot, BuildHasherDefault<OurNumbers>>,
    parsing: VecDeque<(Rc<Statement>, u64)>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    statement: Rc<Statement>,
    used: u64,
    /// It cannot be run as it is: it has to be closed, then parsed again.
    stale: bool,
    /// The statement's when it was parsed here.
    generation: u32,
    /// The segment in which its Close was sent.
    closing: Option<u64>,
}

impl Slot {
    fn of(statement: Rc<Statement>, used: u64, stale: bool) -> Self {
        Self { used, stale, generation: statement.generation(), closing: None, statement }
    }

    fn is_stale(&self) -> bool {
        self.stale || self.generation != self.statement.generation()
    }

    /// A statement whose text was not kept cannot come back, so it goes only when nobody names it.
    fn may_go(&self, since: u64) -> bool {
        let wanted = if self.statement.is_private() { !self.is_orphan() } else { self.used > since };
        self.closing.is_none() && (self.is_stale() || !wanted)
    }

    /// Whether its text was not kept and no client names it any more.
    fn is_orphan(&self) -> bool {
        self.statement.is_private() && Rc::strong_count(&self.statement) == 1
    }
}

impl ServerStatements {
    /// Whether the server has a statement at this point of the stream; marks it used.
    pub fn find(&mut self, statement: &Statement, segment: u64) -> Lookup<()> {
        self.clock += 1;
        match self.parsing.iter().rev().find(|(sent, _)| sent.id() == statement.id()) {
            Some((_, sent_in)) if *sent_in == segment => return Lookup::Found(()),
            Some(_) => return Lookup::Wait,
            None => {}
        }
        let Some(slot) = self.ready.get_mut(&statement.id()) else { return Lookup::Missing };
        match slot.closing {
            // Skipped together with the Parse that follows it, or not at all.
            Some(sent_in) if sent_in == segment => Lookup::Missing,
            Some(_) => Lookup::Wait,
            None if slot.is_stale() => Lookup::Missing,
            None => {
                slot.used = self.clock;
                Lookup::Found(())
            }
        }
    }

    /// The statement of this number, if the server has it.
    pub(super) fn get(&self, id: u64) -> Option<&Statement> {
        self.ready.get(&id).map(|slot| &*slot.statement)
    }

    /// Notes a Parse on its way.
    pub fn send_parse(&mut self, statement: Rc<Statement>, segment: u64) {
        self.parsing.push_back((statement, segment));
    }

    /// The oldest Parse on its way was answered.
    pub fn confirm_parse(&mut self) {
        if let Some((statement, _)) = self.parsing.pop_front() {
            self.clock += 1;
            let slot = Slot::of(statement, self.clock, false);
            self.ready.insert(slot.statement.id(), slot);
        }
    }

    /// The oldest Parse on its way failed or was skipped.
    pub fn revoke_parse(&mut self) {
        self.parsing.pop_front();
    }

    /// The oldest Parse on its way failed because the server has something of that name, whatever it is.
    pub fn collide(&mut self) {
        if let Some((statement, _)) = self.parsing.front() {
            let slot = Slot::of(Rc::clone(statement), self.clock, true);
            self.ready.insert(statement.id(), slot);
        }
    }

    /// Whether the server has more than `limit`, those on their way out not counted.
    pub fn exceeds(&self, limit: usize) -> bool {
        self.ready.len() > limit && self.ready.values().filter(|slot| slot.closing.is_none()).count() > limit
    }

    /// The statement to do without first, if there is one; it counts as closing from here on. Those used after
    /// `since` (see [`ServerStatements::mark`]) are left alone.
    pub fn evict(&mut self, since: u64, segment: u64) -> Option<Rc<Statement>> {
        let able = self.ready.values_mut().filter(|slot| slot.may_go(since));
        let oldest = able.min_by_key(|slot| (!slot.is_stale(), slot.used))?;
        oldest.closing = Some(segment);
        Some(Rc::clone(&oldest.statement))
    }

    /// Statements whose text was not kept and that no client names any more; they count as closing from here on.
    pub fn take_orphans(&mut self, segment: u64) -> Vec<Rc<Statement>> {
        let orphans = self.ready.values_mut().filter(|slot| slot.closing.is_none() && slot.is_orphan());
        orphans
            .map(|slot| {
                slot.closing = Some(segment);
                Rc::clone(&slot.statement)
            })
            .collect()
    }

    /// Notes the Close of a statement on its way.
    pub fn send_close(&mut self, id: u64, segment: u64) {
        if let Some(slot) = self.ready.get_mut(&id) {
            slot.closing = Some(segment);
        }
    }

    /// A Close was answered.
    pub fn confirm_close(&mut self, id: u64) {
        self.ready.remove(&id);
    }

    /// A Close was skipped.
    pub fn revoke_close(&mut self, id: u64) {
        if let Some(slot) = self.ready.get_mut(&id) {
            slot.closing = None;
        }
    }

    /// A statement's plan is stale, here and on every other server: it has to be closed before it is parsed again.
    pub fn spoil(&self, id: u64) {
        if let Some(slot) = self.ready.get(&id)
            && !slot.statement.is_private()
        {
            slot.statement.age();
        }
    }

    /// The server has described a statement. If its columns are others than before, the plan that it has is one of the
    /// new generation.
    pub(super) fn note_columns(&mut self, id: u64, seen: u64) {
        let described = self.ready.get_mut(&id).filter(|slot| !slot.statement.is_private());
        if let Some(slot) = described
            && slot.statement.note_columns(seen)
        {
            slot.generation = slot.statement.generation();
        }
    }

    /// A statement that was here is not: the record is wrong about it, so nothing else in it is relied on.
    pub fn lose(&mut self, id: u64) {
        for slot in self.ready.values_mut() {
            slot.stale |= !slot.statement.is_private();
        }
        if self.ready.get(&id).is_some_and(|slot| slot.statement.is_private()) {
            self.ready.remove(&id);
        }
    }

    /// Has a statement made anew here when it is parsed next, unless that is on its way; whether it is. Other servers and
    /// what clients were told of its columns are left as they are.
    pub fn renew(&mut self, id: u64) -> bool {
        if self.parsing.iter().any(|(sent, _)| sent.id() == id) {
            return false;
        }
        let Some(slot) = self.ready.get_mut(&id) else { return false };
        slot.stale = true;
        true
    }

    /// Whether a statement has to be closed first; whoever asks does it, in this segment.
    pub fn take_stale(&mut self, id: u64, segment: u64) -> bool {
        let Some(slot) = self.ready.get_mut(&id) else { return false };
        let closes = slot.is_stale() && slot.closing.is_none();
        if closes {
            slot.closing = Some(segment);
        }
        closes
    }

    /// A point in the order of uses, for [`ServerStatements::evict`].
    pub const fn mark(&self) -> u64 {
        self.clock
    }

    /// Forgets what the server had, after DEALLOCATE ALL or DISCARD ALL.
    pub fn clear(&mut self) {
        self.ready.clear();
    }

    /// What the server has, least recently used first, each with whether it is stale; `None` while something is on
    /// its way or a client relies on this very server.
    pub(super) fn settled(&self) -> Option<Vec<(&Statement, bool)>> {
        let mut slots: Vec<&Slot> = self.ready.values().collect();
        let fixed =
            |slot: &&Slot| slot.closing.is_some() || (slot.statement.is_private() && !slot.is_orphan());
        if !self.parsing.is_empty() || slots.iter().any(fixed) {
            return None;
        }
        slots.sort_unstable_by_key(|slot| slot.used);
        Some(slots.into_iter().map(|slot| (&*slot.statement, slot.is_stale())).collect())
    }

    /// Notes what a server has that comes from elsewhere.
    pub(super) fn bring(&mut self, statement: Rc<Statement>, stale: bool) {
        self.clock += 1;
        let slot = Slot::of(statement, self.clock, stale);
        self.ready.insert(slot.statement.id(), slot);
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

/// Hashes the numbers of statements, which we give out ourselves: nobody can choose them so that they collide.
#[derive(Debug, Default, Clone, Copy)]
struct OurNumbers(u64);

impl Hasher for OurNumbers {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        /// 2^64 by the golden ratio (Knuth's multiplicative hashing): neighbours land far apart.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0 ^ number).wrapping_mul(SPREAD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Catalog;

    #[test]
    fn r53_the_least_recently_used_goes_and_a_skipped_close_brings_it_back() {
        let mut catalog = Catalog::default();
        let mut server = ServerStatements::default();
        let all: Vec<_> = (0..3u8).map(|i| catalog.intern(&[b'q', i + 1, 0, 0, 0], b"")).collect();
        for statement in &all {
            server.send_parse(Rc::clone(statement), 1);
            server.confirm_parse();
        }
        assert!(matches!(server.find(&all[0], 2), Lookup::Found(())));
        let mark = server.mark();
        assert!(server.exceeds(2) && !server.exceeds(3));
        assert_eq!(server.evict(mark, 2).map(|s| s.id()), Some(all[1].id()));
        assert!(!server.exceeds(2), "one beyond the limit, one goes");
        assert!(matches!(server.find(&all[1], 3), Lookup::Wait));
        assert!(matches!(server.find(&all[1], 2), Lookup::Missing), "the Parse would follow the Close");
        server.revoke_close(all[1].id());
        assert!(matches!(server.find(&all[1], 2), Lookup::Found(())));
        let victim = server.evict(server.mark(), 2).unwrap();
        server.confirm_close(victim.id());
        assert_eq!(server.len(), 2);
    }
}
