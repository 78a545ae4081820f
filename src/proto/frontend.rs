//! Borrowed views of the few frontend messages whose inside matters, and writers of those we send to servers.
//!
//! A view is `None` when the body is not what the protocol says: such a message is passed on as it is, and
//! PostgreSQL answers it (R101).

use super::backend::put_framed;
use super::frame::FrameHeader;

/// A Parse: name, and everything behind it (text, types), which is what makes two statements the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseView<'a> {
    /// Statement name without its NUL; empty for the unnamed statement.
    pub name: &'a [u8],
    /// Query text with its NUL, count and OIDs of the parameter types.
    pub rest: &'a [u8],
}

impl<'a> ParseView<'a> {
    /// Reads the body of a whole Parse.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (name, rest) = split_string(body)?;
        let (_text, types) = split_string(rest)?;
        let (count, oids) = types.split_first_chunk::<2>()?;
        let count = usize::try_from(i16::from_be_bytes(*count)).ok()?;
        (oids.len() == count.checked_mul(4)?).then_some(Self { name, rest })
    }
}

/// The front of a Bind: the two names; what follows need not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindView<'a> {
    /// Portal name without its NUL.
    pub portal: &'a [u8],
    /// Statement name without its NUL.
    pub statement: &'a [u8],
    /// Bytes of both names with their NULs.
    pub names_len: usize,
}

impl<'a> BindView<'a> {
    /// Reads the names off the front of a body, as far as it has arrived.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (portal, rest) = split_string(body)?;
        let (statement, rest) = split_string(rest)?;
        Some(Self { portal, statement, names_len: body.len() - rest.len() })
    }

    /// The values in `body`, those that are NULL left out, as far as they have arrived.
    pub fn values<'b>(&self, body: &'b [u8]) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let count = |bytes: &mut &'b [u8]| {
            let (count, rest) = bytes.split_first_chunk::<2>()?;
            *bytes = rest;
            Some(usize::from(u16::from_be_bytes(*count)))
        };
        let mut rest = body.get(self.names_len..).unwrap_or_default();
        let formats = count(&mut rest).unwrap_or_default() * 2;
        rest = rest.get(formats..).unwrap_or_default();
        let values = count(&mut rest).unwrap_or_default();
        let mut next = move || {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, behind) = behind.split_at_checked(length.unwrap_or_default())?;
            rest = behind;
            Some(length.map(|_| value))
        };
        (0..values).map_while(move |_| next()).flatten()
    }
}

/// A Describe or a Close: what kind of thing it is about, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetView<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> TargetView<'a> {
    /// Reads the body of a whole Describe or Close.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (&kind, name) = body.split_first()?;
        let (name, rest) = split_string(name)?;
        match kind {
            b'S' if rest.is_empty() => Some(Self::Statement(name)),
            b'P' if rest.is_empty() => Some(Self::Portal(name)),
            _ => None,
        }
    }
}

fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text);
    out.push(0);
}

/// Appends a Parse of `name` with the rest of another one (see [`ParseView::rest`]).
pub fn put_parse(out: &mut Vec<u8>, name: &[u8], rest: &[u8]) {
    put_framed(out, b'P', |out| {
        put_string(out, name);
        out.extend(rest);
    });
}

/// Appends the front of a Bind, from its type to its statement name; the caller lets the rest follow unchanged
/// (S30). `original` is the header of the message that is rewritten.
pub fn put_bind_front(out: &mut Vec<u8>, original: FrameHeader, view: &BindView<'_>, statement: &[u8]) {
    let wire_len = original.wire_len - view.statement.len() + statement.len();
    FrameHeader { tag: b'B', wire_len }.put(out);
    put_string(out, view.portal);
    put_string(out, statement);
}

/// Appends a Bind of a statement to the unnamed portal, without parameters.
pub fn put_bare_bind(out: &mut Vec<u8>, statement: &[u8]) {
    put_framed(out, b'B', |out| {
        put_string(out, b"");
        put_string(out, statement);
        out.extend([0; 6]);
    });
}

/// Appends a Describe of a statement.
pub fn put_describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    put_framed(out, b'D', |out| {
        out.push(b'S');
        put_string(out, name);
    });
}

/// Appends a Close of a statement.
pub fn put_close_statement(out: &mut Vec<u8>, name: &[u8]) {
    put_framed(out, b'C', |out| {
        out.push(b'S');
        put_string(out, name);
    });
}

