//! SHOW POOLS: one row per database and server user, over all workers.

use super::super::CONSOLE;
use super::super::request::Overview;
use super::table::{Row, Table, int4, text};
use crate::config::{CONSOLE_NAMES, PoolMode};
use crate::metrics::{Counters, PIN_REASONS, PoolName, PoolSnapshot, merge_pools};
use crate::proto::Column;

const COLUMNS: [Column; 17] = [
    text("database"),
    text("user"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active"),
    int4("sv_active_cancel"),
    int4("sv_being_canceled"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_tested"),
    int4("sv_login"),
    int4("maxwait"),
    int4("maxwait_us"),
    text("pool_mode"),
    text("load_balance_hosts"),
];

/// SHOW POOLS.
pub(super) fn pools(overview: &Overview) -> Table {
    let mut pools = merge_pools(&overview.workers);
    pools.retain(|(database, _), _| !is_console(database));
    let console = console_pool(overview);
    pools.insert((CONSOLE.to_owned(), CONSOLE.to_owned()), console);
    Table::of(&COLUMNS, pools.iter().map(row))
}

/// Whether a database name is one of the console's.
pub(super) fn is_console(database: &str) -> bool {
    CONSOLE_NAMES.contains(&database)
}

/// Clients at consoles now.
pub(super) fn console_clients(overview: &Overview) -> usize {
    let clients = overview.workers.iter().flat_map(|worker| &worker.clients);
    clients.filter(|client| is_console(&client.database)).count()
}

/// The console as a pool of its own: clients, and never a server.
fn console_pool(overview: &Overview) -> PoolSnapshot {
    PoolSnapshot {
        database: CONSOLE.to_owned(),
        user: CONSOLE.to_owned(),
        mode: PoolMode::Statement,
        cl_active: u32::try_from(console_clients(overview)).unwrap_or(u32::MAX),
        cl_waiting: 0,
        cl_active_cancel_req: 0,
        cl_waiting_cancel_req: 0,
        sv_active: 0,
        sv_active_cancel: 0,
        sv_being_canceled: 0,
        sv_idle: 0,
        sv_used: 0,
        sv_tested: 0,
        sv_login: 0,
        sv_listen: 0,
        cl_listening: 0,
        maxwait: std::time::Duration::ZERO,
        pool_size: 0,
        pinned: [0; PIN_REASONS.len()],
        paused: false,
        counters: Counters::default(),
    }
}

fn row(((database, user), pool): (&PoolName, &PoolSnapshot)) -> Row {
    Row::named(database)
        .text(user)
        .number(pool.cl_active)
        .number(pool.cl_waiting)
        .number(pool.cl_active_cancel_req)
        .number(pool.cl_waiting_cancel_req)
        .number(pool.sv_active)
        .number(pool.sv_active_cancel)
        .number(pool.sv_being_canceled)
        .number(pool.sv_idle)
        .number(pool.sv_used)
        .number(pool.sv_tested)
        .number(pool.sv_login)
        .number(pool.maxwait.as_secs())
        .number(pool.maxwait.subsec_micros())
        .text(pool.mode.as_str())
        .null() // one host per database, nothing to balance
}
