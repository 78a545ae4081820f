//! Messages of a server that is not logged in yet, one at a time.
//!
//! Owns: how much of such a server is believed and kept (R105, S43). Does not know: what the messages mean. Exactly
//! the bytes of one message are read, never more: what stands behind it stays in the stream.

use std::io;

use crate::net::Stream;

/// Bytes of type and length word.
const HEADER_LEN: usize = 5;

/// Largest authentication request: as much as libpq reads.
const MAX_AUTH: usize = 2_000;

/// Largest error or notice: as much as libpq reads.
const MAX_NOTICE: usize = 30_000;

/// Largest ParameterStatus. A `search_path` may be long; 16 kB is more than any that was seen.
const MAX_PARAMETER: usize = 16 * 1024;

/// Largest BackendKeyData: a process id and 256 bytes of key.
const MAX_KEY: usize = 4 + 4 + 256;

/// Bytes of a whole login, so that a server cannot talk for ever within its deadline: about ten times what a login
/// with every parameter at its limit of common sense needs.
const MAX_LOGIN: usize = 1024 * 1024;

/// A message, or why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The socket broke, or ended in the middle of the login.
    #[error("connection lost during login: {0}")]
    Io(#[from] io::Error),
    /// A type that has no place in a login, or a length that its type cannot have.
    #[error("message of type {tag:?} and length {length} does not belong into a login")]
    Misfit {
        /// The type byte.
        tag: char,
        /// Bytes of the body.
        length: usize,
    },
    /// More than [`MAX_LOGIN`] in all.
    #[error("the server sends more than a login may have")]
    TooMuch,
}

/// One message of a login.
#[derive(Debug)]
pub(super) struct Message {
    /// The type byte.
    pub(super) tag: u8,
    /// What follows the length word.
    pub(super) body: Vec<u8>,
}

/// Reads the messages of one login.
#[derive(Debug, Default)]
pub(super) struct LoginReader {
    taken: usize,
}

impl LoginReader {
    /// The next message. Not cancel safe: a message that was begun is lost, and the connection with it.
    pub(super) async fn next(&mut self, stream: &mut Stream) -> Result<Message, WireError> {
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).await?;
        let tag = header[0];
        let word = i32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let misfit = |length| WireError::Misfit { tag: char::from(tag), length };
        let Some(length) = usize::try_from(word).ok().and_then(|word| word.checked_sub(4)) else {
            return Err(misfit(0));
        };
        if length > largest_body(tag) {
            return Err(misfit(length));
        }
        self.taken += HEADER_LEN + length;
        if self.taken > MAX_LOGIN {
            return Err(WireError::TooMuch);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Message { tag, body })
    }
}

/// Bytes that a body of this type may have; none for types that have no place in a login.
fn largest_body(tag: u8) -> usize {
    match tag {
        b'R' | b'v' => MAX_AUTH,
        b'E' | b'N' => MAX_NOTICE,
        b'S' => MAX_PARAMETER,
        b'K' => MAX_KEY,
        b'Z' => 1,
        _ => 0,
    }
}
