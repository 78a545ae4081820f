//! Wake-ups from other threads.
//!
//! Owns: the list of what was posted, and the promise that nothing posted is slept through. Does not know: what is
//! posted, and how the sleeper is roused.
//!
//! The protocol, which a model checker goes through in `tests/executor_model.rs`:
//! - whoever posts to an empty box must ring the bell *after* posting;
//! - the owner, roused by the bell, collects everything;
//! - an item that lies in the box already is not posted twice, so the box holds each item once at most.

use super::sync::{Arc, AtomicBool, Mutex, Ordering, lock};

/// Something that can lie in a mailbox.
pub(crate) trait Postable {
    /// Whether it lies there. The mailbox's own; nobody else changes it.
    fn posted(&self) -> &AtomicBool;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    items: Mutex<Vec<Arc<T>>>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { items: Mutex::new(Vec::new()) }
    }
}

impl<T: Postable> Mailbox<T> {
    /// Posts an item; whether the bell must be rung now.
    #[must_use]
    pub(crate) fn post(&self, item: &Arc<T>) -> bool {
        if item.posted().swap(true, Ordering::AcqRel) {
            return false; // it lies there, and whoever put it there has rung or will ring
        }
        let mut items = lock(&self.items);
        items.push(Arc::clone(item));
        items.len() == 1
    }

    /// Takes everything out; an item may be posted again from the moment it is handed to `each`.
    pub(crate) fn collect(&self, mut each: impl FnMut(&Arc<T>)) {
        let items = std::mem::take(&mut *lock(&self.items));
        for item in items {
            item.posted().store(false, Ordering::Release);
            each(&item);
        }
    }
}
