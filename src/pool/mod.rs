//! Lends server connections to clients: who holds, who waits, how many there are.
//!
//! Owns: the places of one pool on one worker, their limits, the queue, and the evidence without which no server is
//! lent twice. Does not know: what a connection is (an opaque `C`), message formats, TLS, SQL, clocks, sockets.
//! Nothing here opens or closes anything: the pool hands out [`ConnectPermit`]s and [`Retired`] connections, and
//! wakes one task of the worker, the janitor, when there are some.
//!
//! Reading order: [`SlotState`] (one server's life), `state` (the books and their invariants), `opening` and
//! `policy` (what the limits ask for), `waiters` (the queue), then the guards that the worker holds: [`Pool`],
//! [`Checkout`], [`Lease`], [`ConnectPermit`]. A pool that several workers serve is one `Pool` on each, a share:
//! `share` (rights to have servers, which move from one to another), `board` (which of them is to give).
//!
//! What does not exist here: a way to give a server back without [`Quiescent`](crate::session::Quiescent); a
//! number that stands for ownership; a waker fired, or a connection's own code run, while the books are open.

mod audit;
mod backoff;
mod board;
mod checkout;
mod failure;
mod handle;
mod key;
mod lease;
mod limits;
mod opening;
mod permit;
mod policy;
mod reason;
mod rights;
mod share;
mod slab;
mod slot;
mod state;
mod waiters;
mod wakes;

#[cfg(test)]
mod tests;

pub use backoff::UNREACHABLE_CAP;
pub use board::{Board, Plea};
pub use checkout::Checkout;
pub use failure::{CheckoutError, ConnectFailure, FailureKind};
pub use handle::{ClientPresence, Pool, PoolCounts, Pooled};
pub use key::PoolKey;
pub use lease::{Lease, Retired, SlotGuard};
pub use limits::{MAX_PARALLEL_CONNECTS, PoolLimits};
pub use permit::ConnectPermit;
pub use reason::RetireReason;
pub use rights::Rights;
pub use share::{Departure, LAG, LAST_LAG, ShareId};
pub use slot::{ServerId, SlotState};
pub use state::PoolEnd;
pub use waiters::WaiterId;
