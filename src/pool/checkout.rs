//! One client's wait for a server.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::failure::CheckoutError;
use super::handle::{Pool, Pooled};
use super::lease::Lease;
use super::reason::RetireReason;
use super::state::Answer;
use super::waiters::{Seat, WaiterId};

/// Where a checkout stands.
///
/// ```text
/// Fresh --nothing idle, or others wait--> Queued --outcome seen--> Done
///   '------------- served or refused at once ----------------------^
/// ```
#[derive(Debug, Clone, Copy)]
enum Step {
    Fresh,
    Queued(Seat),
    Done,
}

/// The wait for a server, made by [`Pool::checkout`].
///
/// Cancel safe: dropped at any moment, its place in the queue is gone at once, and a server that was delivered to
/// it goes to the next waiter. It has exactly one outcome; asked again after that it says `Canceled`.
///
/// # Errors
/// Resolves to [`CheckoutError`] when the wait ends without a server.
#[must_use = "a checkout does nothing until it is polled"]
pub struct Checkout<C> {
    pool: Pool<C>,
    since: Instant,
    step: Step,
}

impl<C> Checkout<C> {
    pub(super) const fn new(pool: Pool<C>, since: Instant) -> Self {
        Self { pool, since, step: Step::Fresh }
    }

    /// Its name in the queue, to cancel it by; `None` while it has not queued and once it has its outcome.
    pub fn waiter_id(&self) -> Option<WaiterId> {
        match self.step {
            Step::Queued(seat) => Some(seat.id),
            Step::Fresh | Step::Done => None,
        }
    }

    /// Since when it waits.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl<C: Pooled> Checkout<C> {
    /// Takes an idle server if nobody waits, or the outcome if there is one. Otherwise queues, if it has not yet,
    /// and answers `None`: await it then. No allocation, no waker.
    pub fn try_now(&mut self, now: Instant) -> Option<Result<Lease<C>, CheckoutError>> {
        loop {
            let answer = self.ask(now);
            match answer {
                Answer::Wait => return None,
                Answer::Fail(error) => {
                    self.step = Step::Done;
                    return Some(Err(error));
                }
                Answer::Lend(slot, id, conn) => {
                    let mut lease = Lease::new(self.pool.clone(), slot, id, conn);
                    if lease.is_quiet() {
                        self.step = Step::Done;
                        return Some(Ok(lease));
                    }
                    // Not a failure of the host: take the next one, by the same place in the queue.
                    lease.retire(RetireReason::Dirty);
                }
            }
        }
    }

    /// One look into the books. A seat whose cell has been emptied stays in `self.step` as the right to queue
    /// again where it was.
    fn ask(&mut self, now: Instant) -> Answer<C> {
        let since = self.since;
        let (mut seat, cell) = match self.step {
            Step::Done => return Answer::Fail(CheckoutError::Canceled),
            Step::Fresh => {
                let lent = self.pool.apply_quietly(|state| {
                    state.at(now);
                    state.lend_idle()
                });
                if let Some(answer) = lent {
                    return answer;
                }
                (None, None)
            }
            Step::Queued(seat) => (Some(seat), Some(seat.id)),
        };
        let answer = self.pool.apply(|state, wakes| {
            let now = state.at(now);
            match cell.and_then(|id| state.look(id, wakes)) {
                Some(answer) => answer,
                None => state.lend_or_queue(&mut seat, since, now),
            }
        });
        if let Some(seat) = seat {
            self.since = seat.since;
            self.step = Step::Queued(seat);
        }
        answer
    }
}

impl<C: Pooled> Future for Checkout<C> {
    type Output = Result<Lease<C>, CheckoutError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let now = this.since;
        if let Some(outcome) = this.try_now(now) {
            return Poll::Ready(outcome);
        }
        if let Step::Queued(seat) = this.step {
            this.pool.apply(|state, wakes| {
                wakes.discard(state.waiters.set_waker(seat.id, context.waker()));
            });
        }
        Poll::Pending
    }
}

impl<C> Drop for Checkout<C> {
    fn drop(&mut self) {
        if let Step::Queued(seat) = self.step {
            self.pool.apply(|state, wakes| {
                let now = state.at(self.since);
                state.leave(seat.id, now, wakes);
            });
        }
    }
}

impl<C> fmt::Debug for Checkout<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout")
            .field("pool", self.pool.key())
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}
