//! Whether the other end has gone, told behind bytes that nobody has read yet.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{Interest, Ready};

use super::socket::Socket;
use super::stream::Stream;

impl Stream {
    /// Whether the peer has ended its direction, or the connection is broken, as far as the reactor has heard: also
    /// while bytes from before are still unread. No system call, and nobody is woken by it.
    pub fn has_hung_up(&self) -> bool {
        let ready = match &self.socket {
            Socket::Own(io) => return io.has_hung_up(),
            Socket::Tcp(tcp) => now(tcp.ready(Interest::READABLE)),
            Socket::Unix(unix) => now(unix.ready(Interest::READABLE)),
        };
        ready.is_some_and(|ready| ready.map_or(true, Ready::is_read_closed))
    }
}

/// What a future answers at its first poll.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(tokio::task::unconstrained(future)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::net::testing::{pattern, read_exactly, run, tcp_pair, tls_pair, unix_pair};
    use crate::net::yield_now;

    #[test]
    fn the_end_is_seen_behind_bytes_that_nobody_reads() {
        run(|| async {
            for (mut near, mut far) in [tcp_pair().await, unix_pair().await, tls_pair().await] {
                near.write_all(&pattern(40_000)).await.unwrap();
                assert_eq!(read_exactly(&mut far, 1).await, pattern(1));
                assert!(!far.has_hung_up());
                drop(near);
                while !far.has_hung_up() {
                    yield_now().await;
                }
                assert_eq!(read_exactly(&mut far, 39_999).await, pattern(40_000)[1..], "nothing is lost");
            }
        });
    }
}
