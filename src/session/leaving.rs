//! What becomes of a server whose client has gone (R11).

use crate::proto::{TxStatus, put_close_statement, put_copy_fail, put_query, put_sync};

use super::conversation::{Gate, Presence, ServerFacts, Session};
use super::outbox::Outbox;
use super::owed::{CopyState, Kind, Why};
use super::quiescent::Quiescent;
use super::survey::PinReasons;
use crate::config::PoolMode;

/// Private statements of a client that are closed one by one when it has gone; a server with more of these giants is
/// cheaper to replace.
const MAX_ORPHANS: usize = 64;

/// The next step towards a clean server.
#[derive(Debug)]
pub enum Leave {
    /// It is at rest.
    AtRest(Quiescent),
    /// Read what is still owed, then ask again. `cancel`: what runs should be cancelled meanwhile.
    Drain {
        /// Whether something is running that nobody waits for any more.
        cancel: bool,
    },
    /// Its position cannot be mended.
    Close,
}

impl Session {
    /// Decides by the server's exact position; appends our own messages where they are needed. Call it again when
    /// nothing is owed any more. `unsent` and `unread` as in [`Session::try_release`].
    pub fn leave(
        &mut self,
        facts: &mut ServerFacts,
        unsent: usize,
        unread: usize,
        to_server: &mut Outbox,
    ) -> Leave {
        self.begin_nothing_more();
        let half_sent = self.from_client.left > 0 && self.from_client.pass;
        if half_sent || unsent > 0 || !self.inflight.is_certain() {
            return Leave::Close;
        }
        if self.owes_copy_data() && self.inflight.has_early_syncs() {
            // After a CopyFail nobody can tell whether they were swallowed or are still to be answered (R30).
            return Leave::Close;
        }
        if self.inflight.copy().is_in() {
            let simple = self.inflight.copy_is_simple();
            to_server.own(|out| put_copy_fail(out, "client left"));
            self.inflight.copy_ended_by_client();
            if !simple {
                self.own_sync(to_server);
            }
            return Leave::Drain { cancel: false };
        }
        if self.inflight.is_batch_open() || self.inflight.is_skipping() {
            let cancel = !self.inflight.is_empty();
            if !self.inflight.is_skipping() {
                // Behind a healthy batch the Sync alone would commit what its client never did (R69).
                to_server.own(|out| put_query(out, "ROLLBACK"));
                self.inflight.owe(Kind::Query, Why::Own);
            }
            self.own_sync(to_server);
            return Leave::Drain { cancel };
        }
        if !self.inflight.is_empty() {
            // Settings of our own are soon in force, and an error in their place would cost the server.
            return Leave::Drain { cancel: !self.is_preparing() };
        }
        if self.tx != TxStatus::Idle {
            to_server.own(|out| put_query(out, "ROLLBACK"));
            self.inflight.owe(Kind::Query, Why::Own);
            return Leave::Drain { cancel: false };
        }
        if self.mode() != PoolMode::Session && (self.traces.take().is_some() | self.pins.is_some()) {
            return self.discard_all(facts, to_server);
        }
        self.close_private(facts, to_server)
            .unwrap_or_else(|| self.release_after_end(unsent, unread).map_or(Leave::Close, Leave::AtRest))
    }

    /// Nobody waits for an answer any more, so nothing is begun for the client that the server would have to answer.
    fn begin_nothing_more(&mut self) {
        self.presence = Presence::Left;
        self.restore = None;
        self.replay.give_up();
        if matches!(self.gate, Gate::Resetting | Gate::Errand(_)) {
            self.gate = Gate::Open;
        }
    }

    /// The client has left more than settings that are known: PostgreSQL undoes all of it (R12), but a loaded library.
    fn discard_all(&mut self, facts: &mut ServerFacts, to_server: &mut Outbox) -> Leave {
        let pinned = self.pins.take().map(|pins| pins.reasons).unwrap_or_default();
        if pinned.intersects(PinReasons::LIBRARY) {
            return Leave::Close;
        }
        facts.unnamed = None;
        self.reset("DISCARD ALL", to_server);
        Leave::Drain { cancel: false }
    }

    /// Statements whose text was not kept served this client alone: nobody can name them any more.
    fn close_private(&mut self, facts: &mut ServerFacts, to_server: &mut Outbox) -> Option<Leave> {
        self.names.clear();
        let orphans = facts.statements.take_orphans(self.segment);
        if orphans.is_empty() {
            return None;
        }
        if orphans.len() > MAX_ORPHANS {
            return Some(Leave::Close);
        }
        for orphan in orphans {
            to_server.own(|out| put_close_statement(out, orphan.server_name()));
            self.inflight.owe(Kind::Close, Why::Evict(orphan.id()));
        }
        self.own_sync(to_server);
        Some(Leave::Drain { cancel: false })
    }

    /// Whether the replies that a [`Leave::Drain`] waits for have all come.
    pub fn is_drained(&self) -> bool {
        self.inflight.is_empty()
    }

    /// Whether the server is in COPY IN, and nobody has ended it.
    pub fn owes_copy_data(&self) -> bool {
        self.inflight.copy() == CopyState::In { ended: false }
    }

    /// Whether the position can be told: otherwise the replies that are owed may never come (R30).
    pub fn is_certain(&self) -> bool {
        self.inflight.is_certain()
    }

    /// Whether something of the client's is running in a transaction block, by the last `Z`.
    pub fn works_in_block(&self) -> bool {
        self.tx != TxStatus::Idle && self.inflight.head().is_some_and(|head| head.why != Why::Own)
    }

    /// Runs a query of our own on a server at rest: the reset between sessions (R12).
    pub fn reset(&mut self, sql: &str, to_server: &mut Outbox) {
        to_server.own(|out| put_query(out, sql));
        self.inflight.owe(Kind::Query, Why::Own);
    }

    fn own_sync(&mut self, to_server: &mut Outbox) {
        to_server.own(put_sync);
        self.inflight.owe(Kind::Sync, Why::Own);
    }
}
