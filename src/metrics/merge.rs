//! The workers' parts of a pool as one pool.
//!
//! Owns: how numbers of several workers add up. Does not know: who looks at them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Counters, PoolSnapshot, WorkerSnapshot};

/// The console among the databases.
const CONSOLE: &str = "pgbouncer";

/// What makes a pool: database name and server user.
pub type PoolName = (String, String);

/// All pools of all workers, sorted by database and user; parts with the same name are one pool.
pub fn merge_pools(workers: &[WorkerSnapshot]) -> BTreeMap<PoolName, PoolSnapshot> {
    let mut pools = BTreeMap::new();
    for part in workers.iter().flat_map(|worker| &worker.pools) {
        match pools.entry((part.database.clone(), part.user.clone())) {
            Entry::Vacant(vacant) => {
                vacant.insert(part.clone());
            }
            Entry::Occupied(mut occupied) => {
                let pool = occupied.get_mut();
                let size = pool.pool_size.max(part.pool_size);
                absorb(pool, part);
                pool.pool_size = size; // each part tells the size of the whole
            }
        }
    }
    pools
}

/// What was counted per database, over all users and workers, and at the console: what [`super::Averages`] is fed with.
pub fn database_totals(workers: &[WorkerSnapshot]) -> BTreeMap<String, Counters> {
    let mut totals: BTreeMap<String, Counters> = BTreeMap::new();
    for pool in workers.iter().flat_map(|worker| &worker.pools) {
        totals.entry(pool.database.clone()).or_default().add(&pool.counters);
    }
    let used = workers.iter().map(|worker| worker.consoles_used).sum();
    if used > 0 {
        let counters = Counters { xacts: used, queries: used, ..Counters::default() };
        totals.entry(CONSOLE.to_owned()).or_default().add(&counters);
    }
    totals
}

/// Adds another pool. Limits add up; 0 is none and stays so. The oldest waiter is the oldest of all.
pub(super) fn absorb(pool: &mut PoolSnapshot, part: &PoolSnapshot) {
    pool.cl_active += part.cl_active;
    pool.cl_waiting += part.cl_waiting;
    pool.cl_active_cancel_req += part.cl_active_cancel_req;
    pool.cl_waiting_cancel_req += part.cl_waiting_cancel_req;
    pool.sv_active += part.sv_active;
    pool.sv_active_cancel += part.sv_active_cancel;
    pool.sv_being_canceled += part.sv_being_canceled;
    pool.sv_idle += part.sv_idle;
    pool.sv_used += part.sv_used;
    pool.sv_tested += part.sv_tested;
    pool.sv_login += part.sv_login;
    pool.maxwait = pool.maxwait.max(part.maxwait);
    pool.pool_size = if pool.pool_size == 0 || part.pool_size == 0 {
        0
    } else {
        pool.pool_size.saturating_add(part.pool_size)
    };
    pool.paused |= part.paused;
    pool.counters.add(&part.counters);
}
