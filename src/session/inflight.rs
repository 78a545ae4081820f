//! What a server still owes, in order, and what each reply is for.
//!
//! Owns: the first-in first-out list of owed replies (R15), COPY state, the skipping after an error (R19), and
//! with them the question whether the server is at rest. Does not know: statements, parameters, bytes.
//!
//! Invariants:
//! - an entry is appended when its message is handed over for sending, in the same order, whoever made it;
//! - only [`InFlight::on_error`] removes several entries at once (R24);
//! - the list never holds more than [`MAX_OWED`] entries plus what one message adds.

use std::collections::VecDeque;

use super::owed::{CopyState, Kind, Owed, PlainParts, Progress, Why, completes, step};
use crate::proto::TxStatus;

/// Replies owed at most before the client has to wait. PostgreSQL keeps up to 8 kB of replies to itself until a
/// Sync or Flush, fewer than 1,639 of the shortest; where a batch goes beyond, a Flush of our own asks for them.
pub(super) const MAX_OWED: usize = 8192;

/// Entries of an empty list whose memory is worth keeping for the next conversation: a pipeline of a dozen
/// statements. They are kept with the client's seat, since idle clients are many.
const MAX_SPARE: usize = 64;

/// A reply that does not fit what is owed: the position is lost, the server must be closed (R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unexpected message '{}' from server", char::from(*.0))]
pub struct Misfit(pub u8);

/// What to do with a reply that fits.
#[derive(Debug, PartialEq, Eq)]
pub struct Fit {
    /// Whether the client gets it.
    pub forward: bool,
    /// The entry it completes, if it does.
    pub done: Option<Owed>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct InFlight {
    queue: VecDeque<Owed>,
    copy: CopyState,
    skipping: bool,
    batch_open: bool,
    /// How many Syncs the doubtful entry stands for.
    maybe_syncs: usize,
    /// How many `Z` have come since it was at the head.
    ready_seen: usize,
}

impl InFlight {
    /// Notes that a message was handed over for sending.
    #[inline]
    pub fn owe(&mut self, kind: Kind, why: Why) {
        let swallowed = kind == Kind::Sync && self.copy == CopyState::In { ended: false };
        let kind = if swallowed { Kind::MaybeSync } else { kind };
        match kind {
            Kind::Sync | Kind::MaybeSync => {
                self.skipping = false;
                self.batch_open = false;
            }
            Kind::Query | Kind::FunctionCall => self.batch_open = false,
            Kind::Parse
            | Kind::Bind
            | Kind::DescribeStatement
            | Kind::DescribePortal
            | Kind::Execute
            | Kind::Close => self.batch_open |= !why.is_local(),
        }
        self.maybe_syncs += usize::from(kind == Kind::MaybeSync);
        if kind == Kind::MaybeSync && self.queue.back().is_some_and(|last| last.kind == Kind::MaybeSync) {
            return;
        }
        self.queue.push_back(Owed { kind, why });
    }

    /// The same for the client's own messages outside COPY, while nothing is skipped but to a Sync: a Query, or Describe,
    /// Execute, Sync.
    #[inline(always)]
    pub(super) fn owe_client(&mut self, kind: Kind) {
        let ends = matches!(kind, Kind::Sync | Kind::Query);
        self.batch_open = !ends;
        self.skipping &= !ends;
        self.queue.push_back(Owed { kind, why: Why::Client });
    }

    /// Tells what the last message was sent for, after all.
    pub(super) fn retell_last(&mut self, why: Why) {
        if let Some(last) = self.queue.back_mut() {
            last.why = why;
        }
    }

    /// The statement at the head has failed: its `Z` proves nothing but the end.
    pub(super) fn retell_head(&mut self, why: Why) {
        if let Some(head) = self.queue.front_mut() {
            head.why = why;
        }
    }

    /// What is owed if the server skips to the next Sync.
    pub(super) fn behind_an_error(&self) -> impl Iterator<Item = &Owed> {
        self.queue.iter().skip_while(|owed| !owed.is_sync())
    }

    /// Notes that a Flush was sent: nothing is owed, but the server is not at rest before the next Sync.
    pub fn flushed(&mut self) {
        self.batch_open = true;
    }

    /// Whether a Flush may bring out a reply: inside an open batch, and not where COPY IN swallows it (R27).
    pub fn obeys_flush(&self) -> bool {
        match self.copy {
            CopyState::In { ended } => ended && !self.copy_is_simple(),
            CopyState::None | CopyState::Out => self.batch_open,
        }
    }

    /// Notes a CopyDone or CopyFail: Syncs behind it are ordinary ones again.
    pub fn copy_ended_by_client(&mut self) {
        if let CopyState::In { ended } = &mut self.copy {
            *ended = true;
        }
    }

