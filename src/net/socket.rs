//! A TCP or Unix socket on this worker's reactor.
//!
//! Owns: reading, writing and watching one descriptor. Does not know: TLS, buffers.
//!
//! No system call is spent to learn that nothing is there: a read that came back short has already said so, and
//! the reactor remembers it until the next event.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What the reactor knows of a socket that should be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// Nothing to read; the waker will be called when that changes.
    Silent,
    /// Something waits to be read.
    Readable,
    /// The peer has ended the connection, or it is broken.
    Closed,
}

/// On the reactor.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// On no reactor.
#[derive(Debug)]
pub(super) enum FreeSocket {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

impl FreeSocket {
    pub(super) fn attach(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(tcp) => {
                tcp.set_nonblocking(true)?;
                Socket::Tcp(TcpStream::from_std(tcp)?)
            }
            Self::Unix(unix) => {
                unix.set_nonblocking(true)?;
                Socket::Unix(UnixStream::from_std(unix)?)
            }
        })
    }
}

/// Runs the same expression on either kind of socket.
macro_rules! either {
    ($socket:expr, $inner:ident => $body:expr) => {
        match $socket {
            Socket::Tcp($inner) => $body,
            Socket::Unix($inner) => $body,
        }
    };
}

impl Socket {
    pub(super) fn detach(self) -> io::Result<FreeSocket> {
        Ok(match self {
            Self::Tcp(tcp) => FreeSocket::Tcp(tcp.into_std()?),
            Self::Unix(unix) => FreeSocket::Unix(unix.into_std()?),
        })
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(either!(self, socket => Pin::new(socket).poll_read(cx, &mut buf)))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Reads into the spare capacity of `buf`, which must not be nothing. 0 is the end.
    pub(super) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => pin!(socket.read_buf(buf)).poll(cx))
    }

    /// Ready when a read would not surely be in vain.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_read_ready(cx))
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write(cx, buf))
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    /// Writes what the kernel takes now; touches nobody's waker.
    pub(super) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, socket => socket.try_write_vectored(bufs))
    }

    /// Ends our direction.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }

    /// Asks the reactor, and the kernel only if the reactor has seen an event since the last empty read (R5).
    pub(super) fn poll_quiet(&self, waker: &Waker) -> Quiet {
        let mut cx = Context::from_waker(waker);
        // Outside the executor's budget for one turn: a spent budget looks like silence and is not.
        let look = std::future::poll_fn(|cx| Poll::Ready(self.look(cx)));
        match pin!(tokio::task::unconstrained(look)).poll(&mut cx) {
            Poll::Ready(quiet) => quiet,
            Poll::Pending => Quiet::Closed, // `look` never waits; doubt closes
        }
    }

    fn look(&self, cx: &mut Context<'_>) -> Quiet {
        loop {
            match self.poll_read_ready(cx) {
                Poll::Pending => return Quiet::Silent,
                Poll::Ready(Err(_)) => return Quiet::Closed,
                Poll::Ready(Ok(())) => {}
            }
            match self.peek() {
                Ok(0) => return Quiet::Closed,
                Ok(_) => return Quiet::Readable,
                // The reactor has forgotten the event now, so the next round registers the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Quiet::Closed,
            }
        }
    }

    fn peek(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        either!(self, socket => {
            socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte))
        })
    }
}
