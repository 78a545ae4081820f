//! Message headers: a type byte and a length word, judged before anything is reserved for them.

use super::backend::MAX_LENGTH_WORD;

/// Bytes of type and length word.
pub const HEADER_LEN: usize = 5;

/// Largest length word of the messages that carry no bulk (R62; `PQ_SMALL_MESSAGE_LIMIT` in PostgreSQL).
const MAX_SMALL_WORD: usize = 10_000;

/// Type and size of one message, read off its first five bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The type byte.
    pub tag: u8,
    /// Bytes on the wire: type, length word and body.
    pub wire_len: usize,
}

/// Why a peer's stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type that no frontend may send now (R63).
    #[error("invalid frontend message type {0}")]
    UnknownTag(u8),
    /// A length outside what the type allows (R61, R62).
    #[error("invalid message length")]
    Length {
        /// The type byte.
        tag: u8,
        /// The length word as received.
        word: i32,
    },
}

impl FrameHeader {
    /// Reads the header of a frontend message after login; `None` until five bytes are there.
    ///
    /// The type is judged as soon as its byte is there, before the length (R63).
    ///
    /// # Errors
    /// A type or a length that PostgreSQL refuses as well.
    #[inline]
    pub fn frontend(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(&tag) = input.first() else { return Ok(None) };
        let limit = match tag {
            b'Q' | b'F' | b'P' | b'B' | b'd' => MAX_LENGTH_WORD,
            b'X' | b'C' | b'D' | b'E' | b'H' | b'S' | b'c' | b'f' => MAX_SMALL_WORD,
            other => return Err(FrameError::UnknownTag(other)),
        };
        Self::with_limit(input, limit)
    }

    /// Reads the header of a backend message; `None` until five bytes are there.
    ///
    /// # Errors
    /// A length below four or above what PostgreSQL can send.
    #[inline]
    pub fn backend(input: &[u8]) -> Result<Option<Self>, FrameError> {
        Self::with_limit(input, MAX_LENGTH_WORD)
    }

    #[inline]
    fn with_limit(input: &[u8], limit: usize) -> Result<Option<Self>, FrameError> {
        let Some(&[tag, a, b, c, d]) = input.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let word = i32::from_be_bytes([a, b, c, d]);
        match usize::try_from(word) {
            Ok(length) if (4..=limit).contains(&length) => Ok(Some(Self { tag, wire_len: length + 1 })),
            _ => Err(FrameError::Length { tag, word }),
        }
    }

    /// Appends this header.
    pub fn put(self, out: &mut Vec<u8>) {
        let word = i32::try_from(self.wire_len.saturating_sub(1)).unwrap_or(i32::MAX);
        out.push(self.tag);
        out.extend(word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontend(tag: u8, word: u32) -> Result<Option<FrameHeader>, FrameError> {
        let mut bytes = vec![tag];
        bytes.extend(word.to_be_bytes());
        FrameHeader::frontend(&bytes)
    }

    #[test]
    fn r61_r62_lengths_are_judged_as_signed_words_by_type() {
        for tag in *b"QFPBd" {
            assert!(frontend(tag, 0x3fff_fffe).is_ok(), "b10b");
            assert!(frontend(tag, 0x3fff_ffff).is_err(), "b10c");
        }
        for tag in *b"XCDEHScf" {
            assert!(frontend(tag, 10_000).is_ok(), "b31a");
            assert!(frontend(tag, 10_001).is_err(), "b31b");
        }
        for word in [0, 3, 0xffff_ffff, 0x8000_0000, 0x7fff_ffff] {
            assert!(frontend(b'Q', word).is_err(), "b9, b10a: {word:#x}");
        }
    }

    #[test]
    fn r63_an_unknown_type_is_refused_before_its_length_arrives() {
        for tag in [0, 255, b'p', b'~'] {
            assert_eq!(FrameHeader::frontend(&[tag]), Err(FrameError::UnknownTag(tag)));
        }
    }

    #[test]
    fn a_header_waits_for_its_fifth_byte() {
        for have in 0..HEADER_LEN {
            assert_eq!(FrameHeader::frontend(&b"Q\0\0\0\x04"[..have]), Ok(None));
        }
        let header = FrameHeader::frontend(b"Q\0\0\0\x04").unwrap().unwrap();
        let mut written = Vec::new();
        header.put(&mut written);
        assert_eq!(written, b"Q\0\0\0\x04");
    }
}
