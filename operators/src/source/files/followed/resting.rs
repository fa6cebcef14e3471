//! Idle files: read to their end, and not looked at again until something has happened to them.
//!
//! Changes are detected by events ([`events`](super::events)), by a look at all files, or, where there are no events, by
//! looks at some of them with every poll.

use super::identity::{FileId, Identify, Stamp};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

/// So many files are looked at with one poll: of as many or fewer, all are.
const LOOKS_A_POLL: usize = 256;

/// What is known of a file under its name.
struct Known {
    split: String,
    /// How it is as long as it is at rest; none: it is being read.
    at_rest: Option<(FileId, Stamp)>,
    /// Its changes are not announced.
    unannounced: bool,
}

/// The files of a subtask that are followed, by their names.
#[derive(Default)]
pub(super) struct Resting {
    files: HashMap<PathBuf, Known>,
    /// Those at rest whose changes are not announced, in the order in which they are looked at. Some may not be at rest
    /// any more.
    unannounced: VecDeque<PathBuf>,
    /// What is in there.
    queued: HashSet<PathBuf>,
    /// How often a file at rest was looked at.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl Resting {
    /// A file is being read.
    pub(super) fn reading(&mut self, split: &str, path: &Path) {
        match self.files.get_mut(path) {
            Some(known) if known.split == split => known.at_rest = None,
            _ => {
                let known = Known { split: split.to_owned(), at_rest: None, unannounced: false };
                self.files.insert(path.to_owned(), known);
            }
        }
    }

    /// A file is at rest. `announced`: its changes are announced by events.
    pub(super) fn rest(&mut self, split: &str, path: &Path, file: FileId, stamp: Stamp, announced: bool) {
        let known = Known { split: split.to_owned(), at_rest: Some((file, stamp)), unannounced: !announced };
        self.files.insert(path.to_owned(), known);
        if !announced && self.queued.insert(path.to_owned()) {
            self.unannounced.push_back(path.to_owned());
        }
    }

    /// A file is not followed any more under this name.
    pub(super) fn forget(&mut self, split: &str, path: &Path) {
        if self.files.get(path).is_some_and(|known| known.split == split) {
            self.files.remove(path);
        }
    }

    pub(super) fn is_followed(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Something has happened to a file: its split, if it was at rest.
    pub(super) fn wake(&mut self, path: &Path) -> Option<String> {
        let known = self.files.get_mut(path)?;
        known.at_rest.take().map(|_| known.split.clone())
    }

    /// What is under a name now may be another file: its split, if that was at rest.
    pub(super) fn moved(&mut self, path: &Path) -> Option<String> {
        let known = self.files.remove(path)?;
        known.at_rest.map(|_| known.split)
    }

    /// Wakes those that are not as they were. `now` says how a file is; none: it is not there.
    pub(super) fn wake_changed(&mut self, now: impl Fn(&Path) -> Option<(FileId, Stamp)>) -> Vec<String> {
        let mut awake = Vec::new();
        for (path, known) in &mut self.files {
            if known.at_rest.is_some() && now(path) != known.at_rest {
                known.at_rest = None;
                awake.push(known.split.clone());
            }
        }
        awake.sort_unstable();
        awake
    }

    /// Looks at some of those whose changes are not announced.
    pub(super) fn look_at_some(&mut self, identify: &Identify) -> Vec<String> {
        let mut awake = Vec::new();
        for _ in 0..LOOKS_A_POLL.min(self.unannounced.len()) {
            let Some(path) = self.unannounced.pop_front() else { break };
            let Some(known) = self.files.get_mut(&path).filter(|known| known.unannounced) else {
                self.queued.remove(&path);
                continue;
            };
            if known.at_rest.is_some() {
                #[cfg(test)]
                {
                    self.looks += 1;
                }
                let now = fs::metadata(&path).ok().map(|metadata| (identify(&metadata), Stamp::of(&metadata)));
                if now != known.at_rest {
                    known.at_rest = None;
                    awake.push(known.split.clone());
                }
            }
            self.unannounced.push_back(path);
        }
        awake
    }
}
