//! The direction from the server: each reply is matched against what is owed, then passed, swallowed or replaced.

use std::ops::Range;

use crate::config::PoolMode;
use crate::proto::{FrameHeader, HEADER_LEN, PgError, Severity, SqlState, TxStatus};

use super::conversation::{Body, Gate, Halt, ServerFacts, Session, Taken, Turn};
use super::error::SessionError;
use super::inflight::{Fit, Misfit};
use super::owed::{Kind, Owed, Why};
use super::own::Own;
use super::params::TrackedNames;
use super::settings::ROLE;

/// Bytes of an error held to learn its severity and code, which PostgreSQL sends first.
const MAX_HELD_ERROR: usize = 8 * 1024;

/// Bytes of a ParameterStatus held to learn name and value; PostgreSQL's own values are far below.
const MAX_HELD_STATUS: usize = 16 * 1024;

/// Bytes of a row that answers a question of our own; settings are far shorter.
const MAX_HELD_ROW: usize = 16 * 1024;

/// Command tags up to this size are looked at; the two that matter have 15 and 12 bytes.
const MAX_HELD_TAG: usize = 64;

impl Session {
    /// Takes bytes from the server. `input` begins where the last call's `consumed` ended.
    pub fn on_server(&mut self, turn: &mut Turn<'_>, input: &[u8]) -> Taken {
        self.on_server_behind(turn, input, 0)
    }

