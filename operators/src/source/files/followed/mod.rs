//! Files that are followed while they grow, as a log watcher does.
//!
//! A split is a file by its identity (inode and first bytes), not by its name, and belongs to a subtask by its first bytes.
//! What happens to log files, and what is made of it:
//!
//! - **It grows**: whole lines are read. A last line without a line break is held back until it is complete.
//! - **A new one comes**, or the pattern fits one that did not fit before: read from its beginning, as soon as its first line
//!   is complete.
//! - **It is renamed** (rotation) or unlinked: read to its end under whatever name. When its old name has belonged to another
//!   file, or to none, for the rotation grace and nothing more came, the split ends; a last line without a break counts
//!   then. Should it grow after all, it is taken up again.
//! - **It is copied and truncated** (`copytruncate`): what was not read yet is read from the copy, then the truncated file
//!   is read as a new one. As long as a file is, byte for byte, the beginning of another one that is followed, it is taken
//!   for a copy and not read.
//! - **It shrinks otherwise**, or is gone at a restart: a warning, a dead letter that says what was lost, and on with what
//!   comes. Nothing is ever read twice.
//!
//! A source that is followed has no end. Forgetting: a split that has ended is kept in the checkpoints as long as its file is
//! there, and some minutes longer.

mod identity;
mod reader;
#[cfg(test)]
mod tests;

use super::{
    lines::{LinePosition, LineSettings},
    listing::{LocalPath, cannot_read},
};
use crate::source::split_reader::{Connector, Discovery, OpenedSplit, RestoredSplit};
use futures::{FutureExt, future::BoxFuture};
use identity::{Fingerprint, is_beginning_of};
use reader::FollowedReader;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
};

/// A file that is not listed for so long is forgotten. A listing may miss a file that is being renamed, so one is not enough.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// So often a folder is listed before a file is said to be gone.
const LOOKS: usize = 5;

/// What the readers of a subtask and its search for new files share.
struct Watch {
    path: LocalPath,
    settings: Arc<LineSettings>,
    /// Lines that make a fingerprint: the first says nothing where it is a header.
    fingerprint_lines: usize,
    rotation_grace: Duration,
    env: Env,
    subtask: usize,
    parallelism: usize,
    known: Mutex<BTreeMap<String, Followed>>,
}

/// A split, as its reader keeps it up to date and checkpoints hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Followed {
    /// The last known name.
    path: PathBuf,
    inode: u64,
    fingerprint: Fingerprint,
    /// How often this inode began anew with the same first bytes.
    generation: u32,
    /// How far the file was known to reach, in bytes.
    seen: u64,
    #[serde(flatten)]
    position: LinePosition,
    /// The file began anew: what is in it now is another split.
    #[serde(default)]
    began_anew: bool,
    /// What is read now is a copy that will not grow.
    #[serde(default)]
    is_copy: bool,
    /// The split has ended.
    #[serde(default)]
    ended: bool,
}

/// A file as it is listed.
struct Listed {
    path: PathBuf,
    inode: u64,
    bytes: u64,
}

/// The files of a followed source that belong to a subtask.
pub(super) struct FollowedFiles {
    watch: Arc<Watch>,
    /// Files that were taken for copies, so that it is said once.
    copies: HashSet<(u64, String)>,
    /// Since when splits' files have not been listed.
    missing: BTreeMap<String, Moment>,
}

impl Watch {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn list(&self) -> Result<Vec<Listed>> {
        let listed = self.path.list()?.into_iter();
        Ok(listed.map(|(path, file)| Listed { path, inode: file.ino(), bytes: file.len() }).collect())
    }

