//! What a client listens to, whichever server works for it: LISTEN and UNLISTEN as they came out, and NOTIFY.
//!
//! LISTEN runs on the client's server, and the survey tells what has come of it. Then the pool's listener, one
//! connection for all, takes the channels over, the server forgets them, and only now the client hears that it is
//! done. Nothing of UNLISTEN is found on a server that has never heard of the channel, so its words count, unless an
//! error or a ROLLBACK undoes them. A client that hears its own notifications hears them before the end of the
//! transaction that sent them: the listener is asked first whether it has passed them on.
//!
//! Where the listener cannot be had the client keeps its server, if the pool has room for one more pin, and goes on to
//! the listener as soon as there is one.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::conversation::{Gate, Session, Turn};
use super::ear::{Ear, MAX_CHANNELS, Name, channel_of};
use super::outbox::Outbox;
use super::owed::Why;
use super::own::Own;
use super::pins::no_room_to_listen;
use super::sql::{Digest, Features};
use super::survey::{Findings, PinReasons};
use crate::proto::{TxStatus, put_ready};

/// What the pool's listener is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// To listen to all that the client's [`Ear`] wants.
    Register,
    /// To pass on what was notified until now.
    Barrier,
}

/// Most UNLISTEN of one transaction that are noted; more are taken for UNLISTEN *.
const MAX_UNLISTENED: usize = 1000;

/// Time between two attempts to hand the channels of one client to the listener.
const PAUSE: Duration = Duration::from_secs(2);

