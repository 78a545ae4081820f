//! Golden tests: each report's columns, types and rows, exactly.

use jiff::tz::TimeZone;

use super::super::request::RunState;
use super::super::sample::{MARKER, overview};
use super::*;
use crate::proto::ColumnType;

fn table(view: View) -> Table {
    match answer(view, &overview(), &TimeZone::UTC).unwrap() {
        Answer::Table(table) => table,
        Answer::Notice(notice) => panic!("{notice}"),
    }
}

/// `name type` of each column; the letters are t text, i int4, q int8, n numeric, y bytea.
fn columns(table: &Table) -> String {
    let letter = |kind| match kind {
        ColumnType::Text => 't',
        ColumnType::Int4 => 'i',
        ColumnType::Int8 => 'q',
        ColumnType::Numeric => 'n',
        ColumnType::Bytea => 'y',
    };
    let columns: Vec<_> =
        table.columns.iter().map(|column| format!("{} {}", column.name, letter(column.kind))).collect();
    columns.join(", ")
}

fn rows(table: &Table) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".into());
    table.rows.iter().map(|row| row.iter().map(value).collect::<Vec<_>>().join("|")).collect()
}

fn golden(view: View, expected_columns: &str, expected_rows: &[&str]) {
    let table = table(view);
    assert_eq!(columns(&table), expected_columns, "{}", view.as_str());
    assert_eq!(rows(&table), expected_rows, "{}", view.as_str());
}

const CONNECTION_COLUMNS: &str = "type t, user t, database t, replication t, state t, addr t, port i, local_addr t, \
     local_port i, connect_time t, request_time t, wait i, wait_us i, close_needed i, ptr t, link t, remote_pid i, \
     tls t, application_name t, prepared_statements i, id i";

const TIMES: &str = "2026-11-22 04:45:48 UTC|2026-11-22 04:45:49 UTC";
const CLIENT_END: &str = "0|TLSv1.3/TLS_AES_256_GCM_SHA384|cart|2";

fn client_row(user: &str, database: &str, state: &str, wait: &str, link: &str, id: u64) -> String {
    format!(
        "C|{user}|{database}|none|{state}|10.0.0.5|38034|10.0.0.9|6432|{TIMES}|{wait}|0|{id:#x}|{link}|{CLIENT_END}|{id}"
    )
}

fn server_row(state: &str, link: &str, id: u64) -> String {
    format!(
        "S|svc|shop|none|{state}|10.0.0.7|5432|10.0.0.9|35268|{TIMES}|0|0|1|{id:#x}|{link}|18495||cart|2|{id}"
    )
}

#[test]
fn clients() {
    golden(
        View::Clients,
        CONNECTION_COLUMNS,
        &[
            &client_row("boss", "pgbouncer", "active", "0|0", "", 1),
            &client_row("web", "shop", "active", "2|929978", "0x4", 3),
            &client_row("web", "shop", "idle", "0|0", "", 8),
            &client_row("web", "shop", "waiting", "0|0", "", 9),
        ],
    );
}

#[test]
fn pins() {
    golden(
        View::Pins,
        "id i, ptr t, database t, user t, application_name t, addr t, port i, server_pid i, link t, reasons t, \
         since t, age i, query t",
        &["3|0x3|shop|web|cart|10.0.0.5|38034|18495|0x4|temp,listen|2026-11-22 04:45:48 UTC|61|\
           create temp table t as select ?"],
    );
}

#[test]
fn compat_adds_the_workers_up() {
    golden(
        View::Compat,
        "database t, user t, application_name t, feature t, name t, outcome t, in_transaction t, count q, first t, \
         last t, query t",
        &[&format!("shop|web|cart|set|work_mem|kept|followed|5|{TIMES}|SET work_mem = ?")],
    );
}

#[test]
fn servers() {
    golden(
        View::Servers,
        CONNECTION_COLUMNS,
        &[&server_row("active", "0x3", 4), &server_row("idle", "", 7), &server_row("active_cancel", "", 10)],
    );
}

#[test]
fn sockets_leave_out_cancel_connections_and_have_no_buffers() {
    let columns = format!(
        "{CONNECTION_COLUMNS}, recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, \
         send_avail i"
    );
    let buffers = "|0|0|0|0|0|0|0";
    golden(
        View::Sockets,
        &columns,
        &[
            &(client_row("boss", "pgbouncer", "cl_active", "0|0", "", 1) + buffers),
            &(client_row("web", "shop", "cl_active", "2|929978", "0x4", 3) + buffers),
            &(client_row("web", "shop", "cl_active", "0|0", "", 8) + buffers),
            &(client_row("web", "shop", "cl_waiting", "0|0", "", 9) + buffers),
            &(server_row("sv_active", "0x3", 4) + buffers),
            &(server_row("sv_idle", "", 7) + buffers),
        ],
    );
    golden(
        View::ActiveSockets,
        &columns,
        &[
            &(client_row("web", "shop", "cl_active", "2|929978", "0x4", 3) + buffers),
            &(server_row("sv_active", "0x3", 4) + buffers),
        ],
    );
}

