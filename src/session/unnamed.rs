//! The unnamed statement: it belongs to the client, survives Sync, and is parsed again on whichever server.
//!
//! It dies with the next Parse of the unnamed statement (a failed one too), a Query, or its Close (R41). As with
//! named ones the record changes when the server answers (R52).

use std::collections::VecDeque;

use super::owed::Owed;
use super::statements::Lookup;

/// Bytes of texts whose Parse was not answered yet before the client has to wait: a few of the largest that are
/// kept, and far more than small ones that PostgreSQL may leave unanswered until a Sync.
pub(super) const MAX_SENT_BYTES: usize = 1024 * 1024;

/// A client's unnamed statement: a number that tells whether a server has just this one, and its text and types.
#[derive(Debug, Default)]
pub struct Unnamed {
    current: Option<Text>,
    sent: VecDeque<Sent>,
    /// Texts in `sent`, in bytes.
    sent_bytes: usize,
    /// Empty buffers for texts to come.
    spare: Vec<Vec<u8>>,
    /// The text was too large to keep, so only the server that has it can run it.
    pinned: bool,
}

/// A statement's text.
#[derive(Debug)]
pub(super) struct Text {
    id: u64,
    rest: Vec<u8>,
}

impl Text {
    /// The statement of this number and text.
    pub(super) const fn new(id: u64, rest: Vec<u8>) -> Self {
        Self { id, rest }
    }

    /// Its text alone.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.rest
    }
}

/// Memory that is lent to whichever client is at work; no list or buffer in it holds anything.
#[derive(Debug, Default)]
pub struct Spare {
    sent: VecDeque<Sent>,
    texts: Vec<Vec<u8>>,
    pub(super) owed: VecDeque<Owed>,
}

#[derive(Debug)]
struct Sent {
    change: Change,
    segment: u64,
}

#[derive(Debug)]
enum Change {
    Parse(Text, bool),
    Prepare(u64),
    End,
}

impl Unnamed {
    /// Whether a Bind of the unnamed statement can be passed on (`Found(None)`), needs this text parsed first
    /// (`Found(Some)`), or fails. `on_server` is the number of the statement the server has.
    pub fn find(&self, on_server: Option<u64>, segment: u64) -> Lookup<Option<(u64, &[u8])>> {
        match self.sent.back() {
            Some(sent) if sent.segment != segment => return Lookup::Wait,
            Some(Sent { change: Change::Parse(..) | Change::Prepare(_), .. }) => return Lookup::Found(None),
            Some(Sent { change: Change::End, .. }) => return Lookup::Missing,
            None => {}
        }
        match &self.current {
            None => Lookup::Missing,
            // Its text was not kept: no other server can have it.
            Some(text) if self.pinned && Some(text.id) != on_server => Lookup::Missing,
            Some(text) if Some(text.id) == on_server => Lookup::Found(None),
            Some(text) => Lookup::Found(Some((text.id, &text.rest))),
        }
    }

    /// Its text and types, also of one on its way; `None` if they were not kept.
    pub fn text(&self) -> Option<&[u8]> {
        let sent = self.sent.iter().rev().find_map(|sent| match &sent.change {
            Change::Parse(text, pinned) => Some((text, *pinned)),
            Change::Prepare(_) | Change::End => None,
        });
        let (text, pinned) = sent.or_else(|| self.current.as_ref().map(|text| (text, self.pinned)))?;
        (!pinned).then_some(&text.rest)
    }

    /// Notes a Parse by the client on its way. With `rest` of `None` the text was too large to keep.
    pub fn send_parse(&mut self, id: u64, rest: Option<&[u8]>, segment: u64) {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(rest.unwrap_or_default());
        self.sent_bytes += copy.len();
        let change = Change::Parse(Text { id, rest: copy }, rest.is_none());
        self.sent.push_back(Sent { change, segment });
    }

    /// Notes our own Parse of the client's statement on its way.
    pub fn send_prepare(&mut self, id: u64, segment: u64) {
        self.sent.push_back(Sent { change: Change::Prepare(id), segment });
    }

    /// Notes a Close or a Query on its way.
    pub fn send_end(&mut self, segment: u64) {
        self.sent.push_back(Sent { change: Change::End, segment });
    }