/// How the channels that were found on the client's server get to the listener.
///
/// ```text
/// Settled --LISTEN--> Fresh --granted--------------> Settled
///                       `--refused--> Kept(then) <--refused-- Moving --granted--> Settled
///                                        `----------then-------^
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Passage {
    /// There is nothing to be handed over, or it never will be.
    #[default]
    Settled,
    /// On their way. The client has not been told yet that it listens, so what its server hears is nobody's.
    Fresh,
    /// On their way. The client hears its server until the listener hears for it.
    Moving,
    /// They could not be handed over; it is tried again then.
    Kept(Instant),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Channels {
    pub(super) ear: Option<Rc<Ear>>,
    /// Channels of UNLISTEN in this transaction; `None` for all.
    unlistened: Vec<Option<Box<[u8]>>>,
    /// How many of them are certain: COMMIT AND CHAIN ended their transaction.
    certain: usize,
    /// NOTIFY in this transaction.
    notified: bool,
    /// The client waits for the end of its transaction.
    owes_ready: bool,
    passage: Passage,
}

impl Channels {
    pub(super) fn of(ear: Option<Rc<Ear>>) -> Self {
        Self { ear, ..Self::default() }
    }

    /// Whether it listens to nothing.
    pub(super) const fn is_deaf(&self) -> bool {
        self.ear.is_none()
    }

    /// Whether the client may yet do without its server, as far as LISTEN goes: it is no pin so far.
    pub(super) const fn may_leave_server(&self) -> bool {
        matches!(self.passage, Passage::Fresh)
    }

    /// The server is gone, and what it listened to.
    pub(super) fn unlinked(&mut self) {
        self.passage = Passage::Settled;
    }

    /// Whether command tags matter now.
    pub(super) const fn watches_tags(&self) -> bool {
        !self.unlistened.is_empty()
    }

    /// What was to be unlistened to is not, after all.
    pub(super) fn undone(&mut self) {
        self.unlistened.truncate(self.certain);
    }

    /// What a command tag means for it.
    pub(super) fn completed(&mut self, tag: &[u8]) {
        match tag {
            b"ROLLBACK\0" => self.undone(),
            b"COMMIT\0" => self.certain = self.unlistened.len(),
            _ => {}
        }
    }

    /// Takes the UNLISTENs into account, of which those of `kept` come to nothing.
    fn forget_unlistened(&mut self, kept: &HashSet<&[u8]>) {
        self.certain = 0;
        let unlistened = std::mem::take(&mut self.unlistened);
        let Some(ear) = self.ear.as_ref().filter(|_| !unlistened.is_empty()) else { return };
        if !unlistened.contains(&None) {
            return ear
                .forget(unlistened.iter().flatten().map(|name| &**name).filter(|name| !kept.contains(name)));
        }
        if kept.is_empty() {
            return ear.forget_all();
        }
        let all = ear.channels();
        ear.forget(all.iter().map(|name| &**name).filter(|name| !kept.contains(name)));
    }
}

impl Session {
    /// What the client listens with, if it listens.
    pub const fn ear(&self) -> Option<&Rc<Ear>> {
        self.channels.ear.as_ref()
    }

    /// What the listener has to do before the client goes on.
    pub const fn errand(&self) -> Option<Errand> {
        match self.gate {
            Gate::Errand(errand) => Some(errand),
            Gate::Open | Gate::Preparing(_) | Gate::Resetting | Gate::SkipToSync => None,
        }
    }

    /// It listens to nothing any more.
    pub fn stop_listening(&mut self) {
        self.channels.ear = None;
    }

    /// Notes what a text that is about to run may do with the client's channels.
    pub(super) fn note_channels(&mut self, digest: &Digest) {
        if self.channels.ear.is_none() {
            return; // whatever is listened to now, the survey finds
        }
        self.channels.notified |= digest.features.intersects(Features::NOTIFY);
        let Channels { unlistened, certain, .. } = &mut self.channels;
        if unlistened.len() + digest.unlistened.len() >= MAX_UNLISTENED {
            (*unlistened, *certain) = (vec![None], 0);
        } else if digest.features.intersects(Features::DISCARD_ALL) {
            unlistened.push(None);
        } else {
            unlistened.extend(digest.unlistened.iter().cloned());
        }
    }

    /// Whether the end of the transaction is to be held back until the channels are settled.
    pub(super) fn has_channels_to_settle(&self) -> bool {
        self.channels.notified || self.channels.watches_tags() || self.listens_anew()
    }

    fn listens_anew(&self) -> bool {
        self.rules.follows()
            && self.traces.as_ref().is_some_and(|traces| traces.features.intersects(Features::LISTEN))
    }

    /// The client's transaction has ended: whether it has to wait before it hears so.
    pub(super) fn settle_channels(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.tx != TxStatus::Idle || !self.has_channels_to_settle() {
            return false;
        }
        self.channels.owes_ready = true;
        if self.listens_anew() {
            self.ask_survey(turn);
        } else {
            self.forget_unlistened();
        }
        !self.answers_now()
    }

    /// Whether nothing is left to wait for, and the client waits.
    pub(super) fn answers_now(&mut self) -> bool {
        if !matches!(self.gate, Gate::Open) || !self.channels.owes_ready {
            return false;
        }
        if std::mem::take(&mut self.channels.notified) && self.channels.ear.is_some() {
            self.gate = Gate::Errand(Errand::Barrier);
            return false;
        }
        self.channels.owes_ready = false;
        true
    }

    fn forget_unlistened(&mut self) {
        self.channels.forget_unlistened(&HashSet::new());
    }

    /// Channels were found on the server. Whether the listener can have them; the server keeps them until it does.
    pub(super) fn adopt_channels(&mut self, findings: &Findings) {
        let by_server = findings.channels.is_empty() || !self.rules.follows();
        self.channels.passage = match self.pinned_for().intersects(PinReasons::LISTEN) {
            _ if by_server => Passage::Settled,
            true => Passage::Moving,
            false => Passage::Fresh,
        };
        if by_server {
            return self.forget_unlistened();
        }
        let ear = Rc::clone(self.channels.ear.get_or_insert_default());
        // What was listened to before goes on without a gap, although it may have been unlistened to meanwhile.
        let found = findings.channels.iter().map(|name| &**name).collect();
        self.channels.forget_unlistened(&found);
        let joining: Vec<&[u8]> = found.into_iter().filter(|name| !ear.knows(name)).collect();
        if ear.count() + joining.len() > MAX_CHANNELS {
            return;
        }
        ear.join(joining.into_iter().map(Name::from));
        self.gate = Gate::Errand(Errand::Register);
    }

    /// The listener has done what it was asked for, or cannot: then the server keeps the channels, and the client the
    /// server.
    pub fn errand_done(&mut self, turn: &mut Turn<'_>, granted: bool) {
        let Gate::Errand(errand) = self.gate else { return };
        self.gate = Gate::Open;
        if errand == Errand::Register {
            if granted {
                return self.unlisten(turn);
            }
            self.keep_channels(turn, Passage::Kept(turn.now + PAUSE));
        }
        if self.answers_now() {
            self.put_heard(turn.to_client);
            let status = self.tx;
            turn.to_client.own(|out| put_ready(out, status));
            self.close_clocks(turn.now);
        }
    }

    /// The survey is settled: channels that are too many for the listener stay where they are.
    pub(super) fn settle_passage(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.channels.passage, Passage::Fresh | Passage::Moving)
            && matches!(self.gate, Gate::Open)
        {
            self.keep_channels(turn, Passage::Settled);
        }
    }

    /// The server keeps the channels, and the client the server: if there is room for that. A client that has been told
    /// already that its transaction has ended takes it in any case.
    fn keep_channels(&mut self, turn: &mut Turn<'_>, passage: Passage) {
        let is_new = self.channels.passage == Passage::Fresh && self.channels.owes_ready;
        if is_new && !self.is_pinned_beside_listen() && !turn.pins.take() {
            turn.to_client.own(|out| no_room_to_listen().put(out));
            return self.unlisten(turn);
        }
        self.channels.passage = passage;
    }

    fn unlisten(&mut self, turn: &mut Turn<'_>) {
        let mut batch = self.own_batch(Own::Unlisten);
        batch.add(Why::Own, "UNLISTEN *", &[]);
        self.send_own(turn, batch);
    }

    /// Whether its server listens for it only until the listener can.
    #[inline(always)]
    pub const fn awaits_listener(&self) -> bool {
        matches!(self.channels.passage, Passage::Kept(_))
    }

    /// The listener is there: what the server listens to is asked for again, if it is time for that and the server is
    /// at rest. `unsent` and `unread` as in [`Session::try_release`].
    pub fn listen_again(&mut self, now: Instant, unsent: usize, unread: usize) {
        let is_time = matches!(self.channels.passage, Passage::Kept(then) if now >= then);
        if is_time && matches!(self.gate, Gate::Open) && self.is_at_rest(unsent, unread) {
            self.traces.get_or_insert_default().features |= Features::LISTEN;
        }
    }

    /// Whether the client hears its server until the listener hears for it.
    pub fn is_moving_channels(&self) -> bool {
        self.channels.passage == Passage::Moving
    }

    /// The server has forgotten the channels.
    pub(super) fn unlistened(&mut self) {
        let passage = std::mem::take(&mut self.channels.passage);
        if let Some(ear) = self.channels.ear.as_ref().filter(|_| passage == Passage::Moving) {
            ear.moved(); // in between, something may have come to the one too late and to the other too early
        }
        if let Some(pins) = &mut self.pins {
            pins.reasons = pins.reasons.without(PinReasons::LISTEN);
        }
        self.pins.take_if(|pins| pins.reasons.is_empty());
    }

    /// Gives the client what was heard for it, if it is idle outside a transaction (R45); whether there was anything.
    pub fn deliver_heard(&mut self, to_client: &mut Outbox) -> bool {
        let idle =
            matches!(self.gate, Gate::Open) && self.inflight.at_rest(self.tx) && self.from_server.left == 0;
        idle && self.put_heard(to_client)
    }

    /// Gives the client what was heard for it; it must be outside a transaction, or hear of its end next.
    pub(super) fn put_heard(&self, to_client: &mut Outbox) -> bool {
        let Some(ear) = self.channels.ear.as_ref().filter(|ear| ear.has_heard()) else { return false };
        to_client.own(|out| ear.take_heard(out));
        true
    }

    /// Whether a notification from the linked server is for the client: not what the listener passes on as well.
    pub(super) fn hears_server(&self, body: &[u8]) -> bool {
        let Some(ear) = &self.channels.ear else { return true };
        let channel = channel_of(body);
        let by_listener = if self.is_moving_channels() { ear.hears(channel) } else { ear.knows(channel) };
        !by_listener
    }

    /// Bytes of a notification that must be there before it is judged.
    pub(super) const fn held_notification(&self) -> usize {
        /// Process id, a name at its longest in any encoding, and its end.
        const TOLD: usize = 4 + 4 * 63 + 1;
        if self.channels.ear.is_some() { crate::proto::HEADER_LEN + TOLD } else { crate::proto::HEADER_LEN }
    }
}
