//! SHOW USERS: one row per known user. Secrets have no column and are never read here.

use std::collections::BTreeSet;

use super::super::CONSOLE;
use super::super::request::Overview;
use super::table::{Row, Table, int4, text};
use crate::config::{Config, PoolMode};
use crate::metrics::ConnSnapshot;
use crate::proto::Column;

const COLUMNS: [Column; 8] = [
    text("name"),
    text("pool_size"),
    text("reserve_pool_size"),
    text("pool_mode"),
    int4("max_user_connections"),
    int4("current_connections"),
    int4("max_user_client_connections"),
    int4("current_client_connections"),
];

/// SHOW USERS.
pub(super) fn users(overview: &Overview) -> Table {
    Table::of(&COLUMNS, names(&overview.config).into_iter().map(|name| row(overview, name)))
}

/// Users of the files, forced users, and the console's own.
fn names(config: &Config) -> BTreeSet<&str> {
    let configured = config.users.keys().map(String::as_str);
    let forced = config.databases.values().filter_map(|entry| entry.user.as_deref());
    configured.chain(forced).chain([CONSOLE]).collect()
}

fn row(overview: &Overview, name: &str) -> Row {
    let user = overview.config.users.get(name);
    let theirs = |conn: &&ConnSnapshot| conn.user == name;
    let servers = overview.workers.iter().flat_map(|worker| &worker.servers).filter(theirs).count();
    let clients = overview.workers.iter().flat_map(|worker| &worker.clients).filter(theirs).count();
    Row::named(name)
        .text(size(user.and_then(|user| user.pool_size)))
        .text(size(user.and_then(|user| user.reserve_pool_size)))
        .maybe(user.and_then(|user| user.pool_mode).map(PoolMode::as_str))
        .number(0_u32) // no limit over all databases
        .count(servers)
        .number(0_u32) // no limit of clients
        .count(clients)
}

/// Sizes are text in PgBouncer: right-aligned to nine, empty if not set.
fn size(size: Option<u32>) -> String {
    size.map(|size| format!("{size:>9}")).unwrap_or_default()
}
