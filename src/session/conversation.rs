//! The conversation with one client: its state and what both directions share.
//!
//! `from_client` and `from_server` beside this file are the two directions. All progress lives here and in
//! [`ServerFacts`], none in a future: whoever moves the bytes may stop at any point.

use std::time::Instant;

use crate::config::{PoolMode, SessionState};
use crate::proto::{FrameHeader, PgError, TxStatus, put_ready};

use super::answer::Answer;
use super::catalog::Catalog;
use super::channels::{Channels, Errand};
use super::error::SessionError;
use super::healing::Replay;
use super::inflight::InFlight;
use super::meaning::Meaning;
use super::names::ClientStatements;
use super::outbox::Outbox;
use super::owed::Kind;
use super::own::OwnBatch;
use super::params::{ParamSet, TrackedNames};
use super::pins::{PinRoom, Pins};
use super::quiescent::Quiescent;
use super::resets::PreparedResets;
use super::settings::Settings;
use super::statements::ServerStatements;
use super::tally::Tally;
use super::tracking::Traces;
use super::unnamed::Unnamed;
use super::uses::Use;
use super::wishes::{Restore, Wishes};

/// What is true of one backend beyond a lease.
#[derive(Debug, Default)]
pub struct ServerFacts {
    /// Followed parameters as last reported.
    pub params: ParamSet,
    /// Settings in force that are not reported.
    pub settings: Settings,
    /// Whom it logged in as, as it reported it.
    pub login: Box<[u8]>,
    /// Statements prepared under the pooler's names.
    pub statements: ServerStatements,
    /// Number of the unnamed statement it has.
    pub unnamed: Option<u64>,
}

/// What a conversation is made with.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// When the server is given back.
    pub mode: PoolMode,
    /// Prepared statements kept per server; 0 turns tracking off.
    pub max_prepared: usize,
    /// What is done about session state.
    pub session_state: SessionState,
}

impl Rules {
    /// Whether settings and channels follow the client.
    pub(super) const fn follows(self) -> bool {
        matches!(self.session_state, SessionState::Track | SessionState::Verify)
    }
}

/// What one turn works with besides the bytes.
pub struct Turn<'a> {
    /// The time of this turn.
    pub now: Instant,
    /// The linked server, if there is one.
    pub facts: Option<&'a mut ServerFacts>,
    /// Statements of the pool.
    pub catalog: &'a mut Catalog,
    /// Names of the followed parameters.
    pub names: &'a TrackedNames,
    /// How many clients of the pool may keep their servers.
    pub pins: &'a PinRoom,
    /// What goes to the server.
    pub to_server: &'a mut Outbox,
    /// What goes to the client.
    pub to_client: &'a mut Outbox,
}

/// How far a turn got.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Why it stopped there.
    pub halt: Halt,
}

/// Why a turn stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Halt {
    /// The input is used up, or a message is not complete yet.
    More,
    /// The next message needs a server and none is linked.
    NeedServer,
    /// The next message has to wait for replies.
    Wait,
    /// The conversation is over.
    End(SessionError),
}

/// The rest of a message that is passed or dropped as it arrives.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Body {
    pub(super) left: usize,
    pub(super) pass: bool,
}

/// Whether the client's messages may pass.
#[derive(Debug)]
pub(super) enum Gate {
    /// They may.
    Open,
    /// Messages of our own are under way; the client waits.
    Preparing(Box<OwnBatch>),
    /// When what was sent is answered, something has to be settled before the client hears of it: what it has reset of
    /// its startup packet is put in force again, or the channels it listens to are taken over.
    Resetting,
    /// The pool's listener is at work for the client, which waits.
    Errand(Errand),
    /// A batch was answered with an error before anything of it was sent; the rest up to Sync is dropped (R25).
    SkipToSync,
}

/// Whether the client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is.
    Here,
    /// It has gone: what it left is brought to its end, and nothing else is begun.
    Left,
}

