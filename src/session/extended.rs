//! Parse, Bind, Describe and Close while the pooler maps statement names.
//!
//! Names are the client's, statements are the pool's, and each server has some of them: a message goes out under
//! the pooler's name, behind a Parse of our own if this server lacks the statement.

use std::borrow::Cow;
use std::rc::Rc;

use crate::proto::{
    BindView, FrameHeader, HEADER_LEN, ParseView, PgError, SqlState, TargetView, TxStatus, put_bind_front,
    put_close_statement, put_describe_statement, put_parse,
};

use super::catalog::Statement;
use super::conversation::{Halt, ServerFacts, Session, Turn};
use super::error::SessionError;
use super::from_client::{Act, whole_body};
use super::owed::{Kind, Why};
use super::refusals::{AGAIN, limit_error, stale_promise, taken};
use super::statements::Lookup;

/// A Parse up to this size is held whole, so that its text can be compared and prepared again elsewhere. Larger
/// ones stream through and bind the client to its server. Far above what people write; a worker's read buffer
/// times four.
pub(super) const MAX_HELD_PARSE: usize = 256 * 1024;

/// Bytes of a Bind in which both names must end; PostgreSQL uses 63 of each.
pub(super) const MAX_BIND_NAMES: usize = 16 * 1024;

/// Statements closed at most in front of one Bind, so that a lowered limit is reached bit by bit.
const MAX_EVICTIONS: usize = 8;

/// What stands for a text that was not kept: an empty one, without parameters.
const ANY_TEXT: &[u8] = b"\0\0\0";

impl Session {
    pub(super) fn parse(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        if header.wire_len > MAX_HELD_PARSE {
            return self.parse_large(turn, header, rest);
        }
        let Some(body) = whole_body(header, rest) else { return Act::NeedBytes };
        let Some(view) = ParseView::read(body) else {
            return self.plain_extended(turn, b'P', header, rest);
        };
        if view.name.is_empty() {
            if self.unnamed.is_full() {
                return Act::Stop(Halt::Wait);
            }
            self.begin_request(turn);
            self.note_unnamed(view.rest);
            let id = turn.catalog.next_id();
            self.unnamed.send_parse(id, Some(view.rest), self.segment);
            self.send(Kind::Parse, Why::UnnamedParse);
            return Act::Pass;
        }
        if self.awaits_forgetting() {
            return Act::Stop(Halt::Wait);
        }
        if let Some(act) = self.name_is_free(turn, view.name, view.rest, view.rest.len()) {
            return act;
        }
        let in_force = self.in_force(turn.catalog);
        let statement = turn.catalog.intern(view.rest, &in_force);
        let found = match turn.facts.as_deref_mut() {
            Some(facts) => facts.statements.find(&statement, self.segment),
            None => return Act::Stop(Halt::NeedServer),
        };
        if matches!(found, Lookup::Wait) {
            return Act::Stop(Halt::Wait);
        }
        let known = matches!(found, Lookup::Found(()));
        let by_sql = self.may_be_prepared_by_sql(view.name);
        self.begin_request(turn);
        self.tally.client_parses += 1;
        self.names.send(view.name, Some(Rc::clone(&statement)), self.segment);
        if by_sql || known && self.tx == TxStatus::Failed {
            return self.parse_again(turn, if by_sql { view.name } else { AGAIN }, view.rest);
        }
        if known && !self.makes_anew(turn, statement.id()) {
            self.send(Kind::Parse, Why::LocalParse);
            return Act::Drop;
        }
        self.send_parse(turn, &statement);
        self.send(Kind::Parse, Why::NamedParse);
        self.check_columns(turn, &statement);
        Act::Rewritten { front: header.wire_len }
    }

    /// Whether a text that the server has is parsed anew all the same, so that its plan is not one that DDL has made stale.
    /// Not first thing in a batch and in a block, that error would fail a transaction, and could not be healed; and what
    /// is under way may have begun a block that has failed by then, so that this Parse has to fail, too.
    fn makes_anew(&self, turn: &mut Turn<'_>, id: u64) -> bool {
        !self.is_first() && turn.facts.as_deref_mut().is_some_and(|facts| facts.statements.renew(id))
    }

