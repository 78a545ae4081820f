//! One connection: TCP or Unix, plain or TLS, on this worker's reactor.
//!
//! Owns: the socket and, with TLS, its records. Does not know: messages. The caller brings the read buffer, so that
//! an idle connection holds none.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};

use super::detached::Detached;
use super::endpoint::{Endpoint, Ends, Target};
use super::socket::{Quiet, Socket};
use super::tls_info::TlsInfo;
use super::tls_io::TlsLayer;

/// A connection that belongs to this worker. Dropping it closes it.
pub struct Stream {
    pub(super) socket: Socket,
    pub(super) tls: Option<Box<TlsLayer>>,
    /// Plaintext that was read and put back, never empty.
    pub(super) unread: Option<Box<BytesMut>>,
    pub(super) ends: Ends,
}

impl Stream {
    /// Reads plaintext; 0 is the end of the stream, announced or not.
    ///
    /// # Errors
    /// From the socket, or `InvalidData` when the peer breaks TLS.
    #[inline(always)]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.unread.is_none() && self.tls.is_none() && !buf.is_empty() {
            return self.socket.poll_read(cx, buf);
        }
        self.poll_read_inside(cx, buf)
    }

    /// Where there may be something to read that is not the socket's.
    #[inline(never)]
    fn poll_read_inside(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(unread) = &mut self.unread {
            let taken = buf.len().min(unread.len());
            unread.copy_to_slice(&mut buf[..taken]);
            if unread.is_empty() {
                self.unread = None;
            }
            return Poll::Ready(Ok(taken));
        }
        match &mut self.tls {
            None => self.socket.poll_read(cx, buf),
            Some(tls) => tls.poll_read(&mut self.socket, cx, buf),
        }
    }

    /// Takes bytes from the caller. On TLS they may still be here when this returns: [`poll_flush`](Self::poll_flush)
    /// sends them on. When the peer does not read, this waits instead of keeping more than a bound.
    ///
    /// # Errors
    /// From the socket; the connection is of no more use for writing.
    #[inline(always)]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.socket.poll_write(cx, buf),
            Some(tls) => tls.poll_write_vectored(&mut self.socket, cx, &[IoSlice::new(buf)]),
        }
    }

    /// Like [`poll_write`](Self::poll_write), with the bytes in several places.
    ///
    /// # Errors
    /// As `poll_write`.
    #[inline]
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.socket.poll_write_vectored(cx, bufs),
            Some(tls) => tls.poll_write_vectored(&mut self.socket, cx, bufs),
        }
    }

    /// Ready when the kernel has everything that was written.
    ///
    /// # Errors
    /// From the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_flush(&mut self.socket, cx),
        }
    }

    /// Sends what is unsent, on TLS the notice of closing, and the end of our direction.
    ///
    /// # Errors
    /// From the socket.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.close();
            ready!(tls.poll_flush(&mut self.socket, cx))?;
        }
        self.socket.poll_shutdown(cx)
    }

    /// Reads plaintext; 0 is the end. Cancel safe: nothing is lost.
    ///
    /// # Errors
    /// As [`poll_read`](Self::poll_read).
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Hands everything to the kernel. Not cancel safe: when dropped, an unknown part has been sent, and the stream
    /// is good only for closing.
    ///
    /// # Errors
    /// As [`poll_write`](Self::poll_write).
    pub async fn write_all(&mut self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match poll_fn(|cx| self.poll_write(cx, buf)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => buf = &buf[written..],
            }
        }
        self.flush().await
    }

    /// Waits until the kernel has everything that was written. Cancel safe.
    ///
    /// # Errors
    /// From the socket.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends our direction; on TLS with the notice of closing. Cancel safe: it may be called again.
    ///
    /// # Errors
    /// From the socket.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// Puts bytes back that were read too early; the next read gives them first. For a connection that changes
    /// workers with requests already read. They also bar TLS from starting (R71).
    pub fn put_back(&mut self, bytes: &[u8]) {
        let behind = self.unread.take().unwrap_or_default();
        let mut joined = BytesMut::with_capacity(bytes.len() + behind.len());
        joined.extend_from_slice(bytes);
        joined.extend_from_slice(&behind);
        self.unread = (!joined.is_empty()).then(|| Box::new(joined));
    }

    /// Whether received bytes are held here or in the TLS layer, decoded or not (R1 d). The kernel may hold more;
    /// [`poll_quiet`](Self::poll_quiet) asks that too.
    #[inline(always)]
    pub fn has_unread(&self) -> bool {
        self.unread.is_some() || self.tls.as_ref().is_some_and(|tls| tls.has_unread())
    }

    /// Whether bytes that were written are still held in the TLS layer (R1 e).
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unsent())
    }

    /// Ready when a read would not surely be in vain; else the task is woken when that changes. No system call.
    #[inline(always)]
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_unread() {
            return Poll::Ready(());
        }
        self.socket.poll_read_ready(cx).map(drop)
    }

    /// Whether a read would surely be in vain now, and the task of `cx` is woken when that changes. `false` may mean
    /// either: then a read tells. No system call.
    #[inline(always)]
    pub fn is_dry(&self, cx: &Context<'_>) -> bool {
        !self.has_unread() && self.socket.is_dry(cx)
    }

    /// Notes the waker that [`poll_quiet`](Self::poll_quiet) will be asked with again and again, which makes that
    /// cheap. It may be woken from now on.
    pub fn set_alarm(&self, alarm: &Waker) {
        self.socket.set_alarm(alarm);
    }

    /// Whether a read would surely be in vain, and the alarm is rung when that changes. `false` may mean either: then
    /// [`poll_quiet`](Self::poll_quiet) tells. No system call.
    #[inline(always)]
    pub fn rings_alarm(&self) -> bool {
        self.unread.is_none()
            && self.tls.as_ref().is_none_or(|tls| !tls.has_unread() && !tls.is_ended())
            && self.socket.rings_alarm()
    }

    /// Whether there is anything to read, or the end. If not, `waker` is called when there is; a later read by
    /// another task replaces it. Costs a system call only when the reactor has seen an event (R5).
    #[inline]
    pub fn poll_quiet(&mut self, waker: &Waker) -> Quiet {
        if self.has_unread() {
            return Quiet::Readable;
        }
        if self.tls.as_ref().is_some_and(|tls| tls.is_ended()) {
            return Quiet::Closed;
        }
        self.socket.poll_quiet(waker)
    }

    /// Takes the connection off this worker's reactor, with everything that belongs to it.
    ///
    /// # Errors
    /// The system refused; the connection is closed.
    pub fn detach(self) -> io::Result<Detached> {
        let Self { socket, tls, unread, ends } = self;
        Ok(Detached { socket: socket.detach()?, tls, unread, ends })
    }

    /// The other end.
    pub fn endpoint(&self) -> Endpoint {
        self.ends.peer()
    }

    /// Our end.
    pub fn local_endpoint(&self) -> Endpoint {
        self.ends.local()
    }

    /// Both ends.
    pub const fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The exact address at the other end, whatever name led there: a cancel request must reach the same server.
    pub fn reconnect_target(&self) -> Target {
        self.ends.peer().target()
    }

    /// Version and cipher; `None` without TLS.
    pub fn tls_info(&self) -> Option<TlsInfo> {
        self.tls.as_ref().and_then(|tls| tls.info())
    }

    /// Whether the bytes travel encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether this is a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.socket.is_unix()
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("ends", &self.ends).field("tls", &self.tls).finish_non_exhaustive()
    }
}
