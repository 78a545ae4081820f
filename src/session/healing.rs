//! A plan that somebody's DDL has made stale heals itself: nobody needs to RECONNECT.
//!
//! PostgreSQL refuses to run such a plan with 0A000 "cached plan must not change result type", in place of the answer to
//! Bind or Describe, so before anything was executed. Outside a transaction block the client's batch can be said again behind a new
//! Parse, unseen (C6). That is done if all of the batch was kept, nothing of its answers has reached the client, nothing
//! was sent behind it, and the client was not promised the old columns: then it gets the error, once.

use super::conversation::{Gate, Halt, Session, Turn};
use super::error::SessionError;
use super::outbox::Outbox;
use super::owed::{Kind, Owed, Why};
use crate::proto::{FrameHeader, SqlState, TxStatus, put_sync};

/// Bytes of a batch that are kept: most have some hundred, and a larger one is as well told of the error.
const MAX_KEPT: usize = 16 * 1024;

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
        if self.stage == Stage::Keeping {
            self.keep_message(header, rest);
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
        let first = self.inflight.is_empty() && !self.inflight.is_batch_open() && self.tx == TxStatus::Idle;
        if first && promised.is_none() {
            self.replay.begin();
        }
    }

    /// Whether this error is for nobody, because the batch is said again: at once behind its Sync, or, if the client waits
    /// for answers before it sends one, behind a Sync of ours.
    pub(super) fn heals(&mut self, turn: &mut Turn<'_>, head: &Owed, code: SqlState, body: &[u8]) -> bool {
        let is_stale = matches!(head.kind, Kind::Bind | Kind::DescribeStatement)
            && matches!(head.why, Why::Named(_))
            && code == SqlState::FEATURE_NOT_SUPPORTED
            && body.split(|&b| b == 0).any(|field| field == ROUTINE);
        match self.replay.stage {
            Stage::Kept if is_stale && self.inflight.owes_only_a_sync() => {
                self.inflight.retell_last(Why::Heal);
            }
            Stage::Keeping if is_stale && self.inflight.is_empty() && self.from_client.left == 0 => {
                turn.to_server.own(put_sync);
                self.inflight.owe(Kind::Sync, Why::Heal);
            }
            Stage::Off | Stage::Keeping | Stage::Kept | Stage::Failed | Stage::SaidAgain => return false,
        }
        self.replay.stage = Stage::Failed;
        true
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
