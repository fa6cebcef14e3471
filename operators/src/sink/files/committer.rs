//! The second phase: staged files become results. Decided by what is there, never by what somebody remembers.

use super::{
    committable::{Staged, StagedFile, checksum_text},
    naming::Naming,
    retention::{Retention, folder_of},
    storage::Storage,
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
    operator::{CommitOutcome, Committable, Committer, SweepScope},
};

/// Commits the files of one sink of one job.
#[derive(Debug)]
pub struct FilesCommitter {
    storage: Arc<dyn Storage>,
    naming: Naming,
    env: Env,
    retention: Option<Retention>,
}

/// What a look at both names of a file has shown.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Only the staged one, whole.
    Staged,
    /// The final one; whether the staged one is still there, too.
    Committed { staged: bool },
}

impl FilesCommitter {
    /// For the node `sink` of a job.
    pub fn new(storage: Arc<dyn Storage>, job: &str, sink: &str, env: &Env) -> Self {
        FilesCommitter { storage, naming: Naming::new(job, sink), env: env.clone(), retention: None }
    }

    /// The same, which also removes files when they were written so many milliseconds ago.
    #[must_use]
    pub fn with_retention(mut self, keep_ms: i64) -> Self {
        self.retention = Some(Retention::new(keep_ms, &self.storage, &self.naming, &self.env));
        self
    }

    async fn commit_files(&self, committables: &[Committable]) -> Result<CommitOutcome> {
        let (mut outcome, mut ended) = (CommitOutcome::AlreadyDone, false);
        for committable in committables {
            let Staged::File(file) = Staged::from_committable(committable)? else {
                ended = true;
                continue;
            };
            if self.commit_file(&file).await? == CommitOutcome::Done {
                outcome = CommitOutcome::Done;
            }
            self.env.crash_point("files_sink.committed")?;
        }
        if ended {
            self.storage.prune(Naming::all_staging()).await?;
        }
        Ok(outcome)
    }

    async fn commit_file(&self, file: &StagedFile) -> Result<CommitOutcome> {
        match self.look(file).await? {
            Found::Committed { staged: false } => return Ok(CommitOutcome::AlreadyDone),
            Found::Committed { staged: true } => {
                self.storage.remove(&file.staged).await?;
                return Ok(CommitOutcome::AlreadyDone);
            }
            Found::Staged => {}
        }
        let published = self.storage.publish(&file.staged, &file.path).await;
        // A failed publish may have been done all the same, by this request or by another committer.
        let outcome = match published {
            Ok(()) => CommitOutcome::Done,
            Err(error) => match self.look(file).await? {
                Found::Committed { .. } => CommitOutcome::AlreadyDone,
                Found::Staged => return Err(error),
            },
        };
        self.env.crash_point("files_sink.published")?;
        self.storage.remove(&file.staged).await?;
        Ok(outcome)
    }

    /// Looks at the staged name first: it goes only after the final one has come, so nothing is missed in between.
    async fn look(&self, file: &StagedFile) -> Result<Found> {
        let staged = self.storage.size(&file.staged).await?;
        let committed = self.storage.size(&file.path).await?;
        match (staged, committed) {
            (Some(bytes), None) if bytes == file.bytes => Ok(Found::Staged),
            (Some(bytes), None) => Err(EngineError::corrupt(format!(
                "the staged file '{}' has {bytes} bytes, but was checkpointed with {}; it is not committed. \
                 Something else has written to it",
                self.storage.describe(&file.staged),
                file.bytes
            ))),
            (None, None) => Err(EngineError::corrupt(format!(
                "a completed checkpoint decided that '{}' becomes '{}', but neither is there: {} result rows are missing. \
                 Somebody has removed them; put either file back, or start the job afresh",
                self.storage.describe(&file.staged),
                self.storage.describe(&file.path),
                file.rows
            ))),
            (_, Some(bytes)) if bytes != file.bytes => Err(self.foreign(file)),
            // Both are there: only after a crash between the two steps of a commit, or when the name was taken by another
            // run of the job. Rare enough to read it.
            (Some(_), Some(_)) => match checksum_text(self.storage.checksum(&file.path).await?) == file.checksum {
                true => Ok(Found::Committed { staged: true }),
                false => Err(self.foreign(file)),
            },
            (None, Some(_)) => Ok(Found::Committed { staged: false }),
        }
    }

    fn foreign(&self, file: &StagedFile) -> EngineError {
        EngineError::corrupt(format!(
            "'{}' is there already with other content, so '{}' is not committed over it. It is probably the result of another \
             run of this job, with another data directory: remove the old results or write elsewhere",
            self.storage.describe(&file.path),
            self.storage.describe(&file.staged)
        ))
    }

    async fn sweep_older(&self, scope: &SweepScope) -> Result<u64> {
        let mut keep = HashSet::new();
        for committable in &scope.keep {
            if let Staged::File(file) = Staged::from_committable(committable)? {
                keep.insert(file.staged);
            }
        }
        let mut removed = 0;
        for path in self.storage.list(&self.naming.staging()).await? {
            let dead = self.naming.attempt_of(&path).is_some_and(|attempt| attempt < scope.attempt);
            if dead && !keep.contains(&path) {
                self.storage.remove(&path).await?;
                removed += 1;
            }
        }
        self.storage.prune(Naming::all_staging()).await?;
        Ok(removed)
    }

    async fn remove_all(&self) -> Result<u64> {
        let (mut removed, mut folders) = (0, BTreeSet::new());
        for path in self.storage.list("").await? {
            if self.naming.is_committed(&path) || self.naming.attempt_of(&path).is_some() {
                self.storage.remove(&path).await?;
                folders.extend(folder_of(&path).map(str::to_owned));
                removed += 1;
            }
        }
        for folder in &folders {
            self.storage.prune(folder).await?;
        }
        self.storage.prune(Naming::all_staging()).await?;
        Ok(removed)
    }
}

impl Committer for FilesCommitter {
    fn commit<'a>(
        &'a self,
        _checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        self.commit_files(committables).boxed()
    }

    fn expire(&self, committed: CheckpointId) -> BoxFuture<'_, Result<u64>> {
        async move {
            match &self.retention {
                Some(retention) => retention.expire(committed).await,
                None => Ok(0),
            }
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        self.sweep_older(scope).boxed()
    }

    fn reset(&self, _attempt: Attempt) -> BoxFuture<'_, Result<u64>> {
        self.remove_all().boxed()
    }
}