    /// Opens a listed file; none if it has gone in the meantime.
    fn open(path: &PathBuf) -> Result<Option<File>> {
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot_read(path, &error)),
        }
    }

    /// Whether a listed file begins with the bytes of a fingerprint.
    fn fits(listed: &Listed, fingerprint: &Fingerprint) -> Result<bool> {
        match Watch::open(&listed.path)? {
            Some(file) => fingerprint.fits(&file).map_err(|error| cannot_read(&listed.path, &error)),
            None => Ok(false),
        }
    }

    /// Where a file is now, whatever it is called. A file that is renamed while its folder is listed may be missing in the list,
    /// so it is looked for several times before it is said to be gone.
    fn find(&self, is_it: impl Fn(&Listed) -> Result<bool>) -> Result<Option<PathBuf>> {
        for _ in 0..LOOKS {
            for listed in self.list()? {
                if is_it(&listed)? {
                    return Ok(Some(listed.path));
                }
            }
        }
        Ok(None)
    }

    /// A file that has what `split` had not read yet: another one that begins with the same bytes and reaches as far.
    fn find_copy(&self, split: &Followed) -> Result<Option<Listed>> {
        let taken: HashSet<u64> =
            self.known().values().filter(|known| !known.began_anew).map(|known| known.inode).collect();
        for listed in self.list()? {
            let other = listed.inode != split.inode && !taken.contains(&listed.inode);
            if other && listed.bytes >= split.position.offset && Watch::fits(&listed, &split.fingerprint)? {
                return Ok(Some(listed));
            }
        }
        Ok(None)
    }
}

impl FollowedFiles {
    pub(super) fn new(
        path: LocalPath,
        settings: Arc<LineSettings>,
        rotation_grace: Duration,
        env: Env,
        subtask: usize,
        parallelism: usize,
    ) -> Self {
        let fingerprint_lines = if settings.format.has_header() { 2 } else { 1 };
        let known = Mutex::default();
        let watch = Watch { path, settings, fingerprint_lines, rotation_grace, env, subtask, parallelism, known };
        FollowedFiles { watch: Arc::new(watch), copies: HashSet::new(), missing: BTreeMap::new() }
    }

    fn restore(&mut self, restored: Vec<RestoredSplit>) -> Result<Vec<OpenedSplit>> {
        let mut splits = Vec::new();
        for split in restored {
            let followed: Followed = serde_json::from_value(split.position).map_err(|error| {
                EngineError::corrupt(format!("the position of split '{}' cannot be read: {error}", split.id))
            })?;
            if followed.fingerprint.subtask(self.watch.parallelism) == self.watch.subtask {
                self.watch.known().insert(split.id.clone(), followed.clone());
                splits.push((split.id, followed));
            }
        }
        let mut opened = Vec::new();
        for (id, mut split) in splits {
            let mut found = split.ended;
            if !split.ended {
                let is_it = |file: &Listed| Ok(file.inode == split.inode && Watch::fits(file, &split.fingerprint)?);
                if let Some(path) = self.watch.find(is_it)? {
                    split.path = path;
                    found = true;
                }
            }
            opened.push(self.opened(id, split, found));
        }
        Ok(opened)
    }

    fn opened(&self, id: String, split: Followed, found: bool) -> OpenedSplit {
        let name = split.path.display().to_string();
        let reader = Box::new(FollowedReader::new(self.watch.clone(), id.clone(), split, found));
        OpenedSplit { id, name, reader, newest_before_ms: None, oldest_ms: None }
    }

    /// What has come, and what has been gone for long.
    fn look(&mut self) -> Result<Discovery> {
        let listed = self.watch.list()?;
        self.watch.env.crash_point("files.listed")?;
        let mut opened = Vec::new();
        for file in listed.iter().filter(|file| file.bytes > 0) {
            opened.extend(self.judge(file, &listed)?);
        }
        Ok(Discovery { opened, gone: self.forget(&listed) })
    }

