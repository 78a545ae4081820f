//! A plan that somebody's DDL has made stale heals itself: nobody needs to RECONNECT.
//!
//! PostgreSQL refuses to run such a plan with 0A000 "cached plan must not change result type", in place of the answer to
//! Bind or Describe, so before anything was executed. Outside a transaction block the client's batch can be said again behind a new
//! Parse, unseen (C6). That is done if all of the batch was kept, nothing of its answers has reached the client, nothing
//! was sent behind it, and the client was not promised the old columns: then it gets the error, once. Where it cannot be
//! done, a Parse is not answered from what the server has: a client that prepares there gets a plan of that moment.

use super::conversation::{Gate, Halt, Session, Turn};
use super::error::SessionError;
use super::outbox::Outbox;
use super::owed::{Kind, Owed, Why};
use crate::proto::{FrameHeader, HEADER_LEN, PgError, SqlState, TxStatus, put_sync};

/// Bytes of a batch that are kept: most have some hundred, and a larger one is as well told of the error.
const MAX_KEPT: usize = 16 * 1024;

/// Bytes of a ParameterDescription that waits for what follows it: some four thousand parameters.
const MAX_WAITING: usize = 16 * 1024;

/// The function of PostgreSQL that finds a plan stale: what its error has in field R, whatever the language.
const ROUTINE: &[u8] = b"RRevalidateCachedQuery";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nothing is kept.
    #[default]
    Off,
    /// What the client says is kept.
    Keeping,
    /// A batch was kept up to its Sync.
    Kept,
    /// It failed; its Sync is still to be answered.
    Failed,
    /// It has been said again.
    SaidAgain,
}

/// A batch that may have to be said again.
#[derive(Debug, Default)]
pub(super) struct Replay {
    stage: Stage,
    bytes: Vec<u8>,
}

impl Replay {
    /// A statement that the server has had for a while is about to be bound, first thing in a batch.
    pub(super) fn begin(&mut self) {
        if self.stage != Stage::SaidAgain {
            self.stage = Stage::Keeping;
            self.bytes.clear();
        }
    }

    /// Keeps a message of the batch, as far as it is there.
    #[inline]
    pub(super) fn keep(&mut self, header: FrameHeader, rest: &[u8]) {
        match self.stage {
            Stage::Keeping => self.keep_message(header, rest),
            // Something comes behind it, perhaps data of a COPY in it, which owes nothing.
            Stage::Kept => self.give_up(),
            Stage::Off | Stage::Failed | Stage::SaidAgain => {}
        }
    }

    fn keep_message(&mut self, header: FrameHeader, rest: &[u8]) {
        let message =
            rest.get(..header.wire_len).filter(|_| matches!(header.tag, b'B' | b'D' | b'E' | b'H' | b'S'));
        match message {
            Some(message) if self.bytes.len() + message.len() <= MAX_KEPT => self.bytes.extend(message),
            Some(_) | None => return self.give_up(),
        }
        if header.tag == b'S' {
            self.stage = Stage::Kept;
        }
    }

    /// Keeps a run of whole messages that may belong to the batch; whether a Sync ends it.
    #[inline]
    pub(super) fn keep_run(&mut self, run: &[u8], ends: bool) {
        match self.stage {
            Stage::Keeping if self.bytes.len() + run.len() <= MAX_KEPT => {
                self.bytes.extend_from_slice(run);
                if ends {
                    self.stage = Stage::Kept;
                }
            }
            Stage::Keeping | Stage::Kept => self.give_up(),
            Stage::Off | Stage::Failed | Stage::SaidAgain => {}
        }
    }

    /// Whether what the client says now has to wait until the batch before it was said again.
    #[inline]
    pub(super) fn holds_up(&self) -> bool {
        self.stage == Stage::Failed
    }

    /// The client has had an answer, or the batch is not one that can be said again.
    #[inline]
    pub(super) const fn give_up(&mut self) {
        self.stage = Stage::Off;
    }
}

impl Session {
    /// A statement is about to be bound or described on a server that may have had it for a while. `promised`: see
    /// [`ClientStatements::find_promised`](super::names::ClientStatements::find_promised).
    pub(super) fn may_heal(&mut self, promised: Option<u32>) {
        if promised.is_none() && self.is_first() {
            self.replay.begin();
        }
    }

    /// Whether what the client says now comes first in a batch, outside a transaction block, and nothing is under way.
    pub(super) fn is_first(&self) -> bool {
        self.inflight.is_empty() && !self.inflight.is_batch_open() && self.tx == TxStatus::Idle
    }

