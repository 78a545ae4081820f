//! Whether a statement still has the columns that clients were told of.
//!
//! Drivers ask once which columns a statement has, and read its rows by that answer ever after. After DDL, PostgreSQL
//! refuses such a statement with 0A000, so that they ask again. Here another server, or a Parse of another client, may
//! have made a plan with the new columns long before: nothing would fail, and rows be misread. So what descriptions say
//! is remembered with the statement, by a fingerprint: one that says otherwise makes all older promises void, and where
//! a server is given a statement that was described before, it is asked what columns it makes of it.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::rc::Rc;

use super::catalog::Statement;
use super::conversation::{Session, Turn};
use super::owed::{Kind, Why};
use super::sql::Features;
use super::survey::PinReasons;
use crate::proto::{FrameHeader, HEADER_LEN, put_describe_statement};

/// Bytes of a description that are held to be read: some five hundred columns. What is longer is not remembered.
const MAX_HELD_COLUMNS: usize = 16 * 1024;

/// What in a description decides how rows are read: names, types, modifiers. Where a column comes from does not (it may
/// be another table's now), nor in what format it was asked for. `None` if it is not one.
fn fingerprint(tag: u8, body: &[u8]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    if tag == b'T' {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        for _ in 0..u16::from_be_bytes(*count) {
            let end = rest.iter().position(|&b| b == 0)?;
            hasher.write(rest.get(..=end)?);
            // Table (4), column (2); type (4), size (2), modifier (4); format (2).
            hasher.write(rest.get(end + 7..end + 17)?);
            rest = rest.get(end + 19..)?;
        }
    }
    Some(hasher.finish())
}

impl Session {
    /// The number of the statement whose columns are being described.
    fn described(&self) -> Option<u64> {
        let head = self.inflight.head().filter(|head| head.kind == Kind::DescribeStatement)?;
        if let Why::Named(id) | Why::Check(id) = head.why { Some(id) } else { None }
    }

    /// Bytes of a description that must be there before it is judged.
    pub(super) fn held_columns(&self, header: FrameHeader) -> usize {
        let held = header.wire_len <= MAX_HELD_COLUMNS && self.described().is_some();
        if held { header.wire_len } else { HEADER_LEN }
    }

    /// A description has come.
    pub(super) fn note_columns(&mut self, turn: &mut Turn<'_>, header: FrameHeader, body: &[u8]) {
        let whole = body.len() + HEADER_LEN >= header.wire_len;
        if !whole || self.has_tables_of_its_own() {
            return;
        }
        let Some((id, seen)) = self.described().zip(fingerprint(header.tag, body)) else { return };
        let Some(facts) = turn.facts.as_deref_mut() else { return };
        facts.statements.note_columns(id, seen);
        if self.inflight.head().is_some_and(|head| head.why == Why::Named(id)) {
            self.names.told_columns(id);
        }
    }

    /// Whether what a name means to this client may be what it means to no other.
    fn has_tables_of_its_own(&self) -> bool {
        self.pinned_for().intersects(PinReasons::TEMPORARY)
            || self.traces.as_ref().is_some_and(|traces| traces.features.intersects(Features::TEMP))
    }

    /// Behind a Parse: asks what columns the server makes of it, if clients have been told of some. Whether it does. Not
    /// where something is under way that might start COPY: the server would not answer.
    pub(super) fn check_columns(&mut self, turn: &mut Turn<'_>, statement: &Rc<Statement>) -> bool {
        if !statement.has_known_columns() || self.inflight.may_copy() || self.has_tables_of_its_own() {
            return false;
        }
        turn.to_server.own(|out| put_describe_statement(out, statement.server_name()));
        self.send(Kind::DescribeStatement, Why::Check(statement.id()));
        self.checks += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, table: u32, kind: u32, format: u16) -> Vec<u8> {
        let mut column = name.as_bytes().to_vec();
        column.push(0);
        column.extend(table.to_be_bytes());
        column.extend(1u16.to_be_bytes());
        column.extend(kind.to_be_bytes());
        column.extend(4u16.to_be_bytes());
        column.extend((-1i32).to_be_bytes());
        column.extend(format.to_be_bytes());
        column
    }

    fn of(columns: &[Vec<u8>]) -> Option<u64> {
        let count = u16::try_from(columns.len()).unwrap().to_be_bytes();
        fingerprint(b'T', &[&count[..], &columns.concat()].concat())
    }

    #[test]
    fn names_and_types_count_and_nothing_else() {
        let one = of(&[column("a", 1, 23, 0)]);
        assert_eq!(one, of(&[column("a", 2, 23, 1)]));
        for other in
            [vec![column("b", 1, 23, 0)], vec![column("a", 1, 20, 0)], vec![], vec![column("a", 1, 23, 0); 2]]
        {
            assert_ne!(one, of(&other));
        }
        assert_eq!(of(&[]), fingerprint(b'n', b""), "no columns and no rows are read alike");
        let whole = [&1u16.to_be_bytes()[..], &column("a", 1, 23, 0)].concat();
        for cut in 0..whole.len() {
            assert_eq!(fingerprint(b'T', &whole[..cut]), None, "cut at {cut}");
        }
    }
}
