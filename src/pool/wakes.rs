//! Wakers collected under the pool's borrow and fired after it.
//!
//! A woken task may run at once and come back into the pool; so may the destructor of a task whose last waker is
//! dropped. Neither may find the pool borrowed.

use std::task::Waker;

/// What is to be woken and what is only to be dropped. The usual change wakes at most one waiter and then
/// allocates nothing.
#[derive(Default)]
pub(super) struct Wakes {
    first: Option<Waker>,
    rest: Vec<Waker>,
    janitor: Option<Waker>,
    dropped: Option<Waker>,
}

impl Wakes {
    /// A waiter whose outcome is there.
    pub(super) fn waiter(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.rest.push(waker);
        }
    }

    /// The task that opens and closes servers.
    pub(super) fn janitor(&mut self, waker: Option<Waker>) {
        if waker.is_some() {
            self.janitor = waker;
        }
    }

    /// Nobody to wake; only to be dropped at the right moment. At most one per change.
    pub(super) fn discard(&mut self, waker: Option<Waker>) {
        debug_assert!(self.dropped.is_none(), "one change removes one waiter");
        self.dropped = waker;
    }

    /// To be called when the pool is not borrowed.
    pub(super) fn fire(self) {
        if let Some(waker) = self.first {
            waker.wake();
        }
        for waker in self.rest {
            waker.wake();
        }
        if let Some(waker) = self.janitor {
            waker.wake();
        }
    }
}