/// Whether a server is known to have the statements that the record says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recall {
    /// It is.
    Sure,
    /// The client may have made it forget them; it has not answered yet.
    InDoubt,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    pub(super) rules: Rules,
    pub(super) tx: TxStatus,
    pub(super) inflight: InFlight,
    pub(super) from_client: Body,
    pub(super) from_server: Body,
    pub(super) gate: Gate,
    /// Already asked the server for what it has ready, so that a waiting CopyDone can be judged.
    pub(super) nudged: bool,
    pub(super) names: ClientStatements,
    pub(super) unnamed: Unnamed,
    /// The unnamed statement may do something to the session.
    pub(super) unnamed_leaves_traces: bool,
    pub(super) params: ParamSet,
    /// What else it wants in force.
    pub(super) wishes: Wishes,
    /// Whether it is known what decides the meaning of its texts.
    pub(super) meaning: Meaning,
    /// What it has done to its session since the server was asked.
    pub(super) traces: Option<Box<Traces>>,
    /// What keeps it on its server.
    pub(super) pins: Option<Box<Pins>>,
    /// Whether the server is still known to have the statements on record.
    pub(super) recall: Recall,
    /// Whether it is still there.
    pub(super) presence: Presence,
    /// Statements it has prepared that reset something, where their names are the server's.
    pub(super) prepared_resets: Option<Box<PreparedResets>>,
    /// What it has just reset.
    pub(super) restore: Option<Restore>,
    /// The batch under way, while it may have to be said again.
    pub(super) replay: Replay,
    /// What it listens to.
    pub(super) channels: Channels,
    /// Questions of our own about columns that are not answered yet.
    pub(super) checks: usize,
    /// The answer to our own question, as far as it has come.
    pub(super) answer: Answer,
    /// Counts what Sync, Query and FunctionCall separate.
    pub(super) segment: u64,
    pub(super) tally: Tally,
    /// Features of the session it has used since somebody asked.
    pub(super) uses: Vec<Use>,
    pub(super) request_since: Option<Instant>,
    pub(super) xact_since: Option<Instant>,
    #[cfg(test)]
    pub(super) pace: super::passing::Pace,
}

impl Session {
    /// A conversation right after login. `params` are the client's values, its own over the pool's.
    pub fn new(rules: Rules, params: ParamSet) -> Self {
        Self {
            rules,
            tx: TxStatus::Idle,
            inflight: InFlight::default(),
            from_client: Body::default(),
            from_server: Body::default(),
            gate: Gate::Open,
            nudged: false,
            names: ClientStatements::default(),
            unnamed: Unnamed::default(),
            unnamed_leaves_traces: true,
            params,
            wishes: Wishes::default(),
            meaning: Meaning::Known,
            traces: None,
            pins: None,
            recall: Recall::Sure,
            presence: Presence::Here,
            prepared_resets: None,
            restore: None,
            replay: Replay::default(),
            channels: Channels::default(),
            checks: 0,
            answer: Answer::default(),
            segment: 0,
            tally: Tally::default(),
            uses: Vec::new(),
            request_since: None,
            xact_since: None,
            #[cfg(test)]
            pace: super::passing::Pace::default(),
        }
    }

    /// Whether statement names are mapped: the server does not stay with the client.
    pub(super) const fn tracks_statements(&self) -> bool {
        self.rules.max_prepared > 0 && !matches!(self.rules.mode, PoolMode::Session)
    }

    /// A server was linked: first puts the parameters that differ in force (own messages at rest, R51).
    pub fn link(&mut self, turn: &mut Turn<'_>) {
        let Some(facts) = turn.facts.as_deref_mut() else { return };
        if !self.link_alike(turn.now, facts) {
            self.put_in_force(turn);
        }
    }

    /// A server with these facts was linked: whether it has in force what the client wants. If not,
    /// [`Session::put_in_force`] is next.
    #[inline(always)]
    pub fn link_alike(&mut self, now: Instant, facts: &mut ServerFacts) -> bool {
        if !self.tracks_statements() {
            facts.unnamed = None; // from here on nobody watches what becomes of it
        }
        self.request_since = self.request_since.map(|_| now);
        if self.xact_since.is_some() {
            self.xact_since = Some(now);
            self.note_unseen();
        }
        self.params.is_shared_with(&facts.params) && self.wishes.are_shared_with(&facts.settings)
    }

    /// Evidence that the server may go back now, if the pool mode wants it back and it is at rest (R1, R3).
    ///
    /// `unsent` and `unread` are the bytes that still lie in the buffers towards and from the server.
    #[inline(always)]
    pub fn try_release(&self, unsent: usize, unread: usize) -> Option<Quiescent> {
        let mode_allows = self.rules.mode != PoolMode::Session;
        (mode_allows && self.is_at_rest(unsent, unread) && self.traces.is_none() && !self.is_pinned())
            .then(Quiescent::witnessed)
    }

