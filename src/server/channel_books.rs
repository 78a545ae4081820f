//! Which clients of a pool listen to what, as far as the pool's listener knows.
//!
//! Owns: ears, channels, which of these are in force, what is to be asked for next. Does not know: the connection
//! (`listening`), who drives it (`listener`). None of the ears is held alive.
//!
//! Bounds: an ear is known as long as its client is there and has [`MAX_CHANNELS`](crate::session::MAX_CHANNELS)
//! channels at most; a channel is known as long as an ear is for it or PostgreSQL listens to it; everything else here
//! has at most one entry for each ear or for each channel. A change of one channel costs the same however many there
//! are.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::{Rc, Weak};

use crate::proto::{put_identifier, put_query_parts};
use crate::session::{Ear, EarId, Name, Progress};

/// Channels that one batch asks for; the others follow.
pub(super) const MAX_BATCH: usize = 200;

/// See the module.
#[derive(Default)]
pub(super) struct Books {
    last_id: u64,
    last_change: u64,
    channels: HashMap<Name, Channel>,
    ears: HashMap<EarId, Known>,
    /// Channels whose being in force may not agree with their being wanted, by [`Channel::changed`].
    changed: BTreeMap<u64, Name>,
    /// Who asked for something that no batch under way covers.
    waiting: HashSet<EarId>,
    /// Channels that PostgreSQL has refused and somebody still wants.
    refused: HashSet<Name>,
    /// Somebody has missed something.
    gap: bool,
}

#[derive(Default)]
struct Channel {
    ears: HashSet<EarId>,
    stage: Stage,
    /// Its place among those that have changed.
    changed: Option<u64>,
}

/// What PostgreSQL knows of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Unknown,
    /// LISTEN is under way.
    Asked,
    InForce,
}

struct Known {
    ear: Weak<Ear>,
    channels: HashSet<Name>,
    /// How many of them are not in force.
    missing: usize,
    /// It has missed something and is to be told.
    missed: bool,
}

impl Known {
    fn tell(&self, progress: Progress) {
        if let Some(ear) = self.ear.upgrade().filter(|ear| ear.progress() == Progress::Waiting) {
            ear.set_progress(progress);
        }
    }
}

/// What one query of a batch is for. PostgreSQL answers in order, so each answer is the oldest one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Listen(Name),
    Unlisten(Name),
    /// Nothing: its answer comes behind all that was notified before.
    Barrier,
}

impl Ask {
    /// What answers it if it was carried out: the type of the message and its body.
    pub(super) const fn expected(&self) -> (u8, &'static [u8]) {
        match self {
            Self::Listen(_) => (b'C', b"LISTEN\0"),
            Self::Unlisten(_) => (b'C', b"UNLISTEN\0"),
            Self::Barrier => (b'I', b""),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let (word, name): (&[u8], _) = match self {
            Self::Listen(name) => (b"LISTEN ", name),
            Self::Unlisten(name) => (b"UNLISTEN ", name),
            Self::Barrier => return put_query_parts(out, &[]),
        };
        let mut quoted = Vec::with_capacity(name.len() + 2);
        put_identifier(&mut quoted, name);
        put_query_parts(out, &[word, &quoted]);
    }
}

/// Queries that are sent together. Each is a transaction of its own, so that one that fails takes no other along.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What is not answered yet, oldest first.
    pub(super) plan: VecDeque<Ask>,
    /// Who waits for all of it.
    asked_by: Vec<EarId>,
}

impl Batch {
    /// The queries.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for ask in &self.plan {
            ask.put(out);
        }
    }
}

impl Books {
    /// Whether anybody listens.
    pub(super) fn is_wanted(&self) -> bool {
        !self.ears.is_empty()
    }

    /// Clients that listen.
    pub(super) fn clients(&self) -> usize {
        self.ears.len()
    }

    // --- ears ------------------------------------------------------------------------------------------------

    /// The name of an ear; one that is new gets one that no other had.
    fn id_of(&mut self, ear: &Ear) -> EarId {
        ear.id().unwrap_or_else(|| {
            self.last_id += 1;
            let id = EarId(self.last_id);
            ear.set_id(id);
            id
        })
    }