/// Appends a Query.
pub fn put_query(out: &mut Vec<u8>, sql: &str) {
    put_framed(out, b'Q', |out| put_string(out, sql.as_bytes()));
}

/// Appends a Query whose text stands in pieces.
pub fn put_query_parts(out: &mut Vec<u8>, parts: &[&[u8]]) {
    put_framed(out, b'Q', |out| {
        out.extend(parts.iter().copied().flatten());
        out.push(0);
    });
}

/// Appends a name to a text of SQL, quoted, so that it is nothing but a name (S34).
pub fn put_identifier(sql: &mut Vec<u8>, name: &[u8]) {
    sql.push(b'"');
    for &byte in name {
        sql.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
    }
    sql.push(b'"');
}

/// Appends a Sync.
pub fn put_sync(out: &mut Vec<u8>) {
    out.extend(b"S\0\0\0\x04");
}

/// Appends a CopyFail with a reason.
pub fn put_copy_fail(out: &mut Vec<u8>, reason: &str) {
    put_framed(out, b'f', |out| put_string(out, reason.as_bytes()));
}

/// Appends Parse, Bind and Execute of one statement with text parameters; `None` is NULL. With a name, its Close is
/// appended as well. A Sync has to follow.
///
/// Values travel as parameters and never become part of the SQL text (S34). A value with a NUL inside cannot be
/// sent; callers read theirs from NUL-terminated fields.
pub fn put_bound_statement(
    out: &mut Vec<u8>,
    name: &[u8],
    sql: impl AsRef<[u8]>,
    parameters: &[Option<&[u8]>],
) {
    put_framed(out, b'P', |out| {
        put_string(out, name);
        put_string(out, sql.as_ref());
        out.extend(0i16.to_be_bytes());
    });
    put_framed(out, b'B', |out| {
        out.push(0); // unnamed portal
        put_string(out, name);
        out.extend([0, 0]); // no format codes: all text
        out.extend(i16::try_from(parameters.len()).unwrap_or(i16::MAX).to_be_bytes());
        for value in parameters {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.extend(length.to_be_bytes());
            out.extend(value.unwrap_or_default());
        }
        out.extend(0i16.to_be_bytes());
    });
    out.extend(b"E\0\0\0\x09\0\0\0\0\0");
    if !name.is_empty() {
        put_close_statement(out, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s30_a_rewritten_bind_keeps_every_byte_behind_the_names() {
        let body = b"p\0s1\0\0\x01\0\x01\0\x01\0\0\0\x02\xff\0\0\0";
        let header = FrameHeader { tag: b'B', wire_len: body.len() + 5 };
        let view = BindView::read(body).unwrap();
        let mut out = Vec::new();
        put_bind_front(&mut out, header, &view, b"pooler_17");
        out.extend(&body[view.names_len..]);
        let again = FrameHeader::frontend(&out).unwrap().unwrap();
        assert_eq!(again.wire_len, out.len());
        let read = BindView::read(&out[5..]).unwrap();
        assert_eq!((read.portal, read.statement), (&b"p"[..], &b"pooler_17"[..]));
        assert_eq!(&out[5 + read.names_len..], &body[view.names_len..]);
    }

    #[test]
    fn b11_b27_bodies_that_break_the_protocol_have_no_view() {
        assert_eq!(ParseView::read(b"aaaa"), None, "b11b");
        assert_eq!(ParseView::read(b"\0select 1\0\0\x01"), None, "one type announced, none there");
        assert_eq!(ParseView::read(b"\0select 1\0\xff\xff"), None, "a negative count");
        assert_eq!(TargetView::read(b"Zs1\0"), None, "b27d");
        assert_eq!(TargetView::read(b"\0s1\0"), None, "b27e");
        assert_eq!(TargetView::read(b"Ss1\0x"), None, "left over");
        assert_eq!(BindView::read(b"p\0s1"), None);
    }

    #[test]
    fn s34_a_hostile_value_stays_a_parameter() {
        let mut out = Vec::new();
        let values = [Some(&b"x"[..]), Some(b"'; DROP TABLE t; --"), None];
        put_bound_statement(&mut out, b"", "SELECT set_config($1,$2,false)", &values);
        let parse = FrameHeader::frontend(&out).unwrap().unwrap();
        assert!(!out[..parse.wire_len].windows(4).any(|w| w == b"DROP"));
        assert!(out.ends_with(b"\xff\xff\xff\xff\0\0E\0\0\0\x09\0\0\0\0\0"), "NULL, and then run it");
    }
}
