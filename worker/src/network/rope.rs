//! Bytes in pieces, so that a batch's buffers are written from where they are.

use arrow::buffer::Buffer;
use bytes::Buf;
use std::{collections::VecDeque, io::IoSlice};

/// A sequence of bytes in pieces. Invariant: no piece is empty.
#[derive(Debug, Default)]
pub struct Rope {
    pieces: VecDeque<Buffer>,
    length: usize,
}

impl Rope {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Buffer) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Adds all of another rope at the end.
    pub fn append(&mut self, mut other: Rope) {
        self.length += other.length;
        self.pieces.append(&mut other.pieces);
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All bytes in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length);
        self.pieces.iter().for_each(|piece| all.extend_from_slice(piece));
        all
    }
}

impl From<Vec<u8>> for Rope {
    fn from(bytes: Vec<u8>) -> Self {
        let mut rope = Rope::default();
        rope.push(Buffer::from_vec(bytes));
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece.as_slice())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.length, "{count} bytes of {} cannot be passed", self.length);
        self.length -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { return };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rope_is_read_in_any_steps() {
        for step in 1..8 {
            let mut rope = Rope::from(b"abc".to_vec());
            rope.push(Buffer::from_vec(Vec::<u8>::new()));
            rope.append(Rope::from(b"defgh".to_vec()));
            assert_eq!((rope.len(), rope.to_vec()), (8, b"abcdefgh".to_vec()));
            let mut slices = [IoSlice::new(&[]); 4];
            assert_eq!(rope.chunks_vectored(&mut slices), 2);
            let mut read = Vec::new();
            while rope.has_remaining() {
                let count = step.min(rope.remaining());
                read.extend_from_slice(&rope.copy_to_bytes(count));
            }
            assert_eq!(read, b"abcdefgh");
        }
    }
}