    /// The same behind what [`Session::pass_reply`] says that it passes.
    pub fn on_server_behind(&mut self, turn: &mut Turn<'_>, input: &[u8], passed: usize) -> Taken {
        turn.to_client.pass(0..passed);
        let left = self.from_server.left > 0;
        let mut at = passed + if left { self.pass_body(turn, passed..input.len()) } else { 0 };
        let halt = loop {
            if self.from_server.left > 0 {
                break Halt::More;
            }
            let plain = self.pass_plain(input.get(at..).unwrap_or_default());
            if self.pass_last_ready(turn.now, input.get(at + plain..).unwrap_or_default()) {
                turn.to_client.pass(at..input.len());
                return Taken { consumed: input.len(), halt: Halt::More };
            }
            turn.to_client.pass(at..at + plain);
            at += plain;
            if self.from_server.left > 0 {
                break Halt::More;
            }
            // Replies made here stand behind what has just been passed on.
            self.deliver_local(turn.to_client);
            let rest = input.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Halt::More;
            }
            let header = match FrameHeader::backend(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break Halt::More,
                Err(_) => break Halt::End(SessionError::ServerProtocol("invalid message length")),
            };
            let held = self.held_bytes(header, rest);
            if rest.len() < held {
                break Halt::More;
            }
            let body = rest.get(HEADER_LEN..held).unwrap_or_default();
            match self.reply(turn, header, body) {
                Ok(pass) => {
                    self.tally.server_bytes += header.wire_len as u64;
                    let message = Body { left: header.wire_len, pass };
                    at += self.pass_message(turn, at..input.len(), message);
                }
                Err(error) => {
                    if let SessionError::ServerFatal(fatal) = &error {
                        let whole = rest.len() >= header.wire_len && PgError::is_complete(body);
                        relay_fatal(turn, fatal, whole.then_some(at..at + header.wire_len));
                    }
                    break Halt::End(error);
                }
            }
        };
        Taken { consumed: at, halt }
    }

    /// Takes what is there of a message; how many bytes.
    #[inline]
    fn pass_message(&mut self, turn: &mut Turn<'_>, input: Range<usize>, message: Body) -> usize {
        if message.left > input.len() {
            self.from_server = message;
            return self.pass_body(turn, input);
        }
        if message.pass {
            turn.to_client.pass(input.start..input.start + message.left);
        }
        message.left
    }

    /// Takes what is there of the message under way; how many bytes.
    fn pass_body(&mut self, turn: &mut Turn<'_>, input: Range<usize>) -> usize {
        let here = self.from_server.left.min(input.len());
        if self.from_server.pass {
            turn.to_client.pass(input.start..input.start + here);
        }
        self.from_server.left -= here;
        here
    }

    /// Bytes that must be there before a message is judged; beyond them it streams.
    fn held_bytes(&self, header: FrameHeader, rest: &[u8]) -> usize {
        let limit = match header.tag {
            b'E' => MAX_HELD_ERROR,
            b'S' => MAX_HELD_STATUS,
            b'Z' => HEADER_LEN + 1,
            b'C' => MAX_HELD_TAG,
            b'A' => self.held_notification(),
            b'D' if self.is_asking() => MAX_HELD_ROW,
            b't' => return self.held_description(header, rest, MAX_HELD_ERROR),
            b'T' => return self.held_columns(header),
            _ => HEADER_LEN,
        };
        header.wire_len.min(limit)
    }

    /// Judges one message; whether it passes to the client.
    fn reply(&mut self, turn: &mut Turn<'_>, header: FrameHeader, body: &[u8]) -> Result<bool, SessionError> {
        match header.tag {
            b'N' => Ok(!self.is_own_turn()),
            b'A' => Ok(self.hears_server(body)),
            b'S' => self.parameter_status(turn, body),
            b'E' => self.error_reply(turn, body),
            b'Z' => self.ready(turn, body),
            b't' if self.is_described_in_vain(header, body) => {
                self.inflight.on_reply(b't')?;
                Ok(false)
            }
            tag => {
                if matches!(tag, b'T' | b'n') {
                    self.note_columns(turn, header, body);
                }
                self.plain_reply(turn, tag, body)
            }
        }
    }

    /// Whether the reply at the head is to a message of our own.
    fn is_own_turn(&self) -> bool {
        self.inflight.head().is_some_and(|owed| matches!(owed.why, Why::Own | Why::Try | Why::Ask))
    }

    /// Whether the reply at the head is an answer to a question of our own.
    fn is_asking(&self) -> bool {
        self.inflight.head().is_some_and(|owed| owed.why == Why::Ask)
    }

    fn plain_reply(&mut self, turn: &mut Turn<'_>, tag: u8, body: &[u8]) -> Result<bool, SessionError> {
        let refused = |owed: &Owed| matches!(owed.why, Why::Refuse(_) | Why::RefuseQuery(_));
        if tag != b'Z' && self.inflight.head().is_some_and(refused) {
            return Err(Misfit(tag).into());
        }
        if tag == b'D' && self.is_asking() {
            self.answer.take_row(body);
        }
        let Fit { forward, done } = self.inflight.on_reply(tag)?;
        if forward {
            self.replay.give_up();
        }
        let Some(facts) = turn.facts.as_deref_mut() else { return Err(Misfit(tag).into()) };
        if let Some(owed) = done {
            self.completed(&owed, facts);
        }
        if tag == b'C' {
            self.command_completed(body, facts);
        }
        Ok(forward)
    }

    #[cold]
    fn parameter_status(&mut self, turn: &mut Turn<'_>, body: &[u8]) -> Result<bool, SessionError> {
        let mut parts = body.split(|&b| b == 0);
        let (Some(name), Some(value), Some(b"")) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SessionError::ServerProtocol("malformed ParameterStatus"));
        };
        if !self.is_own_turn() {
            self.note_identity_report(name);
        }
        let Some(index) = turn.names.index(name) else { return Ok(!self.is_own_turn()) };
        if let Some(facts) = turn.facts.as_deref_mut() {
            facts.params.set(index, value);
        }
        let decides = if index == TrackedNames::IS_SUPERUSER { ROLE } else { name };
        if self.restore.as_ref().is_some_and(|which| which.has(decides))
            && self.wishes.startup().is_some_and(|own| own.of_reported(index).is_some())
        {
            return Ok(false); // the client's own value is put in force before it hears of any
        }
        // What our own setting brings about is no news to the client, unless the server spells it otherwise.
        let news = !self.is_own_turn() || self.params.value(index) != Some(value);
        self.params.set(index, value);
        Ok(news)
    }

    #[cold]
    fn error_reply(&mut self, turn: &mut Turn<'_>, body: &[u8]) -> Result<bool, SessionError> {
        let error = PgError::parse(body);
        if matches!(error.severity, Severity::Fatal | Severity::Panic) {
            return Err(SessionError::ServerFatal(error));
        }
        let Some(facts) = turn.facts.as_deref_mut() else { return Err(Misfit(b'E').into()) };
        let mut dropped = Vec::new();
        let head = self.inflight.on_error(|owed| dropped.push(owed))?;
        let ends_entry =
            !matches!(head.kind, Kind::Query | Kind::FunctionCall | Kind::Sync | Kind::MaybeSync);
        self.mend_records(&head, error.code, facts);
        if ends_entry {
            self.failed(&head, facts);
        }
        for owed in &dropped {
            self.skipped(owed, facts);
        }
        if self.repeats_own(&head, error.code) {
            return Ok(false);
        }
        self.note_error();
        if let Why::ClientDeallocate(id) = head.why {
            facts.statements.revoke_close(id);
            self.names.revoke();
            self.inflight.retell_head(Why::ClientQuery);
        }
        if self.heals(turn, &head, error.code, body) {
            return Ok(false);
        }
        match head.why {
            Why::Own if !self.fails_in_block() => Err(SessionError::Parameter(error)),
            Why::Try | Why::Ask => {
                self.answer.error = Some(error);
                Ok(false)
            }
            Why::RefuseQuery(_) if error.code == SqlState::IN_FAILED_TRANSACTION => {
                turn.to_client.own(|out| error.put(out));
                Ok(false)
            }
            Why::Refuse(ours) | Why::RefuseQuery(ours) => {
                turn.to_client.own(|out| ours.put(out));
                Ok(false)
            }
            Why::RefuseTaken(ours) if error.code == SqlState::DUPLICATE_PSTATEMENT => {
                turn.to_client.own(|out| ours.put(out));
                Ok(false)
            }
            Why::PrepareApart => Ok(false),
            Why::Evict(_) | Why::Heal => Err(Misfit(b'E').into()),
            Why::Client
            | Why::Named(_)
            | Why::ClientQuery
            | Why::ClientExecute(_)
            | Why::ClientDeallocate(_)
            | Why::NamedParse
            | Why::UnnamedParse
            | Why::UnnamedClose
            | Why::PrivateClose(_)
            | Why::LocalParse
            | Why::ParseAgain
            | Why::LocalClose
            | Why::Prepare
            | Why::PrepareUnnamed
            | Why::Check(_)
            | Why::Own
            | Why::RefuseTaken(_) => Ok(self.pass_error(turn, &head.why, &error, body)),
        }
    }

    /// What an error tells of the server's statements beyond the message it answers.
    fn mend_records(&mut self, head: &Owed, code: SqlState, facts: &mut ServerFacts) {
        let Why::Named(id) = head.why else {
            if matches!(head.why, Why::NamedParse | Why::Prepare) && code == SqlState::DUPLICATE_PSTATEMENT {
                // Something took our name, by PREPARE for instance: closed before the next Parse.
                facts.statements.collide();
            }
            return;
        };
        if code == SqlState::FEATURE_NOT_SUPPORTED {
            // "cached plan must not change result type": parsed anew by whoever binds it next (C6).
            facts.statements.spoil(id);
            self.names.told_of_stale_plan(id);
        } else if code == SqlState::UNDEFINED_PSTATEMENT {
            // Lost behind our back, to DEALLOCATE inside a function for instance.
            facts.statements.lose(id);
            self.names.lose(id);
        }
    }

    fn ready(&mut self, turn: &mut Turn<'_>, body: &[u8]) -> Result<bool, SessionError> {
        let status = match *body {
            [byte] => TxStatus::from_byte(byte),
            _ => None,
        };
        let status = status.ok_or(SessionError::ServerProtocol("malformed ReadyForQuery"))?;
        let mut forward = self.pass_ready() || self.plain_reply(turn, b'Z', body)?;
        self.tx = status;
        self.nudged = false;
        if self.inflight.is_empty() {
            if self.say_again(turn)? {
                return Ok(false);
            }
            match self.leave_gate() {
                Gate::Preparing(batch) => {
                    let Some(own) = self.own_answered(turn, *batch) else { return Ok(false) };
                    self.own_done(&own, turn);
                    let answers = match own {
                        Own::Restore => !self.settle_channels(turn),
                        Own::Link | Own::Survey(_) | Own::Clean | Own::Unlisten => self.answers_now(),
                    };
                    if !answers {
                        return Ok(false);
                    }
                    forward = true; // it stands for the answer to the client's request
                }
                Gate::Resetting if status != TxStatus::Failed && self.begin_restore(turn) => {
                    return Ok(false);
                }
                Gate::Resetting if status == TxStatus::Failed => self.restored(turn),
                Gate::Resetting if self.settle_channels(turn) => return Ok(false),
                Gate::Open | Gate::Resetting => {}
                Gate::Errand(errand) => self.gate = Gate::Errand(errand),
                Gate::SkipToSync => self.gate = Gate::SkipToSync,
            }
        }
        if status == TxStatus::Idle && self.inflight.is_empty() {
            self.settle_meaning();
        }
        if forward && status == TxStatus::Idle {
            self.put_heard(turn.to_client);
        }
        self.close_clocks(turn.now);
        if self.rules.mode == PoolMode::Statement && status != TxStatus::Idle {
            return Err(SessionError::BlockInStatementMode);
        }
        Ok(forward)
    }

    /// Opens the gate; what it was.
    #[inline]
    fn leave_gate(&mut self) -> Gate {
        if matches!(self.gate, Gate::Open) {
            return Gate::Open;
        }
        std::mem::replace(&mut self.gate, Gate::Open)
    }

    /// A server that was lost without a word: what the linked client is told (R99).
    pub fn server_lost() -> PgError {
        PgError::fatal(SqlState::CONNECTION_FAILURE, "server connection lost")
    }
}

/// The server's last word reaches the client once (R22): as it came, or remade if it came in part or lacks what clients
/// look for.
fn relay_fatal(turn: &mut Turn<'_>, fatal: &PgError, whole: Option<Range<usize>>) {
    match whole {
        Some(range) => turn.to_client.pass(range),
        None => turn.to_client.own(|out| fatal.put(out)),
    }
}
