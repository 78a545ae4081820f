//! Errors of ours in place of PostgreSQL's, where names are ours: the server is made to fail as the client expects.

use std::rc::Rc;

use super::catalog::Statement;
use super::conversation::{Halt, Session, Turn};
use super::extended::shown;
use super::from_client::Act;
use super::owed::{Kind, Why};
use super::statements::Lookup;
use crate::proto::{
    PgError, SqlState, put_bare_bind, put_close_statement, put_describe_statement, put_parse,
};

/// A name that is never prepared: to describe it makes the server fail where the client expects an error.
const NEVER_PREPARED: &[u8] = b"pooler_refused";

/// A name under which a text is judged once more, for that moment.
pub(super) const AGAIN: &[u8] = b"pooler_again";

impl Session {
    pub(super) fn refuse_unknown(&mut self, turn: &mut Turn<'_>, kind: Kind, name: &[u8]) -> Act {
        let text = format!("prepared statement \"{}\" does not exist", shown(name));
        self.refuse_as(turn, kind, PgError::error(SqlState::UNDEFINED_PSTATEMENT, text))
    }

    /// Answers the message with an error in its place and makes the server skip as the client expects.
    pub(super) fn refuse(&mut self, turn: &mut Turn<'_>, error: PgError) -> Act {
        self.refuse_as(turn, Kind::DescribeStatement, error)
    }

    /// The same for a message that may be a Bind, and then goes out as one: a server that turns out to read COPY data
    /// complains of just this message.
    pub(super) fn refuse_as(&mut self, turn: &mut Turn<'_>, kind: Kind, error: PgError) -> Act {
        self.begin_request(turn);
        let kind = if kind == Kind::Bind { kind } else { Kind::DescribeStatement };
        turn.to_server.own(|out| {
            if kind == Kind::Bind {
                put_bare_bind(out, NEVER_PREPARED);
            } else {
                put_describe_statement(out, NEVER_PREPARED);
            }
        });
        self.send(kind, Why::Refuse(Box::new(error)));
        Act::Drop
    }

    /// The name is in use, of which PostgreSQL complains last: it is given the text under a name that is in use there.
    pub(super) fn refuse_taken(
        &mut self,
        turn: &mut Turn<'_>,
        name: &[u8],
        rest: &[u8],
        statement: &Rc<Statement>,
    ) -> Act {
        let error = taken(name);
        let found = turn.facts.as_deref_mut().map(|facts| facts.statements.find(statement, self.segment));
        match found {
            None => return Act::Stop(Halt::NeedServer),
            Some(Lookup::Wait) => return Act::Stop(Halt::Wait),
            Some(Lookup::Missing) if statement.is_private() => return self.refuse(turn, error),
            Some(Lookup::Missing) => {
                self.begin_request(turn);
                self.send_parse(turn, statement);
                self.send(Kind::Parse, Why::Prepare);
            }
            Some(Lookup::Found(())) => self.begin_request(turn),
        }
        // It is free after all if something before it in the segment has freed every name: then the text is the client's
        // statement, to be made under its own name of ours when it is used.
        let in_force = self.in_force(turn.catalog);
        self.names.send(name, Some(turn.catalog.intern(rest, &in_force)), self.segment);
        turn.to_server.own(|out| {
            put_parse(out, statement.server_name(), rest);
            put_close_statement(out, statement.server_name());
        });
        self.send(Kind::Parse, Why::RefuseTaken(Box::new(error)));
        if let Some(facts) = turn.facts.as_deref_mut() {
            facts.statements.send_close(statement.id(), self.segment);
        }
        self.send(Kind::Close, Why::Evict(statement.id()));
        Act::Drop
    }

    /// Has PostgreSQL judge a text, and perhaps whether its name is free: the answer is the client's, and nothing stays
    /// under this name. For a text that the server has already, in a transaction that has failed, and for a name that
    /// PREPARE may have given.
    pub(super) fn parse_again(&mut self, turn: &mut Turn<'_>, name: &[u8], rest: &[u8]) -> Act {
        turn.to_server.own(|out| {
            put_parse(out, name, rest);
            put_close_statement(out, name);
        });
        self.send(Kind::Parse, Why::ParseAgain);
        self.send(Kind::Close, Why::Own);
        Act::Drop
    }
}

/// PostgreSQL's error for a plan whose columns are not those it was made with, when the client was told of those. Drivers
/// know it by the function that finds it.
pub(super) fn stale_promise() -> PgError {
    let error = PgError::error(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type");
    PgError { stale_plan: true, ..error }
}

/// A named limit of the pooler, answered as an ERROR in its place.
pub(super) fn limit_error(what: &'static str) -> PgError {
    PgError::error(SqlState::PROGRAM_LIMIT_EXCEEDED, what)
}

/// The error of a name that is in use.
pub(super) fn taken(name: &[u8]) -> PgError {
    let text = format!("prepared statement \"{}\" already exists", shown(name));
    PgError::error(SqlState::DUPLICATE_PSTATEMENT, text)
}
