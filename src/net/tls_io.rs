//! TLS records on a socket.
//!
//! Owns: one rustls connection, the ciphertext it has not decoded yet, and back-pressure in both directions. Does
//! not know: certificates, messages.
//!
//! Invariants:
//! - rustls is given whole records only, one at a time, and only when the plaintext of the one before is read. So
//!   whatever is undecoded lies here, where it can be counted, and no peer can fill memory by sending (S52).
//! - Ciphertext that waits for the kernel never exceeds [`SEND_BOUND`] and its record headers.
//! - A connection that waits for bytes holds no buffer here.

use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

use rustls::Connection;

use super::socket::Socket;
use super::tls_info::TlsInfo;

/// Content type, version, length.
const RECORD_HEADER: usize = 5;

/// Longest body of a record: 2^14 of plaintext and 2^11 of expansion (RFC 5246, 6.2.3; TLS 1.3 allows less).
const RECORD_BODY_MAX: usize = (1 << 14) + (1 << 11);

/// Ciphertext read at once: two whole records, so that a fast sender costs one system call for 32 kB, and a record
/// cut by the end of the buffer still finds room after it is moved to the front.
const RECEIVE_BOUND: usize = 2 * (RECORD_HEADER + RECORD_BODY_MAX);

/// Plaintext encrypted ahead of what the kernel takes: as much as one read of the relay brings.
const SEND_BOUND: usize = 64 * 1024;

/// What an idle connection may keep for the beginning of a record, and what rustls keeps by itself (its read
/// size). More is given back.
const IDLE_BUFFER: usize = 4096;

/// One side of an encrypted connection.
pub(super) struct TlsLayer {
    conn: Connection,
    /// Received ciphertext; decoded up to `decoded`.
    received: Vec<u8>,
    decoded: usize,
    /// Bytes of plaintext that rustls holds for the reader.
    plaintext: usize,
    /// Largest record since rustls last gave back its buffer.
    largest: usize,
    end: End,
}

/// How the receiving direction stands.
enum End {
    Open,
    /// The peer said so, or hung up.
    Ended,
    /// The peer broke the protocol. The text is ours and rustls's, nothing the peer sent.
    Broken(rustls::Error),
}

impl TlsLayer {
    pub(super) fn new(mut conn: Connection) -> Self {
        conn.set_buffer_limit(Some(SEND_BOUND));
        Self { conn, received: Vec::new(), decoded: 0, plaintext: 0, largest: 0, end: End::Open }
    }

    /// Gives bytes that were already read from the socket: the beginning of a handshake.
    pub(super) fn push_received(&mut self, ciphertext: &[u8]) {
        self.received.extend_from_slice(ciphertext);
    }

