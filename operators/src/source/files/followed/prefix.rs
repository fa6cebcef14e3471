//! The fingerprint of a growing file, which grows with it: checksums of its bytes from the first one on.
//!
//! Invariant: whatever the pieces are in which a file is taken in, the same bytes give the same fingerprint. It is a part of
//! a split's position, so that a file can be proven, byte by byte, to be the one that was read so far; and it has marks on the
//! way, so that two files of different lengths can be compared without either of them.

use crate::source::files::bounded::read_at;
use memchr::memchr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fs::File, io};

/// Each of so many first lines ends at a mark: there, files that begin with the same banner are distinguished at once.
const MARKED_LINES: usize = 16;
/// The first mark that does not depend on lines; each further one is at twice the length.
const FIRST_MARK: u64 = 1 << 10;
/// The bytes just before the end that are always looked at are this much, to twice this much.
const BLOCK: u64 = 4 << 10;

/// What is known of the first `length` bytes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prefix {
    /// How many bytes it covers.
    pub(super) length: u64,
    /// Their checksum.
    checksum: u32,
    /// The checksums at the ends of the first lines.
    #[serde(default, with = "hexadecimal", skip_serializing_if = "Vec::is_empty")]
    lines: Vec<u32>,
    /// The checksums at 1 KiB, 2 KiB, 4 KiB …
    #[serde(default, with = "hexadecimal", skip_serializing_if = "Vec::is_empty")]
    marks: Vec<u32>,
    /// The last block boundaries, and the checksums there.
    #[serde(default)]
    before_last: Boundary,
    #[serde(default)]
    last: Boundary,
    /// Where the last marked line ends. Only known of what was taken in by this process.
    #[serde(skip)]
    marked_lines_end: u64,
}

/// A place, and the checksum of all before it.
type Boundary = (u64, u32);

/// How much of what was read of a file is compared to see whether it still is the same. The last bytes always are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thorough {
    /// Some kilobytes at its beginning: while it is open.
    Little,
    /// The first megabyte: when it is opened again.
    Much,
    /// All of it.
    All,
}

impl Prefix {
    /// Of the first `length` bytes of a file, or of as many as it has.
    pub(super) fn of(file: &File, length: u64) -> io::Result<Self> {
        let mut prefix = Prefix::default();
        prefix.extend_to(file, length)?;
        Ok(prefix)
    }

    /// Takes in more of the file, up to `length`.
    pub(super) fn extend_to(&mut self, file: &File, length: u64) -> io::Result<()> {
        let mut space = vec![0; 64 << 10];
        while self.length < length {
            let most = usize::try_from(length - self.length).unwrap_or(usize::MAX).min(space.len());
            match read_at(file, &mut space[..most], self.length)? {
                0 => break,
                read => self.extend(&space[..read]),
            }
        }
        Ok(())
    }

    /// Takes in bytes that stand at `offset`, as far as they are new.
    pub(super) fn extend_at(&mut self, offset: u64, bytes: &[u8]) {
        let known = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.extend(bytes.get(known..).unwrap_or_default());
    }

    fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let next_mark = FIRST_MARK << self.marks.len();
            let stop = next_mark.min((self.length / BLOCK + 1) * BLOCK);
            let step = usize::try_from(stop - self.length).unwrap_or(usize::MAX).min(bytes.len());
            let line_break = if self.lines.len() < MARKED_LINES { memchr(b'\n', &bytes[..step]) } else { None };
            let (piece, rest) = bytes.split_at(line_break.map_or(step, |position| position + 1));
            bytes = rest;
            self.checksum = checksum(self.checksum, piece);
            self.length += piece.len() as u64;
            if line_break.is_some() {
                self.lines.push(self.checksum);
                self.marked_lines_end = self.length;
            }
            if self.length == next_mark {
                self.marks.push(self.checksum);
            }
            if self.length.is_multiple_of(BLOCK) {
                self.before_last = self.last;
                self.last = (self.length, self.checksum);
            }
        }
    }

    /// Whether a file begins with these bytes, as far as it is looked at.
    pub(super) fn fits(&self, file: &File, thorough: Thorough) -> io::Result<bool> {
        let most = match thorough {
            Thorough::Little => BLOCK,
            Thorough::Much => 1 << 20,
            Thorough::All => u64::MAX,
        };
        if self.length <= most.max(2 * BLOCK) {
            return Ok(checksum_of(file, (0, 0), self.length)? == Some(self.checksum));
        }
        if checksum_of(file, self.before_last, self.length)? != Some(self.checksum) {
            return Ok(false);
        }
        let places = (0..).map(|mark| FIRST_MARK << mark).take_while(|place| *place <= most);
        match places.zip(&self.marks).last() {
            Some((place, mark)) => Ok(checksum_of(file, (0, 0), place)? == Some(*mark)),
            None => Ok(true),
        }
    }

    /// Whether this and another one may be of files that are equal as far as both go: nothing that both know contradicts it.
    pub(super) fn agrees(&self, other: &Prefix) -> bool {
        let equal = |own: &[u32], others: &[u32]| own.iter().zip(others).all(|(own, other)| own == other);
        let as_long = self.length == other.length;
        equal(&self.lines, &other.lines)
            && equal(&self.marks, &other.marks)
            && (!as_long || self.checksum == other.checksum)
    }

    /// How many bytes [`agrees`](Self::agrees) can be sure of with a longer one.
    pub(super) fn marked(&self) -> u64 {
        let mark = self.marks.len().checked_sub(1).map_or(0, |last| FIRST_MARK << last);
        self.marked_lines_end.max(mark)
    }
}

