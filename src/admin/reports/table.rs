//! A result of the console: columns and rows of text.
//!
//! Owns: how values are written. Does not know: any report.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::proto::{Column, ColumnType, put_data_row, put_row_description};

/// Columns and rows. Built whole: its size is bounded by the number of connections and of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Names and types.
    pub columns: &'static [Column],
    /// Values as text, in the order of the columns; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// A table without rows.
    pub(super) const fn empty(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// A table of these rows.
    pub(super) fn of(columns: &'static [Column], rows: impl IntoIterator<Item = Row>) -> Self {
        let rows: Vec<_> = rows.into_iter().map(|row| row.0).collect();
        debug_assert!(
            rows.iter().all(|row| row.len() == columns.len()),
            "a row that does not fit its columns"
        );
        Self { columns, rows }
    }

    /// Appends RowDescription and DataRows. A row too long for any message is left out.
    pub(in crate::admin) fn put(&self, out: &mut Vec<u8>) {
        put_row_description(out, self.columns);
        for row in &self.rows {
            put_data_row(out, row.iter().map(Option::as_deref));
        }
    }
}

/// A row being written, value by value.
#[derive(Default)]
pub(super) struct Row(Vec<Option<String>>);

impl Row {
    /// A row that starts with a name.
    pub(super) fn named(name: &str) -> Self {
        Self::default().text(name)
    }

    /// Appends a text.
    pub(super) fn text(mut self, value: impl Into<String>) -> Self {
        self.0.push(Some(value.into()));
        self
    }

    /// Appends a text, or NULL.
    pub(super) fn maybe(mut self, value: Option<impl Into<String>>) -> Self {
        self.0.push(value.map(Into::into));
        self
    }

    /// Appends NULL.
    pub(super) fn null(self) -> Self {
        self.maybe(None::<String>)
    }

    /// Appends a number.
    pub(super) fn number(self, value: impl Into<u64>) -> Self {
        self.text(value.into().to_string())
    }

    /// Appends a count of things in memory.
    pub(super) fn count(self, value: usize) -> Self {
        self.text(value.to_string())
    }

    /// Appends 1 or 0.
    pub(super) fn flag(self, value: bool) -> Self {
        self.number(u64::from(value))
    }
}

/// `YYYY-MM-DD HH:MM:SS ZONE`; empty for a time outside the calendar.
pub(super) fn time_of_day(time: SystemTime, zone: &TimeZone) -> String {
    Timestamp::try_from(time)
        .map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string())
        .unwrap_or_default()
}

/// A column of type `text`.
pub(super) const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Text }
}

/// A column of type `int4`.
pub(super) const fn int4(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Int4 }
}

/// A column of type `int8`.
pub(super) const fn int8(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Int8 }
}

/// A column of type `numeric`.
pub(super) const fn numeric(name: &'static str) -> Column {
    Column { name, kind: ColumnType::Numeric }
}
