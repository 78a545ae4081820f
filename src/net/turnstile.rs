//! A bound on how many do the same thing at a time, on whichever workers they are.
//!
//! Owns: the places and the line before them. Does not know: what is done there.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rt::offload;

/// So many places, given in the order in which they were asked for. Clones share them.
#[derive(Debug, Clone)]
pub struct Turnstile(Arc<Semaphore>);

/// One place. Dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Ticket {
    _permit: OwnedSemaphorePermit,
}

impl Turnstile {
    /// A turnstile with so many places.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// Waits for a place. Cancel safe: whoever gives up leaves the line.
    pub async fn enter(&self) -> Ticket {
        match Arc::clone(&self.0).acquire_owned().await {
            Ok(permit) => Ticket { _permit: permit },
            Err(_closed) => std::future::pending().await, // nobody closes it
        }
    }

    /// Runs work on a helper thread when there is a place, as [`offload`] does.
    ///
    /// Cancel safety: work that has begun keeps its place until it is done, also when nobody waits for it any more.
    pub async fn offload<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let ticket = self.enter().await;
        offload(move || {
            let result = work();
            drop(ticket);
            result
        })
        .await
    }

    /// Places that are free.
    pub fn free(&self) -> usize {
        self.0.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc;

    use super::*;
    use crate::net::testing::{DropAfter, run};

    #[test]
    fn places_are_given_in_order_and_never_lost() {
        run(|| async {
            let turnstile = Turnstile::new(1);
            let held = turnstile.enter().await;
            let order = RefCell::new(Vec::new());
            let visit = async |name: u8| {
                let _ticket = turnstile.enter().await;
                order.borrow_mut().push(name);
            };
            let impatient = DropAfter::new(visit(2), 1);
            let leave = async { drop(held) };
            tokio::join!(biased; visit(1), impatient, visit(3), leave);
            assert_eq!((order.take(), turnstile.free()), (vec![1, 3], 1));
        });
    }

    #[test]
    fn work_keeps_its_place_until_it_is_done_although_nobody_waits() {
        run(|| async {
            let turnstile = Turnstile::new(1);
            let (go, wait) = mpsc::channel::<()>();
            let work = turnstile.offload(move || wait.recv().is_ok());
            assert!(DropAfter::new(work, 1).await.is_none());
            assert_eq!(turnstile.free(), 0);
            go.send(()).unwrap();
            let _next = turnstile.enter().await;
        });
    }
}
