//! What a client sends before it is logged in, one packet at a time.
//!
//! Owns: the sizes of packets before login (R57, R106), the deadline in every wait, the last words to a client that
//! is not let in. Does not know: what the packets mean. What was received behind a packet stays unread in the stream.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::net::{Quiet, Stream, clock, timeout_at};

/// Bytes of type and length word of a message after the startup packet.
const HEADER_LEN: usize = 5;

/// Bytes a client may have sent on when it is told to go; they are read so that closing does not take the error
/// from its hands (a socket closed with unread bytes resets the connection). A startup packet at its largest.
const MAX_DISCARDED: usize = 16 * 1024;

/// Longest time for the last words: they fit into an empty socket buffer, so only TLS or a full buffer takes any.
const FAREWELL: Duration = Duration::from_secs(2);

/// Awaits `work` until the deadline of the login, if there is one (R107).
///
/// # Errors
/// `TimedOut` after the deadline, otherwise what `work` says.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await?,
        None => work.await,
    }
}

/// A packet in answer to an authentication request, or why it is none.
#[derive(Debug)]
pub(super) enum Answer {
    /// The body of a message of type `p`.
    Password(Zeroizing<Vec<u8>>),
    /// Another type; nothing behind it was read.
    OtherType(u8),
    /// A length below four or above what was asked for; the body was not read.
    BadLength,
}

/// Reads the next message, whose length word may be at most `largest_word`; the type is judged first (R80, R81).
/// Not cancel safe.
///
/// # Errors
/// As [`Stream::read_exact_ahead`].
pub(super) async fn read_answer(stream: &mut Stream, largest_word: usize) -> io::Result<Answer> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact_ahead(&mut header[..1]).await?;
    if header[0] != b'p' {
        return Ok(Answer::OtherType(header[0]));
    }
    stream.read_exact_ahead(&mut header[1..]).await?;
    let word = i32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let Some(word) = usize::try_from(word).ok().filter(|word| (4..=largest_word).contains(word)) else {
        return Ok(Answer::BadLength);
    };
    let mut body = Zeroizing::new(vec![0; word - 4]);
    stream.read_exact_ahead(&mut body).await?;
    Ok(Answer::Password(body))
}

/// Whether something has arrived that nobody has read (R71).
pub(super) fn has_more(stream: &mut Stream) -> bool {
    stream.poll_quiet(Waker::noop()) == Quiet::Readable
}

/// Reads what has arrived and forgets it, up to [`MAX_DISCARDED`]; waits for nothing.
pub(super) async fn discard(stream: &mut Stream) {
    let mut left = MAX_DISCARDED;
    poll_fn(|cx| {
        let mut scratch = [0; 1024];
        while left > 0 {
            match stream.poll_read(cx, &mut scratch) {
                Poll::Ready(Ok(read @ 1..)) => left = left.saturating_sub(read),
                Poll::Ready(Ok(0) | Err(_)) | Poll::Pending => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Says the last words and ends the connection, whatever the client makes of it.
///
/// Cancel safe: the stream is closed when this ends, however it ends.
pub(super) async fn part(mut stream: Stream, words: &[u8]) {
    let farewell = async {
        stream.write_all(words).await?;
        discard(&mut stream).await;
        stream.shutdown().await
    };
    // The client is gone or does not listen: there is nobody to tell.
    let _ = within(Some(clock::now() + FAREWELL), farewell).await;
}
