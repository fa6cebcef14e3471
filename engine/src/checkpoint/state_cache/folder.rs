//! The folder of a cache: which files in it are ours, how they are written, read and chosen to go.
//!
//! Invariant: a file under its final name was written to its end before it got it. Nothing is synced: what a power cut damages
//! has a wrong checksum.

use crate::checkpoint::{manifest::FileRef, state_file};
use bytes::Bytes;
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Begins the name of every file of a cache.
const PREFIX: &str = "weir-";
/// Ends the name of a whole file.
const WHOLE: &str = ".state";
/// Ends the name of a file in the making.
const IN_THE_MAKING: &str = ".part";
/// Small files take a block of the disk.
const BLOCK_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct CacheFolder {
    path: PathBuf,
}

/// A file of a cache, of any process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// What it takes on the disk.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// The name of the file for a path in the storage of that URL.
pub(super) fn name(storage: &str, path: &str) -> String {
    format!("{PREFIX}{:032x}{WHOLE}", xxhash_rust::xxh3::xxh3_128(format!("{storage}\n{path}").as_bytes()))
}

pub(super) fn size_on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Those that have to go, oldest first, so that the others take no more than `space`.
pub(super) fn outdated(mut entries: Vec<Entry>, space: u64) -> Vec<Entry> {
    let mut taken: u64 = entries.iter().map(|entry| entry.bytes).sum();
    entries.sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
    let has_to_go = |entry: &Entry| {
        let goes = taken > space;
        taken = taken.saturating_sub(entry.bytes);
        goes
    };
    entries.into_iter().take_while(has_to_go).collect()
}

impl CacheFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        CacheFolder { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file, if it is there as it was written. A damaged one is removed.
    pub(super) fn read(&self, name: &str, expected: &FileRef) -> io::Result<Option<Bytes>> {
        let path = self.path.join(name);
        let length = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if length == expected.bytes {
            let content = Bytes::from(fs::read(&path)?);
            if state_file::verify(expected, &content).is_ok() {
                return Ok(Some(content));
            }
        }
        tracing::debug!(file = %path.display(), of = expected.path, "a cached state file is damaged or another's");
        self.remove(name);
        Ok(None)
    }

    /// Writes a file and puts it under its name, in place of one that is there. `nonce` is given only once.
    pub(super) fn write(&self, name: &str, nonce: u64, content: &[u8]) -> io::Result<()> {
        self.make()?;
        let beside = format!("{}.{}-{nonce:x}{IN_THE_MAKING}", name.trim_end_matches(WHOLE), std::process::id());
        let written = File::create_new(self.path.join(&beside))
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(self.path.join(&beside), self.path.join(name)));
        match written {
            Ok(()) => Ok(()),
            // The folder has been cleared meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                self.remove(&beside);
                Err(error)
            }
        }
    }

    /// All files of caches, unfinished ones too: the process that wrote them may be dead.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        self.make()?;
        let mut entries = Vec::new();
        for found in fs::read_dir(&self.path)? {
            let found = found?;
            let Ok(name) = found.file_name().into_string() else { continue };
            let is_ours = name.starts_with(PREFIX) && (name.ends_with(WHOLE) || name.ends_with(IN_THE_MAKING));
            // One that has gone meanwhile takes no room.
            let Ok(about) = found.metadata() else { continue };
            if is_ours && about.is_file() {
                entries.push(Entry { name, bytes: size_on_disk(about.len()), modified: about.modified()? });
            }
        }
        Ok(entries)
    }

    /// Makes a file young again.
    pub(super) fn touch(&self, name: &str, now: SystemTime) {
        let touched = File::options().append(true).open(self.path.join(name)).and_then(|file| file.set_modified(now));
        if let Err(error) = touched {
            tracing::debug!(name, %error, "cannot touch a cached state file");
        }
    }

    /// Removes a file. One that stays is counted again at the next look.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path.join(name))
            && error.kind() != ErrorKind::NotFound
        {
            tracing::debug!(name, %error, "cannot remove a cached state file");
        }
    }

    /// State is private: a folder that we create is for its owner alone.
    fn make(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path)
    }
}
