//! The direction from the client: what each frontend message means for the server and for the replies owed.

use std::ops::Range;
use std::time::Instant;

use crate::proto::{FrameHeader, HEADER_LEN, PgError, SqlState, TargetView, put_ready};

use super::conversation::{Body, Gate, Halt, ServerFacts, Session, Taken, Turn};
use super::error::SessionError;
use super::owed::{CopyState, Kind, Why};

/// A Query up to this size is held whole, so that its words can be read; a larger one streams, and its server is asked
/// afterwards whether anything came of it. The size of a worker's read buffer.
const MAX_HELD_QUERY: usize = 64 * 1024;

/// What happens to the message at the front of the input.
pub(super) enum Act {
    /// It passes unchanged.
    Pass,
    /// Its first bytes were rewritten; those behind `front` pass.
    Rewritten { front: usize },
    /// It goes no further.
    Drop,
    /// It can be judged when more of its bytes are there.
    NeedBytes,
    /// See [`Halt`].
    Stop(Halt),
}

impl Session {
    /// Takes bytes from the client. `input` begins where the last call's `consumed` ended.
    ///
    /// Everything it decides is in `self`, in the facts, and in the outboxes when it returns.
    pub fn on_client(&mut self, turn: &mut Turn<'_>, input: &[u8]) -> Taken {
        if let Some(text) = self.lone_query(input)
            && self.is_plain_query(text)
            && let Some(facts) = turn.facts.as_deref_mut()
        {
            self.send_lone_query(turn.now, facts, input);
            turn.to_server.pass(0..input.len());
            return Taken { consumed: input.len(), halt: Halt::More };
        }
        let mut at = if self.from_client.left > 0 { self.take_body(turn, 0..input.len()) } else { 0 };
        let halt = loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.from_client.left > 0 || rest.is_empty() {
                break Halt::More;
            }
            self.deliver_local(turn.to_client);
            let passed = self.pass_followers(turn, rest);
            if passed > 0 {
                turn.to_server.pass(at..at + passed);
                at += passed;
                continue;
            }
            let header = match FrameHeader::frontend(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break Halt::More,
                Err(error) => break Halt::End(SessionError::ClientProtocol(error)),
            };
            let (front, pass) = match self.judge(turn, header, rest) {
                Act::Pass => (0, true),
                Act::Rewritten { front } => (front, true),
                Act::Drop => (0, false),
                Act::NeedBytes => break Halt::More,
                Act::Stop(halt) => {
                    if halt == Halt::Wait {
                        self.nudge(turn);
                    }
                    break halt;
                }
            };
            self.tally.client_bytes += header.wire_len as u64;
            self.replay.keep(header, rest);
            if rest.len() >= header.wire_len {
                if pass {
                    turn.to_server.pass(at + front..at + header.wire_len);
                }
                at += header.wire_len;
                continue;
            }
            at += front;
            self.from_client = Body { left: header.wire_len - front, pass };
            at += self.take_body(turn, at..input.len());
        };
        self.deliver_local(turn.to_client);
        Taken { consumed: at, halt }
    }

    /// Takes what is there of the message under way; how many bytes.
    fn take_body(&mut self, turn: &mut Turn<'_>, input: Range<usize>) -> usize {
        let here = self.from_client.left.min(input.len());
        if self.from_client.pass {
            turn.to_server.pass(input.start..input.start + here);
        }
        self.from_client.left -= here;
        here
    }

    /// Whether the message at the front surely needs a server, told without a turn. `false` may mean either.
    pub fn needs_server(&self, input: &[u8]) -> bool {
        matches!(input.first(), Some(b'Q' | b'P' | b'B' | b'D' | b'E'))
            && matches!(FrameHeader::frontend(input), Ok(Some(_)))
            && self.from_client.left == 0
            && matches!(self.gate, Gate::Open)
            && self.inflight.is_empty()
            && !self.inflight.is_skipping()
    }

    fn judge(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        if header.tag == b'X' {
            return Act::Stop(Halt::End(SessionError::ClientClosed));
        }
        // What owes nothing passes: in COPY IN the server waits for it.
        let owes = match header.tag {
            b'd' | b'c' | b'f' => false,
            b'H' => header.wire_len > HEADER_LEN,
            _ => true,
        };
        let held = match self.gate {
            Gate::Preparing(_) | Gate::Errand(_) => true,
            // Only the client can end its COPY.
            Gate::Resetting => match header.tag {
                b'd' | b'c' | b'f' => false,
                b'H' | b'S' => !self.inflight.copy().is_in(),
                _ => true,
            },
            Gate::Open | Gate::SkipToSync => false,
        };
        if held || self.replay.holds_up() || (owes && self.inflight.is_full()) {
            return Act::Stop(Halt::Wait);
        }
        if matches!(self.gate, Gate::SkipToSync) {
            return self.skip_unsent(turn, header.tag);
        }
        if self.inflight.is_skipping() && header.tag != b'S' {
            return Act::Drop;
        }
        let linked = turn.facts.is_some();
        match header.tag {
            b'S' => self.sync(turn, header),
            b'H' => self.flush(turn, header),
            b'd' if self.inflight.is_empty() => Act::Drop,
            b'd' => Act::Pass,
            b'c' | b'f' => self.copy_end(),
            b'C' if self.tracks_statements() => self.close(turn, header, rest),
            _ if !linked => Act::Stop(Halt::NeedServer),
            b'Q' => self.query(turn, header, rest),
            b'F' => {
                self.note_unread(); // a function is as good as its caller's word
                self.begin_request(turn);
                self.send(Kind::FunctionCall, Why::Client);
                self.segment += 1;
                Act::Pass
            }
            b'P' if self.tracks_statements() => self.parse(turn, header, rest),
            b'B' if self.tracks_statements() => self.bind(turn, header, rest),
            b'D' if self.tracks_statements() => self.describe(turn, header, rest),
            tag => self.plain_extended(turn, tag, header, rest),
        }
    }

    /// Messages of the extended protocol whose names are the server's own.
    pub(super) fn plain_extended(
        &mut self,
        turn: &mut Turn<'_>,
        tag: u8,
        header: FrameHeader,
        rest: &[u8],
    ) -> Act {
        let kind = match tag {
            b'P' => {
                self.observe_parse(header, rest);
                Kind::Parse
            }
            b'B' => {
                if !self.note_prepared_resets(header, rest) {
                    return Act::NeedBytes;
                }
                Kind::Bind
            }
            b'C' => {
                self.forget_resets(header, rest);
                Kind::Close
            }
            b'E' => Kind::Execute,
            _ => {
                let Some(body) = whole_body(header, rest) else { return Act::NeedBytes };
                match TargetView::read(body) {
                    Some(TargetView::Portal(_)) => Kind::DescribePortal,
                    Some(TargetView::Statement(_)) | None => Kind::DescribeStatement,
                }
            }
        };
        self.begin_request(turn);
        self.send(kind, Why::Client);
        Act::Pass
    }

    #[inline]
    pub(super) fn send(&mut self, kind: Kind, why: Why) {
        self.nudged = false;
        self.inflight.owe(kind, why);
    }

    /// A message goes out that belongs to a request.
    #[inline]
    pub(super) fn begin_request(&mut self, turn: &Turn<'_>) {
        self.open_clocks(turn.now, turn.facts.is_some());
    }

    /// The batch was refused before anything of it was sent: its Sync is answered here (R25).
    fn skip_unsent(&mut self, turn: &mut Turn<'_>, tag: u8) -> Act {
        if tag == b'S' {
            self.gate = Gate::Open;
            self.segment += 1;
            let status = self.tx;
            turn.to_client.own(|out| put_ready(out, status));
        }
        Act::Drop
    }

    fn sync(&mut self, turn: &mut Turn<'_>, header: FrameHeader) -> Act {
        if turn.facts.is_none() {
            if header.wire_len > HEADER_LEN {
                return Act::Stop(Halt::NeedServer); // malformed: PostgreSQL's to answer (R91)
            }
            // Nothing was sent, so PostgreSQL would only say that it is idle.
            self.segment += 1;
            let status = self.tx;
            turn.to_client.own(|out| put_ready(out, status));
            return Act::Drop;
        }
        self.begin_request(turn);
        self.send(Kind::Sync, Why::Client);
        self.end_segment();
        Act::Pass
    }

    /// A Flush matters only inside an open batch; elsewhere the server has flushed already (R36).
    fn flush(&mut self, turn: &mut Turn<'_>, header: FrameHeader) -> Act {
        if header.wire_len > HEADER_LEN && !self.inflight.copy().is_in() {
            if turn.facts.is_none() {
                return Act::Stop(Halt::NeedServer);
            }
            return self.refuse(turn, PgError::error(SqlState::PROTOCOL_VIOLATION, "invalid message format"));
        }
        if self.inflight.obeys_flush() {
            self.inflight.flushed();
            return Act::Pass;
        }
        Act::Drop
    }

    /// CopyDone or CopyFail: what it means depends on whether the server has entered COPY IN (R26 to R28).
    fn copy_end(&mut self) -> Act {
        match self.inflight.copy() {
            CopyState::In { ended: false } => {
                self.inflight.copy_ended_by_client();
                return Act::Pass;
            }
            // That was the end of another COPY.
            CopyState::In { ended: true } if !self.inflight.may_copy_again() => return Act::Drop,
            CopyState::In { ended: true } => return Act::Stop(Halt::Wait),
            CopyState::None | CopyState::Out => {}
        }
        if self.inflight.is_empty() || !self.inflight.is_certain() {
            return Act::Drop;
        }
        Act::Stop(Halt::Wait)
    }

    /// The client waits for replies, which may lie in the server's buffer until a Sync that stands behind what
    /// waits: asks for them, once. A Flush owes nothing and ends nothing (R36).
    fn nudge(&mut self, turn: &mut Turn<'_>) {
        if self.inflight.obeys_flush() && !self.nudged {
            self.nudged = true;
            turn.to_server.own(|out| out.extend(b"H\0\0\0\x04"));
        }
    }

    fn query(&mut self, turn: &mut Turn<'_>, header: FrameHeader, rest: &[u8]) -> Act {
        match whole_body(header, rest) {
            Some(body) => {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                if let Some(digest) = self.digest(text) {
                    return self.query_with_traces(turn, header, text, &digest);
                }
            }
            None if !self.reads_texts() => {} // nothing hangs on it
            None if header.wire_len <= MAX_HELD_QUERY => return Act::NeedBytes,
            None => self.note_unread(),
        }
        if !self.unnamed.is_blank() {
            self.send_query(turn);
            return Act::Pass;
        }
        self.send_plain_query(turn.now, turn.facts.as_deref_mut());
        Act::Pass
    }

    /// A Query goes out that does nothing to the session, for a client without an unnamed statement.
    #[inline(always)]
    pub(super) fn send_plain_query(&mut self, now: Instant, facts: Option<&mut ServerFacts>) {
        self.open_clocks(now, facts.is_some());
        // It ends the unnamed statement, of which there is none: whatever the server has is nobody's from now on.
        if let Some(facts) = facts {
            facts.unnamed = None;
        }
        self.nudged = false;
        self.inflight.owe_client(Kind::Query);
        self.end_segment();
    }

    /// A Query goes out.
    pub(super) fn send_query(&mut self, turn: &mut Turn<'_>) {
        self.begin_request(turn);
        if self.tracks_statements() {
            self.unnamed.send_end(self.segment);
            self.send(Kind::Query, Why::ClientQuery);
        } else {
            self.send(Kind::Query, Why::Client);
        }
        self.end_segment();
    }

    /// A Sync, Query or FunctionCall was sent.
    #[inline(always)]
    pub(super) fn end_segment(&mut self) {
        self.segment += 1;
        let settles = self.restore.is_some() || self.has_channels_to_settle();
        if settles && matches!(self.gate, Gate::Open) {
            self.gate = Gate::Resetting;
        }
    }
}

/// The body of a message, once all of it is there.
pub(super) fn whole_body(header: FrameHeader, rest: &[u8]) -> Option<&[u8]> {
    rest.get(HEADER_LEN..header.wire_len)
}
