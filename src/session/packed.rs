//! What is known of a server while it moves from one worker to another.
//!
//! Owns: [`ServerFacts`] in a form that may cross threads. Does not know: the way.
//!
//! A statement keeps the name under which the server has it. If the worker it comes to knows the same text under
//! another name, the server's is of no use there; it is closed when room is needed, before any other.

use super::catalog::{Catalog, Statement};
use super::conversation::ServerFacts;
use super::params::ParamSet;

/// See the module.
#[derive(Debug)]
pub struct PackedFacts {
    /// By index.
    params: Vec<(usize, Box<[u8]>)>,
    /// Least recently used first.
    statements: Vec<PackedStatement>,
}

#[derive(Debug)]
struct PackedStatement {
    id: u64,
    rest: Box<[u8]>,
    stale: bool,
}

impl ServerFacts {
    /// What is known of this server; `None` if it must stay where it is. The unnamed statement is left out: it is
    /// parsed again.
    pub fn pack(&self, names: usize) -> Option<PackedFacts> {
        let pack = |(statement, stale): (&Statement, bool)| PackedStatement {
            id: statement.id(),
            rest: statement.rest().into(),
            stale,
        };
        let statements = self.statements.settled()?.into_iter().map(pack).collect();
        let params = (0..names).filter_map(|at| Some((at, self.params.value(at)?.into()))).collect();
        Some(PackedFacts { params, statements })
    }
}

impl PackedFacts {
    /// The same among those of another worker's pool.
    pub fn unpack(self, catalog: &mut Catalog) -> ServerFacts {
        let mut facts = ServerFacts { params: ParamSet::default(), ..ServerFacts::default() };
        for (index, value) in self.params {
            facts.params.set(index, &value);
        }
        for PackedStatement { id, rest, stale } in self.statements {
            let (statement, usable) = catalog.adopt(id, rest);
            facts.statements.bring(statement, stale || !usable);
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::session::{Lookup, ServerStatements};

    fn has(server: &mut ServerStatements, statement: &Statement) -> bool {
        matches!(server.find(statement, 1), Lookup::Found(()))
    }

    fn server_with(statements: &[&Rc<Statement>]) -> ServerFacts {
        let mut facts = ServerFacts::default();
        for statement in statements {
            facts.statements.send_parse(Rc::clone(statement), 1);
            facts.statements.confirm_parse();
        }
        facts
    }

    fn moved(facts: &ServerFacts, to: &mut Catalog) -> ServerFacts {
        facts.pack(0).unwrap().unpack(to)
    }

    /// Each worker numbers its statements: were the names the same, a client would run another's statement.
    #[test]
    fn a_server_that_moves_is_not_believed_to_have_what_only_has_the_same_number() {
        let (mut here, mut there) = (Catalog::of_worker(0), Catalog::of_worker(1));
        let (ours, theirs) = (here.intern(b"a\0\0\0"), there.intern(b"b\0\0\0"));
        assert_ne!(ours.server_name(), theirs.server_name());
        let mut arrived = moved(&server_with(&[&ours]), &mut there);
        assert!(!has(&mut arrived.statements, &theirs));
    }

    #[test]
    fn a_text_keeps_its_name_where_it_is_new_and_is_closed_first_where_it_has_another() {
        let (mut here, mut there) = (Catalog::of_worker(0), Catalog::of_worker(1));
        let (new, both) = (here.intern(b"new\0\0\0"), here.intern(b"both\0\0\0"));
        let known = there.intern(b"both\0\0\0");
        let mut arrived = moved(&server_with(&[&new, &both]), &mut there);
        let adopted = there.intern(b"new\0\0\0");
        assert_eq!(adopted.server_name(), new.server_name());
        assert!(has(&mut arrived.statements, &adopted), "in use at once");
        assert!(!has(&mut arrived.statements, &known), "to be parsed under the name it has here");
        assert!(!has(&mut arrived.statements, &both), "nor is the old name of use");
        let first = arrived.statements.evict(0, 2).unwrap();
        assert_eq!(first.server_name(), both.server_name());
    }

    #[test]
    fn a_server_that_somebody_relies_on_or_that_owes_an_answer_stays() {
        let mut here = Catalog::of_worker(0);
        let large = here.private();
        let facts = server_with(&[&large]);
        assert!(facts.pack(0).is_none(), "its client can use no other");
        drop(large);
        assert!(facts.pack(0).is_some(), "nobody names it any more");
        let mut facts = ServerFacts::default();
        facts.statements.send_parse(here.intern(b"a\0\0\0"), 1);
        assert!(facts.pack(0).is_none());
    }

    #[test]
    fn parameters_stay_in_force() {
        let mut facts = ServerFacts::default();
        facts.params.set(2, b"UTC");
        let arrived = facts.pack(4).unwrap().unpack(&mut Catalog::of_worker(1));
        assert_eq!(arrived.params, facts.params);
    }
}
