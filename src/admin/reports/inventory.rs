//! SHOW LISTS and MEM: how many of each thing there are.

use super::super::request::Overview;
use super::databases::databases;
use super::pools::pools;
use super::table::{Row, Table, int4, text};
use super::users::users;
use crate::config::{Database, User};
use crate::proto::Column;

const LISTS: [Column; 2] = [text("list"), int4("items")];
const MEM: [Column; 5] = [text("name"), int4("size"), int4("used"), int4("free"), int4("memtotal")];

/// SHOW LISTS. Nothing is cached while unused, so no `free_` object exists; there are no peers, and names are
/// resolved by the system.
pub(super) fn lists(overview: &Overview) -> Table {
    let count = Numbers::of(overview);
    let rows = [
        ("databases", count.databases),
        ("users", count.users),
        ("peers", 0),
        ("pools", count.pools),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", count.clients),
        ("login_clients", count.clients_in_login),
        ("free_servers", 0),
        ("used_servers", count.servers),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    Table::of(&LISTS, rows.map(|(name, items)| Row::named(name).count(items)))
}

/// SHOW MEM. There are no caches of objects of one size: `used` counts what exists, `size` and `memtotal` tell the
/// structure itself where this room knows it, and 0 where it does not.
pub(super) fn mem(overview: &Overview) -> Table {
    let count = Numbers::of(overview);
    let prepared = |conns: fn(&crate::metrics::WorkerSnapshot) -> &Vec<crate::metrics::ConnSnapshot>| {
        overview.workers.iter().flat_map(conns).map(|conn| conn.prepared_statements).sum::<usize>()
    };
    let rows = [
        ("user_cache", size_of::<User>(), overview.config.users.len()),
        ("credentials_cache", 0, 0),
        ("db_cache", size_of::<Database>(), overview.config.databases.len()),
        ("peer_cache", 0, 0),
        ("peer_pool_cache", 0, 0),
        ("pool_cache", 0, count.pools),
        ("outstanding_request_cache", 0, 0),
        ("server_cache", 0, count.servers),
        ("client_cache", 0, count.clients),
        ("iobuf_cache", 0, 0),
        ("var_list_cache", 0, 0),
        ("server_prepared_statement_cache", 0, prepared(|worker| &worker.servers)),
    ];
    Table::of(
        &MEM,
        rows.map(|(name, size, used)| {
            Row::named(name).count(size).count(used).count(0).count(size.saturating_mul(used))
        }),
    )
}

/// How many of each there are.
struct Numbers {
    databases: usize,
    users: usize,
    pools: usize,
    clients: usize,
    clients_in_login: usize,
    servers: usize,
}

impl Numbers {
    /// Clients are all clients, those in login included, as PgBouncer counts them.
    fn of(overview: &Overview) -> Self {
        let workers = &overview.workers;
        let in_login: u32 = workers.iter().map(|worker| worker.clients_in_login).sum();
        let clients_in_login = usize::try_from(in_login).unwrap_or(usize::MAX);
        Self {
            databases: databases(overview).rows.len(),
            users: users(overview).rows.len(),
            pools: pools(overview).rows.len(),
            clients: workers.iter().map(|worker| worker.clients.len()).sum::<usize>() + clients_in_login,
            clients_in_login,
            servers: workers.iter().map(|worker| worker.servers.len()).sum(),
        }
    }
}
