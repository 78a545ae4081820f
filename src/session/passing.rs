//! Runs of messages that pass without being judged one by one: what most batches and most replies consist of.
//!
//! A message passes here only where `judge` and `reply` would let it pass, and leaves the same records behind; what is
//! not plain is left to them. `tests::passing` compares the two ways.

use std::time::Instant;

use crate::proto::{FrameHeader, HEADER_LEN, TargetView, TxStatus};

use super::conversation::{Body, Gate, ServerFacts, Session, Turn};
use super::meaning::Meaning;
use super::owed::{CopyState, Kind, PlainParts};
use super::sql;

/// How a conversation goes in a test.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Pace {
    /// As always.
    #[default]
    InRuns,
    /// Everything is judged one by one.
    OneByOne,
}

impl Session {
    /// Whether messages of the client's that are complete go to its server, unless something in them speaks against it.
    #[inline]
    fn lets_pass(&self) -> bool {
        matches!(self.gate, Gate::Open)
            && self.from_client.left == 0
            && !self.inflight.is_skipping()
            && !self.replay.holds_up()
            && !self.plods()
    }

    /// Whether everything is judged one by one all the same, so that a test can compare.
    #[cfg(test)]
    const fn plods(&self) -> bool {
        matches!(self.pace, Pace::OneByOne)
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    const fn plods(&self) -> bool {
        false
    }

    /// A ReadyForQuery has come from the linked server: whether it is the client's and proves nothing else; then what it
    /// answers is done with.
    #[inline]
    pub(super) fn pass_ready(&mut self) -> bool {
        let is_plain = !self.plods() && self.inflight.take_plain_ready();
        if is_plain {
            self.replay.give_up();
        }
        is_plain
    }

    /// The text if this is the commonest of all that clients say: one whole Query, while nothing is under way. It surely
    /// needs a server, and may be [plain](Session::is_plain_query).
    #[inline(always)]
    pub fn lone_query<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        let [b'Q', a, b, c, d, text @ .., 0] = input else { return None };
        let is_lone = u32::from_be_bytes([*a, *b, *c, *d]) as usize == input.len() - 1
            && self.inflight.is_empty()
            && self.lets_pass();
        is_lone.then_some(text)
    }

    /// Whether a lone query of this text does nothing to the session: then it goes to whichever server is linked, by
    /// [`Session::send_lone_query`] and as it is.
    #[inline(always)]
    pub fn is_plain_query(&self, text: &[u8]) -> bool {
        self.unnamed.is_blank() && self.meaning == Meaning::Known && sql::is_plain(text)
    }

    /// A plain lone query goes to the linked server, which has these facts.
    #[inline(always)]
    pub fn send_lone_query(&mut self, now: Instant, facts: &mut ServerFacts, input: &[u8]) {
        self.replay.give_up();
        self.send_plain_query(now, Some(facts));
        self.tally.client_bytes += input.len() as u64;
    }

    /// How many bytes at the front are whole messages of those that follow a Bind, up to a Sync. They are on their way.
    #[inline]
    pub(super) fn pass_followers(&mut self, turn: &Turn<'_>, input: &[u8]) -> usize {
        let may_be = matches!(input.first(), Some(b'D' | b'E' | b'S')) && turn.facts.is_some();
        if may_be && self.inflight.copy() == CopyState::None && self.lets_pass() {
            self.pass_whole_followers(turn, input)
        } else {
            0
        }
    }

    fn pass_whole_followers(&mut self, turn: &Turn<'_>, input: &[u8]) -> usize {
        let (mut end, mut is_ended) = (0, false);
        while !is_ended
            && let Some(rest) = input.get(end..)
            && let Some((len, kind)) = follower(rest)
            && !self.inflight.is_full()
        {
            self.inflight.owe_client(kind);
            end += len;
            is_ended = kind == Kind::Sync;
        }
        if end > 0 {
            self.begin_request(turn);
            self.replay.keep_run(input.get(..end).unwrap_or_default(), is_ended);
            self.nudged = false;
            self.tally.client_bytes += end as u64;
        }
        if is_ended {
            self.end_segment(); // which may close the gate
        }
        end
    }

    /// How many bytes at the front pass without being judged: rows, for the most part, and what ends a reply that proves
    /// nothing. If the last message is there in part, its rest is noted.
    #[inline(always)]
    pub(super) fn pass_plain(&mut self, input: &[u8]) -> usize {
        let mut end = 0;
        let mut parts = self.inflight.plain_parts();
        while parts != PlainParts::None
            && !self.plods()
            && let Some(rest) = input.get(end..)
            && let Ok(Some(header)) = FrameHeader::backend(rest)
            && header.tag != b'Z'
            && !(header.tag == b'C' && (may_clear_statements(header, rest) || self.channels.watches_tags()))
        {
            if !parts.has(header.tag) {
                if !self.inflight.take_plain_end(header.tag) {
                    break;
                }
                self.replay.give_up();
                parts = self.inflight.plain_parts();
            }
            end += header.wire_len;
        }
        if end == 0 {
            return 0;
        }
        self.tally.server_bytes += end as u64;
        let here = end.min(input.len());
        if here < end {
            self.from_server = Body { left: end - here, pass: true };
        }
        here
    }

    /// `None` if all of this passes from the linked server to the client and ends what it waits for, outside a
    /// transaction; then that is seen to. Otherwise how much at the front passes: the rest is for
    /// [`Session::on_server_behind`].
    #[inline(always)]
    pub fn pass_reply(&mut self, now: Instant, input: &[u8]) -> Option<usize> {
        if self.from_server.left > 0 {
            return Some(0);
        }
        let plain = self.pass_plain(input);
        if self.pass_last_ready(now, input.get(plain..).unwrap_or_default()) { None } else { Some(plain) }
    }

    /// Whether these bytes are a ReadyForQuery of the linked server that ends all the client waits for, outside a
    /// transaction, with nothing else to see to; then that is done.
    #[inline(always)]
    pub(super) fn pass_last_ready(&mut self, now: Instant, rest: &[u8]) -> bool {
        let is_last = *rest == *b"Z\0\0\0\x05I"
            && self.from_server.left == 0
            && self.inflight.is_last()
            && matches!(self.gate, Gate::Open)
            && self.channels.is_deaf()
            && self.pass_ready();
        if is_last {
            self.tally.server_bytes += rest.len() as u64;
            self.tx = TxStatus::Idle;
            self.nudged = false;
            self.settle_meaning();
            self.close_clocks(now);
        }
        is_last
    }
}

/// The length of a whole message that asks for more of what was bound, or ends the batch, and what it is owed.
#[inline]
fn follower(rest: &[u8]) -> Option<(usize, Kind)> {
    let header = FrameHeader::frontend(rest).ok()??;
    let body = rest.get(HEADER_LEN..header.wire_len)?;
    let kind = match header.tag {
        b'E' => Kind::Execute,
        b'S' if body.is_empty() => Kind::Sync,
        b'D' if matches!(TargetView::read(body), Some(TargetView::Portal(_))) => Kind::DescribePortal,
        _ => return None,
    };
    Some((header.wire_len, kind))
}

/// Whether a command completion may be DEALLOCATE ALL or DISCARD ALL, by its first letter, or cannot be told yet.
fn may_clear_statements(header: FrameHeader, message: &[u8]) -> bool {
    message.len() < header.wire_len || message.get(HEADER_LEN) == Some(&b'D')
}
