//! Deadlines.
//!
//! Owns: who is to be woken when. Does not know: the clock; the executor reads it once per turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Executor;

/// A deadline and a number that tells apart those at the same moment.
type Key = (Instant, u64);

/// See the module. An entry exists for as long as its [`Sleep`] waits, so there are no more of them than tasks.
#[derive(Default)]
pub(super) struct Timers {
    queue: RefCell<BTreeMap<Key, Waker>>,
    last: Cell<u64>,
}

impl Timers {
    /// How long nothing is due; `None` if nothing ever is.
    pub(super) fn until_next(&self, now: Instant) -> Option<Duration> {
        let queue = self.queue.borrow();
        let ((deadline, _), _) = queue.first_key_value()?;
        Some(deadline.saturating_duration_since(now))
    }

    /// Wakes everybody whose deadline has come.
    pub(super) fn fire(&self, now: Instant) {
        loop {
            let waker = {
                let mut queue = self.queue.borrow_mut();
                match queue.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    Some(_) | None => return,
                }
            };
            waker.wake();
        }
    }

    fn set(&self, key: Option<Key>, deadline: Instant, waker: &Waker) -> Key {
        let key = key.unwrap_or_else(|| {
            self.last.set(self.last.get() + 1);
            (deadline, self.last.get())
        });
        let mut queue = self.queue.borrow_mut();
        if !queue.get(&key).is_some_and(|known| known.will_wake(waker)) {
            queue.insert(key, waker.clone());
        }
        key
    }

    fn cancel(&self, key: Key) {
        let waker = self.queue.borrow_mut().remove(&key);
        drop(waker);
    }
}

/// Ready when its deadline has come. Cancel safe: dropping it takes the deadline off the list.
pub(in crate::net) struct Sleep {
    executor: Rc<Executor>,
    deadline: Instant,
    key: Option<Key>,
}

impl Sleep {
    pub(in crate::net) const fn new(executor: Rc<Executor>, deadline: Instant) -> Self {
        Self { executor, deadline, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.executor.now() >= this.deadline {
            return Poll::Ready(());
        }
        this.key = Some(this.executor.timers.set(this.key, this.deadline, cx.waker()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.executor.timers.cancel(key);
        }
    }
}
