//! The bytes of a file between being read and being decoded: cut where records end, however they were read. A record is a
//! line, but for CSV, whose quoted fields may hold line breaks; it is called a line here all the same.
//!
//! Invariant: the position is where the first line begins that has not been taken; all bytes before it have been taken
//! exactly once. A line longer than allowed is passed over without being held in memory, and counts as one line.

use crate::format::{
    BadLine,
    records::{RecordRule, RecordScanner},
    rows::too_long,
};
use memchr::memchr;
use std::ops::Range;

/// How much of a too long line is kept.
const KEPT_BYTES: usize = 4096;

/// Bytes of a file from a position on.
#[derive(Debug)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the bytes not yet taken begin.
    begin: usize,
    /// Where the last whole line among them ends; equal to `begin` if there is none.
    whole: usize,
    /// Where the bytes read end.
    end: usize,
    /// Place in the file of `begin`.
    offset: u64,
    /// The too long line that is being passed over.
    too_long: Option<TooLong>,
    rule: RecordRule,
    /// Has seen all bytes up to `end`.
    scanner: RecordScanner,
}

#[derive(Debug)]
struct TooLong {
    offset: u64,
    kept: Vec<u8>,
    bytes: u64,
    /// The last of them is a carriage return, which belongs to the line break if that follows.
    returned: bool,
    ended: bool,
}

impl LineBuffer {
    /// Begins at a place in the file where a line begins.
    pub(super) fn new(offset: u64, rule: RecordRule) -> Self {
        let scanner = RecordScanner::new(rule);
        LineBuffer { bytes: Vec::new(), begin: 0, whole: 0, end: 0, offset, too_long: None, rule, scanner }
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
        let unseen = self.begin.max(added.start);
        if let Some(end) = self.scanner.last_end(&self.bytes[unseen..self.end]) {
            self.whole = unseen + end;
        } else if self.too_long.is_none() && self.whole == self.begin && self.end - self.begin > self.rule.most() {
            self.begin_passing_over();
        }
        Ok(added.len())
    }

    /// Gives back the memory that holds nothing.
    pub(super) fn release(&mut self) {
        self.bytes.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.whole -= self.begin;
        self.begin = 0;
        self.bytes.truncate(self.end);
        self.bytes.shrink_to_fit();
    }

    /// From here on it is the next line break that ends the line, even within quotes.
    fn begin_passing_over(&mut self) {
        let line = &self.bytes[self.begin..self.end];
        let kept = line[..line.len().min(KEPT_BYTES)].to_vec();
        let (bytes, returned) = (line.len() as u64, line.ends_with(b"\r"));
        self.too_long = Some(TooLong { offset: self.offset, kept, bytes, returned, ended: false });
        self.drop_to(self.end);
        self.scanner = RecordScanner::new(self.rule);
    }

    fn pass_over(&mut self, added: Range<usize>) {
        let Some(line) = self.too_long.as_mut().filter(|line| !line.ended) else { return };
        let line_break = memchr(b'\n', &self.bytes[added.clone()]);
        let more = &self.bytes[added.start..line_break.map_or(added.end, |position| added.start + position)];
        line.bytes += more.len() as u64;
        line.returned = more.last().map_or(line.returned, |last| *last == b'\r');
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
        let bytes = usize::try_from(line.bytes - u64::from(line.returned)).unwrap_or(usize::MAX);
        Some(BadLine::new(line.offset, 0, &line.kept, too_long(bytes, self.rule.most())))
    }

    /// What there is of the first line that has not been taken, or of the too long one.
    pub(super) fn beginning(&self) -> &[u8] {
        self.too_long.as_ref().map_or(&self.bytes[self.begin..self.end], |line| &line.kept)
    }

    /// Whether all that was read has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.too_long.is_none() && self.begin == self.end
    }

    /// Drops everything that has been read.
    pub(super) fn drop_all(&mut self) {
        self.too_long = None;
        self.drop_to(self.end);
        self.scanner = RecordScanner::new(self.rule);
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
        let mut buffer = LineBuffer::new(100, RecordRule::lines(10));
        fill(&mut buffer, b"ab\ncd", 8);
        let (range, offset) = buffer.lines(false);
        assert_eq!((buffer.bytes(range), offset), (&b"ab\n"[..], 100));
        buffer.advance(3);
        assert_eq!((buffer.position(), buffer.read_offset()), (103, 105));
        assert_eq!(buffer.lines(false).0.len(), 0);
        assert_eq!(buffer.bytes(buffer.lines(true).0), b"cd");
    }

    fn lengths(rule: RecordRule, mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !bytes.is_empty() {
            let length = rule.end(bytes).unwrap_or(bytes.len());
            lengths.push(length);
            bytes = bytes.get(length + 1..).unwrap_or_default();
        }
        lengths
    }

    proptest! {
        #[test]
        fn every_line_is_taken_once_however_it_is_read(
            text in proptest::collection::vec(prop_oneof![6 => Just(b'a'), 2 => Just(b'\n'), 1 => Just(b'"'), 1 => Just(b',')], 0..80),
            csv: bool,
            reads in proptest::collection::vec(1usize..12, 1..8),
            takes in proptest::collection::vec(any::<bool>(), 1..8),
            releases in proptest::collection::vec(any::<bool>(), 1..8),
        ) {
            let rule = if csv { RecordRule::csv(b',', 5) } else { RecordRule::lines(5) };
            let mut buffer = LineBuffer::new(0, rule);
            let mut lines: Vec<(u64, usize)> = Vec::new();
            let mut reads = reads.iter().cycle();
            let mut takes = takes.iter().cycle();
            let mut releases = releases.iter().cycle();
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
                    for length in lengths(rule, buffer.bytes(range.clone())) {
                        lines.push((offset, length));
                        offset += length as u64 + 1;
                    }
                    offset = offset.min(text.len() as u64);
                    buffer.advance(range.len());
                    prop_assert_eq!(buffer.position(), offset);
                }
                if *releases.next().expect("endless") {
                    buffer.release();
                    prop_assert_eq!(buffer.bytes.len() as u64, buffer.read_offset() - buffer.offset);
                }
                if at_end {
                    break;
                }
            }
            let mut offset = 0;
            let expected: Vec<(u64, usize)> = lengths(rule, &text).into_iter().map(|length| {
                let begin = offset;
                offset += length as u64 + 1;
                (begin, length)
            }).collect();
            prop_assert_eq!(lines, expected);
            prop_assert_eq!(buffer.position(), text.len() as u64);
        }
    }
}
