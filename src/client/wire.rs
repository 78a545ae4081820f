//! Bytes of one direction that wait: what was read but not understood yet, what was written but not taken yet.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use super::resting::Seats;
use crate::net::Stream;
use crate::session::Outbox;

/// Bytes read from one side at a time: one buffer per worker, lent while a socket is readable.
pub const READ_BUFFER: usize = 64 * 1024;

/// Slices of one gathered write; a turn with more pieces takes another write.
const MAX_SLICES: usize = 32;

/// As many as most turns have; making the list costs in proportion to its room.
const FEW_SLICES: usize = 4;

/// Capacity of a waiting buffer that is worth keeping while its owner is busy.
const KEEP_CAPACITY: usize = 4 * 1024;

/// Buffers that a worker lends to whichever connection is having its turn.
#[derive(Debug)]
pub struct Scratch {
    /// For reading.
    pub read: Box<[u8]>,
    /// For what a turn sends.
    pub out: Outboxes,
    /// For the clients that are busy.
    pub(super) seats: Seats,
}

/// What a turn sends to either side.
#[derive(Debug, Default)]
pub struct Outboxes {
    /// What goes to the client.
    pub to_client: Outbox,
    /// What goes to the server.
    pub to_server: Outbox,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            read: vec![0; READ_BUFFER].into_boxed_slice(),
            out: Outboxes::default(),
            seats: Seats::default(),
        }
    }
}

impl Outboxes {
    /// Whether neither side is sent anything.
    pub const fn is_empty(&self) -> bool {
        self.to_client.is_empty() && self.to_server.is_empty()
    }

    /// Makes both outboxes empty for the next turn.
    #[inline]
    pub fn clear(&mut self) {
        self.to_client.clear(READ_BUFFER);
        self.to_server.clear(READ_BUFFER);
    }
}

/// Sends what a turn has produced; what the socket does not take is kept in `unsent`.
///
/// # Errors
/// The socket is broken.
#[inline]
pub(super) fn send(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    outbox: &mut Outbox,
    input: &[u8],
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    if outbox.is_empty() { Ok(()) } else { send_some(stream, cx, outbox, input, unsent) }
}

fn send_some(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    outbox: &mut Outbox,
    input: &[u8],
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    outbox.gather(input);
    match outbox.single(input) {
        Some(whole) if unsent.is_empty() => send_whole(stream, cx, whole, unsent),
        _ => send_pieces(stream, cx, outbox, input, unsent),
    }
}

#[inline(always)]
pub(super) fn send_whole(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    whole: &[u8],
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    let mut taken = 0;
    if let Poll::Ready(written) = stream.poll_write(cx, whole) {
        taken = written?;
    }
    if taken == whole.len() && !stream.has_unsent() {
        return Ok(());
    }
    unsent.extend_from_slice(whole.get(taken..).unwrap_or_default());
    flush_waiting(stream, cx, unsent).map(drop)
}

#[inline(never)]
fn send_pieces(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    outbox: &Outbox,
    input: &[u8],
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    let mut taken = 0;
    if unsent.is_empty() {
        let written = match outbox.pieces() {
            0..=FEW_SLICES => write_slices::<FEW_SLICES>(stream, cx, outbox, input),
            _ => write_slices::<MAX_SLICES>(stream, cx, outbox, input),
        };
        if let Poll::Ready(written) = written {
            taken = written?;
        }
        if taken == outbox.len() {
            return flush(stream, cx, unsent).map(drop);
        }
    }
    for slice in outbox.slices(input) {
        let skip = taken.min(slice.len());
        taken -= skip;
        unsent.extend_from_slice(slice.get(skip..).unwrap_or_default());
    }
    flush(stream, cx, unsent).map(drop)
}

fn write_slices<const N: usize>(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    outbox: &Outbox,
    input: &[u8],
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); N];
    let mut count = 0;
    for (slot, slice) in slices.iter_mut().zip(outbox.slices(input)) {
        *slot = IoSlice::new(slice);
        count += 1;
    }
    stream.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
}

/// Whether there is something to [`flush`].
pub(super) fn has_unsent(stream: &Stream, unsent: &[u8]) -> bool {
    !unsent.is_empty() || stream.has_unsent()
}

/// Sends what waits; whether nothing waits any more. When something does, the task is woken when it can go on.
///
/// # Errors
/// The socket is broken.
#[inline]
pub(super) fn flush(stream: &mut Stream, cx: &mut Context<'_>, unsent: &mut Vec<u8>) -> io::Result<bool> {
    if has_unsent(stream, unsent) { flush_waiting(stream, cx, unsent) } else { Ok(true) }
}

#[cold]
fn flush_waiting(stream: &mut Stream, cx: &mut Context<'_>, unsent: &mut Vec<u8>) -> io::Result<bool> {
    let mut sent = 0;
    while sent < unsent.len() {
        match stream.poll_write(cx, unsent.get(sent..).unwrap_or_default()) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => sent += n,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    consume(unsent, sent);
    if stream.has_unsent()
        && let Poll::Ready(Err(error)) = stream.poll_flush(cx)
    {
        return Err(error);
    }
    Ok(unsent.is_empty() && !stream.has_unsent())
}

/// Takes bytes off the front; an emptied buffer gives back what it has grown to.
pub(super) fn consume(buffer: &mut Vec<u8>, n: usize) {
    if n >= buffer.len() {
        buffer.clear();
        if buffer.capacity() > KEEP_CAPACITY {
            *buffer = Vec::new();
        }
    } else if n > 0 {
        buffer.drain(..n);
    }
}