    /// Which messages need no judging now: parts of what the head is owed that pass to the client and change nothing.
    #[inline(always)]
    pub fn plain_parts(&self) -> PlainParts {
        let Some(head) = self.queue.front().filter(|head| head.why.forwards()) else {
            return PlainParts::None;
        };
        match (head.kind, self.copy) {
            (Kind::Query | Kind::Execute, CopyState::Out) => PlainParts::Data,
            (Kind::Query, CopyState::None) => PlainParts::Results,
            (Kind::Query, CopyState::In { .. }) | (Kind::Execute, _) => PlainParts::Rows,
            (Kind::Parse | Kind::Bind | Kind::Close | Kind::DescribePortal, CopyState::None)
                if head.why.proves_nothing() =>
            {
                PlainParts::Nothing
            }
            _ => PlainParts::None,
        }
    }

    /// Takes the entry at the head if this reply completes it, for the client, and changes nothing else.
    #[inline]
    pub fn take_plain_end(&mut self, tag: u8) -> bool {
        let is_end = self.copy == CopyState::None
            && self.queue.front().is_some_and(|head| {
                head.why.proves_nothing() && !head.ends_segment() && completes(head.kind, tag)
            });
        if is_end {
            self.drop_plain_head();
        }
        is_end
    }

    /// Takes the entry at the head if a `Z` completes it, for the client, and changes nothing else.
    #[inline(always)]
    pub fn take_plain_ready(&mut self) -> bool {
        let is_end = self.copy == CopyState::None
            && self.queue.front().is_some_and(|head| {
                matches!(head.why, Why::Client) && matches!(head.kind, Kind::Query | Kind::Sync)
            });
        if is_end {
            self.drop_plain_head();
        }
        is_end
    }

    /// Takes an entry off whose `why` proves nothing, and so owns nothing that would have to be dropped.
    #[inline]
    fn drop_plain_head(&mut self) {
        std::mem::forget(self.queue.pop_front());
    }

    /// An empty list in the memory of an earlier one.
    pub(super) fn of(queue: VecDeque<Owed>) -> Self {
        Self { queue, ..Self::default() }
    }

    /// The memory of a list that holds nothing any more.
    pub(super) fn into_memory(self) -> VecDeque<Owed> {
        let mut queue = self.queue;
        queue.clear();
        queue
    }

    /// Ends the conversation with a server.
    #[inline(always)]
    pub fn end(&mut self) {
        if !self.queue.is_empty() {
            self.queue.clear();
        }
        if self.queue.capacity() > MAX_SPARE {
            self.queue.shrink_to(MAX_SPARE);
        }
        (self.copy, self.skipping, self.batch_open) = (CopyState::None, false, false);
        (self.maybe_syncs, self.ready_seen) = (0, 0);
    }

    /// Whether what is sent now is thrown away by the server until a Sync (R19).
    pub const fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Whether as many replies are owed as one client may leave unanswered.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_OWED
    }

