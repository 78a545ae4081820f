//! What a pool's listener hears for one client, until the client may hear it.
//!
//! Shared between the client's conversation, which owns it, and the listener, which puts into it. Bounded: a client
//! that stays in a transaction, or does not read, loses what is beyond, and is told so. Whatever is done about one
//! channel costs the same however many there are.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::task::Waker;

use crate::proto::{FrameHeader, HEADER_LEN, PgError};

/// The name of a channel; clients and listener share it.
pub type Name = Rc<[u8]>;

/// Channels of one client; a client with more keeps its server.
pub const MAX_CHANNELS: usize = 1000;

/// Bytes of notifications that wait for one client: some thirty of the largest, thousands of the usual ones.
const MAX_HEARD: usize = 256 * 1024;

/// What a client is told whose notifications did not fit.
const OVERFLOWED: &str = "notifications were lost: more arrived than the pooler keeps for a client";

/// What a client is told after the listener was gone for a while.
const INTERRUPTED: &str =
    "notifications may have been lost: the pooler's connection that listens was interrupted";

/// What a client is told that has heard its server so far.
const MOVED: &str = "notifications may have been lost: the pooler's connection that listens has taken over";

/// Names an ear to its listener, and no other one ever after: an answer that comes late is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EarId(pub u64);

/// How far the listener is with what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Nothing was asked.
    #[default]
    None,
    /// It is at it.
    Waiting,
    /// It has done it.
    Done,
    /// It cannot.
    Refused,
}

/// How far a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What comes of it now was sent before the client listened.
    Joining,
    /// What comes of it is the client's.
    Heard,
}

/// See the module.
#[derive(Default)]
pub struct Ear {
    /// The listener's name for it; `None` as long as that has not heard of it.
    id: Cell<Option<EarId>>,
    channels: RefCell<HashMap<Name, Stage>>,
    /// Those it is being registered for.
    joining: RefCell<Vec<Name>>,
    /// Channels of which the listener does not know how they are now. Taken on each turn of the client.
    news: RefCell<Vec<Name>>,
    heard: RefCell<Vec<u8>>,
    overflowed: Cell<bool>,
    progress: Cell<Progress>,
    waker: Cell<Option<Waker>>,
}

/// Each is one client's.
impl PartialEq for Ear {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Ear {}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Ear {
    /// The listener's name for it, if it has one.
    pub const fn id(&self) -> Option<EarId> {
        self.id.get()
    }

    /// The listener calls it so from now on.
    pub fn set_id(&self, id: EarId) {
        self.id.set(Some(id));
    }

    /// How many channels it is for, or is to be for.
    pub fn count(&self) -> usize {
        self.channels.borrow().len()
    }

    /// Channels it is for, or is to be for, in no order.
    pub fn channels(&self) -> Vec<Name> {
        self.channels.borrow().keys().cloned().collect()
    }

    /// Whether it is for no channel, and will not be.
    pub fn is_deaf(&self) -> bool {
        self.channels.borrow().is_empty()
    }

    /// Whether it is for this channel, or will be.
    pub fn knows(&self, channel: &[u8]) -> bool {
        self.channels.borrow().contains_key(channel)
    }

    /// Whether it is for this channel.
    pub fn hears(&self, channel: &[u8]) -> bool {
        self.channels.borrow().get(channel) == Some(&Stage::Heard)
    }

    /// It is for these no more; what was heard from them is forgotten.
    pub fn forget<'a>(&self, channels: impl Iterator<Item = &'a [u8]>) {
        let mut known = self.channels.borrow_mut();
        let gone: Vec<_> =
            channels.filter_map(|name| known.remove_entry(name)).map(|(name, _)| name).collect();
        drop(known);
        if !gone.is_empty() {
            self.news.borrow_mut().extend(gone);
            self.drop_heard();
        }
    }

    /// It is for no channel any more; what was heard is forgotten.
    pub fn forget_all(&self) {
        let gone = self.channels.take().into_keys();
        self.news.borrow_mut().extend(gone);
        self.joining.take();
        self.drop_heard();
    }

    /// Drops what was heard from channels that it is not for.
    fn drop_heard(&self) {
        let heard = self.heard.take();
        let mut kept = Vec::new();
        let mut rest = heard.as_slice();
        while let Ok(Some(header)) = FrameHeader::backend(rest)
            && let Some((message, behind)) = rest.split_at_checked(header.wire_len)
        {
            let body = message.get(HEADER_LEN..).unwrap_or_default();
            if header.tag != b'A' || self.hears(channel_of(body)) {
                kept.extend_from_slice(message);
            }
            rest = behind;
        }
        self.heard.replace(kept);
    }

    /// It is for these as well, once the listener is done with what it is asked for next.
    pub fn join(&self, channels: impl Iterator<Item = Name>) {
        let mut known = self.channels.borrow_mut();
        for name in channels {
            if let Entry::Vacant(place) = known.entry(Rc::clone(&name)) {
                place.insert(Stage::Joining);
                self.news.borrow_mut().push(Rc::clone(&name));
                self.joining.borrow_mut().push(name);
            }
        }
    }

    /// Channels of which the listener has to learn how they are now.
    pub fn take_news(&self) -> Vec<Name> {
        self.news.take()
    }

    /// The task to wake when there is something for the client.
    pub fn listen(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = &waker {
            waker.wake_by_ref();
        }
        self.waker.set(waker);
    }

