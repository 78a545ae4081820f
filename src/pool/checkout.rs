//! One client's wait for a server.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::failure::CheckoutError;
use super::handle::{Pool, Pooled};
use super::lease::Lease;
use super::reason::RetireReason;
use super::state::{Answer, PoolState};
use super::waiters::{Seat, WaiterId};

/// Where a checkout stands.
///
/// ```text
/// Fresh or Late --nothing idle, or others wait--> Queued --outcome seen--> Done
///   '------------- served or refused at once ----------------------^
/// ```
#[derive(Debug, Clone, Copy)]
enum Step {
    Fresh,
    /// [`Pool::lend_now`] has just found nothing for it.
    Late,
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
            Step::Fresh | Step::Late | Step::Done => None,
        }
    }

    /// The same where [`Pool::lend_now`] has just answered that there is nothing to lend: it goes to the queue at once.
    pub fn after_a_look(mut self) -> Self {
        self.step = Step::Late;
        self
    }

    /// Since when it waits.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

impl<C: Pooled> Pool<C> {
    /// Lends an idle server if nobody waits: what a fresh [`Checkout`] would do first, without making one.
    #[inline(always)]
    pub fn lend_now(&self, now: Instant) -> Option<Lease<C>> {
        let lent = self.apply_quietly(|state| {
            state.at(now);
            state.lend_idle()
        });
        let Some(Answer::Lend(slot, id, conn)) = lent else { return None };
        let mut lease = Lease::new(self.clone(), slot, id, conn);
        if lease.is_quiet() {
            return Some(lease);
        }
        lease.retire(RetireReason::Dirty);
        None
    }
}

impl<C: Pooled> Checkout<C> {
    /// Takes an idle server if nobody waits, or the outcome if there is one. Otherwise queues, if it has not yet,
    /// and answers `None`: await it then. No allocation, no waker.
    pub fn try_now(&mut self, now: Instant) -> Option<Result<Lease<C>, CheckoutError>> {
        self.seek(now, None)
    }

    /// As [`Checkout::try_now`]; the task of `context` is woken when there is an outcome.
    pub fn poll_at(&mut self, now: Instant, context: &Context<'_>) -> Poll<Result<Lease<C>, CheckoutError>> {
        self.seek(now, Some(context.waker())).map_or(Poll::Pending, Poll::Ready)
    }

    fn seek(&mut self, now: Instant, waker: Option<&Waker>) -> Option<Result<Lease<C>, CheckoutError>> {
        loop {
            match self.ask(now, waker) {
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
    /// again where it was. `waker` is left behind if there is no outcome yet.
    fn ask(&mut self, now: Instant, waker: Option<&Waker>) -> Answer<C> {
        let since = self.since;
        let mut seat = match self.step {
            Step::Done => return Answer::Fail(CheckoutError::Canceled),
            Step::Fresh => {
                let lent = self.pool.apply_quietly(|state| {
                    state.at(now);
                    state.lend_idle()
                });
                if let Some(answer) = lent {
                    return answer;
                }
                None
            }
            Step::Late => None,
            Step::Queued(seat) => {
                let (seen, left) = self.pool.apply_quietly(|state| {
                    state.at(now);
                    match (state.look(seat.id), waker) {
                        ((Some(Answer::Wait), _), Some(waker)) => {
                            (Some(Answer::Wait), state.waiters.set_waker(seat.id, waker))
                        }
                        (seen, _) => seen,
                    }
                });
                drop(left); // when the books are closed
                if let Some(answer) = seen {
                    return answer;
                }
                Some(seat)
            }
        };
        let mut queue = |state: &mut PoolState<C>| {
            let now = state.at(now);
            let answer = state.lend_or_queue(&mut seat, since, now);
            if let (Answer::Wait, Some(seat), Some(waker)) = (&answer, seat, waker) {
                state.waiters.set_waker(seat.id, waker); // a new cell has none to be replaced
            }
            answer
        };
        let answer = if self.pool.read(PoolState::is_full) {
            self.pool.apply_quietly(queue)
        } else {
            self.pool.apply(|state, _| queue(state))
        };
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
        this.poll_at(this.since, context)
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
