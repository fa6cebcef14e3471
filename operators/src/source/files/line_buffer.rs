//! The bytes of a file between being read and being decoded: cut at line breaks, however they were read.
//!
//! Invariant: the position is where the first line begins that has not been taken; all bytes before it have been taken
//! exactly once. A line longer than allowed is passed over without being held in memory, and counts as one line.

use super::format::{BadLine, rows::too_long};
use memchr::{memchr, memrchr};
use std::ops::Range;

/// How much of a too long line is kept.
const KEPT_BYTES: usize = 4096;

/// Bytes of a file from a position on.
#[derive(Debug)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the bytes not yet taken begin.
    begin: usize,
    /// Where the last line break among them ends; equal to `begin` if there is none.
    whole: usize,
    /// Where the bytes read end.
    end: usize,
    /// Place in the file of `begin`.
    offset: u64,
    /// The too long line that is being passed over.
    too_long: Option<TooLong>,
    max_line_bytes: usize,
}

#[derive(Debug)]
struct TooLong {
    offset: u64,
    kept: Vec<u8>,
    bytes: u64,
    ended: bool,
}

impl LineBuffer {
    /// Begins at a place in the file where a line begins.
    pub(super) fn new(offset: u64, max_line_bytes: usize) -> Self {
        LineBuffer { bytes: Vec::new(), begin: 0, whole: 0, end: 0, offset, too_long: None, max_line_bytes }
    }

    /// Where the first line begins that has not been taken.
    pub(super) fn position(&self) -> u64 {
        self.too_long.as_ref().map_or(self.offset, |line| line.offset)
    }

    /// Where to read on in the file.
    pub(super) fn read_offset(&self) -> u64 {
        self.offset + (self.end - self.begin) as u64
    }

    /// Adds up to `length` bytes, which `read` puts into the slice it is given; it says how many.
    pub(super) fn fill<E>(
        &mut self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.bytes.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.whole -= self.begin;
        self.begin = 0;
        if self.bytes.len() < self.end + length {
            self.bytes.resize(self.end + length, 0);
        }
        let added = read(&mut self.bytes[self.end..self.end + length])?.min(length);
        let added = self.end..self.end + added;
        self.end = added.end;
        self.pass_over(added.clone());
        if let Some(position) = memrchr(b'\n', &self.bytes[self.begin.max(added.start)..self.end]) {
            self.whole = self.begin.max(added.start) + position + 1;
        } else if self.too_long.is_none() && self.whole == self.begin && self.end - self.begin > self.max_line_bytes {
            self.begin_passing_over();
        }
        Ok(added.len())
    }

    fn begin_passing_over(&mut self) {
        let line = &self.bytes[self.begin..self.end];
        let kept = line[..line.len().min(KEPT_BYTES)].to_vec();
        self.too_long = Some(TooLong { offset: self.offset, kept, bytes: line.len() as u64, ended: false });
        self.drop_to(self.end);
    }

    fn pass_over(&mut self, added: Range<usize>) {
        let Some(line) = self.too_long.as_mut().filter(|line| !line.ended) else { return };
        let line_break = memchr(b'\n', &self.bytes[added.clone()]);
        line.bytes += line_break.unwrap_or(added.len()) as u64;
        line.ended = line_break.is_some();
        self.drop_to(line_break.map_or(added.end, |position| added.start + position + 1));
    }

    fn drop_to(&mut self, place: usize) {
        self.offset += (place - self.begin) as u64;
        self.begin = place;
        self.whole = self.whole.max(place);
    }

    /// A too long line, once its end has been seen; at the end of the file that is its end.
    pub(super) fn take_too_long(&mut self, at_end: bool) -> Option<BadLine> {
        let line = self.too_long.take_if(|line| line.ended || at_end)?;
        let bytes = usize::try_from(line.bytes).unwrap_or(usize::MAX);
        Some(BadLine::new(line.offset, 0, &line.kept, too_long(bytes, self.max_line_bytes)))
    }

    /// The lines that are there: whole ones, at the end of the file the last one without a line break as well. And where
    /// they begin in the file. Not to be asked for while a too long line is being passed over.
    pub(super) fn lines(&self, at_end: bool) -> (Range<usize>, u64) {
        let end = if at_end { self.end } else { self.whole };
        (self.begin..end, self.offset)
    }

    /// Whether a too long line has been begun and not been taken.
    pub(super) fn is_passing_over(&self) -> bool {
        self.too_long.is_some()
    }

    /// Bytes by the range that [`lines`](Self::lines) gave; there until the next `fill`.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// So many bytes of the lines have been taken.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.drop_to(self.begin + bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(buffer: &mut LineBuffer, bytes: &[u8], at_most: usize) -> usize {
        let length = bytes.len().min(at_most);
        let filled = buffer.fill(at_most, |space| {
            space[..length].copy_from_slice(&bytes[..length]);
            Ok::<_, ()>(length)
        });
        filled.expect("filled")
    }

    #[test]
    fn a_last_line_without_a_break_is_held() {
        let mut buffer = LineBuffer::new(100, 10);
        fill(&mut buffer, b"ab\ncd", 8);
        let (range, offset) = buffer.lines(false);
        assert_eq!((buffer.bytes(range), offset), (&b"ab\n"[..], 100));
        buffer.advance(3);
        assert_eq!((buffer.position(), buffer.read_offset()), (103, 105));
        assert_eq!(buffer.lines(false).0.len(), 0);
        assert_eq!(buffer.bytes(buffer.lines(true).0), b"cd");
    }

    proptest! {
        #[test]
        fn every_line_is_taken_once_however_it_is_read(
            text in proptest::collection::vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n')], 0..80),
            reads in proptest::collection::vec(1usize..12, 1..8),
            takes in proptest::collection::vec(any::<bool>(), 1..8),
        ) {
            let mut buffer = LineBuffer::new(0, 5);
            let mut lines: Vec<(u64, usize)> = Vec::new();
            let mut reads = reads.iter().cycle();
            let mut takes = takes.iter().cycle();
            loop {
                let place = buffer.read_offset() as usize;
                let at_end = place == text.len();
                if !at_end {
                    fill(&mut buffer, &text[place..], *reads.next().expect("endless"));
                }
                if !at_end && !takes.next().expect("endless") {
                    continue;
                }
                if let Some(line) = buffer.take_too_long(at_end) {
                    let length: usize = line.reason.split(' ').nth(3).expect("a length").parse().expect("a number");
                    lines.push((line.offset, length));
                }
                if !buffer.is_passing_over() {
                    let (range, mut offset) = buffer.lines(at_end);
                    for line in buffer.bytes(range.clone()).split_inclusive(|byte| *byte == b'\n') {
                        lines.push((offset, line.strip_suffix(b"\n").unwrap_or(line).len()));
                        offset += line.len() as u64;
                    }
                    buffer.advance(range.len());
                    prop_assert_eq!(buffer.position(), offset);
                }
                if at_end {
                    break;
                }
            }
            let mut offset = 0;
            let expected: Vec<(u64, usize)> = text.split_inclusive(|byte| *byte == b'\n').map(|line| {
                let begin = offset;
                offset += line.len() as u64;
                (begin, line.strip_suffix(b"\n").unwrap_or(line).len())
            }).collect();
            prop_assert_eq!(lines, expected);
            prop_assert_eq!(buffer.position(), text.len() as u64);
        }
    }
}
