//! SHOW CONFIG, STATE, VERSION and the variables of drivers.

use super::super::PGBOUNCER_VERSION;
use super::super::request::{Overview, RunState};
use super::super::words::Variable;
use super::table::{Row, Table, text};
use crate::proto::Column;

const CONFIG: [Column; 4] = [text("key"), text("value"), text("default"), text("changeable")];
const STATE: [Column; 2] = [text("key"), text("value")];
const VERSION: [Column; 1] = [text("version")];

/// SHOW CONFIG. The list of settings holds no secrets.
pub(super) fn config(overview: &Overview) -> Table {
    let mut shown: Vec<_> = overview.config.shown.iter().collect();
    shown.sort_by_key(|setting| setting.key);
    Table::of(
        &CONFIG,
        shown.into_iter().map(|setting| {
            Row::named(setting.key)
                .maybe(setting.value.as_ref())
                .maybe(setting.default.as_ref())
                .text(yes(setting.changeable))
        }),
    )
}

/// SHOW STATE. Pausing single databases does not show; there is no suspended state.
pub(super) fn state(overview: &Overview) -> Table {
    let rows = [
        ("active", overview.state == RunState::Active),
        ("paused", overview.state == RunState::Paused),
        ("suspended", false),
    ];
    Table::of(&STATE, rows.map(|(key, value)| Row::named(key).text(yes(value))))
}

/// SHOW VERSION. The PgBouncer version comes first because programs parse it to learn which columns to expect;
/// who really answers stands behind it.
pub(super) fn version() -> Table {
    let version = format!("PgBouncer {PGBOUNCER_VERSION} (Pooler {})", env!("CARGO_PKG_VERSION"));
    Table::of(&VERSION, [Row::named(&version)])
}

/// SHOW of a driver variable: one row, the column named like the variable.
pub(super) fn variable(variable: Variable) -> Table {
    const NAMES: [[Column; 1]; 5] = [
        [text("client_encoding")],
        [text("default_transaction_isolation")],
        [text("standard_conforming_strings")],
        [text("datestyle")],
        [text("timezone")],
    ];
    let columns: &'static [Column] = match variable {
        Variable::ClientEncoding => &NAMES[0],
        Variable::DefaultTransactionIsolation => &NAMES[1],
        Variable::StandardConformingStrings => &NAMES[2],
        Variable::DateStyle => &NAMES[3],
        Variable::TimeZone => &NAMES[4],
    };
    Table::of(columns, [Row::named(variable.value())])
}

const fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
