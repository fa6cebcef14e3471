//! What a growing file is known by, whatever it is called: the device and the number that the system gives it, and its first
//! lines.
//!
//! Invariant: the head of a file that only grows never changes once it has one, so a file and its copies belong to the same
//! subtask for ever. Neither head nor number prove that a file is still the same one: its [`Prefix`](super::prefix::Prefix)
//! does.

use crate::source::files::bounded::read_fully;
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    sync::Arc,
};
use xxhash_rust::xxh3::xxh3_64;

/// At most so many bytes make a head.
const MOST_BYTES: usize = 1024;

/// A file's number on its device. Given to another file as soon as this one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Tells a file's number; tests have devices of their own.
pub(super) type Identify = Arc<dyn Fn(&Metadata) -> FileId + Send + Sync>;

impl FileId {
    /// As the system says.
    pub(super) fn of(metadata: &Metadata) -> Self {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What changes whenever a file does: as long as it is the same, its bytes need not be looked at. Two changes within one tick
/// of the system's clock may have one stamp, so a new one is not trusted for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Stamp {
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// The first lines of a file, in short.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Head {
    /// How many bytes.
    pub(super) length: u64,
    /// Their XXH3, hexadecimal (a JSON number would not hold 64 bits everywhere).
    hash: String,
}

impl Head {
    /// The head over the first `lines` lines; none as long as they are not complete.
    pub(super) fn of(file: &File, lines: usize) -> io::Result<Option<Self>> {
        let mut bytes = [0; MOST_BYTES];
        let read = read_fully(file, &mut bytes, 0)?;
        let bytes = &bytes[..read];
        let length = match memchr::memchr_iter(b'\n', bytes).nth(lines.saturating_sub(1)) {
            Some(position) => position + 1,
            None if read == MOST_BYTES => MOST_BYTES,
            None => return Ok(None),
        };
        Ok(Some(Head { length: length as u64, hash: hash(&bytes[..length]) }))
    }

    /// Whether a file begins with these lines.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let mut bytes = [0; MOST_BYTES];
        let length = usize::try_from(self.length).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        let read = read_fully(file, &mut bytes[..length], 0)?;
        Ok(read == length && hash(&bytes[..length]) == self.hash)
    }

    /// Which subtask reads the file. A copy belongs to the subtask of its original, so that one of them sees both.
    pub(super) fn subtask(&self, parallelism: usize) -> usize {
        (xxh3_64(self.hash.as_bytes()) % parallelism.max(1) as u64) as usize
    }

    /// The id of a split: `generation` counts the files that had this number one after the other and began alike.
    pub(super) fn split_id(&self, file: FileId, generation: u32) -> String {
        format!("{}-{:x}-{:x}-{generation}", self.hash, file.device, file.inode)
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_of_complete_first_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let head = |text: &str, lines| {
            std::fs::write(&path, text).expect("written");
            Head::of(&File::open(&path).expect("open"), lines).expect("readable")
        };
        assert_eq!(head("", 1), None);
        assert_eq!(head("one", 1), None);
        let one = head("one\n", 1).expect("a first line");
        assert_eq!(head("one\ntwo", 1).as_ref(), Some(&one));
        assert_eq!(head("one\ntwo", 2), None);
        assert_ne!(head("one\ntwo\n", 2).as_ref(), Some(&one));
        assert!(one.fits(&File::open(&path).expect("open")).expect("readable"));
        assert_ne!(head("two\n", 1).as_ref(), Some(&one));
        assert!(!one.fits(&File::open(&path).expect("open")).expect("readable"));
        assert!(head(&"x".repeat(5_000), 1).is_some_and(|long| long.length == 1024));
    }
}
