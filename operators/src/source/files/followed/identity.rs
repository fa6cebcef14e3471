//! Who a growing file is, whatever it is called: its inode and its first bytes.
//!
//! Invariant: the fingerprint of a file that only grows never changes once it has one. A rename keeps inode and
//! fingerprint; a copy has another inode and the same fingerprint; a file that was truncated and written anew, or an inode
//! used again, has another fingerprint.

use crate::source::files::bounded::read_at;
use serde::{Deserialize, Serialize};
use std::{fs::File, io, path::Path};
use xxhash_rust::xxh3::xxh3_64;

/// At most so many bytes make a fingerprint.
const MOST_BYTES: usize = 1024;

/// The first bytes of a file, in short.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    /// How many bytes.
    length: u64,
    /// Their XXH3, hexadecimal (a JSON number would not hold 64 bits everywhere).
    hash: String,
}

impl Fingerprint {
    /// The fingerprint over the first `lines` lines; none as long as they are not complete.
    pub(super) fn of(file: &File, lines: usize) -> io::Result<Option<Self>> {
        let mut bytes = [0; MOST_BYTES];
        let read = read_fully(file, &mut bytes)?;
        let bytes = &bytes[..read];
        let length = match memchr::memchr_iter(b'\n', bytes).nth(lines.saturating_sub(1)) {
            Some(position) => position + 1,
            None if read == MOST_BYTES => MOST_BYTES,
            None => return Ok(None),
        };
        Ok(Some(Fingerprint { length: length as u64, hash: hash(&bytes[..length]) }))
    }

    /// Whether a file begins with the bytes that this was made of.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let mut bytes = [0; MOST_BYTES];
        let length = usize::try_from(self.length).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        let read = read_fully(file, &mut bytes[..length])?;
        Ok(read == length && hash(&bytes[..length]) == self.hash)
    }

    /// Which subtask reads the file. A copy belongs to the subtask of its original, so that one of them sees both.
    pub(super) fn subtask(&self, parallelism: usize) -> usize {
        (xxh3_64(self.hash.as_bytes()) % parallelism.max(1) as u64) as usize
    }

    /// The id of a split: `generation` counts how often the file with this inode began anew with the same first bytes.
    pub(super) fn split_id(&self, inode: u64, generation: u32) -> String {
        format!("{}-{inode:x}-{generation}", self.hash)
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Whether one file is, byte for byte, the beginning of another (or all of it).
pub(super) fn is_beginning_of(file: &Path, other: &Path) -> io::Result<bool> {
    let (file, other) = (File::open(file)?, File::open(other)?);
    let (mut bytes, mut others) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut offset = 0;
    loop {
        let read = read_at(&file, &mut bytes, offset)?;
        if read == 0 {
            return Ok(true);
        }
        let mut found = 0;
        while found < read {
            match read_at(&other, &mut others[found..read], offset + found as u64)? {
                0 => return Ok(false),
                more => found += more,
            }
        }
        if bytes[..read] != others[..read] {
            return Ok(false);
        }
        offset += read as u64;
    }
}

fn read_fully(file: &File, space: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < space.len() {
        match read_at(file, &mut space[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_complete_first_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let fingerprint = |text: &str, lines| {
            std::fs::write(&path, text).expect("written");
            Fingerprint::of(&File::open(&path).expect("open"), lines).expect("readable")
        };
        assert_eq!(fingerprint("", 1), None);
        assert_eq!(fingerprint("one", 1), None);
        let one = fingerprint("one\n", 1).expect("a first line");
        assert_eq!(fingerprint("one\ntwo", 1).as_ref(), Some(&one));
        assert_eq!(fingerprint("one\ntwo", 2), None);
        assert_ne!(fingerprint("one\ntwo\n", 2).as_ref(), Some(&one));
        assert!(one.fits(&File::open(&path).expect("open")).expect("readable"));
        assert_ne!(fingerprint("two\n", 1).as_ref(), Some(&one));
        assert!(!one.fits(&File::open(&path).expect("open")).expect("readable"));
        assert!(fingerprint(&"x".repeat(5_000), 1).is_some_and(|long| long.length == 1024));
    }

    #[test]
    fn a_beginning_is_told_from_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            path
        };
        let long: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let mut changed = long.clone();
        changed[150_000] ^= 1;
        let (whole, part) = (write("whole", &long), write("part", &long[..100_000]));
        let (other, empty) = (write("other", &changed), write("empty", b""));
        for (file, of, expected) in [
            (&part, &whole, true),
            (&whole, &part, false),
            (&whole, &whole, true),
            (&other, &whole, false),
            (&empty, &part, true),
        ] {
            assert_eq!(is_beginning_of(file, of).expect("readable"), expected, "{file:?} of {of:?}");
        }
    }
}