    /// What is to be made of a listed file: nothing new mostly.
    fn judge(&mut self, file: &Listed, listed: &[Listed]) -> Result<Option<OpenedSplit>> {
        let is_read = |split: &Followed| {
            split.inode == file.inode && !split.ended && split.position.offset <= file.bytes && !split.began_anew
        };
        if self.watch.known().values().any(is_read) {
            return Ok(None); // Its reader looks after it.
        }
        let Some(open) = Watch::open(&file.path)? else { return Ok(None) };
        let fingerprint = Fingerprint::of(&open, self.watch.fingerprint_lines);
        let Some(fingerprint) = fingerprint.map_err(|error| cannot_read(&file.path, &error))? else { return Ok(None) };
        if fingerprint.subtask(self.watch.parallelism) != self.watch.subtask {
            return Ok(None);
        }
        let alike: Vec<(String, Followed)> = {
            let known = self.watch.known();
            let alike = known.iter().filter(|(_, split)| split.fingerprint == fingerprint);
            alike.map(|(id, split)| (id.clone(), split.clone())).collect()
        };
        let same =
            alike.iter().filter(|(_, split)| split.inode == file.inode).max_by_key(|(_, split)| split.generation);
        match same {
            None if self.is_copy(file, &alike, listed)? => return Ok(None),
            None => {}
            Some((_, split)) if split.began_anew => {}
            Some((id, split)) if split.ended && file.bytes > split.position.offset => {
                tracing::info!(file = %file.path.display(), "a file that seemed complete has grown, and is followed again");
                let split = Followed { path: file.path.clone(), ended: false, ..split.clone() };
                return Ok(Some(self.follow(id.clone(), split)));
            }
            Some(_) => return Ok(None),
        }
        let unused =
            |generation: &u32| !alike.iter().any(|(id, _)| *id == fingerprint.split_id(file.inode, *generation));
        let generation = (0..).find(unused).unwrap_or_default();
        let split = Followed {
            path: file.path.clone(),
            inode: file.inode,
            generation,
            seen: file.bytes,
            position: LinePosition::default(),
            began_anew: false,
            is_copy: false,
            ended: false,
            fingerprint: fingerprint.clone(),
        };
        Ok(Some(self.follow(fingerprint.split_id(file.inode, generation), split)))
    }

    fn follow(&self, id: String, split: Followed) -> OpenedSplit {
        self.watch.known().insert(id.clone(), split.clone());
        self.opened(id, split, true)
    }

    /// Whether a file is a copy of one that is followed: what is in it has been read or will be, from one of the two.
    fn is_copy(&mut self, file: &Listed, alike: &[(String, Followed)], listed: &[Listed]) -> Result<bool> {
        for (_, split) in alike {
            let original = listed.iter().find(|other| other.inode == split.inode);
            let is_copy = match original {
                Some(original) if Watch::fits(original, &split.fingerprint)? => {
                    match is_beginning_of(&file.path, &original.path) {
                        Err(error) if error.kind() == ErrorKind::NotFound => true, // Looked at again the next time.
                        other => other.map_err(|error| cannot_read(&file.path, &error))?,
                    }
                }
                // The original has been truncated or is gone: what is left to read of it is in this one.
                _ => true,
            };
            if is_copy {
                if self.copies.insert((file.inode, split.path.display().to_string())) {
                    tracing::warn!(
                        file = %file.path.display(),
                        original = %split.path.display(),
                        "a file is taken for a copy, since all of it is in another one that is followed, and is not read"
                    );
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn forget(&mut self, listed: &[Listed]) -> Vec<String> {
        let inodes: HashSet<u64> = listed.iter().map(|file| file.inode).collect();
        let now = self.watch.env.now();
        let mut gone = Vec::new();
        let mut known = self.watch.known();
        known.retain(|id, split| {
            if !split.ended || inodes.contains(&split.inode) {
                self.missing.remove(id);
                return true;
            }
            let since = *self.missing.entry(id.clone()).or_insert(now);
            let forget = now - since >= FORGET_AFTER;
            if forget {
                gone.push(id.clone());
            }
            !forget
        });
        self.missing.retain(|id, _| known.contains_key(id));
        gone
    }
}

impl Connector for FollowedFiles {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        async move {
            let mut opened = self.restore(restored)?;
            opened.extend(self.look()?.opened);
            Ok(opened)
        }
        .boxed()
    }

    fn discover(&mut self) -> BoxFuture<'_, Result<Discovery>> {
        async move { self.look() }.boxed()
    }

    fn is_followed(&self) -> bool {
        true
    }
}
