//! Reading a number of bytes that is known beforehand.

use std::io;

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
}