    /// Whether this error is for nobody, because the batch is said again: at once behind its Sync, or, if the client waits
    /// for answers before it sends one, behind a Sync of ours.
    pub(super) fn heals(&mut self, turn: &mut Turn<'_>, head: &Owed, code: SqlState, body: &[u8]) -> bool {
        let is_named =
            matches!(head.kind, Kind::Bind | Kind::DescribeStatement) && matches!(head.why, Why::Named(_));
        if !is_named || !is_stale_plan(code, body) || !self.can_say_again() {
            return false;
        }
        if self.replay.stage == Stage::Kept {
            self.inflight.retell_last(Why::Heal);
        } else {
            turn.to_server.own(put_sync);
            self.inflight.owe(Kind::Sync, Why::Heal);
        }
        self.replay.stage = Stage::Failed;
        true
    }

    /// Whether all of the batch is kept and nothing was sent behind it, so that it can be said again if what is answered
    /// now fails.
    fn can_say_again(&self) -> bool {
        let mut left = self.inflight.behind_an_error();
        match self.replay.stage {
            Stage::Kept => {
                matches!(left.next(), Some(Owed { kind: Kind::Sync, why: Why::Client }))
                    && left.next().is_none()
            }
            Stage::Keeping => left.next().is_none() && self.from_client.left == 0,
            Stage::Off | Stage::Failed | Stage::SaidAgain => false,
        }
    }

    /// Bytes that must be there before a ParameterDescription is judged. PostgreSQL sends it before it looks whether the
    /// plan is stale; a client that had it could not be spared the error. So while the batch may be said again, it waits
    /// for what follows.
    pub(super) fn held_description(&self, header: FrameHeader, rest: &[u8], max_error: usize) -> usize {
        let waits = matches!(self.replay.stage, Stage::Keeping | Stage::Kept)
            && header.wire_len <= MAX_WAITING
            && self.inflight.head().is_some_and(|head| matches!(head.why, Why::Named(_)));
        if !waits {
            return HEADER_LEN;
        }
        let next = rest.get(header.wire_len..).unwrap_or_default();
        match FrameHeader::backend(next) {
            Ok(Some(error)) if error.tag == b'E' => header.wire_len + error.wire_len.min(max_error),
            Ok(_) | Err(_) => header.wire_len + HEADER_LEN,
        }
    }

    /// Whether a ParameterDescription is for nobody, because an error follows that is for nobody, either. `body` goes on
    /// with what follows, as far as it was waited for.
    pub(super) fn is_described_in_vain(&self, header: FrameHeader, body: &[u8]) -> bool {
        let next = body.get(header.wire_len - HEADER_LEN..).unwrap_or_default();
        let error = next.get(HEADER_LEN..).filter(|_| next.first() == Some(&b'E'));
        error.is_some_and(|error| is_stale_plan(PgError::parse(error).code, error)) && self.can_say_again()
    }

    /// Says the batch again if it has failed for a stale plan; its Sync has just been answered.
    ///
    /// # Errors
    /// What was judged once could not be judged again: never seen, and not to be passed over.
    pub(super) fn say_again(&mut self, turn: &mut Turn<'_>) -> Result<bool, SessionError> {
        if self.replay.stage != Stage::Failed {
            return Ok(false);
        }
        let unhealed = SessionError::ServerProtocol("a stale plan could not be made anew");
        if self.tx != TxStatus::Idle {
            return Err(unhealed);
        }
        self.replay.stage = Stage::SaidAgain;
        if matches!(self.gate, Gate::Resetting) {
            self.gate = Gate::Open; // what it was for has not happened; it is noted anew
        }
        let bytes = std::mem::take(&mut self.replay.bytes);
        let mut to_server = Outbox::default();
        let taken = self.on_client(
            &mut Turn {
                now: turn.now,
                facts: turn.facts.as_deref_mut(),
                catalog: turn.catalog,
                names: turn.names,
                pins: turn.pins,
                to_server: &mut to_server,
                to_client: turn.to_client,
            },
            &bytes,
        );
        turn.to_server.own(|out| out.extend(to_server.slices(&bytes).flatten()));
        if taken.consumed != bytes.len() || taken.halt != Halt::More {
            return Err(unhealed);
        }
        Ok(true)
    }
}

/// Whether an error says that a plan is stale.
fn is_stale_plan(code: SqlState, error: &[u8]) -> bool {
    code == SqlState::FEATURE_NOT_SUPPORTED && error.split(|&b| b == 0).any(|field| field == ROUTINE)
}