    /// Drives the handshake to its end, flushed.
    pub(super) fn poll_handshake(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(socket, cx))?;
            if !self.conn.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.decode_record(socket)? {
                continue;
            }
            if matches!(self.end, End::Ended) {
                let text = "connection closed during the TLS handshake";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            ready!(self.poll_receive(socket, cx))?;
        }
    }

    pub(super) fn poll_read(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        loop {
            if self.plaintext > 0 {
                let read = self.conn.reader().read(&mut buf[filled..])?;
                self.plaintext -= read.min(self.plaintext);
                filled += read;
            }
            if filled == buf.len() {
                return Poll::Ready(Ok(filled));
            }
            match self.decode_record(socket) {
                Ok(true) => {}
                Ok(false) if filled == 0 && matches!(self.end, End::Open) => {
                    ready!(self.poll_receive(socket, cx))?;
                }
                // What was decoded before the fault is delivered first; the fault stays for the next call.
                Err(error) if filled == 0 => return Poll::Ready(Err(error)),
                Ok(false) | Err(_) => return Poll::Ready(Ok(filled)),
            }
        }
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(socket, cx))?;
        let taken = self.conn.writer().write_vectored(bufs)?;
        // As much as the kernel takes now; the rest waits for the next write or flush.
        if let Poll::Ready(sent) = self.poll_flush(socket, cx) {
            sent?;
        }
        Poll::Ready(Ok(taken))
    }

    pub(super) fn poll_flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.conn.wants_write() {
            match self.conn.write_tls(&mut Waiting { socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Queues the notice of closing, once.
    pub(super) fn close(&mut self) {
        self.conn.send_close_notify();
    }

    pub(super) fn has_unread(&self) -> bool {
        self.plaintext > 0 || self.received.len() > self.decoded
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.conn.wants_write()
    }

    /// Whether nothing more will come.
    pub(super) fn is_ended(&self) -> bool {
        !matches!(self.end, End::Open)
    }

    /// What was agreed on; `None` before the handshake is done.
    pub(super) fn info(&self) -> Option<TlsInfo> {
        TlsInfo::of(&self.conn)
    }

    /// The protocol both sides agreed on (ALPN).
    pub(super) fn agreed_protocol(&self) -> Option<&[u8]> {
        self.conn.alpn_protocol()
    }

    /// Bytes of memory held in buffers that this file answers for.
    #[cfg(test)]
    pub(super) fn buffered_capacity(&self) -> usize {
        self.received.capacity()
    }

    #[cfg(test)]
    pub(super) fn refresh_keys(&mut self) {
        self.conn.refresh_traffic_keys().unwrap();
    }

    /// Decodes the next whole record, if there is one and rustls has no plaintext left.
    fn decode_record(&mut self, socket: &Socket) -> io::Result<bool> {
        if let End::Broken(error) = &self.end {
            return Err(invalid(error.clone()));
        }
        if self.plaintext > 0 || matches!(self.end, End::Ended) {
            return Ok(false);
        }
        let unread = &self.received[self.decoded..];
        let (length, valid) = match record_length(unread) {
            Some(Ok(length)) if length <= unread.len() => (length, true),
            Some(Err(NotTls)) => (unread.len(), false),
            Some(Ok(_)) | None => return Ok(false),
        };
        let mut record = &unread[..length];
        let outcome = loop {
            if record.is_empty() {
                break self.conn.process_new_packets();
            }
            if let Err(error) = self.conn.read_tls(&mut record) {
                break Err(rustls::Error::General(error.to_string()));
            }
        };
        self.decoded += length;
        self.largest = self.largest.max(length);
        if self.decoded == self.received.len() {
            self.received.clear();
            self.decoded = 0;
        }
        match outcome {
            Ok(state) if valid => {
                self.plaintext = state.plaintext_bytes_to_read();
                if state.peer_has_closed() {
                    self.end = End::Ended;
                }
                self.send_answers(socket);
                Ok(true)
            }
            Ok(_) => Err(self.broken(socket, rustls::Error::General("not a TLS record".to_owned()))),
            Err(error) => Err(self.broken(socket, error)),
        }
    }

    fn broken(&mut self, socket: &Socket, error: rustls::Error) -> io::Error {
        self.send_answers(socket);
        self.end = End::Broken(error.clone());
        invalid(error)
    }

    /// Sends alerts and key updates that reading gave rise to, as far as the kernel takes them, without touching
    /// the waker of a task that waits to write; the rest goes before the next write.
    fn send_answers(&mut self, socket: &Socket) {
        if self.conn.wants_write() && !self.conn.is_handshaking() || matches!(self.end, End::Broken(_)) {
            let _unsent_is_kept = self.conn.write_tls(&mut NotWaiting { socket });
        }
    }

    /// Reads ciphertext once. Ready when there is more than before, or the end.
    fn poll_receive(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked first, so that waiting takes no buffer.
        match socket.poll_read_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => {
                self.give_back_buffers();
                return Poll::Pending;
            }
        }
        self.received.drain(..self.decoded);
        self.decoded = 0;
        let room = RECEIVE_BOUND.saturating_sub(self.received.len());
        match socket.poll_read_to(cx, &mut self.received, room) {
            Poll::Ready(Ok(0)) => {
                self.end = End::Ended;
                self.received = Vec::new();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(read) => Poll::Ready(read.map(drop)),
            Poll::Pending => {
                self.give_back_buffers();
                Poll::Pending
            }
        }
    }

    fn give_back_buffers(&mut self) {
        if self.received.len() < IDLE_BUFFER {
            self.received.drain(..self.decoded);
            self.decoded = 0;
            let keep = if self.received.is_empty() { 0 } else { IDLE_BUFFER };
            self.received.shrink_to(keep);
        }
        if self.largest > IDLE_BUFFER {
            self.largest = 0;
            // rustls shrinks its own buffer when it is asked to read and holds nothing.
            let _would_block = self.conn.read_tls(&mut Nothing);
        }
    }
}

impl std::fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsLayer").field("info", &self.info()).finish_non_exhaustive()
    }
}

/// These bytes cannot be a record.
struct NotTls;

/// Length of the record that begins here, header included; `None` before its header is complete.
fn record_length(bytes: &[u8]) -> Option<Result<usize, NotTls>> {
    let &[kind, major, _, high, low] = bytes.first_chunk::<RECORD_HEADER>()?;
    let body = usize::from(u16::from_be_bytes([high, low]));
    let known = (20..=24).contains(&kind) && major == 3 && body <= RECORD_BODY_MAX;
    Some(if known { Ok(RECORD_HEADER + body) } else { Err(NotTls) })
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The socket as rustls's writer; a full socket registers the waker.
struct Waiting<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
}

impl Write for Waiting<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.socket.poll_write_vectored(self.cx, bufs) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same without a waker.
struct NotWaiting<'a> {
    socket: &'a Socket,
}

impl Write for NotWaiting<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has nothing yet.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
