//! An object being written: under a temporary name, and under its own only when it is complete.
//!
//! On a local disk it is a hidden file that is synced and then linked under its name, which fails where there is one
//! already; for other stores it is kept in memory and sent in one request. Length and checksum are taken on the way.

use crate::{
    disk::{self, FoundFolder},
    error::{EngineError, Result},
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::Xxh3;

/// Smaller writes are put together; pages of a file are larger and go straight through.
const BUFFER_BYTES: usize = 256 << 10;

/// How often a folder is made again that has just gone.
const FOLDER_GONE: usize = 8;

/// An object that is not visible yet. Dropped, it leaves nothing behind.
pub struct Draft {
    target: Target,
    hasher: Xxh3,
    bytes: u64,
}

enum Target {
    Memory(Vec<u8>),
    Local(LocalFile),
}

/// A file beside its final place. Made with the first byte.
struct LocalFile {
    /// The storage: nothing is written, or said to be, where it is not.
    storage: FoundFolder,
    path: PathBuf,
    beside: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Draft {
    /// In memory, for a store that takes objects whole.
    pub(super) fn in_memory() -> Self {
        Draft { target: Target::Memory(Vec::new()), hasher: Xxh3::new(), bytes: 0 }
    }

    /// Beside `path` in a storage on a local disk. `nonce` is given only once within the process.
    pub(super) fn beside(storage: FoundFolder, path: PathBuf, nonce: u64) -> Self {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("object");
        let beside = folder(&path).join(format!(".{name}.{}-{nonce:x}", std::process::id()));
        Draft { target: Target::Local(LocalFile { storage, path, beside, file: None }), hasher: Xxh3::new(), bytes: 0 }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The checksum of what was written so far, as manifests state it.
    pub fn checksum(&self) -> String {
        format!("{:032x}", self.hasher.digest128())
    }

    /// What was written, where it is kept in memory.
    pub(super) fn take_memory(&mut self) -> Option<Vec<u8>> {
        match &mut self.target {
            Target::Memory(content) => Some(std::mem::take(content)),
            Target::Local(_) => None,
        }
    }

    /// Puts a local file under its name, durably. `false`: there is one already.
    pub(super) fn publish_local(&mut self) -> Result<bool> {
        match &mut self.target {
            Target::Memory(_) => Err(EngineError::internal("an object in memory has no place on a disk")),
            Target::Local(local) => local.publish().map_err(|error| {
                let path = local.path.display();
                EngineError::caused_by(&error, format!("cannot write the checkpoint object '{path}': {error}"))
            }),
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::Memory(content) => content.extend_from_slice(bytes),
            Target::Local(local) => local.open()?.write_all(bytes)?,
        }
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LocalFile {
    fn open(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            self.file = Some(BufWriter::with_capacity(BUFFER_BYTES, self.create()?));
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("the file was just opened"))
    }

    /// The folder may go again before the file is in it, if the last other file in it does.
    fn create(&self) -> io::Result<File> {
        self.storage.check()?;
        let mut again = 0..FOLDER_GONE;
        loop {
            match disk::make_folder(folder(&self.path)).and_then(|()| disk::create(&self.beside)) {
                Err(error) if error.kind() == ErrorKind::NotFound && again.next().is_some() => {}
                created => return created,
            }
        }
    }

    fn publish(&mut self) -> io::Result<bool> {
        self.open()?.flush()?;
        let beside = self.beside.clone();
        disk::sync(self.open()?.get_ref(), &beside)?;
        let made = match disk::link(&self.beside, &self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        fs::remove_file(&self.beside)?;
        self.file = None;
        disk::sync_folder(folder(&self.path))?;
        self.storage.check()?;
        Ok(made)
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // One that stays is no object to anybody, only untidy.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::manifest::checksum;

    #[test]
    fn it_is_seen_when_it_is_whole_and_never_replaces() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let mut draft = Draft::beside(FoundFolder::find(root.path()).unwrap(), path.clone(), 1);
        draft.write_all(b"con").unwrap();
        draft.write_all(b"tent").unwrap();
        assert!(!path.exists());
        assert_eq!((draft.bytes(), draft.checksum()), (7, checksum(b"content")));
        assert!(draft.publish_local().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"content");
        let mut second = Draft::beside(FoundFolder::find(root.path()).unwrap(), path.clone(), 2);
        second.write_all(b"other").unwrap();
        assert!(!second.publish_local().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::read_dir(root.path().join("a")).unwrap().count(), 1, "nothing is left beside");
    }

    #[test]
    fn one_that_is_given_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut draft = Draft::beside(FoundFolder::find(root.path()).unwrap(), root.path().join("x"), 1);
        draft.write_all(&[0; 1 << 20]).unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
