//! SHOW STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS: what was counted per database, and over all.
//!
//! The columns are those of 1.25; the login counts of later versions have no place in them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::CONSOLE;
use super::super::request::Overview;
use super::pools::is_console;
use super::table::{Row, Table, numeric, text};
use crate::metrics::{Counters, Window, database_totals};
use crate::proto::Column;

const STATS: [Column; 23] = [
    text("database"),
    numeric("total_server_assignment_count"),
    numeric("total_xact_count"),
    numeric("total_query_count"),
    numeric("total_received"),
    numeric("total_sent"),
    numeric("total_xact_time"),
    numeric("total_query_time"),
    numeric("total_wait_time"),
    numeric("total_client_parse_count"),
    numeric("total_server_parse_count"),
    numeric("total_bind_count"),
    numeric("avg_server_assignment_count"),
    numeric("avg_xact_count"),
    numeric("avg_query_count"),
    numeric("avg_recv"),
    numeric("avg_sent"),
    numeric("avg_xact_time"),
    numeric("avg_query_time"),
    numeric("avg_wait_time"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
];

const STATS_TOTALS: [Column; 12] = [
    text("database"),
    numeric("server_assignment_count"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
    numeric("client_parse_count"),
    numeric("server_parse_count"),
    numeric("bind_count"),
];

const STATS_AVERAGES: [Column; 12] = [
    text("database"),
    numeric("server_assignment_count"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
];

const TOTALS: [Column; 2] = [text("name"), numeric("value")];

/// Names of the eleven in TOTALS, behind `total_` and `avg_`.
const TOTALS_NAMES: [&str; 11] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
];

/// SHOW STATS.
pub(super) fn stats(overview: &Overview) -> Table {
    Table::of(
        &STATS,
        databases(overview).into_iter().map(|(name, window)| {
            let row = numbers(Row::named(&name), &window.total);
            numbers(row, &window.averages())
        }),
    )
}

/// SHOW STATS_TOTALS.
pub(super) fn stats_totals(overview: &Overview) -> Table {
    Table::of(
        &STATS_TOTALS,
        databases(overview).into_iter().map(|(name, window)| numbers(Row::named(&name), &window.total)),
    )
}

/// SHOW STATS_AVERAGES.
pub(super) fn stats_averages(overview: &Overview) -> Table {
    Table::of(
        &STATS_AVERAGES,
        databases(overview).into_iter().map(|(name, window)| numbers(Row::named(&name), &window.averages())),
    )
}

/// SHOW TOTALS: sums over all databases, also those whose pools are gone, so that they never go down.
pub(super) fn totals(overview: &Overview) -> Table {
    let mut sum = Window::default();
    for window in all_windows(overview).values() {
        sum.add(window);
    }
    let row = |prefix: &'static str| {
        move |(name, value): (&str, u64)| Row::named(&format!("{prefix}_{name}")).number(value)
    };
    let totals = TOTALS_NAMES.into_iter().zip(eleven(&sum.total)).map(row("total"));
    let averages = TOTALS_NAMES.into_iter().zip(eleven(&sum.averages())).map(row("avg"));
    Table::of(&TOTALS, totals.chain(averages))
}

/// What was counted in each database that has a pool, and at the console.
fn databases(overview: &Overview) -> BTreeMap<String, Window> {
    let pools = overview.workers.iter().flat_map(|worker| &worker.pools);
    let present: BTreeSet<&str> = pools.map(|pool| canonical(&pool.database)).chain([CONSOLE]).collect();
    let mut windows = all_windows(overview);
    windows.retain(|name, _| present.contains(name.as_str()));
    windows
}

/// All windows; a database that was not there when they were made counts from its pools, without averages.
fn all_windows(overview: &Overview) -> BTreeMap<String, Window> {
    let mut windows: BTreeMap<String, Window> = BTreeMap::from([(CONSOLE.to_owned(), Window::default())]);
    for (name, window) in &overview.averages {
        windows.entry(canonical(name).to_owned()).or_default().add(window);
    }
    for (name, counters) in database_totals(&overview.workers) {
        let window = windows.entry(canonical(&name).to_owned()).or_default();
        window.total = window.total.highest(&counters);
    }
    windows
}

/// The console is one database, whatever name its clients used.
fn canonical(database: &str) -> &str {
    if is_console(database) { CONSOLE } else { database }
}

/// The eleven of PgBouncer, in its order.
fn eleven(counters: &Counters) -> [u64; 11] {
    [
        counters.assignments,
        counters.xacts,
        counters.queries,
        counters.client_bytes,
        counters.server_bytes,
        counters.xact_us,
        counters.query_us,
        counters.wait_us,
        counters.client_parses,
        counters.server_parses,
        counters.binds,
    ]
}

fn numbers(row: Row, counters: &Counters) -> Row {
    eleven(counters).into_iter().fold(row, Row::number)
}