    /// Evidence that the server is at rest now that the client has gone.
    pub fn release_after_end(&self, unsent: usize, unread: usize) -> Option<Quiescent> {
        self.is_at_rest(unsent, unread).then(Quiescent::witnessed)
    }

    #[inline(always)]
    pub(super) fn is_at_rest(&self, unsent: usize, unread: usize) -> bool {
        self.inflight.at_rest(self.tx)
            && !self.is_preparing()
            && unsent == 0
            && unread == 0
            && self.from_server.left == 0
            && !(self.from_client.left > 0 && self.from_client.pass)
    }

    /// Whether only the linked server can serve this client.
    pub const fn is_pinned(&self) -> bool {
        self.unnamed.is_pinned() || self.names.names_private() || self.pins.is_some()
    }

    /// A server could not be had for the message at the front of the input, of which `arrived` bytes are there:
    /// answers its batch once and drops it whole (R25, R97). Returns the bytes to consume.
    pub fn refuse_batch(
        &mut self,
        error: &PgError,
        header: FrameHeader,
        arrived: usize,
        to_client: &mut Outbox,
    ) -> usize {
        to_client.own(|out| error.put(out));
        self.request_since = None;
        self.xact_since = None;
        if !matches!(header.tag, b'Q' | b'F') {
            self.gate = Gate::SkipToSync;
            return 0;
        }
        to_client.own(|out| put_ready(out, TxStatus::Idle));
        self.segment += 1;
        let here = header.wire_len.min(arrived);
        self.from_client = Body { left: header.wire_len - here, pass: false };
        here
    }

    /// Whether our own messages are being answered, so that a cancel must not reach the server now (F39).
    pub const fn is_preparing(&self) -> bool {
        matches!(self.gate, Gate::Preparing(_) | Gate::Errand(_))
    }

    /// Whether something of the client's is running on the server: what a cancel would hit.
    #[inline]
    pub fn is_running(&self) -> bool {
        !self.is_preparing() && !self.inflight.is_empty()
    }

    /// Whether the client has been given a part of a message and waits for the rest.
    pub const fn is_mid_reply(&self) -> bool {
        self.from_server.left > 0 && self.from_server.pass
    }

    /// The pool mode it lives by.
    pub const fn mode(&self) -> PoolMode {
        self.rules.mode
    }

    /// Transaction status by the last ReadyForQuery.
    pub const fn tx(&self) -> TxStatus {
        self.tx
    }

    /// Since when a request is open.
    pub const fn request_since(&self) -> Option<Instant> {
        self.request_since
    }

    /// Since when a transaction is open.
    pub const fn xact_since(&self) -> Option<Instant> {
        self.xact_since
    }

    /// The client's parameter values.
    pub const fn params(&self) -> &ParamSet {
        &self.params
    }

    /// Statement names in use.
    pub fn statements(&self) -> usize {
        self.names.len()
    }

    /// A server is gone or given back: nothing of it remains here.
    #[inline(always)]
    pub fn unlink(&mut self) {
        self.inflight.end();
        self.from_server = Body::default();
        if matches!(self.gate, Gate::Preparing(_) | Gate::Resetting | Gate::Errand(_)) {
            self.gate = Gate::Open;
        }
        let noted = self.traces.is_some() || self.pins.is_some();
        if noted || self.restore.is_some() || self.prepared_resets.is_some() {
            (self.traces, self.pins, self.restore, self.prepared_resets) = (None, None, None, None);
            self.channels.unlinked();
        }
        self.replay.give_up();
        (self.recall, self.meaning) = (Recall::Sure, Meaning::Known);
        (self.nudged, self.checks) = (false, 0);
    }

    /// Gives the replies whose turn has come and that are made here (R17). In the middle of a reply of the server
    /// they wait. Asked for each message, so what is nearly always the answer comes first.
    #[inline]
    pub(super) fn deliver_local(&mut self, to_client: &mut Outbox) {
        if self.from_server.left == 0 && self.inflight.is_local_next() {
            self.deliver_local_replies(to_client);
        }
    }

    #[cold]
    fn deliver_local_replies(&mut self, to_client: &mut Outbox) {
        while let Some(owed) = self.inflight.take_local() {
            let reply: &[u8; 5] = if owed.kind == Kind::Parse { b"1\0\0\0\x04" } else { b"3\0\0\0\x04" };
            to_client.own(|out| out.extend(reply));
            self.replay.give_up();
            self.names.confirm();
        }
    }
}
