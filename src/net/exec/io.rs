//! A descriptor on the executor's reactor.
//!
//! Owns: one socket and its place on the reactor, or that of somebody else's. Does not know: TLS, buffers.

use std::io::{ErrorKind, IoSlice, Result};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use super::Executor;
use super::reactor::Reactor;
use super::source::{Side, Source, Start};
use crate::net::socket::FreeSocket;

/// See the module. Dropping it closes the socket.
pub(in crate::net) struct Io {
    reactor: Rc<Reactor>,
    source: Rc<Source>,
    /// `None` only while it is taken off the reactor.
    socket: Option<FreeSocket>,
}

impl Io {
    /// Puts a socket, which must not block, on the reactor. `connected`: it is, so it can be written to.
    pub(in crate::net) fn attach(executor: &Executor, socket: FreeSocket, connected: bool) -> Result<Self> {
        let reactor = Rc::clone(executor.reactor());
        let is_tcp = matches!(socket, FreeSocket::Tcp(_));
        let start = Start { writable: connected, watch_write: is_tcp || !connected };
        let source = reactor.register(fd_of(&socket), start)?;
        Ok(Self { reactor, source, socket: Some(socket) })
    }

    /// Takes it off the reactor again.
    pub(in crate::net) fn detach(mut self) -> Result<FreeSocket> {
        let socket = self.socket.take().ok_or(ErrorKind::NotConnected)?;
        self.reactor.deregister(&self.source, fd_of(&socket))?;
        Ok(socket)
    }

    pub(in crate::net) const fn is_unix(&self) -> bool {
        matches!(self.socket, Some(FreeSocket::Unix(_)))
    }

    #[inline(always)]
    pub(in crate::net) fn poll_read(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<Result<usize>> {
        self.poll_with(Side::Read, cx, |socket| {
            let (n, _) = recv(descriptor(socket), &mut *buf, RecvFlags::empty())?;
            if n > 0 && n < buf.len() {
                self.source.short(Side::Read);
            }
            Ok(n)
        })
    }

    /// Appends at most `room` bytes to `buf`, which grows by what has arrived. 0 is the end.
    pub(in crate::net) fn poll_read_to(
        &self,
        cx: &Context<'_>,
        buf: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<usize>> {
        self.reactor.with_scratch(room, |scratch| {
            let n = ready!(self.poll_read(cx, scratch))?;
            buf.extend_from_slice(scratch.get(..n).unwrap_or_default());
            Poll::Ready(Ok(n))
        })
    }

    #[inline(always)]
    pub(in crate::net) fn poll_write(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.poll_with(Side::Write, cx, |socket| {
            let written = send(descriptor(socket), buf, SendFlags::NOSIGNAL)?;
            if written < buf.len() {
                self.found_full(socket)?;
            }
            Ok(written)
        })
    }

    #[inline]
    pub(in crate::net) fn poll_write_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_with(Side::Write, cx, |socket| self.write(socket, bufs))
    }

    /// Writes what the kernel takes now; touches nobody's waker.
    pub(in crate::net) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let socket = self.socket.as_ref().ok_or(ErrorKind::NotConnected)?;
        let written = self.write(socket, bufs);
        if would_block(&written) {
            self.source.empty(Side::Write);
            self.reactor.watch_write(&self.source, fd_of(socket))?;
        }
        written
    }

    #[inline]
    fn write(&self, socket: &FreeSocket, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let written = match bufs {
            // One piece goes by send(2), which is cheaper than a list of one.
            [one] => send(descriptor(socket), one, SendFlags::NOSIGNAL)?,
            _ => rustix::io::writev(descriptor(socket), bufs)?,
        };
        if written < bufs.iter().map(|buf| buf.len()).sum() {
            self.found_full(socket)?;
        }
        Ok(written)
    }

    /// A write took less than it was given.
    #[cold]
    fn found_full(&self, socket: &FreeSocket) -> Result<()> {
        self.source.short(Side::Write);
        self.reactor.watch_write(&self.source, fd_of(socket))
    }

    /// Whether an event has told the end of what can be read, also while bytes from before are unread.
    pub(in crate::net) fn has_hung_up(&self) -> bool {
        self.source.has_ended(Side::Read)
    }

    /// Whether a read would surely be in vain, and the task of `cx` is to be woken.
    #[inline(always)]
    pub(in crate::net) fn is_dry(&self, cx: &Context<'_>) -> bool {
        self.source.awaits(Side::Read, self.reactor.running(), cx)
    }

    /// Whom to wake from now on when it can be read and no task waits for that.
    pub(in crate::net) fn set_alarm(&self, alarm: &Waker) {
        self.source.set_alarm(alarm);
    }

    /// Whether a read would surely be in vain, and the alarm is rung from now on when it can be read.
    #[inline(always)]
    pub(in crate::net) fn rings_alarm(&self) -> bool {
        self.source.rings_alarm()
    }

