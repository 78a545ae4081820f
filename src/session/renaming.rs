//! PostgreSQL's own errors name a prepared statement as the server knows it, and count characters in the text that the
//! server got. Here they are put as the client would have heard them.

use std::ops::Range;

use memchr::memmem;

use super::conversation::{Session, Turn};
use super::owed::Why;
use crate::proto::{PgError, put_error_fields};

/// Where a text names a statement, and how: as the client wrote it and as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// The client's name, as errors show it.
    theirs: Box<[u8]>,
    ours: Box<[u8]>,
    /// Characters before the end of the name as it was sent, and by how many more they are than the client wrote.
    end: usize,
    longer: isize,
}

impl Renamed {
    /// For a text in which `span` was exchanged for `ours`.
    pub(super) fn new(text: &[u8], span: Range<usize>, theirs: &[u8], ours: &[u8]) -> Self {
        let characters = |bytes: &[u8]| bytes.iter().filter(|&&b| b & 0xc0 != 0x80).count();
        let before = characters(text.get(..span.start).unwrap_or_default());
        let written = characters(text.get(span).unwrap_or_default());
        Self {
            theirs: theirs.into(),
            ours: ours.into(),
            end: before + ours.len(),
            longer: ours.len().cast_signed() - written.cast_signed(),
        }
    }

    fn position(&self, told: &[u8]) -> Option<String> {
        let told: usize = std::str::from_utf8(told).ok()?.parse().ok()?;
        (told > self.end).then(|| told.saturating_add_signed(-self.longer).to_string())
    }
}

impl Session {
    /// The client's own error, as the server put it or as the client would have heard it: whether it passes as it is.
    pub(super) fn pass_error(&self, turn: &mut Turn<'_>, why: &Why, error: &PgError, body: &[u8]) -> bool {
        if !PgError::is_complete(body) {
            // Clients look for a code and a text: it goes on with generic ones (S12).
            turn.to_client.own(|out| error.put(out));
            return false;
        }
        let reworded = if let Why::Named(id) = why {
            let statement = turn.facts.as_deref().and_then(|facts| facts.statements.get(*id));
            let named =
                statement.and_then(|statement| Some((statement, self.names.only_name_of(statement.rest())?)));
            named.and_then(|(statement, name)| reworded(body, statement.server_name(), name, |_| None))
        } else if let Why::ClientExecute(renamed) = why {
            reworded(body, &renamed.ours, &renamed.theirs, |told| renamed.position(told))
        } else {
            None
        };
        match reworded {
            Some(body) => {
                turn.to_client.own(|out| put_error_fields(out, &body));
                false
            }
            None => true,
        }
    }
}

/// A whole error with a name and a position put otherwise; `None` if neither is in it.
fn reworded(
    body: &[u8],
    ours: &[u8],
    theirs: &[u8],
    position: impl Fn(&[u8]) -> Option<String>,
) -> Option<Vec<u8>> {
    let fields = body.strip_suffix(b"\0\0")?;
    let mut changed = false;
    let mut out = Vec::with_capacity(body.len());
    for field in fields.split(|&b| b == 0) {
        let new = match field.split_first() {
            Some((b'M', text)) => renamed(text, ours, theirs),
            Some((b'P', told)) => position(told).map(String::into_bytes),
            Some(_) | None => None,
        };
        changed |= new.is_some();
        match (new, field.first()) {
            (Some(new), Some(kind)) => {
                out.push(*kind);
                out.extend(new);
            }
            _ => out.extend_from_slice(field),
        }
        out.push(0);
    }
    out.push(0);
    changed.then_some(out)
}

/// A text with one name in place of another, if that stands in it alone.
fn renamed(text: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    memmem::find_iter(text, ours).find_map(|at| {
        let (before, behind) = (text.get(..at)?, text.get(at + ours.len()..)?);
        let alone = !before.last().is_some_and(is_part) && !behind.first().is_some_and(is_part);
        alone.then(|| [before, theirs, behind].concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_positions_are_the_clients() {
        let text = b"explain /* \xc3\xa9 */ execute p(nope)";
        let start = memmem::find(text, b"p(").unwrap();
        let told = Renamed::new(text, start..start + 1, b"p", b"pooler_12");
        let body = b"SERROR\0C42703\0Mname \"pooler_12\" is wrong\0P35\0\0";
        let expected = b"SERROR\0C42703\0Mname \"p\" is wrong\0P27\0\0";
        let new = reworded(body, &told.ours, &told.theirs, |at| told.position(at)).unwrap();
        assert_eq!(String::from_utf8_lossy(&new), String::from_utf8_lossy(expected));
        assert_eq!(
            text[..start].iter().filter(|b| **b & 0xc0 != 0x80).count() + 1 + 2,
            27,
            "where nope begins"
        );
    }

    #[test]
    fn other_errors_are_left_alone() {
        let same = |body: &[u8]| reworded(body, b"pooler_1", b"p", |_| None).is_none();
        assert!(same(b"SERROR\0C42601\0Mname \"pooler_12\"\0\0"), "another statement's name");
        assert!(same(b"SERROR\0C42601\0Mmy_pooler_1 and pooler_1_x\0\0"), "parts of other names");
        assert!(!same(b"SERROR\0C42601\0Mpooler_12, pooler_1\0\0"), "the second");
        assert!(same(b"SERROR\0C42601\0Mno\0Dpooler_1\0\0"), "what it quotes");
        assert!(same(b"SERROR\0C42601\0Mname \"pooler_1\"\0"), "not whole");
    }
}