    /// `Some` if a statement of this name, with so many bytes of text, cannot be made now.
    fn name_is_free(&mut self, turn: &mut Turn<'_>, name: &[u8], rest: &[u8], text: usize) -> Option<Act> {
        match self.names.find(name, self.segment) {
            Lookup::Wait => Some(Act::Stop(Halt::Wait)),
            Lookup::Found(statement) if !self.names.was_told_lost(name) => {
                Some(self.refuse_taken(turn, name, rest, &statement))
            }
            Lookup::Found(_) | Lookup::Missing => {
                let limit = self.names.limit(name, text)?;
                Some(self.refuse(turn, limit_error(limit)))
            }
        }
    }

    pub(super) fn send_parse(&mut self, turn: &mut Turn<'_>, statement: &Rc<Statement>) {
        self.tally.server_parses += 1;
        self.evict(turn);
        let Some(facts) = turn.facts.as_deref_mut() else { return };
        if facts.statements.take_stale(statement.id(), self.segment) {
            turn.to_server.own(|out| put_close_statement(out, statement.server_name()));
            self.inflight.owe(Kind::Close, Why::Evict(statement.id()));
        }
        turn.to_server.own(|out| put_parse(out, statement.server_name(), statement.rest()));
        facts.statements.send_parse(Rc::clone(statement), self.segment);
    }

    /// A Parse too large to keep streams through. What it makes exists on this server only, so the client stays.
    fn parse_large(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        let body = rest.get(HEADER_LEN..).unwrap_or_default();
        let Some(end) = body.iter().take(MAX_BIND_NAMES).position(|&b| b == 0) else {
            return wait_for_names(body, "statement name too long");
        };
        self.begin_request(turn);
        self.note_unread();
        if end == 0 {
            let id = turn.catalog.next_id();
            self.unnamed.send_parse(id, None, self.segment);
            self.send(Kind::Parse, Why::UnnamedParse);
            return Act::Pass;
        }
        let name = body.get(..end).unwrap_or_default();
        if let Some(act) = self.name_is_free(turn, name, ANY_TEXT, 0) {
            return act;
        }
        if self.is_prepared_by_sql(name) {
            return self.refuse(turn, taken(name));
        }
        self.evict(turn);
        let statement = turn.catalog.private();
        self.names.send(name, Some(Rc::clone(&statement)), self.segment);
        self.tally.client_parses += 1;
        self.tally.server_parses += 1;
        if let Some(facts) = turn.facts.as_deref_mut() {
            facts.statements.send_parse(Rc::clone(&statement), self.segment);
        }
        self.send(Kind::Parse, Why::NamedParse);
        let wire_len = header.wire_len - name.len() + statement.server_name().len();
        turn.to_server.own(|out| {
            FrameHeader { tag: b'P', wire_len }.put(out);
            out.extend(statement.server_name());
        });
        Act::Rewritten { front: HEADER_LEN + end }
    }

    pub(super) fn bind(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        let body = rest.get(HEADER_LEN..header.wire_len.min(rest.len())).unwrap_or_default();
        let Some(view) = BindView::read(body.get(..MAX_BIND_NAMES).unwrap_or(body)) else {
            if whole_body(header, rest).is_some() && body.len() <= MAX_BIND_NAMES {
                return self.plain_extended(turn, b'B', header, rest);
            }
            return wait_for_names(body, "portal or statement name too long");
        };
        if view.statement.is_empty() {
            if let Some(act) = self.ready_unnamed(turn, Kind::Bind) {
                return act;
            }
            if let Err(refusal) = self.note_unnamed_again(turn) {
                return self.refuse_as(turn, Kind::Bind, refusal);
            }
            if !self.note_values(&view, header, body) {
                return Act::NeedBytes;
            }
            return self.plain_extended(turn, b'B', header, rest);
        }
        if self.may_be_prepared_by_sql(view.statement) {
            self.note_unread();
            return self.plain_extended(turn, b'B', header, rest);
        }
        let (statement, promised) = match self.ready_named(turn, Kind::Bind, view.statement) {
            Ok(ready) => ready,
            Err(act) => return act,
        };
        if promised.is_some_and(|generation| generation != statement.generation()) {
            // It is about to be told so: once is enough.
            self.names.describe(view.statement, statement.generation());
            return self.refuse_as(turn, Kind::Bind, stale_promise());
        }
        self.may_heal(promised);
        if let Err(refusal) = self.note_statement(turn, &statement) {
            return self.refuse_as(turn, Kind::Bind, refusal);
        }
        if !self.note_values(&view, header, body) {
            return Act::NeedBytes;
        }
        self.evict(turn);
        self.tally.binds += 1;
        self.send(Kind::Bind, Why::Named(statement.id()));
        turn.to_server.own(|out| put_bind_front(out, header, &view, statement.server_name()));
        Act::Rewritten { front: HEADER_LEN + view.names_len }
    }

