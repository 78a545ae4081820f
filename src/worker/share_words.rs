//! What shares of a pool tell each other: words that arrive late, early or not at all.
//!
//! Owns: sending them and judging what they are worth when they come. Does not know: what they ask for (`sharing`).
//!
//! Words to one worker are not in order with the console's commands to it, so each tells how many of those its sender
//! had heard that change what servers and rights are worth: its epoch. A server that moved in another epoch than the one
//! it comes to is closed. Rights of a pool that has been removed meanwhile are void, even if it is back: the new one has
//! its own; and rights of a pool that is back wait until their receiver has heard of that. A word that the inbox has no
//! room for costs nothing: complaints and pleas are repeated, rights stay with their sender, and what is decided about a
//! pool is told again on the next tick.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

use super::inbox::{ShareMatter, ShareWord, ToWorker};
use super::state::Worker;
use crate::net::clock;
use crate::pool::{PoolKey, ShareId};

/// Commands by which no worker is ever behind another: more do not fit into its inbox and before it.
const MOST_BEHIND: u64 = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Epochs {
    /// How often servers were outdated at once, or rights void: by RECONNECT, by a reload.
    now: Cell<u64>,
    /// Databases that were removed, and when the last time. Forgotten once no word is so old.
    removed: RefCell<HashMap<Box<str>, u64>>,
    /// Rights from a later epoch: one word for each right of a pool at most.
    ahead: RefCell<Vec<ShareWord>>,
    /// Shares that have not been told whether their pool is split.
    untold: RefCell<HashSet<(PoolKey, ShareId)>>,
}

/// What rights are worth.
#[derive(Debug, PartialEq, Eq)]
enum Worth {
    Good,
    /// Of a pool that is no more.
    Void,
    /// Perhaps of a pool that is not yet.
    Early,
}

impl Epochs {
    /// The present one.
    pub(super) const fn now(&self) -> u64 {
        self.now.get()
    }

    /// Every server there is has become outdated, or may have.
    pub(super) fn next(&self) {
        let now = self.now.get() + 1;
        self.now.set(now);
        self.removed.borrow_mut().retain(|_, at| now - *at < MOST_BEHIND);
    }

    /// A database is not served any more in this epoch.
    pub(super) fn remove(&self, database: &str) {
        self.removed.borrow_mut().insert(database.into(), self.now.get());
    }

    fn worth(&self, word: &ShareWord) -> Worth {
        let removed = self.removed.borrow().get(&*word.database).copied();
        if word.epoch > self.now.get() {
            Worth::Early
        } else if removed.is_some_and(|at| word.epoch < at) {
            Worth::Void
        } else {
            Worth::Good
        }
    }
}

impl Worker {
    pub(super) fn share_id(&self) -> ShareId {
        ShareId(u8::try_from(self.index).unwrap_or(u8::MAX))
    }

    pub(super) fn home_share(&self, key: &PoolKey) -> ShareId {
        ShareId(u8::try_from(self.home_of(&key.database, &key.user)).unwrap_or(u8::MAX))
    }

    pub(super) fn all_shares(&self) -> Vec<ShareId> {
        (0..=u8::MAX).map(ShareId).take(self.shared.inboxes.len()).collect()
    }

    /// Sends a word; rights that cannot be delivered stay here. Whether it has arrived.
    pub(super) fn tell_share(self: &Rc<Self>, key: &PoolKey, to: ShareId, matter: ShareMatter) -> bool {
        let epoch = self.sharing.epochs.now();
        let (database, user) = (key.database.to_string(), key.user.to_string());
        let word = ShareWord { database, user, epoch, matter };
        if to == self.share_id() {
            self.hear_share(word, clock::now());
            return true;
        }
        let Some(inbox) = self.shared.inboxes.get(usize::from(to.0)) else { return false };
        let Err(refused) = inbox.try_send(ToWorker::Share(Box::new(word))) else { return true };
        if let ToWorker::Share(word) = refused.into_inner()
            && let ShareMatter::Rights(..) = word.matter
        {
            self.hear_share(*word, clock::now());
        }
        false
    }

    /// A word about a pool; one whose database is not served any more is of no interest, nor are rights to its
    /// servers.
    pub(super) fn hear_share(self: &Rc<Self>, word: ShareWord, now: Instant) {
        let worth = self.sharing.epochs.worth(&word);
        if matches!(word.matter, ShareMatter::Rights(..)) && worth != Worth::Good {
            if worth == Worth::Early {
                self.sharing.epochs.ahead.borrow_mut().push(word);
            }
            return;
        }
        let is_present = word.epoch == self.sharing.epochs.now();
        let ShareWord { database, user, matter, .. } = word;
        let key = PoolKey::new(&*database, &*user);
        match matter {
            ShareMatter::Short { from, waited, count } => {
                let Some(home) = self.home(&database, &user, now) else { return };
                self.help(&home, from, waited, count, now);
            }
            ShareMatter::Give { to, waited, wants } => {
                let home = self.homes.borrow().get(&key).cloned();
                if let Some(home) = home {
                    self.give(&home, to, waited, wants, now);
                }
            }
            ShareMatter::Rights(rights, moved) => {
                let Some(home) = self.home(&database, &user, now) else { return };
                Self::receive(&home, rights, moved, is_present, now);
            }
            ShareMatter::Split(split) => self.sharing.note_split(key, split),
        }
    }

    /// An epoch has begun, and what it means has been carried out: hears what came too early.
    pub(super) fn hear_early_words(self: &Rc<Self>, now: Instant) {
        for word in self.sharing.epochs.ahead.take() {
            self.hear_share(word, now);
        }
    }

    /// Tells a share whether its pool is split, now or on a later tick.
    pub(super) fn tell_split(self: &Rc<Self>, key: &PoolKey, share: ShareId) {
        let split = self.sharing.is_noted_split(key);
        if !self.tell_share(key, share, ShareMatter::Split(split)) {
            self.sharing.epochs.untold.borrow_mut().insert((key.clone(), share));
        }
    }

    /// Tells again what could not be told.
    pub(super) fn tell_untold(self: &Rc<Self>) {
        for (key, share) in self.sharing.epochs.untold.take() {
            self.tell_split(&key, share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Rights;

    fn rights(database: &str, epoch: u64) -> ShareWord {
        let matter = ShareMatter::Rights(Rights::sized(1), None);
        ShareWord { database: database.to_owned(), user: "app".to_owned(), epoch, matter }
    }

    /// A pool that was removed and came back at once got the rights of the one before on top of its own, for ever.
    #[test]
    fn rights_of_a_pool_that_was_removed_are_void_although_it_is_back() {
        let epochs = Epochs::default();
        epochs.next();
        epochs.next();
        epochs.remove("shop");
        epochs.next(); // it is back
        assert_eq!(epochs.worth(&rights("shop", 1)), Worth::Void);
        assert_eq!(epochs.worth(&rights("other", 1)), Worth::Good, "of one that was there all the time");
        assert_eq!(epochs.worth(&rights("shop", 2)), Worth::Good, "its sender has heard of the removal");
        assert_eq!(epochs.worth(&rights("shop", 3)), Worth::Good);
        assert_eq!(epochs.worth(&rights("shop", 4)), Worth::Early, "the receiver has not");
        (0..MOST_BEHIND).for_each(|_| epochs.next());
        assert!(epochs.removed.borrow().is_empty());
    }
}
