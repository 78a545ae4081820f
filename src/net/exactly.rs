//! Reading a number of bytes that is known beforehand.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

/// Bytes asked for at once by [`Stream::read_exact_ahead`]: a startup packet of any driver, or an answer of SCRAM.
const AHEAD: usize = 512;

use super::stream::Stream;

impl Stream {
    /// Fills `buf`, and reads nothing behind it. Not cancel safe: what was read is lost, and the connection with it.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer is gone, else as [`read`](Self::read).
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    /// Fills `buf`. What arrived behind it is put back, as [`put_back`](Self::put_back) does it, so that a message of
    /// several parts takes one system call, and one that came whole takes none to learn that nothing follows. Not
    /// cancel safe, as [`read_exact`](Self::read_exact).
    ///
    /// # Errors
    /// As `read_exact`.
    pub async fn read_exact_ahead(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            let rest = &mut buf[filled..];
            if self.has_unread() || rest.len() >= AHEAD {
                self.read_exact(rest).await?;
                return Ok(());
            }
            // The bytes lie on the stack: a future that held them would be larger by them wherever it is moved to.
            let taken = poll_fn(|cx| {
                let mut ahead = [0; AHEAD];
                let read = ready!(self.poll_read(cx, &mut ahead))?;
                let (wanted, behind) = ahead[..read].split_at(read.min(rest.len()));
                rest[..wanted.len()].copy_from_slice(wanted);
                if !behind.is_empty() {
                    self.put_back(behind);
                }
                Poll::Ready(io::Result::Ok(wanted.len()))
            });
            match taken.await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => filled += taken,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::AHEAD;
    use crate::net::testing::{pattern, read_exactly, run, tcp_pair, tls_pair, unix_pair};

    #[test]
    fn what_came_behind_is_still_unread_however_much_and_however_cut() {
        run(|| async {
            for (mut near, mut far) in [tcp_pair().await, unix_pair().await, tls_pair().await] {
                let all = pattern(4 * AHEAD);
                near.write_all(&all[..AHEAD + 7]).await.unwrap();
                let mut front = [0; 5];
                far.read_exact_ahead(&mut front).await.unwrap();
                assert_eq!(front, all[..5]);
                near.write_all(&all[AHEAD + 7..]).await.unwrap();
                let mut middle = vec![0; 2 * AHEAD];
                far.read_exact_ahead(&mut middle).await.unwrap();
                assert_eq!(middle, all[5..5 + 2 * AHEAD]);
                let rest = all.len() - 5 - middle.len();
                assert_eq!(read_exactly(&mut far, rest).await, all[all.len() - rest..]);
                drop(near);
                let error = far.read_exact_ahead(&mut front).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        });
    }
}
