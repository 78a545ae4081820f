//! SHOW DATABASES: one row per name that clients may ask for.
//!
//! Numbers are the effective ones, of the entry or else global. Names admitted by the `*` entry are listed while
//! they have a pool.

use std::collections::BTreeMap;

use super::super::CONSOLE;
use super::super::request::Overview;
use super::pools::{console_clients, is_console};
use super::table::{Row, Table, int4, text};
use crate::config::{Database, PoolMode};
use crate::metrics::ConnSnapshot;
use crate::proto::Column;

const COLUMNS: [Column; 17] = [
    text("name"),
    text("host"),
    int4("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool_size"),
    int4("server_lifetime"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int4("max_connections"),
    int4("current_connections"),
    int4("max_client_connections"),
    int4("current_client_connections"),
    int4("paused"),
    int4("disabled"),
];

/// `pool_size` of the console, as PgBouncer shows it. The console has no servers.
const CONSOLE_POOL_SIZE: u32 = 2;

/// SHOW DATABASES.
pub(super) fn databases(overview: &Overview) -> Table {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let configured = overview.config.databases.keys();
    let admitted = overview.workers.iter().flat_map(|worker| &worker.pools).map(|pool| &pool.database);
    for name in configured.chain(admitted) {
        if let Some(entry) = overview.config.database(name) {
            rows.entry(name).or_insert_with(|| row(overview, name, entry));
        }
    }
    rows.insert(CONSOLE, console(overview));
    Table::of(&COLUMNS, rows.into_values())
}

fn row(overview: &Overview, name: &str, entry: &Database) -> Row {
    let defaults = &overview.config.defaults;
    let here = |conn: &&ConnSnapshot| conn.database == name;
    let servers = overview.workers.iter().flat_map(|worker| &worker.servers).filter(here).count();
    let clients = overview.workers.iter().flat_map(|worker| &worker.clients).filter(here).count();
    let lifetime = entry.server_lifetime.or(defaults.server_lifetime);
    Row::named(name)
        .maybe((!entry.host.starts_with('/')).then_some(&entry.host))
        .number(entry.port)
        .text(entry.dbname.as_deref().unwrap_or(name))
        .maybe(entry.user.as_ref())
        .number(entry.pool_size.unwrap_or(defaults.pool_size))
        .number(entry.min_pool_size.unwrap_or(defaults.min_pool_size))
        .number(entry.reserve_pool_size.unwrap_or(defaults.reserve_pool_size))
        .number(lifetime.map_or(0, |lifetime| lifetime.as_secs()))
        .maybe(entry.pool_mode.map(PoolMode::as_str))
        .null() // one host, nothing to balance
        .number(0_u32) // no limit over all users
        .count(servers)
        .number(0_u32) // no limit of clients
        .count(clients)
        .flag(listed(&overview.paused, name))
        .flag(listed(&overview.disabled, name))
}

fn console(overview: &Overview) -> Row {
    let config = &overview.config;
    Row::named(CONSOLE)
        .null()
        .number(config.process.listen_port)
        .text(CONSOLE)
        .text(CONSOLE)
        .number(CONSOLE_POOL_SIZE)
        .number(0_u32)
        .number(0_u32)
        .number(config.defaults.server_lifetime.map_or(0, |lifetime| lifetime.as_secs()))
        .text(PoolMode::Statement.as_str())
        .null()
        .number(0_u32)
        .number(0_u32)
        .number(0_u32)
        .count(console_clients(overview))
        .flag(false)
        .flag(false)
}

fn listed(names: &[String], name: &str) -> bool {
    debug_assert!(!is_console(name), "the console is never paused");
    names.iter().any(|listed| listed == name)
}
