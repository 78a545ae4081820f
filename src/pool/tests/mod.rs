//! Each promise of the pool once, by example.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::*;
use crate::session::Quiescent;

mod closing;
mod lending;
mod model;
mod opening;
mod promises;
mod shares;
mod world;

/// The one look at the clock; from there tests add.
#[allow(clippy::disallowed_methods)]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// No limits in time, none in number.
pub(super) fn limits() -> PoolLimits {
    PoolLimits {
        size: 0,
        min: 0,
        reserve: 0,
        reserve_timeout: None,
        lifetime: None,
        idle_timeout: None,
        wait_timeout: None,
        login_retry: Duration::from_secs(15),
    }
}

thread_local! {
    static SOILED: RefCell<HashSet<u64>> = RefCell::default();
}

/// A connection that knows its number and whether it was spoken to.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: u64,
}

impl Conn {
    pub(super) fn new(id: u64) -> Self {
        SOILED.with_borrow_mut(|soiled| soiled.remove(&id));
        Self { id }
    }

    /// From now on the connection of this number is not quiet.
    pub(super) fn soil(id: u64) {
        SOILED.with_borrow_mut(|soiled| soiled.insert(id));
    }
}

impl Pooled for Conn {
    fn is_quiet(&mut self) -> bool {
        SOILED.with_borrow(|soiled| !soiled.contains(&self.id))
    }
}

/// Counts how often it was woken.
#[derive(Debug)]
pub(super) struct Bell(AtomicU32);

impl Bell {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(0)))
    }

    pub(super) fn rung(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A pool and its clock.
struct Bench {
    pool: Pool<Conn>,
    now: Instant,
    next: u64,
}

impl Bench {
    fn new(limits: PoolLimits) -> Self {
        Self { pool: Pool::new(PoolKey::new("db", "user"), limits, 7), now: start(), next: 0 }
    }

    /// With that many idle servers, numbered from 1 in the order in which they became idle.
    fn with_idle(limits: PoolLimits, servers: usize) -> Self {
        let mut bench = Self::new(limits);
        let leases: Vec<_> = (0..servers).map(|_| bench.open_one()).collect();
        for lease in leases {
            bench.release(lease);
        }
        bench
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Opens a server for a new client.
    fn open_one(&mut self) -> Lease<Conn> {
        let mut wait = self.wait();
        let permit = self.pool.wanted_connects(self.now).expect("room for one more");
        self.connect(permit);
        wait.try_now(self.now).expect("served").expect("a server")
    }

    fn connect(&mut self, permit: ConnectPermit<Conn>) {
        self.next += 1;
        permit.connected(ServerId(self.next), Conn::new(self.next), self.now);
    }

    /// A checkout that is in the queue.
    fn wait(&self) -> Checkout<Conn> {
        let mut checkout = self.pool.checkout(self.now);
        assert!(checkout.try_now(self.now).is_none(), "nothing to lend");
        checkout
    }

    fn lend(&self) -> Lease<Conn> {
        self.pool.checkout(self.now).try_now(self.now).expect("an idle server").expect("a server")
    }

    fn release(&self, lease: Lease<Conn>) {
        lease.release(Quiescent::for_test(), self.now);
    }

    /// What was retired, closed at once.
    fn retired(&self) -> Vec<(u64, RetireReason)> {
        let mut retired = Vec::new();
        while let Some(Retired { conn, reason, slot }) = self.pool.next_retired() {
            retired.push((conn.id, reason));
            drop(slot);
        }
        retired
    }

    fn permits(&self) -> Vec<ConnectPermit<Conn>> {
        std::iter::from_fn(|| self.pool.wanted_connects(self.now)).collect()
    }

    fn tick(&mut self, time: Duration) {
        self.pass(time);
        self.pool.expire(self.now);
        assert_eq!(self.pool.audit(), None);
    }
}

/// Looks once, with this waker.
fn poll(checkout: &mut Checkout<Conn>, bell: &Arc<Bell>) -> Poll<Result<Lease<Conn>, CheckoutError>> {
    Pin::new(checkout).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// The outcome that must be there by now.
fn outcome(mut checkout: Checkout<Conn>, now: Instant) -> Result<Lease<Conn>, CheckoutError> {
    checkout.try_now(now).expect("an outcome")
}
