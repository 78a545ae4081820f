//! What is known of a server, or of a client at rest, while it moves from one worker to another.
//!
//! Owns: [`ServerFacts`] and [`Rested`] in a form that may cross threads. Does not know: the way.
//!
//! A statement keeps the name under which the server has it. If the worker it comes to knows the same text under
//! another name, the server's is of no use there; it is closed when room is needed, before any other.

use std::rc::Rc;

use super::catalog::{Catalog, Statement};
use super::conversation::{Rules, ServerFacts};
use super::names::ClientStatements;
use super::params::ParamSet;
use super::rested::Rested;
use super::settings::{Pair, Settings};
use super::unnamed::Text;
use super::wishes::{Startup, Wishes};

/// A client with more statements than this, in bytes, stays where it is: to copy them would cost more than a query.
const MAX_CLIENT_BYTES: usize = 256 * 1024;

/// See [`Statement::key`].
type Key = (Box<[u8]>, usize);

fn key_of(statement: &Statement) -> Key {
    let (key, rest_len) = statement.key();
    (key.into(), rest_len)
}

/// Settings that are not reported.
type Others = Vec<Pair>;

fn pack_settings(settings: &Settings) -> Others {
    settings.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn unpack_settings(packed: &Others) -> Settings {
    Settings::from_pairs(packed.iter().map(|(name, value)| (&**name, &**value)))
}

/// Followed parameters, by index.
type Params = Vec<(usize, Box<[u8]>)>;

fn pack_params(params: &ParamSet, names: usize) -> Params {
    (0..names).filter_map(|at| Some((at, params.value(at)?.into()))).collect()
}

fn unpack_params(packed: &Params) -> ParamSet {
    let mut params = ParamSet::default();
    for (index, value) in packed {
        params.set(*index, value);
    }
    params
}

/// See the module.
#[derive(Debug)]
pub struct PackedFacts {
    params: Params,
    settings: Others,
    login: Box<[u8]>,
    /// Least recently used first.
    statements: Vec<PackedStatement>,
}

#[derive(Debug)]
struct PackedStatement {
    id: u64,
    key: Key,
    stale: bool,
}

impl ServerFacts {
    /// What is known of this server; `None` if it must stay where it is. The unnamed statement is left out: it is
    /// parsed again.
    pub fn pack(&self, names: usize) -> Option<PackedFacts> {
        let pack = |(statement, stale): (&Statement, bool)| PackedStatement {
            id: statement.id(),
            key: key_of(statement),
            stale,
        };
        let statements = self.statements.settled()?.into_iter().map(pack).collect();
        let (settings, login) = (pack_settings(&self.settings), self.login.clone());
        Some(PackedFacts { params: pack_params(&self.params, names), settings, login, statements })
    }
}

impl PackedFacts {
    /// The same among those of another worker's pool.
    pub fn unpack(self, catalog: &mut Catalog) -> ServerFacts {
        let mut facts = ServerFacts {
            params: unpack_params(&self.params),
            settings: unpack_settings(&self.settings),
            login: self.login,
            ..ServerFacts::default()
        };
        for PackedStatement { id, key: (key, rest_len), stale } in self.statements {
            let (statement, usable) = catalog.adopt(id, key, rest_len);
            facts.statements.bring(statement, stale || !usable);
        }
        facts
    }
}

/// A client at rest between two workers.
#[derive(Debug)]
pub struct PackedClient {
    rules: Rules,
    params: Params,
    names: Vec<PackedName>,
    unnamed: Option<Vec<u8>>,
    startup: (Params, Others),
    settings: Others,
}

#[derive(Debug)]
struct PackedName {
    name: Box<[u8]>,
    key: Key,
    told_lost: bool,
}

impl Rested {
    /// Whether it may move: unless it listens, which is this worker's affair, or only one server has its statements, or they are too many to copy.
    pub fn can_move(&self) -> bool {
        self.wishes.ear().is_none()
            && !self.names.names_private()
            && self.names.is_settled()
            && self.names.bytes() <= MAX_CLIENT_BYTES
    }

    /// What there is to know of it elsewhere.
    pub fn pack(self, names: usize) -> PackedClient {
        let pack = |(name, statement, told_lost): (&[u8], &Statement, bool)| PackedName {
            name: name.into(),
            key: key_of(statement),
            told_lost,
        };
        let startup = self.wishes.startup();
        let startup =
            startup.map(|own| (own.reported.clone(), pack_settings(&own.settings))).unwrap_or_default();
        PackedClient {
            startup,
            settings: pack_settings(&self.wishes.settings()),
            rules: self.rules,
            params: pack_params(&self.params, names),
            names: self.names.all().map(pack).collect(),
            unnamed: self.unnamed.map(Text::into_rest),
        }
    }
}

impl PackedClient {
    /// The same among the clients of another worker's pool.
    pub fn unpack(self, catalog: &mut Catalog) -> Rested {
        let mut names = ClientStatements::default();
        for PackedName { name, key: (key, rest_len), told_lost } in self.names {
            names.bring(&name, catalog.intern_key(&key, rest_len), told_lost);
        }
        let unnamed = self.unnamed.map(|rest| Text::new(catalog.next_id(), rest));
        let (reported, settings) = self.startup;
        let startup = Startup { reported, settings: unpack_settings(&settings) };
        let mut wishes = Wishes::new(Rc::new(startup.into()));
        wishes.set_settings(unpack_settings(&self.settings));
        Rested { rules: self.rules, params: unpack_params(&self.params), names, unnamed, wishes }
    }
}

#[cfg(test)]
mod tests {
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
        let (mut here, mut there) = (Catalog::of_share(0), Catalog::of_share(1));
        let (ours, theirs) = (here.intern(b"a\0\0\0", b""), there.intern(b"b\0\0\0", b""));
        assert_ne!(ours.server_name(), theirs.server_name());
        let mut arrived = moved(&server_with(&[&ours]), &mut there);
        assert!(!has(&mut arrived.statements, &theirs));
    }

    #[test]
    fn a_text_keeps_its_name_where_it_is_new_and_is_closed_first_where_it_has_another() {
        let (mut here, mut there) = (Catalog::of_share(0), Catalog::of_share(1));
        let (new, both) = (here.intern(b"new\0\0\0", b""), here.intern(b"both\0\0\0", b""));
        let known = there.intern(b"both\0\0\0", b"");
        let mut arrived = moved(&server_with(&[&new, &both]), &mut there);
        let adopted = there.intern(b"new\0\0\0", b"");
        assert_eq!(adopted.server_name(), new.server_name());
        assert!(has(&mut arrived.statements, &adopted), "in use at once");
        assert!(!has(&mut arrived.statements, &known), "to be parsed under the name it has here");
        assert!(!has(&mut arrived.statements, &both), "nor is the old name of use");
        let first = arrived.statements.evict(0, 2).unwrap();
        assert_eq!(first.server_name(), both.server_name());
    }

    #[test]
    fn a_server_that_somebody_relies_on_or_that_owes_an_answer_stays() {
        let mut here = Catalog::of_share(0);
        let large = here.private();
        let facts = server_with(&[&large]);
        assert!(facts.pack(0).is_none(), "its client can use no other");
        drop(large);
        assert!(facts.pack(0).is_some(), "nobody names it any more");
        let mut facts = ServerFacts::default();
        facts.statements.send_parse(here.intern(b"a\0\0\0", b""), 1);
        assert!(facts.pack(0).is_none());
    }

    #[test]
    fn parameters_and_settings_stay_in_force() {
        let mut facts = ServerFacts { login: b"bob".as_slice().into(), ..ServerFacts::default() };
        facts.params.set(2, b"UTC");
        facts.settings.set(b"work_mem", b"7MB");
        let arrived = facts.pack(4).unwrap().unpack(&mut Catalog::of_share(1));
        assert_eq!(arrived.params, facts.params);
        assert_eq!((arrived.settings, arrived.login), (facts.settings, facts.login));
    }
}