#[test]
fn pools_of_several_workers_are_one_row() {
    golden(
        View::Pools,
        "database t, user t, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active \
         i, sv_active_cancel i, sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, \
         maxwait_us i, pool_mode t, load_balance_hosts t",
        &[
            "auto|web|1|2|3|4|5|6|7|8|9|10|11|1|500007|transaction|NULL",
            "pgbouncer|pgbouncer|1|0|0|0|0|0|0|0|0|0|0|0|0|statement|NULL",
            "shop|svc|2|4|6|8|10|12|14|16|18|20|22|1|500007|transaction|NULL",
        ],
    );
}

#[test]
fn databases() {
    golden(
        View::Databases,
        "name t, host t, port i, database t, force_user t, pool_size i, min_pool_size i, reserve_pool_size i, \
         server_lifetime i, pool_mode t, load_balance_hosts t, max_connections i, current_connections i, \
         max_client_connections i, current_client_connections i, paused i, disabled i",
        &[
            "auto|10.0.0.8|5432|auto|NULL|20|1|2|3600|NULL|NULL|0|0|0|0|0|0",
            "pgbouncer|NULL|6432|pgbouncer|pgbouncer|2|0|0|3600|statement|NULL|0|0|0|1|0|0",
            "shop|10.0.0.7|5432|shop_v2|svc|5|1|2|60|session|NULL|0|3|0|3|1|0",
            "sock|NULL|5432|sock|NULL|20|1|2|3600|NULL|NULL|0|0|0|0|0|1",
        ],
    );
}

#[test]
fn users() {
    golden(
        View::Users,
        "name t, pool_size t, reserve_pool_size t, pool_mode t, max_user_connections i, current_connections i, \
         max_user_client_connections i, current_client_connections i",
        &["pgbouncer|||NULL|0|0|0|0", "svc|||NULL|0|3|0|0", "web|        7||session|0|0|0|3"],
    );
}

#[test]
fn stats() {
    golden(
        View::Stats,
        "database t, total_server_assignment_count n, total_xact_count n, total_query_count n, total_received n, \
         total_sent n, total_xact_time n, total_query_time n, total_wait_time n, total_client_parse_count n, \
         total_server_parse_count n, total_bind_count n, avg_server_assignment_count n, avg_xact_count n, \
         avg_query_count n, avg_recv n, avg_sent n, avg_xact_time n, avg_query_time n, avg_wait_time n, \
         avg_client_parse_count n, avg_server_parse_count n, avg_bind_count n",
        &[
            "auto|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
            "pgbouncer|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0",
            "shop|5|5|6|204|400|87698|87690|70|2|1|2|1|1|1|40|80|17539|14615|14|0|0|0",
        ],
    );
    golden(
        View::StatsTotals,
        "database t, server_assignment_count n, xact_count n, query_count n, bytes_received n, bytes_sent n, \
         xact_time n, query_time n, wait_time n, client_parse_count n, server_parse_count n, bind_count n",
        &[
            "auto|0|0|0|0|0|0|0|0|0|0|0",
            "pgbouncer|0|0|0|0|0|0|0|0|0|0|0",
            "shop|5|5|6|204|400|87698|87690|70|2|1|2",
        ],
    );
    golden(
        View::StatsAverages,
        "database t, server_assignment_count n, xact_count n, query_count n, bytes_received n, bytes_sent n, \
         xact_time n, query_time n, wait_time n, avg_client_parse_count n, avg_server_parse_count n, \
         avg_bind_count n",
        &[
            "auto|0|0|0|0|0|0|0|0|0|0|0",
            "pgbouncer|0|0|0|0|0|0|0|0|0|0|0",
            "shop|1|1|1|40|80|17539|14615|14|0|0|0",
        ],
    );
}

#[test]
fn i27_totals_hold_what_vanished_pools_counted() {
    golden(
        View::Totals,
        "name t, value n",
        &[
            "total_server_assignment_count|10",
            "total_xact_count|10",
            "total_query_count|12",
            "total_client_bytes|408",
            "total_server_bytes|800",
            "total_xact_time|175396",
            "total_query_time|175380",
            "total_wait_time|140",
            "total_ps_client_parse_count|4",
            "total_ps_server_parse_count|2",
            "total_ps_bind_count|4",
            "avg_server_assignment_count|2",
            "avg_xact_count|2",
            "avg_query_count|2",
            "avg_client_bytes|81",
            "avg_server_bytes|160",
            "avg_xact_time|17539",
            "avg_query_time|14615",
            "avg_wait_time|14",
            "avg_ps_client_parse_count|0",
            "avg_ps_server_parse_count|0",
            "avg_ps_bind_count|0",
        ],
    );
}