    /// Ready when a read would not surely be in vain.
    #[inline(always)]
    pub(in crate::net) fn poll_read_ready(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.source.poll_ready(Side::Read, self.reactor.running(), cx).map(Ok)
    }

    /// Ready when it can be written to, or is broken: for a connection under way.
    pub(in crate::net) fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.source.poll_ready(Side::Write, self.reactor.running(), cx).map(Ok)
    }

    /// Looks at the next byte without taking it; `WouldBlock` makes the reactor wait for the next event.
    pub(in crate::net) fn peek(&self) -> Result<usize> {
        let socket = self.socket.as_ref().ok_or(ErrorKind::NotConnected)?;
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = match socket {
            FreeSocket::Tcp(tcp) => SockRef::from(tcp).peek(&mut byte),
            FreeSocket::Unix(unix) => SockRef::from(unix).peek(&mut byte),
        };
        if would_block(&peeked) {
            self.source.empty(Side::Read);
        }
        peeked
    }

    /// The error that a connection under way has met, if it has.
    pub(in crate::net) fn take_error(&self) -> Result<Option<std::io::Error>> {
        match self.socket.as_ref().ok_or(ErrorKind::NotConnected)? {
            FreeSocket::Tcp(tcp) => tcp.take_error(),
            FreeSocket::Unix(unix) => unix.take_error(),
        }
    }

    pub(in crate::net) fn local_addr(&self) -> Result<SocketAddr> {
        match &self.socket {
            Some(FreeSocket::Tcp(tcp)) => tcp.local_addr(),
            Some(FreeSocket::Unix(_)) | None => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Ends our direction.
    pub(in crate::net) fn shutdown(&self) -> Result<()> {
        match self.socket.as_ref().ok_or(ErrorKind::NotConnected)? {
            FreeSocket::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            FreeSocket::Unix(unix) => unix.shutdown(Shutdown::Write),
        }
    }

    #[inline(always)]
    fn poll_with(
        &self,
        side: Side,
        cx: &Context<'_>,
        mut call: impl FnMut(&FreeSocket) -> Result<usize>,
    ) -> Poll<Result<usize>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        loop {
            ready!(self.source.poll_ready(side, self.reactor.running(), cx));
            match call(socket) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(error) => self.survive(error, side, socket)?,
            }
        }
    }

    /// Whether a failed call can be made again, when the reactor says so.
    #[cold]
    fn survive(&self, error: std::io::Error, side: Side, socket: &FreeSocket) -> Result<()> {
        if error.kind() == ErrorKind::WouldBlock {
            self.source.empty(side);
            return match side {
                Side::Read => Ok(()),
                Side::Write => self.reactor.watch_write(&self.source, fd_of(socket)),
            };
        }
        if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
    }
}

/// Somebody else's descriptor on the reactor. Dropping it takes it off again.
pub(in crate::net) struct Watch<'a> {
    reactor: Rc<Reactor>,
    source: Rc<Source>,
    fd: BorrowedFd<'a>,
}

impl<'a> Watch<'a> {
    /// Watches for something to read.
    pub(in crate::net) fn new(executor: &Executor, fd: BorrowedFd<'a>) -> Result<Self> {
        let reactor = Rc::clone(executor.reactor());
        let source = reactor.register(fd.as_raw_fd(), Start { writable: false, watch_write: false })?;
        Ok(Self { reactor, source, fd })
    }

    /// Ready when a system call may find something.
    pub(in crate::net) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        self.source.poll_ready(Side::Read, self.reactor.running(), cx)
    }

    /// A system call found nothing.
    pub(in crate::net) fn found_empty(&self) {
        self.source.empty(Side::Read);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.reactor.deregister(&self.source, self.fd.as_raw_fd()) {
            tracing::warn!("cannot take a listener off a reactor: {error}");
        }
    }
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("fd", &self.fd).finish_non_exhaustive()
    }
}

#[inline]
fn would_block(done: &Result<usize>) -> bool {
    done.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.reactor.release(&self.source);
        }
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io").field("socket", &self.socket).finish_non_exhaustive()
    }
}

fn fd_of(socket: &FreeSocket) -> RawFd {
    descriptor(socket).as_raw_fd()
}

/// For the system calls of each transaction, which go to the kernel by the shortest way: libc's are points where a thread
/// may be cancelled, and pay for that with each call.
#[inline]
fn descriptor(socket: &FreeSocket) -> BorrowedFd<'_> {
    match socket {
        FreeSocket::Tcp(tcp) => tcp.as_fd(),
        FreeSocket::Unix(unix) => unix.as_fd(),
    }
}

#[cfg(test)]
impl AsFd for Io {
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor(self.socket.as_ref().expect("attached"))
    }
}
