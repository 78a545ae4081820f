//! Prepared statements as SQL speaks of them: EXECUTE, DEALLOCATE and PREPARE share their names with the protocol's.
//!
//! A name the client gave through the protocol stands for a statement under one of our names: the word in the text is
//! replaced. Names made with PREPARE are the server's own, and keep their client with it.

use std::ops::Range;
use std::rc::Rc;

use super::catalog::Statement;
use super::conversation::{Halt, Session, Turn};
use super::extended::shown;
use super::from_client::Act;
use super::owed::{Kind, Why};
use super::renaming::Renamed;
use super::sql::{Digest, PreparedUse, Verb};
use super::statements::Lookup;
use crate::proto::{FrameHeader, PgError, SqlState, put_query_parts, put_sync};

impl Session {
    /// A Query whose words leave traces.
    pub(super) fn query_with_traces(
        &mut self,
        turn: &mut Turn<'_>,
        header: FrameHeader,
        text: &[u8],
        digest: &Digest,
    ) -> Act {
        if self.tracks_statements()
            && self.reads_texts()
            && let Some(prepared) = &digest.prepared
            && let Some(act) = self.query_by_name(turn, header, text, prepared)
        {
            return act;
        }
        if let Err(refusal) = self.admit(turn, digest, text) {
            return self.refuse_query(turn, refusal);
        }
        self.send_query(turn);
        Act::Pass
    }

    /// `Some` if the statement a Query names is one of the protocol's.
    fn query_by_name(
        &mut self,
        turn: &mut Turn<'_>,
        header: FrameHeader,
        text: &[u8],
        prepared: &PreparedUse,
    ) -> Option<Act> {
        if self.awaits_forgetting() {
            return Some(Act::Stop(Halt::Wait));
        }
        let statement = match self.names.find(&prepared.name, self.segment) {
            Lookup::Wait => return Some(Act::Stop(Halt::Wait)),
            Lookup::Missing => return None,
            Lookup::Found(statement) => statement,
        };
        match prepared.verb {
            Verb::Prepare => {
                let text = format!("prepared statement \"{}\" already exists", shown(&prepared.name));
                let error = PgError::error(SqlState::DUPLICATE_PSTATEMENT, text);
                return Some(self.refuse_query(turn, error));
            }
            Verb::Execute | Verb::ExplainExecute | Verb::Deallocate => {}
        }
        let (statement, found) = self.as_server_has(turn, statement)?;
        match found {
            Lookup::Wait => return Some(Act::Stop(Halt::Wait)),
            Lookup::Missing if !statement.is_private() => self.prepare_apart(turn, &statement),
            Lookup::Missing | Lookup::Found(()) => {}
        }
        if prepared.verb != Verb::Deallocate
            && let Err(refusal) = self.note_statement(turn, &statement)
        {
            return Some(self.refuse_query(turn, refusal));
        }
        self.note_names_within(text);
        if prepared.verb == Verb::Deallocate {
            if let Some(facts) = turn.facts.as_deref_mut() {
                facts.statements.send_close(statement.id(), self.segment);
            }
            self.names.send(&prepared.name, None, self.segment);
        }
        let rewritten = Self::with_name(text, prepared.span.clone(), statement.server_name());
        turn.to_server.own(|out| put_query_parts(out, &rewritten));
        self.send_query(turn);
        self.inflight.retell_last(if prepared.verb == Verb::Deallocate {
            Why::ClientDeallocate(statement.id())
        } else {
            let ours = statement.server_name();
            Why::ClientExecute(Box::new(Renamed::new(text, prepared.span.clone(), &prepared.name, ours)))
        });
        Some(Act::Rewritten { front: header.wire_len })
    }

    fn with_name<'a>(text: &'a [u8], span: Range<usize>, name: &'a [u8]) -> [&'a [u8]; 3] {
        [text.get(..span.start).unwrap_or_default(), name, text.get(span.end..).unwrap_or_default()]
    }

    /// Gives the server a statement that a Query is about to name. The Parse has a Sync of its own, so that
    /// its failure would not make the server skip the Query, which then fails in its stead.
    fn prepare_apart(&mut self, turn: &mut Turn<'_>, statement: &Rc<Statement>) {
        self.begin_request(turn);
        self.send_parse(turn, statement);
        self.send(Kind::Parse, Why::PrepareApart);
        turn.to_server.own(put_sync);
        self.inflight.owe(Kind::Sync, Why::Own);
        self.segment += 1;
    }

    /// Answers a Query with an error of ours, and makes the server fail as it would have.
    fn refuse_query(&mut self, turn: &mut Turn<'_>, error: PgError) -> Act {
        turn.to_server.own(|out| put_query_parts(out, &[b"EXECUTE pooler_refused"]));
        self.send_query(turn);
        self.inflight.retell_last(Why::RefuseQuery(Box::new(error)));
        Act::Drop
    }
}
