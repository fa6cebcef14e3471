//! Retention of files: those written long enough ago are removed, an hour's folder as a whole.
//!
//! Age is the time since a file was written, by the clock. No date in a row has a say: old events that are read today, or a row
//! with a wrong date, must not decide what is deleted.
//!
//! Invariants: only files that this sink of this job has named, of checkpoints whose commits are marked, are removed, so that no
//! commit that is repeated misses one; those of an hour's folder go together, when the youngest of them is old enough, the
//! earliest hour first; an interrupted removal is continued, since what is left is still as old.

use super::{
    naming::Naming,
    storage::{Storage, TimedFile},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use weir_engine::{
    env::{Env, Moment},
    error::Result,
    ids::{CheckpointId, Lineage},
};

/// Files that are removed after one commit; the next ones after the next.
const STEP: usize = 1_000;

/// How often all files are listed: a hundredth of the time that they are kept for, within these bounds.
const OFTEN: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_secs(3_600);

/// What one sink's retention does.
#[derive(Debug)]
pub(super) struct Retention {
    keep_ms: i64,
    storage: Arc<dyn Storage>,
    naming: Naming,
    lineage: Lineage,
    env: Env,
    /// When to look again; none: at once.
    next_look: Mutex<Option<Moment>>,
}

impl Retention {
    /// For the files of a lineage and of those before it: a process that was left behind by a start-over removes nothing of the
    /// newer one.
    pub fn new(keep_ms: i64, storage: &Arc<dyn Storage>, naming: &Naming, lineage: Lineage, env: &Env) -> Self {
        Retention {
            keep_ms,
            storage: Arc::clone(storage),
            naming: naming.clone(),
            lineage,
            env: env.clone(),
            next_look: Mutex::default(),
        }
    }

    /// Removes files that are old enough, if it is time to look for some. `committed`: all up to there is marked.
    pub async fn expire(&self, committed: CheckpointId) -> Result<u64> {
        let now = self.env.now();
        if self.next_look().is_some_and(|at| now < at) {
            return Ok(0);
        }
        let every = Duration::from_millis(self.keep_ms.unsigned_abs() / 100).clamp(OFTEN, SELDOM);
        *self.next_look() = Some(now + every);
        let listed = self.storage.list_with_times("").await?;
        let before_ms = self.env.wall_clock_ms().saturating_sub(self.keep_ms);
        let old = self.old(listed, committed, before_ms);
        let mut folders: Vec<&str> = Vec::new();
        for path in old.iter().take(STEP) {
            self.storage.remove(path).await?;
            if let Some(folder) = folder_of(path).filter(|folder| folders.last() != Some(folder)) {
                folders.push(folder);
            }
        }
        for folder in folders {
            self.storage.prune(folder).await?;
        }
        if old.len() > STEP {
            *self.next_look() = None;
        }
        Ok(old.len().min(STEP) as u64)
    }

    /// Files that are past their time, in order of folders.
    fn old(&self, listed: Vec<TimedFile>, committed: CheckpointId, before_ms: i64) -> Vec<String> {
        // A file, and whether its commit is marked.
        let mut own: BTreeMap<Option<String>, Vec<(TimedFile, bool)>> = BTreeMap::new();
        for file in listed {
            if let Some(of) = self.naming.committed_by(&file.path) {
                let is_marked = of <= (self.lineage, committed);
                own.entry(folder_of(&file.path).map(str::to_owned)).or_default().push((file, is_marked));
            }
        }
        let is_old = |(file, is_marked): &(TimedFile, bool)| file.written_ms < before_ms && *is_marked;
        let mut old = Vec::new();
        for (folder, mut files) in own {
            match folder {
                Some(_) if !files.iter().all(is_old) => files.clear(),
                Some(_) => {}
                None => files.retain(is_old),
            }
            old.extend(files.into_iter().map(|(file, _)| file.path));
        }
        old
    }

    fn next_look(&self) -> parking_lot::MutexGuard<'_, Option<Moment>> {
        self.next_look.lock()
    }
}

/// The folder that a file lies in; none: the sink's own.
pub(super) fn folder_of(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(folder, _)| folder)
}