    /// Closes what the server has beyond its limit, the statement at hand excepted. Only where nothing is under way
    /// that might start COPY, because a Close in COPY IN would end the server (R33, R53).
    fn evict(&mut self, turn: &mut Turn<'_>) {
        let Some(facts) = turn.facts.as_deref_mut() else { return };
        let others = facts.statements.mark().saturating_sub(1);
        for _ in 0..MAX_EVICTIONS {
            if !facts.statements.exceeds(self.rules.max_prepared) || self.inflight.may_copy() {
                return;
            }
            let Some(victim) = facts.statements.evict(others, self.segment) else { return };
            turn.to_server.own(|out| put_close_statement(out, victim.server_name()));
            self.inflight.owe(Kind::Close, Why::Evict(victim.id()));
        }
    }

    pub(super) fn describe(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        let Some(body) = whole_body(header, rest) else { return Act::NeedBytes };
        match TargetView::read(body) {
            Some(TargetView::Statement(b"")) => match self.ready_unnamed(turn, Kind::DescribeStatement) {
                Some(act) => act,
                None => self.plain_extended(turn, b'D', header, rest),
            },
            Some(TargetView::Statement(name)) if self.may_be_prepared_by_sql(name) => {
                self.plain_extended(turn, b'D', header, rest)
            }
            Some(TargetView::Statement(name)) => {
                let (statement, promised) = match self.ready_named(turn, Kind::DescribeStatement, name) {
                    Ok(ready) => ready,
                    Err(act) => return act,
                };
                self.may_heal(promised);
                self.names.describe(name, statement.generation());
                self.send(Kind::DescribeStatement, Why::Named(statement.id()));
                turn.to_server.own(|out| put_describe_statement(out, statement.server_name()));
                Act::Rewritten { front: header.wire_len }
            }
            Some(TargetView::Portal(_)) | None => self.plain_extended(turn, b'D', header, rest),
        }
    }

    pub(super) fn close(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        let Some(body) = whole_body(header, rest) else { return Act::NeedBytes };
        match TargetView::read(body) {
            Some(TargetView::Statement(name)) if matches!(self.prepared_by_sql(name), Lookup::Wait) => {
                Act::Stop(Halt::Wait)
            }
            Some(TargetView::Statement(name)) if self.may_be_prepared_by_sql(name) => {
                self.note_unread();
                self.forget_prepared_by_sql(name);
                self.plain_extended(turn, b'C', header, rest)
            }
            Some(TargetView::Statement(name)) if !name.is_empty() => self.close_named(turn, header, name),
            Some(TargetView::Portal(_)) if turn.facts.is_none() => {
                // No server, no portal; to close what does not exist is no error.
                turn.to_client.own(|out| out.extend(b"3\0\0\0\x04"));
                Act::Drop
            }
            _ if turn.facts.is_none() => Act::Stop(Halt::NeedServer),
            Some(TargetView::Statement(_)) => {
                self.begin_request(turn);
                self.unnamed.send_end(self.segment);
                self.send(Kind::Close, Why::UnnamedClose);
                Act::Pass
            }
            Some(TargetView::Portal(_)) => {
                self.note_closed_portal();
                self.plain_extended(turn, b'C', header, rest)
            }
            None => self.plain_extended(turn, b'C', header, rest),
        }
    }