    /// Brings the books up to date with the channels that an ear is for; whether there was anything to do.
    pub(super) fn update(&mut self, ear: &Rc<Ear>) -> bool {
        let news = ear.take_news();
        if news.is_empty() {
            return false;
        }
        let id = self.id_of(ear);
        for name in news {
            if ear.knows(&name) {
                self.add(id, ear, &name);
            } else {
                self.remove(id, &name);
            }
        }
        if ear.is_deaf() {
            self.leave(id);
        }
        true
    }

    fn add(&mut self, id: EarId, ear: &Rc<Ear>, name: &Name) {
        let known = self.ears.entry(id).or_insert_with(|| Known {
            ear: Rc::downgrade(ear),
            channels: HashSet::new(),
            missing: 0,
            missed: false,
        });
        if !known.channels.insert(Rc::clone(name)) {
            return;
        }
        let channel = self.channels.entry(Rc::clone(name)).or_default();
        channel.ears.insert(id);
        if channel.stage != Stage::InForce {
            known.missing += 1;
            self.note_change(name);
        }
    }

    fn remove(&mut self, id: EarId, name: &Name) {
        let Some(known) = self.ears.get_mut(&id) else { return };
        if !known.channels.remove(name) {
            return;
        }
        let Some(channel) = self.channels.get_mut(name) else { return };
        known.missing -= usize::from(channel.stage != Stage::InForce);
        channel.ears.remove(&id);
        if channel.ears.is_empty() {
            self.note_change(name);
        }
    }

    /// An ear is for nothing any more.
    pub(super) fn leave(&mut self, id: EarId) {
        let channels = self.ears.get_mut(&id).map(|known| std::mem::take(&mut known.channels));
        for name in channels.into_iter().flatten() {
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            channel.ears.remove(&id);
            if channel.ears.is_empty() {
                self.note_change(&name);
            }
        }
        self.ears.remove(&id);
        self.waiting.remove(&id);
    }

    /// An ear that is known waits for what is to be asked for next.
    pub(super) fn wait(&mut self, ear: &Ear) {
        self.waiting.extend(ear.id().filter(|id| self.ears.contains_key(id)));
    }

