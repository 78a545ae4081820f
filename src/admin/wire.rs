//! What a console client sent: messages cut from bytes, judged before anything is done.
//!
//! Owns: the limits of a message, which types a console takes. Does not know: statements, sockets.

/// Longest message of a console, type and length included. Statements have a few hundred bytes; this leaves room
/// for what tools send by mistake, so that they get an answer instead of a closed connection.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;

/// Type byte and length word.
const HEADER: usize = 5;

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front<'a> {
    /// A message is not complete yet.
    NeedMore,
    /// A simple query.
    Query {
        /// Its text.
        text: &'a [u8],
        /// Bytes of the whole message.
        length: usize,
    },
    /// The client says good-bye.
    Terminate,
    /// Parse, Bind or Execute.
    Extended,
    /// A message that a console does not take.
    Unsupported(u8),
    /// A message longer than [`MAX_MESSAGE`], or a query that does not end where its message does.
    Broken(&'static str),
}

/// Looks at the front. The type decides before the rest has arrived, except for what must be read.
pub(super) fn front(bytes: &[u8]) -> Front<'_> {
    let Some((&[kind, a, b, c, d], behind)) = bytes.split_first_chunk::<HEADER>() else {
        return Front::NeedMore;
    };
    let Ok(word @ 4..) = usize::try_from(i32::from_be_bytes([a, b, c, d])) else {
        return Front::Broken("bad packet header");
    };
    match kind {
        b'X' => Front::Terminate,
        b'P' | b'B' | b'E' => Front::Extended,
        b'Q' if word >= MAX_MESSAGE => Front::Broken("incomplete pkt"),
        b'Q' => match behind.get(..word - 4) {
            None => Front::NeedMore,
            Some([text @ .., 0]) if !text.contains(&0) => Front::Query { text, length: word + 1 },
            Some(_) => Front::Broken("broken Query packet"),
        },
        other => Front::Unsupported(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let word = i32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &word.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_query_cut_anywhere_is_awaited() {
        let whole = message(b'Q', b"SHOW POOLS\0");
        for cut in 0..whole.len() {
            assert_eq!(front(&whole[..cut]), Front::NeedMore, "cut at {cut}");
        }
        let next = [whole.as_slice(), b"Q"].concat();
        assert_eq!(front(&next), Front::Query { text: b"SHOW POOLS", length: whole.len() });
    }

    #[test]
    fn lengths_are_judged_before_their_bytes_arrive() {
        assert_eq!(front(b"Q\0\0\0\x03"), Front::Broken("bad packet header"));
        assert_eq!(front(b"Q\xff\xff\xff\xff"), Front::Broken("bad packet header"));
        assert_eq!(front(b"Q\x7f\xff\xff\xff"), Front::Broken("incomplete pkt"));
        let longest = message(b'Q', &[vec![b' '; MAX_MESSAGE - 6], vec![0]].concat());
        assert_eq!(longest.len(), MAX_MESSAGE);
        assert!(matches!(front(&longest), Front::Query { length: MAX_MESSAGE, .. }));
        let longer = message(b'Q', &[vec![b' '; MAX_MESSAGE - 5], vec![0]].concat());
        assert_eq!(front(&longer[..5]), Front::Broken("incomplete pkt"));
    }

    #[test]
    fn f77_a_nul_inside_or_none_at_the_end_is_broken() {
        for body in [&b""[..], b"SHOW", b"SHOW\0POOLS\0", b"\0\0"] {
            assert_eq!(front(&message(b'Q', body)), Front::Broken("broken Query packet"));
        }
        assert_eq!(front(&message(b'Q', b"\0")), Front::Query { text: b"", length: 6 });
    }

    #[test]
    fn types_are_told_apart() {
        assert_eq!(front(&message(b'X', b"")), Front::Terminate);
        for kind in [b'P', b'B', b'E'] {
            assert_eq!(front(&message(kind, b"x\0")), Front::Extended);
        }
        for kind in [b'S', b'D', b'C', b'd', b'p', 0, 0xff] {
            assert_eq!(front(&message(kind, b"")), Front::Unsupported(kind));
        }
    }
}
