//! SHOW PINS and COMPAT: what clients do to their sessions. PgBouncer has neither.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::tz::TimeZone;

use super::super::request::Overview;
use super::table::{Row, Table, int4, int8, text, time_of_day};
use crate::metrics::UseSnapshot;
use crate::proto::Column;

const PINS: [Column; 13] = [
    int4("id"),
    text("ptr"),
    text("database"),
    text("user"),
    text("application_name"),
    text("addr"),
    int4("port"),
    int4("server_pid"),
    text("link"),
    text("reasons"),
    text("since"),
    int4("age"),
    text("query"),
];

const COMPAT: [Column; 11] = [
    text("database"),
    text("user"),
    text("application_name"),
    text("feature"),
    text("name"),
    text("outcome"),
    text("in_transaction"),
    int8("count"),
    text("first"),
    text("last"),
    text("query"),
];

/// SHOW PINS: clients that keep their servers, the oldest pin first.
pub(super) fn pins(overview: &Overview, zone: &TimeZone) -> Table {
    let clients = overview.workers.iter().flat_map(|worker| &worker.clients);
    let mut pinned: Vec<_> = clients.filter_map(|conn| Some((conn.pin.as_ref()?, conn))).collect();
    pinned.sort_by_key(|(pin, conn)| (pin.since, conn.id));
    let rows = pinned.into_iter().map(|(pin, conn)| {
        Row::default()
            .number(conn.id)
            .text(format!("{:#x}", conn.id))
            .text(&conn.database)
            .text(&conn.user)
            .text(&conn.application_name)
            .text(&conn.addr)
            .number(conn.port)
            .text(pin.backend_pid.to_string())
            .text(conn.link.map(|id| format!("{id:#x}")).unwrap_or_default())
            .text(&pin.reasons)
            .text(time_of_day(pin.since, zone))
            .number(pin.age.as_secs())
            .text(&pin.text)
    });
    Table::of(&PINS, rows)
}

/// SHOW COMPAT: which features of sessions were used, by whom, and what becomes of them.
pub(super) fn compat(overview: &Overview, zone: &TimeZone) -> Table {
    let mut merged: BTreeMap<_, UseSnapshot> = BTreeMap::new();
    for used in overview.workers.iter().flat_map(|worker| &worker.uses) {
        let key =
            (&used.database, &used.user, &used.application_name, used.feature, &used.name, used.outcome);
        match merged.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(used.clone());
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                known.count += used.count;
                known.first = known.first.min(used.first);
                known.last = known.last.max(used.last);
            }
        }
    }
    let rows = merged.into_values().map(|used| {
        Row::named(&used.database)
            .text(used.user)
            .text(used.application_name)
            .text(used.feature)
            .text(used.name)
            .text(used.outcome)
            .text(used.in_transaction)
            .number(used.count)
            .text(time_of_day(used.first, zone))
            .text(time_of_day(used.last, zone))
            .text(used.sample)
    });
    Table::of(&COMPAT, rows)
}
