//! A TCP or Unix socket on this worker's reactor.
//!
//! Owns: reading, writing and watching one descriptor. Does not know: TLS, buffers.
//!
//! No system call is spent to learn that nothing is there: a read that came back short has already said so, and
//! the reactor remembers it until the next event.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::exec::{self, Io};

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

/// On the reactor of whatever runs this thread: our own executor's, or tokio's.
#[derive(Debug)]
pub(super) enum Socket {
    Own(Io),
    Tcp(Box<TcpStream>),
    Unix(Box<UnixStream>),
}

/// On no reactor. It never blocks.
#[derive(Debug)]
pub(super) enum FreeSocket {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

impl FreeSocket {
    /// Puts a connected socket on the reactor.
    pub(super) fn attach(self) -> io::Result<Socket> {
        self.register(true)
    }

    /// Puts a socket, whose connection is under way, on the reactor.
    pub(super) fn attach_connecting(self) -> io::Result<Socket> {
        self.register(false)
    }

    fn register(self, connected: bool) -> io::Result<Socket> {
        if let Some(executor) = exec::current() {
            return Ok(Socket::Own(Io::attach(&executor, self, connected)?));
        }
        Ok(match self {
            Self::Tcp(tcp) => Socket::Tcp(Box::new(TcpStream::from_std(tcp)?)),
            Self::Unix(unix) => Socket::Unix(Box::new(UnixStream::from_std(unix)?)),
        })
    }
}

/// Runs one expression on our own kind of socket and the same on either kind of tokio's.
macro_rules! either {
    ($socket:expr, $own:ident => $first:expr, $inner:ident => $second:expr) => {
        match $socket {
            Socket::Own($own) => $first,
            Socket::Tcp($inner) => $second,
            Socket::Unix($inner) => $second,
        }
    };
}

impl Socket {
    pub(super) fn detach(self) -> io::Result<FreeSocket> {
        Ok(match self {
            Self::Own(io) => io.detach()?,
            Self::Tcp(tcp) => FreeSocket::Tcp(tcp.into_std()?),
            Self::Unix(unix) => FreeSocket::Unix(unix.into_std()?),
        })
    }

    /// Whether it is a Unix socket.
    pub(super) const fn is_unix(&self) -> bool {
        match self {
            Self::Own(io) => io.is_unix(),
            Self::Tcp(_) => false,
            Self::Unix(_) => true,
        }
    }

    #[inline(always)]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_read(cx, buf), socket => tokio_read(Pin::new(socket), cx, buf))
    }

    /// Appends at most `room` bytes, which must not be 0, to `buf`. 0 is the end.
    pub(super) fn poll_read_to(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_read_to(cx, buf, room), socket => {
            buf.reserve_exact(room);
            pin!(socket.read_buf(buf)).poll(cx)
        })
    }

    /// Whether a read would surely be in vain, and the task of `cx` is to be woken. Tokio does not say the latter.
    #[inline(always)]
    pub(super) fn is_dry(&self, cx: &Context<'_>) -> bool {
        match self {
            Self::Own(io) => io.is_dry(cx),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Makes changing between this waker and a task's cheap. Tokio has no such thing.
    pub(super) fn set_alarm(&self, alarm: &Waker) {
        if let Self::Own(io) = self {
            io.set_alarm(alarm);
        }
    }

    /// Whether a read would surely be in vain, and the alarm is rung from now on when it can be read.
    #[inline(always)]
    pub(super) fn rings_alarm(&self) -> bool {
        match self {
            Self::Own(io) => io.rings_alarm(),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Ready when a read would not surely be in vain.
    #[inline(always)]
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read_ready(cx), socket => socket.poll_read_ready(cx))
    }

    /// Ready when a connection under way has come about, or failed; says which.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(either!(self, io => io.poll_write_ready(cx), socket => socket.poll_write_ready(cx)))?;
        let failure = either!(self, io => io.take_error(), socket => socket.take_error())?;
        Poll::Ready(failure.map_or(Ok(()), Err))
    }

    /// Our address; for TCP only.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Own(io) => io.local_addr(),
            Self::Tcp(tcp) => tcp.local_addr(),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    #[inline(always)]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self,
            io => io.poll_write(cx, buf),
            socket => tokio_write(Pin::new(socket), cx, buf))
    }

    #[inline]
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self,
            io => io.poll_write_vectored(cx, bufs),
            socket => tokio_write_vectored(Pin::new(socket), cx, bufs))
    }

    /// Writes what the kernel takes now; touches nobody's waker.
    pub(super) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, io => io.try_write_vectored(bufs), socket => socket.try_write_vectored(bufs))
    }

    /// Ends our direction.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self,
            io => Poll::Ready(io.shutdown()),
            socket => Pin::new(socket).poll_shutdown(cx))
    }

    /// Asks the reactor, and the kernel only if the reactor has seen an event since the last empty read (R5).
    pub(super) fn poll_quiet(&self, waker: &Waker) -> Quiet {
        let mut cx = Context::from_waker(waker);
        if let Self::Own(io) = self {
            return if io.poll_read_ready(&cx).is_pending() { Quiet::Silent } else { self.look(&mut cx) };
        }
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
        either!(self, io => io.peek(), socket => {
            let mut byte = [MaybeUninit::uninit()];
            socket.try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte))
        })
    }
}

// What tokio's sockets do is kept out of the way of our own, which is to be short enough to be inlined.

#[cold]
fn tokio_read(
    socket: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(socket.poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

#[cold]
fn tokio_write(
    socket: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    socket.poll_write(cx, buf)
}

#[cold]
fn tokio_write_vectored(
    socket: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    socket.poll_write_vectored(cx, bufs)
}

#[cfg(test)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        either!(self, io => io.as_fd(), socket => socket.as_fd())
    }
}
