//! How many servers a pool may have, and for how long.

use std::time::Duration;

/// Connection attempts of one pool that may run at the same time (C8). A login costs PostgreSQL a fork and a few
/// milliseconds; four at a time fill a pool of 20 in five rounds, and 100 pools that start together do not
/// exhaust a listen backlog.
pub const MAX_PARALLEL_CONNECTS: u32 = 4;

/// Waiter cells kept once nobody waits; a queue that grew beyond this gives its memory back at the next tick.
/// 1,024 cells are about 130 kB, more than a pool needs unless it is overloaded.
pub(super) const KEPT_WAITER_CELLS: usize = 1024;

/// Limits of one pool on one worker. Durations of `None` mean "no limit".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// `pool_size`: servers of the pool, those being opened and those being closed included. 0 for no limit.
    pub size: u32,
    /// `min_pool_size`: servers to keep open; never makes the pool exceed `size`.
    pub min: u32,
    /// `reserve_pool_size`: servers above `size` when the oldest waiter has waited `reserve_timeout`.
    pub reserve: u32,
    /// `reserve_pool_timeout`; `None` disables the reserve.
    pub reserve_timeout: Option<Duration>,
    /// `server_lifetime`: age at which a server that is not lent is closed. Zero uses each server once.
    pub lifetime: Option<Duration>,
    /// `server_idle_timeout`: an unused server is closed after this, but never below `min`.
    pub idle_timeout: Option<Duration>,
    /// `query_wait_timeout`: longest wait for a server.
    pub wait_timeout: Option<Duration>,
    /// `server_login_retry`: longest pause after failed logins of a kind that retrying cannot mend.
    pub login_retry: Duration,
}

impl PoolLimits {
    /// Most servers with the reserve; `None` for no limit.
    pub(super) const fn ceiling(&self) -> Option<u32> {
        if self.size == 0 { None } else { Some(self.size.saturating_add(self.reserve)) }
    }
}