    /// The oldest change has happened; returns the number of the statement the server has now.
    pub fn confirm(&mut self) -> Option<u64> {
        match self.take_oldest()? {
            Change::Parse(text, pinned) => {
                let id = text.id;
                self.replace(Some(text), pinned);
                Some(id)
            }
            Change::Prepare(id) => Some(id),
            Change::End => {
                self.replace(None, false);
                None
            }
        }
    }

    /// The oldest change was a Parse that failed: the server has dropped what it had.
    pub fn fail(&mut self) {
        if let Some(Change::Parse(..)) = self.take_oldest() {
            self.replace(None, false);
        }
    }

    /// The oldest change was skipped.
    pub fn revoke(&mut self) {
        if let Some(Change::Parse(text, _)) = self.take_oldest() {
            self.keep_spare(text.rest);
        }
    }

    /// A client's statement as it was kept by [`Unnamed::into_text`], to be worked with in borrowed memory.
    pub(super) fn of(text: Option<Text>, spare: Spare) -> Self {
        Self { current: text, sent: spare.sent, spare: spare.texts, ..Self::default() }
    }

    /// What is to be kept of a settled statement, and what was used to work with it.
    pub(super) fn into_text(self) -> (Option<Text>, Spare) {
        /// Changes on their way whose memory is worth keeping.
        const MAX_SENT: usize = 64;
        let Self { current, mut sent, spare, .. } = self;
        sent.clear();
        sent.shrink_to(MAX_SENT);
        (current, Spare { sent, texts: spare, owed: VecDeque::new() })
    }

    /// Whether nothing is on its way, and any server can run it.
    pub fn is_settled(&self) -> bool {
        self.sent.is_empty() && !self.pinned
    }

    /// Whether there is none, and none on its way.
    #[inline]
    pub fn is_blank(&self) -> bool {
        self.current.is_none() && self.sent.is_empty() && !self.pinned
    }

    /// Whether as much text is on its way as one client may leave unanswered.
    pub const fn is_full(&self) -> bool {
        self.sent_bytes >= MAX_SENT_BYTES
    }

    fn take_oldest(&mut self) -> Option<Change> {
        let change = self.sent.pop_front()?.change;
        if let Change::Parse(text, _) = &change {
            self.sent_bytes -= text.rest.len();
        }
        Some(change)
    }

    /// Whether only the server now in use has the statement.
    pub const fn is_pinned(&self) -> bool {
        self.pinned
    }

    fn replace(&mut self, text: Option<Text>, pinned: bool) {
        self.pinned = pinned;
        if let Some(old) = std::mem::replace(&mut self.current, text) {
            self.keep_spare(old.rest);
        }
    }

    fn keep_spare(&mut self, mut buffer: Vec<u8>) {
        /// A buffer up to this size saves a Parse to come an allocation; a larger one only costs memory.
        const MAX_SPARE: usize = 4096;
        /// Buffers kept at a time: for a pipeline of a dozen statements.
        const MAX_SPARES: usize = 16;
        if (1..=MAX_SPARE).contains(&buffer.capacity()) && self.spare.len() < MAX_SPARES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t18_it_survives_sync_and_is_parsed_again_on_another_server() {
        let mut unnamed = Unnamed::default();
        unnamed.send_parse(7, Some(b"select 41\0\0\0"), 1);
        assert!(matches!(unnamed.find(None, 1), Lookup::Found(None)));
        assert!(matches!(unnamed.find(None, 2), Lookup::Wait));
        assert_eq!(unnamed.confirm(), Some(7));
        assert!(matches!(unnamed.find(Some(7), 2), Lookup::Found(None)), "same server");
        let Lookup::Found(Some((7, text))) = unnamed.find(Some(9), 2) else { panic!("another server") };
        assert_eq!(text, b"select 41\0\0\0");
    }

    #[test]
    fn r41_it_dies_with_a_failed_parse_a_query_and_a_close_but_not_when_skipped() {
        let mut unnamed = Unnamed::default();
        unnamed.send_parse(1, Some(b"a"), 1);
        unnamed.confirm();
        unnamed.send_parse(2, Some(b"b"), 2);
        unnamed.revoke();
        assert!(matches!(unnamed.find(Some(1), 3), Lookup::Found(None)), "skipped: the old one lives");
        unnamed.send_end(3);
        unnamed.confirm();
        assert!(matches!(unnamed.find(Some(1), 4), Lookup::Missing));
        unnamed.send_parse(3, Some(b"c"), 4);
        unnamed.fail();
        assert!(matches!(unnamed.find(None, 5), Lookup::Missing));
    }
}