    /// To close a name is to forget it; the statement stays for others. One whose text was not kept goes with it.
    fn close_named(&mut self, turn: &mut Turn<'_>, header: FrameHeader, name: &[u8]) -> Act {
        if self.names.names_private()
            && let Some(facts) = turn.facts.as_deref_mut()
        {
            match self.names.find(name, self.segment) {
                Lookup::Wait => return Act::Stop(Halt::Wait),
                Lookup::Found(statement) if statement.is_private() => {
                    facts.statements.send_close(statement.id(), self.segment);
                    self.begin_request(turn);
                    self.names.send(name, None, self.segment);
                    self.send(Kind::Close, Why::PrivateClose(statement.id()));
                    turn.to_server.own(|out| put_close_statement(out, statement.server_name()));
                    return Act::Rewritten { front: header.wire_len };
                }
                Lookup::Found(_) | Lookup::Missing => {}
            }
        }
        self.names.send(name, None, self.segment);
        self.send(Kind::Close, Why::LocalClose);
        Act::Drop
    }

    /// Makes sure that the server has the statement behind a client's name. Beside it: see
    /// [`ClientStatements::find_promised`](super::names::ClientStatements::find_promised).
    fn ready_named(
        &mut self,
        turn: &mut Turn<'_>,
        kind: Kind,
        name: &[u8],
    ) -> Result<(Rc<Statement>, Option<u32>), Act> {
        if self.awaits_forgetting() {
            return Err(Act::Stop(Halt::Wait));
        }
        let (statement, promised) = match self.names.find_promised(name, self.segment) {
            Lookup::Found(found) => found,
            Lookup::Wait => return Err(Act::Stop(Halt::Wait)),
            Lookup::Missing => {
                return Err(self.refuse_unknown(turn, kind, name));
            }
        };
        let known_as = statement.id();
        let Some((statement, found)) = self.as_server_has(turn, statement) else {
            return Err(Act::Stop(Halt::NeedServer));
        };
        // Nothing was promised of what the text has become since.
        let promised = promised.filter(|_| statement.id() == known_as);
        match found {
            Lookup::Wait => return Err(Act::Stop(Halt::Wait)),
            Lookup::Found(()) => self.begin_request(turn),
            // Lost with the server's record of it, and nobody has the text.
            Lookup::Missing if statement.is_private() => return Err(self.refuse_unknown(turn, kind, name)),
            Lookup::Missing => {
                self.begin_request(turn);
                self.send_parse(turn, &statement);
                self.send(Kind::Parse, Why::Prepare);
                if kind == Kind::Bind {
                    self.check_columns(turn, &statement);
                }
            }
        }
        if kind == Kind::Bind && promised.is_some() && self.checks > 0 {
            return Err(Act::Stop(Halt::Wait)); // it may be about to read other columns than it was told of
        }
        Ok((statement, promised))
    }

    /// Makes sure that the server has the client's unnamed statement; `None` when the message may pass.
    fn ready_unnamed(&mut self, turn: &mut Turn<'_>, kind: Kind) -> Option<Act> {
        let on_server = turn.facts.as_deref().and_then(|facts: &ServerFacts| facts.unnamed);
        let prepare = match self.unnamed.find(on_server, self.segment) {
            Lookup::Wait => return Some(Act::Stop(Halt::Wait)),
            Lookup::Missing => {
                let error = PgError::error(
                    SqlState::UNDEFINED_PSTATEMENT,
                    "unnamed prepared statement does not exist",
                );
                return Some(self.refuse_as(turn, kind, error));
            }
            Lookup::Found(None) => return None,
            Lookup::Found(Some((id, text))) => {
                turn.to_server.own(|out| put_parse(out, b"", text));
                id
            }
        };
        self.unnamed.send_prepare(prepare, self.segment);
        self.send(Kind::Parse, Why::PrepareUnnamed);
        None
    }
}

/// Bytes of a name that errors show. They may have to wait, many of them, so there has to be an end; PostgreSQL has none.
const MAX_SHOWN_NAME: usize = 255;

/// A name as errors show it.
pub(super) fn shown(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name.get(..MAX_SHOWN_NAME).unwrap_or(name))
}

fn wait_for_names(body: &[u8], limit: &'static str) -> Act {
    if body.len() >= MAX_BIND_NAMES {
        return Act::Stop(Halt::End(SessionError::ClientLimit(limit)));
    }
    Act::NeedBytes
}
