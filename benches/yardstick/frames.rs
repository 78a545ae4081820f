//! Counting the answers in a stream of backend messages, wherever it is cut.

/// Follows the boundaries of messages through a stream.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; 5],
    have: usize,
    left: usize,
}

impl Frames {
    /// Takes what arrived; calls `seen` with the type of each message that begins in it.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut seen: impl FnMut(u8)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                continue;
            }
            let wanted = (5 - self.have).min(bytes.len());
            self.head[self.have..self.have + wanted].copy_from_slice(&bytes[..wanted]);
            self.have += wanted;
            bytes = &bytes[wanted..];
            if self.have == 5 {
                let [tag, a, b, c, d] = self.head;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize - 4;
                self.have = 0;
                seen(tag);
            }
        }
    }

    /// Whether the stream stands between two messages.
    pub(crate) const fn at_boundary(&self) -> bool {
        self.left == 0 && self.have == 0
    }
}