#[test]
fn lists() {
    golden(
        View::Lists,
        "list t, items i",
        &[
            "databases|4",
            "users|3",
            "peers|0",
            "pools|3",
            "peer_pools|0",
            "free_clients|0",
            "used_clients|5",
            "login_clients|1",
            "free_servers|0",
            "used_servers|3",
            "dns_names|0",
            "dns_zones|0",
            "dns_queries|0",
            "dns_pending|0",
        ],
    );
}

#[test]
fn mem_tells_only_what_is_known() {
    let table = table(View::Mem);
    assert_eq!(columns(&table), "name t, size i, used i, free i, memtotal i");
    let rows = rows(&table);
    let user = size_of::<crate::config::User>();
    assert_eq!(rows[0], format!("user_cache|{user}|1|0|{user}"));
    assert_eq!(rows[1], "credentials_cache|0|0|0|0");
    let database = size_of::<crate::config::Database>();
    assert_eq!(rows[2], format!("db_cache|{database}|3|0|{}", 3 * database));
    assert_eq!(
        rows[3..],
        [
            "peer_cache|0|0|0|0",
            "peer_pool_cache|0|0|0|0",
            "pool_cache|0|3|0|0",
            "outstanding_request_cache|0|0|0|0",
            "server_cache|0|3|0|0",
            "client_cache|0|5|0|0",
            "iobuf_cache|0|0|0|0",
            "var_list_cache|0|0|0|0",
            "server_prepared_statement_cache|0|6|0|0",
        ]
    );
}

#[test]
fn settings_state_and_version() {
    golden(
        View::Config,
        "key t, value t, default t, changeable t",
        &["auth_file|NULL|0|no", "query_timeout|0.5|0|yes"],
    );
    golden(View::State, "key t, value t", &["active|yes", "paused|no", "suspended|no"]);
    let version = format!("PgBouncer 1.25.2 (Pooler {})", env!("CARGO_PKG_VERSION"));
    golden(View::Version, "version t", &[&version]);
    for (state, expected) in [
        (RunState::Paused, ["active|no", "paused|yes", "suspended|no"]),
        (RunState::ShuttingDown, ["active|no", "paused|no", "suspended|no"]),
    ] {
        assert_eq!(rows(&config::state(&Overview { state, ..overview() })), expected);
    }
}

#[test]
fn driver_variables_answer_under_their_own_name() {
    for (name, expected) in Variable::ALL.into_iter().zip(["UTF-8", "read committed", "on", "ISO", "GMT"]) {
        let table = variable(name);
        assert_eq!(columns(&table), format!("{} t", name.as_str()));
        assert_eq!(rows(&table), [expected]);
    }
}

#[test]
fn what_the_pooler_does_not_have_keeps_its_columns() {
    golden(View::Peers, "peer_id i, host t, port i, pool_size i", &[]);
    golden(
        View::PeerPools,
        "peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i",
        &[],
    );
    golden(View::DnsHosts, "hostname t, ttl q, addrs t", &[]);
    golden(View::DnsZones, "zonename t, serial q, count i", &[]);
    let error = answer(View::Fds, &overview(), &TimeZone::UTC).unwrap_err();
    assert_eq!(error.message, "SHOW FDS is not offered: file descriptors are not handed over");
}

#[test]
fn help_is_a_notice() {
    let Answer::Notice(notice) = answer(View::Help, &overview(), &TimeZone::UTC).unwrap() else {
        panic!("help has no rows");
    };
    assert_eq!((notice.code.as_str(), notice.message.as_ref()), ("00000", "Console usage"));
    let detail = notice.detail.unwrap();
    assert!(
        detail
            .starts_with("\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION\n\tSHOW PEERS")
    );
    assert!(detail.ends_with("\n\tWAIT_CLOSE [<db>]"));
    assert_eq!(detail.lines().count(), 18);
    assert!(!["SUSPEND", "FDS", "SET "].iter().any(|refused| detail.contains(refused)), "{detail}");
}

#[test]
fn s44_no_secret_is_in_any_report_or_metric() {
    let overview = overview();
    for view in View::ALL {
        let answer = format!("{:?}", answer(view, &overview, &TimeZone::UTC));
        assert!(!answer.contains(MARKER), "{}", view.as_str());
    }
    let page = crate::metrics::render(&overview.workers, crate::metrics::BuildInfo { version: "1" }).unwrap();
    assert!(!page.contains(MARKER));
    assert!(!format!("{overview:?}").contains(MARKER));
}

#[test]
fn a_time_outside_the_calendar_is_empty() {
    let far = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 60);
    assert_eq!(table::time_of_day(far, &TimeZone::UTC), "");
}