    /// Whether no more than one reply is owed.
    pub(super) fn is_last(&self) -> bool {
        self.queue.len() <= 1
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// COPY as the server has announced it.
    pub const fn copy(&self) -> CopyState {
        self.copy
    }

    /// Whether something is executed that is under way, and so might start COPY IN.
    pub fn may_copy(&self) -> bool {
        self.queue.iter().any(Owed::may_copy)
    }

    /// Whether another COPY IN may begin behind the one under way: in its own text, or by what was sent since.
    pub fn may_copy_again(&self) -> bool {
        self.copy_is_simple() || self.queue.iter().skip(1).any(Owed::may_copy)
    }

    /// Whether the COPY under way was started by a simple query.
    pub fn copy_is_simple(&self) -> bool {
        self.head().is_some_and(|owed| owed.kind == Kind::Query)
    }

    /// Whether messages were sent after the last Sync, Query or FunctionCall (R2).
    pub const fn is_batch_open(&self) -> bool {
        self.batch_open
    }

    /// Whether the end of an earlier segment is still to come.
    pub fn awaits_ready(&self) -> bool {
        self.queue.iter().any(Owed::ends_segment)
    }

    /// How many segments that have been ended are not answered yet.
    pub fn segments(&self) -> usize {
        self.queue.iter().filter(|owed| owed.ends_segment()).count()
    }

    /// Whether the position can be told at all: after a COPY IN that failed, a Sync sent early may have been
    /// swallowed or may still be answered (R30).
    pub fn is_certain(&self) -> bool {
        self.copy.is_in() || self.head().is_none_or(|owed| owed.kind != Kind::MaybeSync)
    }

    /// Whether Syncs were sent that COPY IN swallows if it succeeds, and perhaps if it fails (R30).
    pub const fn has_early_syncs(&self) -> bool {
        self.maybe_syncs > 0
    }

    /// R1 as far as the conversation shows it: nothing owed, nothing sent since the last `Z`, that `Z` said idle.
    pub fn at_rest(&self, tx: TxStatus) -> bool {
        self.queue.is_empty()
            && !self.batch_open
            && !self.skipping
            && self.copy == CopyState::None
            && tx == TxStatus::Idle
    }

    /// The entry whose turn it is.
    pub fn head(&self) -> Option<&Owed> {
        self.queue.front()
    }

    /// Whether the reply at the head is to be made here.
    #[inline]
    pub fn is_local_next(&self) -> bool {
        self.queue.front().is_some_and(|head| head.why.is_local())
    }

    /// Takes the entry at the head if its reply is to be made here.
    pub fn take_local(&mut self) -> Option<Owed> {
        if self.head()?.why.is_local() { self.queue.pop_front() } else { None }
    }

    /// Matches a reply, `E` and asynchronous messages apart, against the head.
    ///
    /// # Errors
    /// The reply does not fit: the position is lost.
    #[inline]
    pub fn on_reply(&mut self, tag: u8) -> Result<Fit, Misfit> {
        if !self.is_certain() {
            if tag == b'Z' {
                self.count_ready();
                return Ok(Fit { forward: true, done: None });
            }
            self.settle();
        }
        let head = self.queue.front().ok_or(Misfit(tag))?;
        let step = step(head.kind, tag, self.copy).ok_or(Misfit(tag))?;
        // The end of a Query that was refused is the client's; its error was ours.
        let forward = head.why.forwards() || tag == b'Z' && matches!(head.why, Why::RefuseQuery(_));
        match tag {
            b'G' => self.begin_copy_in(),
            b'H' => self.copy = CopyState::Out,
            b'C' | b'c' | b'Z' => self.end_copy(tag),
            _ => {}
        }
        let done = match step {
            Progress::Part => None,
            Progress::Done => self.queue.pop_front(),
        };
        Ok(Fit { forward, done })
    }

    /// Applies an ErrorResponse (R19, R21, R29): returns the entry it answers and hands every entry that the
    /// server will never answer to `dropped`, in order. For Query, FunctionCall and Sync the entry stays for its
    /// `Z` and a copy is returned.
    ///
    /// # Errors
    /// An error while nothing is owed.
    pub fn on_error(&mut self, mut dropped: impl FnMut(Owed)) -> Result<Owed, Misfit> {
        if !self.is_certain() {
            self.settle();
        }
        self.copy = CopyState::None;
        let head = self.queue.front().ok_or(Misfit(b'E'))?.clone();
        match head.kind {
            Kind::Query | Kind::FunctionCall | Kind::Sync | Kind::MaybeSync => {}
            Kind::Parse
            | Kind::Bind
            | Kind::DescribeStatement
            | Kind::DescribePortal
            | Kind::Execute
            | Kind::Close => {
                self.queue.pop_front();
                while let Some(owed) = self.queue.pop_front_if(|owed| !owed.is_sync()) {
                    dropped(owed);
                }
                self.skipping = self.queue.is_empty();
                self.batch_open |= self.skipping;
            }
        }
        Ok(head)
    }

    /// As many `Z` as there were Syncs: all of them were answered, and nothing is doubtful any more.
    fn count_ready(&mut self) {
        self.ready_seen += 1;
        let entries = self.queue.iter().take_while(|owed| owed.is_sync()).count();
        if self.ready_seen >= self.maybe_syncs + entries - 1 {
            self.settle();
        }
    }

    /// A reply other than `Z` fixes the position: the Syncs before the first other entry are settled.
    fn settle(&mut self) {
        while self.queue.front().is_some_and(Owed::is_sync) {
            self.queue.pop_front();
        }
        (self.maybe_syncs, self.ready_seen) = (0, 0);
    }

    /// `G`: Syncs that were sent already may be swallowed.
    fn begin_copy_in(&mut self) {
        self.copy = CopyState::In { ended: false };
        let mut previous_maybe = false;
        self.queue.retain_mut(|owed| {
            if owed.kind == Kind::Sync {
                owed.kind = Kind::MaybeSync;
                self.maybe_syncs += 1;
            }
            let repeated = previous_maybe && owed.kind == Kind::MaybeSync;
            previous_maybe = owed.kind == Kind::MaybeSync;
            !repeated
        });
    }

    /// COPY IN that succeeds has swallowed the early Syncs (R30).
    fn end_copy(&mut self, tag: u8) {
        let ends_in = self.copy.is_in() && tag != b'c';
        if ends_in {
            self.queue.retain(|owed| owed.kind != Kind::MaybeSync);
            self.maybe_syncs = 0;
            let ends_batch = |owed: &Owed| matches!(owed.kind, Kind::Sync | Kind::Query | Kind::FunctionCall);
            self.batch_open |= !self.queue.iter().any(ends_batch);
        }
        if ends_in || self.copy == CopyState::Out {
            self.copy = CopyState::None;
        }
    }
}
