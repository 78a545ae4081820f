//! What one turn sends to one side: ranges of the bytes just read, and bytes of our own, in order.
//!
//! Lets rewritten and synthesised messages leave in one gathered write with their neighbours, without copying the
//! neighbours.

use std::ops::Range;

/// Bytes up to which copying them is cheaper than having the kernel collect them.
const MAX_GATHERED: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Input(Range<usize>),
    Own(Range<usize>),
}

/// See the module. Reused from turn to turn; it keeps its capacity.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: Vec<Piece>,
    own: Vec<u8>,
    len: usize,
}

impl Outbox {
    /// Sends a range of the input as it is.
    #[inline]
    pub fn pass(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.len += range.len();
        if let Some(Piece::Input(last)) = self.pieces.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        self.pieces.push(Piece::Input(range));
    }

    /// Sends what `write` appends.
    pub fn own(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.own.len();
        write(&mut self.own);
        let end = self.own.len();
        if start == end {
            return;
        }
        self.len += end - start;
        if let Some(Piece::Own(last)) = self.pieces.last_mut() {
            last.end = end;
            return;
        }
        self.pieces.push(Piece::Own(start..end));
    }

    /// Bytes to send.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// In how many places the bytes lie.
    pub const fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is nothing to send.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes if they lie in one place.
    pub fn single<'a>(&'a self, input: &'a [u8]) -> Option<&'a [u8]> {
        match self.pieces.as_slice() {
            [Piece::Input(range)] => input.get(range.clone()),
            [Piece::Own(range)] => self.own.get(range.clone()),
            _ => None,
        }
    }

    /// Puts few bytes that lie in several places into one, which is cheaper than a gathered write of them. `input` must
    /// be the slice that the ranges were taken from.
    pub fn gather(&mut self, input: &[u8]) {
        if self.pieces.len() < 2 || self.len > MAX_GATHERED {
            return;
        }
        let start = self.own.len();
        for piece in &self.pieces {
            match piece {
                Piece::Input(range) => {
                    self.own.extend_from_slice(input.get(range.clone()).unwrap_or_default());
                }
                Piece::Own(range) => self.own.extend_from_within(range.clone()),
            }
        }
        self.pieces.clear();
        self.pieces.push(Piece::Own(start..self.own.len()));
    }

    /// The bytes in order. `input` must be the slice that the ranges were taken from.
    pub fn slices<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.pieces.iter().map(move |piece| match piece {
            Piece::Input(range) => input.get(range.clone()).unwrap_or_default(),
            Piece::Own(range) => self.own.get(range.clone()).unwrap_or_default(),
        })
    }

    /// Forgets everything but the capacity, and that too above `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        if self.len == 0 {
            return;
        }
        self.pieces.clear();
        self.own.clear();
        self.own.shrink_to(keep);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_merge_and_order_is_kept() {
        let mut out = Outbox::default();
        out.pass(0..2);
        out.pass(2..4);
        out.own(|o| o.extend(b"xy"));
        out.own(|o| o.extend(b"z"));
        out.pass(5..6);
        let slices: Vec<&[u8]> = out.slices(b"abcdef").collect();
        assert_eq!(slices, [&b"abcd"[..], b"xyz", b"f"]);
        assert_eq!(out.len(), 8);
        out.gather(b"abcdef");
        assert_eq!((out.len(), out.single(b"")), (8, Some(&b"abcdxyzf"[..])));
        out.clear(16);
        assert!(out.is_empty() && out.slices(b"").next().is_none());
    }
}
