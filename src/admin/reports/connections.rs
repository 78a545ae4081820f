//! SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: one row per connection.
//!
//! `ptr` and `link`, addresses of objects in PgBouncer, are the numbers of the connections in hexadecimal: they
//! match each other, which is what they are read for. `id` is announced as int4, as in PgBouncer, but a number
//! beyond its range is printed in full, because KILL_CLIENT needs it.

use jiff::tz::TimeZone;

use super::super::request::Overview;
use super::table::{Row, Table, int4, text, time_of_day};
use crate::metrics::{ConnKind, ConnSnapshot};
use crate::proto::Column;

/// Columns of CLIENTS and SERVERS.
const COLUMNS: [Column; 21] = [
    text("type"),
    text("user"),
    text("database"),
    text("replication"),
    text("state"),
    text("addr"),
    int4("port"),
    text("local_addr"),
    int4("local_port"),
    text("connect_time"),
    text("request_time"),
    int4("wait"),
    int4("wait_us"),
    int4("close_needed"),
    text("ptr"),
    text("link"),
    int4("remote_pid"),
    text("tls"),
    text("application_name"),
    int4("prepared_statements"),
    int4("id"),
];

/// What SOCKETS tells beyond them: positions in buffers.
const BUFFER_COLUMNS: [Column; 7] = [
    int4("recv_pos"),
    int4("pkt_pos"),
    int4("pkt_remain"),
    int4("send_pos"),
    int4("send_remain"),
    int4("pkt_avail"),
    int4("send_avail"),
];

/// Columns of SOCKETS and ACTIVE_SOCKETS.
const SOCKET_COLUMNS: [Column; COLUMNS.len() + BUFFER_COLUMNS.len()] = {
    let mut all = [text(""); COLUMNS.len() + BUFFER_COLUMNS.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < COLUMNS.len() { COLUMNS[i] } else { BUFFER_COLUMNS[i - COLUMNS.len()] };
        i += 1;
    }
    all
};

/// SHOW CLIENTS: logged-in clients, consoles among them.
pub(super) fn clients(overview: &Overview, zone: &TimeZone) -> Table {
    let clients = sorted(overview.workers.iter().flat_map(|worker| &worker.clients).collect());
    Table::of(&COLUMNS, clients.into_iter().map(|conn| connection(conn, conn.state, zone)))
}

/// SHOW SERVERS: every connection to a server, those being opened included.
pub(super) fn servers(overview: &Overview, zone: &TimeZone) -> Table {
    let servers = sorted(overview.workers.iter().flat_map(|worker| &worker.servers).collect());
    Table::of(&COLUMNS, servers.into_iter().map(|conn| connection(conn, conn.state, zone)))
}

/// SHOW SOCKETS: both sides, but no connections that carry cancel requests.
pub(super) fn sockets(overview: &Overview, zone: &TimeZone) -> Table {
    some_sockets(overview, zone, |_| true)
}

/// SHOW ACTIVE_SOCKETS. PgBouncer lists sockets with data in their buffers; ours borrow a buffer only while they
/// are read, so these are the sockets with work at hand: linked, or with an open request.
pub(super) fn active_sockets(overview: &Overview, zone: &TimeZone) -> Table {
    some_sockets(overview, zone, |conn| conn.link.is_some() || !conn.wait.is_zero())
}

fn some_sockets(overview: &Overview, zone: &TimeZone, wanted: impl Fn(&ConnSnapshot) -> bool) -> Table {
    let clients = sorted(overview.workers.iter().flat_map(|worker| &worker.clients).collect());
    let servers = sorted(overview.workers.iter().flat_map(|worker| &worker.servers).collect());
    let rows = clients.into_iter().chain(servers).filter(|conn| wanted(conn)).filter_map(|conn| {
        let mut row = connection(conn, socket_state(conn)?, zone);
        for _ in BUFFER_COLUMNS {
            row = row.number(0_u64); // no connection keeps a buffer of its own
        }
        Some(row)
    });
    Table::of(&SOCKET_COLUMNS, rows)
}

/// By pool, within it by state, oldest first.
fn sorted(mut conns: Vec<&ConnSnapshot>) -> Vec<&ConnSnapshot> {
    conns.sort_by_key(|conn| (&conn.database, &conn.user, rank(conn), conn.id));
    conns
}

/// Place of a state within its pool; a client that is idle counts as active, as in PgBouncer.
fn rank(conn: &ConnSnapshot) -> u8 {
    match (conn.kind, conn.state) {
        (ConnKind::Client, "active" | "idle") | (ConnKind::Server, "active") => 0,
        (ConnKind::Client, "waiting") | (ConnKind::Server, "idle") => 1,
        (ConnKind::Client, "active_cancel_req") | (ConnKind::Server, "used") => 2,
        (ConnKind::Client, "waiting_cancel_req") | (ConnKind::Server, "tested") => 3,
        (ConnKind::Server, "new") => 4,
        (ConnKind::Server, "active_cancel") => 5,
        (ConnKind::Server, "being_canceled") => 6,
        (ConnKind::Client | ConnKind::Server, _) => 7,
    }
}

/// The state with its side in front; `None` for connections that carry cancel requests.
fn socket_state(conn: &ConnSnapshot) -> Option<&'static str> {
    match (conn.kind, conn.state) {
        (ConnKind::Client, "waiting_cancel_req" | "active_cancel_req")
        | (ConnKind::Server, "active_cancel") => None,
        (ConnKind::Client, "waiting") => Some("cl_waiting"),
        (ConnKind::Client, "login") => Some("cl_login"),
        (ConnKind::Client, _) => Some("cl_active"),
        (ConnKind::Server, "idle") => Some("sv_idle"),
        (ConnKind::Server, "used") => Some("sv_used"),
        (ConnKind::Server, "tested") => Some("sv_tested"),
        (ConnKind::Server, "new") => Some("sv_login"),
        (ConnKind::Server, "being_canceled") => Some("sv_being_canceled"),
        (ConnKind::Server, _) => Some("sv_active"),
    }
}

fn connection(conn: &ConnSnapshot, state: &str, zone: &TimeZone) -> Row {
    Row::named(match conn.kind {
        ConnKind::Client => "C",
        ConnKind::Server => "S",
    })
    .text(&conn.user)
    .text(&conn.database)
    .text("none")
    .text(state)
    .text(&conn.addr)
    .number(conn.port)
    .text(&conn.local_addr)
    .number(conn.local_port)
    .text(time_of_day(conn.connected_at, zone))
    .text(time_of_day(conn.request_at, zone))
    .number(conn.wait.as_secs())
    .number(conn.wait.subsec_micros())
    .flag(conn.close_needed)
    .text(format!("{:#x}", conn.id))
    .text(conn.link.map(|id| format!("{id:#x}")).unwrap_or_default())
    .text(conn.remote_pid.to_string())
    .text(&conn.tls)
    .text(&conn.application_name)
    .count(conn.prepared_statements)
    .number(conn.id)
}
