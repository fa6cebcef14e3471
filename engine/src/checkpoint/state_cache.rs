//! Recent state files on a disk of this machine, so that a restart does not fetch from afar what was written here.
//!
//! Invariants: a file is used only if it has the length and the checksum that the manifest states; nothing that goes wrong here
//! fails a job; the files of all processes that share the folder, dead ones too, are bounded by one limit, and no file in it that
//! is not of a cache is touched.

mod folder;

use super::{manifest::FileRef, segment_ledger::SegmentLedger};
use crate::env::Env;
use bytes::Bytes;
use folder::{CacheFolder, outdated, size_on_disk};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// After a part of the limit has been written, the folder is looked at again: one in so many.
const LOOKS_PER_LIMIT: u64 = 16;
/// Parts that a look leaves to others that share the folder, until they look themselves.
const PARTS_OF_OTHERS: u64 = 3;

/// A cache of state files in a local folder. Cheap to clone; clones are one cache.
#[derive(Clone, Debug)]
pub struct StateCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: CacheFolder,
    limit_bytes: u64,
    /// A file could not be written, so no more are tried.
    gave_up: AtomicBool,
    /// Bytes written since the folder was looked at; none: it never was.
    since_look: Mutex<Option<u64>>,
    in_use: Mutex<Vec<InUse>>,
}

/// A subtask whose state must be among the last to go, however long ago its files were written.
#[derive(Debug)]
struct InUse {
    storage: String,
    ledger: Weak<Mutex<SegmentLedger>>,
}

impl StateCache {
    /// In a folder that other caches may share; it is made with the first file. Up to four processes stay below the limit, each
    /// further one may exceed it by a sixteenth.
    pub fn new(folder: PathBuf, limit_bytes: u64) -> Self {
        StateCache {
            shared: Arc::new(Shared {
                folder: CacheFolder::new(folder),
                limit_bytes,
                gave_up: AtomicBool::new(false),
                since_look: Mutex::default(),
                in_use: Mutex::default(),
            }),
        }
    }

    /// The content of a state file in the storage of that URL, if it is here and undamaged.
    pub(super) async fn find(&self, env: &Env, storage: &str, file: &FileRef) -> Option<Bytes> {
        let (shared, name, file) = (self.shared.clone(), folder::name(storage, &file.path), file.clone());
        let found = env.run_blocking(move || Ok(shared.folder.read(&name, &file)?)).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "a cached state file cannot be read");
            None
        })
    }

    /// Keeps a state file. One that is larger than half of the limit is not kept.
    pub(super) async fn keep(&self, env: &Env, storage: &str, path: &str, content: Bytes) {
        if self.shared.gave_up.load(Ordering::Relaxed) {
            return;
        }
        let (shared, name, nonce) = (self.shared.clone(), folder::name(storage, path), env.nonce());
        // Only which file goes first depends on the clock.
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(env.wall_clock_ms().unsigned_abs());
        let kept = env.run_blocking(move || Ok(shared.keep(&name, nonce, now, &content)?)).await;
        if let Err(error) = kept
            && !self.shared.gave_up.swap(true, Ordering::Relaxed)
        {
            let folder = self.shared.folder.path().display();
            tracing::warn!(%folder, %error, "cannot cache state files here; until the next start they are only in the storage");
        }
    }

    /// Keeps what a subtask's newest checkpoint refers to longer than what none does.
    pub(super) fn watch(&self, storage: &str, ledger: &Arc<Mutex<SegmentLedger>>) {
        let mut in_use = lock(&self.shared.in_use);
        in_use.retain(|subtask| subtask.ledger.strong_count() > 0);
        in_use.push(InUse { storage: storage.into(), ledger: Arc::downgrade(ledger) });
    }
}

impl Shared {
    fn keep(&self, name: &str, nonce: u64, now: SystemTime, content: &Bytes) -> io::Result<()> {
        let bytes = size_on_disk(content.len() as u64);
        if bytes > self.limit_bytes / 2 {
            return Ok(());
        }
        self.make_room(bytes, now)?;
        self.folder.write(name, nonce, content)
    }

    /// Removes the oldest files until there is room for so many bytes. Looks only now and then, for a folder may hold thousands.
    fn make_room(&self, bytes: u64, now: SystemTime) -> io::Result<()> {
        let part = self.limit_bytes / LOOKS_PER_LIMIT;
        let mut since_look = lock(&self.since_look);
        if let Some(written) = since_look.as_mut().filter(|written| **written + bytes <= part) {
            *written += bytes;
            return Ok(());
        }
        let in_use = self.names_in_use();
        let mut entries = self.folder.entries()?;
        for entry in entries.iter_mut().filter(|entry| in_use.contains(&entry.name)) {
            // The other processes see by the time of a file that it is in use.
            self.folder.touch(&entry.name, now);
            entry.modified = now;
        }
        let space = (self.limit_bytes - PARTS_OF_OTHERS * part).saturating_sub(bytes);
        for entry in outdated(entries, space) {
            self.folder.remove(&entry.name);
        }
        *since_look = Some(0);
        Ok(())
    }

    fn names_in_use(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for subtask in lock(&self.in_use).iter() {
            if let Some(ledger) = subtask.ledger.upgrade() {
                names.extend(lock(&ledger).files().map(|file| folder::name(&subtask.storage, &file.path)));
            }
        }
        names
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests;