    /// The listener has heard a notification; `message` is all of it.
    pub fn hear(&self, channel: &[u8], message: &[u8]) {
        if self.hears(channel) {
            self.put(message);
        }
    }

    /// The listener was gone for a while.
    pub fn interrupted(&self) {
        self.tell(INTERRUPTED);
    }

    /// The listener has taken over from the client's server.
    pub(super) fn moved(&self) {
        self.tell(MOVED);
    }

    fn tell(&self, text: &'static str) {
        let mut message = Vec::new();
        PgError::notice(text).put(&mut message);
        self.put(&message);
    }

    fn put(&self, message: &[u8]) {
        let mut heard = self.heard.borrow_mut();
        if self.overflowed.get() || heard.len() + message.len() > MAX_HEARD {
            self.overflowed.set(true);
        } else {
            heard.extend_from_slice(message);
        }
        drop(heard);
        self.wake();
    }

    /// Whether there is something for the client.
    pub fn has_heard(&self) -> bool {
        !self.heard.borrow().is_empty() || self.overflowed.get()
    }

    /// Takes what is there for the client.
    pub fn take_heard(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.heard.take());
        if self.overflowed.take() {
            PgError::notice(OVERFLOWED).put(out);
        }
    }

    /// The listener was asked, or has got on.
    pub fn set_progress(&self, progress: Progress) {
        self.progress.set(progress);
        let refused = match progress {
            Progress::None | Progress::Waiting => return,
            Progress::Done => false,
            Progress::Refused => true,
        };
        let mut channels = self.channels.borrow_mut();
        for name in self.joining.take() {
            let Some(stage) = channels.get_mut(&name).filter(|stage| **stage == Stage::Joining) else {
                continue;
            };
            *stage = Stage::Heard;
            if refused {
                channels.remove(&name);
                self.news.borrow_mut().push(name);
            }
        }
        drop(channels);
        self.wake();
    }

    /// How far it is.
    pub const fn progress(&self) -> Progress {
        self.progress.get()
    }
}

/// The channel of a notification.
pub fn channel_of(body: &[u8]) -> &[u8] {
    body.get(4..).and_then(|rest| rest.split(|&byte| byte == 0).next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(channel: &str) -> Vec<u8> {
        let body = [b"\0\0\0\x07", channel.as_bytes(), b"\0payload\0"].concat();
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [b"A", &length[..], &body].concat()
    }

    fn ear(channels: &[&str]) -> Ear {
        let ear = Ear::default();
        ear.join(channels.iter().map(|name| name.as_bytes().into()));
        ear.set_progress(Progress::Done);
        ear
    }

    fn heard(ear: &Ear) -> Vec<u8> {
        let mut out = Vec::new();
        ear.take_heard(&mut out);
        out
    }

    #[test]
    fn only_what_is_listened_to_is_kept_in_order() {
        let ear = ear(&["a", "b"]);
        for name in ["a", "c", "b", "a"] {
            ear.hear(name.as_bytes(), &notification(name));
        }
        let kept = [notification("a"), notification("b"), notification("a")].concat();
        assert_eq!(heard(&ear), kept);
        assert!(!ear.has_heard());
    }

    #[test]
    fn what_was_sent_before_it_listened_is_not_heard() {
        let ear = ear(&["a"]);
        ear.join(std::iter::once(b"b"[..].into()));
        for name in ["a", "b"] {
            ear.hear(name.as_bytes(), &notification(name));
        }
        assert_eq!(heard(&ear), notification("a"), "the others go on");
        ear.set_progress(Progress::Done);
        ear.hear(b"b", &notification("b"));
        assert_eq!(heard(&ear), notification("b"));
        ear.join(std::iter::once(b"c"[..].into()));
        ear.set_progress(Progress::Refused);
        assert!(!ear.knows(b"c") && ear.knows(b"b"));
    }

    /// LISTEN once more to what is listened to already, refused: it goes on as before.
    #[test]
    fn a_refusal_takes_only_what_was_being_joined() {
        let ear = ear(&["a", "b"]);
        ear.take_news();
        ear.join([&b"a"[..], b"c"].map(Name::from).into_iter());
        ear.forget(std::iter::once(&b"b"[..]));
        ear.set_progress(Progress::Refused);
        assert!(ear.hears(b"a") && ear.count() == 1);
        let news: Vec<_> = ear.take_news().iter().map(|name| name.to_vec()).collect();
        assert_eq!(news, [b"c", b"b", b"c"], "each change, and nothing of a");
    }

    #[test]
    fn what_was_heard_of_a_channel_goes_with_it() {
        let ear = ear(&["a", "b"]);
        for name in ["a", "b"] {
            ear.hear(name.as_bytes(), &notification(name));
        }
        ear.interrupted();
        ear.forget(std::iter::once(&b"a"[..]));
        let out = heard(&ear);
        assert!(out.starts_with(&notification("b")) && out[notification("b").len()] == b'N');
    }

    #[test]
    fn a_client_that_does_not_take_what_it_is_owed_is_told_so_and_costs_no_more() {
        let ear = ear(&["a"]);
        let message = notification("a");
        for _ in 0..=MAX_HEARD / message.len() {
            ear.hear(b"a", &message);
        }
        assert!(ear.heard.borrow().len() <= MAX_HEARD);
        let out = heard(&ear);
        let notice = MAX_HEARD / message.len() * message.len();
        assert_eq!(out[notice], b'N');
        ear.hear(b"a", &message);
        assert_eq!(heard(&ear), message, "and hears again");
    }
}