fn checksum(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// The checksum of the first `length` bytes of a file whose checksum at a place before is known; none if it is shorter.
fn checksum_of(file: &File, (mut offset, mut sum): Boundary, length: u64) -> io::Result<Option<u32>> {
    let mut space = [0; 8 << 10];
    while offset < length {
        let most = usize::try_from(length - offset).unwrap_or(usize::MAX).min(space.len());
        match read_at(file, &mut space[..most], offset)? {
            0 => return Ok(None),
            read => {
                sum = checksum(sum, &space[..read]);
                offset += read as u64;
            }
        }
    }
    Ok(Some(sum))
}

/// Checksums in a row, eight digits each.
mod hexadecimal {
    use super::*;
    use serde::de::Error;

    const DIGITS: usize = 8;

    pub(super) fn serialize<S: Serializer>(sums: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = sums.iter().map(|sum| format!("{sum:08x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).map_err(D::Error::custom)?;
            u32::from_str_radix(digits, 16).map_err(D::Error::custom)
        };
        text.as_bytes().chunks(DIGITS).map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> File {
        use std::io::Write;
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    fn lines(count: u32) -> Vec<u8> {
        (0..count).flat_map(|number| format!("this is line {number}\n").into_bytes()).collect()
    }

    #[test]
    fn the_same_bytes_are_proven_and_others_are_not() {
        let bytes = lines(4_000);
        for length in [0, 1, 100, 4_096, 8_192, 8_193, 20_000, 65_536, bytes.len()] {
            let prefix = Prefix::of(&file(&bytes), length as u64).expect("readable");
            assert_eq!(prefix.length, length as u64);
            for thorough in [Thorough::Little, Thorough::Much, Thorough::All] {
                let fits = |bytes: &[u8]| prefix.fits(&file(bytes), thorough).expect("readable");
                assert!(fits(&bytes) && fits(&bytes[..length]), "{length}, {thorough:?}");
                if length == 0 {
                    continue;
                }
                assert!(!fits(&bytes[..length - 1]), "{length}, {thorough:?}: shorter");
                let places = [0, length / 2, length.saturating_sub(3_000), length - 1];
                for place in places {
                    let mut other = bytes.clone();
                    other[place] ^= 1;
                    // In the middle of a long file a quick look does not see it.
                    let seen = !matches!(thorough, Thorough::Little) || place != length / 2 || length <= 8_192;
                    assert!(!seen || !fits(&other), "{length}, {thorough:?}: another byte at {place}");
                }
            }
        }
    }

    #[test]
    fn files_that_begin_alike_agree_until_they_differ() {
        let of = |bytes: &[u8]| Prefix::of(&file(bytes), u64::MAX).expect("readable");
        let (banner, long) = (b"log opened\n".to_vec(), lines(300));
        let with = |rest: &[u8]| of(&[banner.as_slice(), rest].concat());
        assert!(of(&banner).agrees(&with(&long)) && with(&long).agrees(&of(&banner)));
        assert!(!with(b"a\n").agrees(&with(b"b\n")));
        assert!(!with(b"b\nc\n").agrees(&with(&long)), "a second line that is shorter");
        assert!(with(&long[..2_000]).agrees(&with(&long)));
        let mut other = long.clone();
        other[1_500] ^= 1;
        assert!(!with(&other[..4_000]).agrees(&with(&long)));
        assert_eq!((of(&banner).marked(), with(b"half a line").marked()), (11, 11));
        assert_eq!(with(&long[..2_100]).marked(), 2_048);
    }

    proptest! {
        #[test]
        fn it_does_not_depend_on_the_pieces(
            bytes in proptest::collection::vec(prop_oneof![9 => Just(b'a'), 1 => Just(b'\n')], 0..10_000),
            pieces in proptest::collection::vec(1usize..5_000, 1..8),
        ) {
            let whole = Prefix::of(&file(&bytes), u64::MAX).expect("readable");
            let mut prefix = Prefix::default();
            let mut pieces = pieces.iter().cycle();
            let mut offset = 0;
            while offset < bytes.len() {
                let end = bytes.len().min(offset + pieces.next().expect("endless"));
                // Some bytes once more, as after a restart.
                let again = offset.saturating_sub(7);
                prefix.extend_at(again as u64, &bytes[again..end]);
                offset = end;
            }
            prop_assert_eq!(&prefix, &whole);
            let text = serde_json::to_string(&prefix).expect("serialisable");
            let mut stored: Prefix = serde_json::from_str(&text).expect("the same");
            stored.marked_lines_end = whole.marked_lines_end;
            prop_assert_eq!(stored, whole);
        }
    }
}