    /// Whoever waits, waits no more.
    pub(super) fn refuse_all(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            if let Some(known) = self.ears.get(&id) {
                known.tell(Progress::Refused);
            }
        }
    }

    /// A notification has come.
    pub(super) fn heard(&self, channel: &[u8], message: &[u8]) {
        let Some(known) = self.channels.get(channel) else { return };
        for ear in known.ears.iter().filter_map(|id| self.ears.get(id)?.ear.upgrade()) {
            ear.hear(channel, message);
        }
    }

    // --- channels --------------------------------------------------------------------------------------------

    /// A channel may have to be asked for, or given up. One that PostgreSQL has not heard of is forgotten at once.
    fn note_change(&mut self, name: &Name) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if channel.ears.is_empty() {
            self.refused.remove(name);
            if channel.stage == Stage::Unknown {
                if let Some(place) = channel.changed {
                    self.changed.remove(&place);
                }
                self.channels.remove(name);
                return;
            }
        }
        if channel.changed.is_none() {
            self.last_change += 1;
            channel.changed = Some(self.last_change);
            self.changed.insert(self.last_change, Rc::clone(name));
        }
    }

    /// The next queries, if there is anything to ask for. None is under way.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.plan.len() < MAX_BATCH
            && let Some((_, name)) = self.changed.pop_first()
        {
            batch.plan.extend(self.next_ask(name));
        }
        batch.asked_by = self.waiting.drain().collect();
        if batch.plan.is_empty() && !batch.asked_by.is_empty() {
            batch.plan.push_back(Ask::Barrier);
        }
        (!batch.plan.is_empty()).then_some(batch)
    }

    fn next_ask(&mut self, name: Name) -> Option<Ask> {
        let channel = self.channels.get_mut(&name)?;
        channel.changed = None;
        match (channel.ears.is_empty(), channel.stage) {
            (false, Stage::Unknown) => {
                channel.stage = Stage::Asked;
                Some(Ask::Listen(name))
            }
            (true, Stage::InForce) => {
                self.channels.remove(&name);
                Some(Ask::Unlisten(name))
            }
            // It has changed back; or it is under way, which must not be: then its answer settles it.
            (false, Stage::InForce | Stage::Asked) | (true, Stage::Unknown | Stage::Asked) => None,
        }
    }

    /// PostgreSQL listens to a channel from now on.
    pub(super) fn listening(&mut self, name: &Name) {
        self.refused.remove(name);
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.stage = Stage::InForce;
        for id in &channel.ears {
            if let Some(known) = self.ears.get_mut(id) {
                known.missing -= 1;
            }
        }
        if channel.ears.is_empty() {
            self.note_change(name);
        }
    }

    /// PostgreSQL will not listen to a channel. Those who have just asked for it keep their servers; those who
    /// listened before the connection was lost are told, and it is asked for again later.
    pub(super) fn refused(&mut self, name: &Name) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.stage = Stage::Unknown;
        let is_news = self.refused.insert(Rc::clone(name));
        for known in channel.ears.iter().filter_map(|id| self.ears.get(id)) {
            let Some(ear) = known.ear.upgrade() else { continue };
            if !ear.hears(name) {
                known.tell(Progress::Refused);
            } else if is_news {
                ear.interrupted();
            }
        }
        if channel.ears.is_empty() {
            self.note_change(name);
        }
    }

    /// Asks again for what was refused; whether there is anything.
    pub(super) fn retry(&mut self) -> bool {
        let names: Vec<_> = self.refused.iter().cloned().collect();
        for name in &names {
            self.note_change(name);
        }
        !names.is_empty()
    }

    /// Everything in a batch has been answered.
    pub(super) fn answered(&mut self, batch: Batch) {
        for id in batch.asked_by {
            let Some(known) = self.ears.get(&id) else { continue };
            let refused = || known.ear.upgrade().is_none_or(|ear| ear.progress() != Progress::Waiting);
            if known.missing == 0 || self.only_refused_are_missing(known) {
                known.tell(Progress::Done);
            } else if !refused() {
                self.waiting.insert(id);
            }
        }
        if std::mem::take(&mut self.gap) {
            self.tell_of_gap();
        }
    }

    /// Whether nothing is on its way for this ear.
    fn only_refused_are_missing(&self, known: &Known) -> bool {
        known.missing <= self.refused.len()
            && known.missing == self.refused.iter().filter(|name| known.channels.contains(*name)).count()
    }

    /// Whoever has missed something and hears all of its channels again is told.
    fn tell_of_gap(&mut self) {
        for known in self.ears.values_mut().filter(|known| known.missed) {
            if known.missing > 0 {
                self.gap = true;
            } else {
                known.missed = false;
                if let Some(ear) = known.ear.upgrade() {
                    ear.interrupted();
                }
            }
        }
    }

    /// The connection is gone, with what is under way: whoever asked for that does not wait for the next time.
    pub(super) fn lost(&mut self, under_way: Option<&Batch>) {
        for known in under_way.iter().flat_map(|batch| &batch.asked_by).filter_map(|id| self.ears.get(id)) {
            known.tell(Progress::Refused);
        }
        for known in self.ears.values_mut() {
            known.missed |= known.missing < known.channels.len();
            self.gap |= known.missed;
            known.missing = known.channels.len();
        }
        self.refused.clear();
        self.changed.clear();
        self.channels.retain(|_, channel| !channel.ears.is_empty());
        for (name, channel) in &mut self.channels {
            self.last_change += 1;
            (channel.stage, channel.changed) = (Stage::Unknown, Some(self.last_change));
            self.changed.insert(self.last_change, Rc::clone(name));
        }
    }

    /// How many entries there are, for tests of the bounds.
    #[cfg(test)]
    pub(super) fn entries(&self) -> [usize; 5] {
        [self.channels.len(), self.ears.len(), self.changed.len(), self.waiting.len(), self.refused.len()]
    }
}
