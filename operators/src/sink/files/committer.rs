//! The second phase: staged files become results. Decided by what exists, never by what a process remembers.

use super::{
    committable::{Staged, StagedFile, checksum_text},
    naming::Naming,
    owner::Owner,
    retention::{Retention, folder_of},
    storage::Storage,
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};
use weir_engine::{
    checkpoint::Staging,
    env::Env,
    error::{EngineError, Result},
    ids::{CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, CommitterContext, ShownResults, SweepScope},
};

/// Commits the files of one sink of one job.
#[derive(Debug)]
pub struct FilesCommitter {
    storage: Arc<dyn Storage>,
    naming: Naming,
    job: String,
    staging: Staging,
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
    /// For a sink of a job.
    pub fn new(storage: Arc<dyn Storage>, context: &CommitterContext) -> Self {
        let CommitterContext { job, sink, env, staging, .. } = context;
        FilesCommitter {
            storage,
            naming: Naming::new(job, sink),
            job: job.clone(),
            staging: staging.clone(),
            env: env.clone(),
            retention: None,
        }
    }

    /// The same, which also removes files when they were written so many milliseconds ago.
    #[must_use]
    pub fn with_retention(mut self, keep_ms: i64) -> Self {
        self.retention = Some(Retention::new(keep_ms, &self.storage, &self.naming, self.staging.lineage(), &self.env));
        self
    }

    async fn owner(&self, lineage: Lineage) -> Result<Owner> {
        Ok(Owner { job: self.job.clone(), storage: self.staging.identity().await?, lineage })
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
                "a completed checkpoint decided that '{}' becomes '{}', but neither is there: {} result rows are missing. {}",
                self.storage.describe(&file.staged),
                self.storage.describe(&file.path),
                file.rows,
                self.where_they_were(file)
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

    /// What may have become of files that are not there.
    fn where_they_were(&self, file: &StagedFile) -> String {
        let here = self.storage.describe("");
        if file.root.is_empty() || file.root == here {
            return "Somebody has removed them; restore either file, or start the job over".into();
        }
        format!(
            "They were written below '{}', and are looked for below '{here}': start the job where it was started before, or move \
             that folder here",
            file.root
        )
    }

    async fn verify_files(&self, committables: &[Committable]) -> Result<()> {
        for committable in committables {
            let Staged::File(file) = Staged::from_committable(committable)? else { continue };
            if self.look(&file).await? != Found::Staged {
                continue;
            }
            let checksum = match self.storage.checksum(&file.staged).await {
                Ok(checksum) => checksum_text(checksum),
                // Another committer may have published it since, and removed it here.
                Err(_) if self.look(&file).await? != Found::Staged => continue,
                Err(error) => return Err(error),
            };
            if checksum != file.checksum {
                return Err(EngineError::corrupt(format!(
                    "the staged file '{}' is damaged: it has checksum {checksum}, but was checkpointed with {}. It is not \
                     committed; restore it from a backup, or start the job over",
                    self.storage.describe(&file.staged),
                    file.checksum
                )));
            }
        }
        Ok(())
    }

    /// Refuses results of this lineage that are newer than its checkpoint. Those of former ones, which were published too late to go
    /// with a start-over, are removed now: the folder's mark says that it was started over since.
    async fn compare_results(&self, newest: CheckpointId) -> Result<()> {
        let (all, own) = (self.storage.list("").await?, self.staging.lineage());
        let mut newer = Vec::new();
        for path in &all {
            match self.naming.committed_by(path) {
                Some((lineage, checkpoint)) if lineage == own && checkpoint > newest => newer.push((checkpoint, path)),
                Some((lineage, _)) if lineage < own && lineage != Lineage::NAMELESS => {
                    tracing::warn!(path = self.storage.describe(path), "removing what came after it was forgotten");
                    self.storage.remove(path).await?;
                }
                _ => {}
            }
        }
        let Some((last, path)) = newer.iter().max() else { return Ok(()) };
        Err(EngineError::definition(format!(
            "the checkpoint that was restored has results up to checkpoint {newest} in '{}', but {} files there are newer, up to \
             checkpoint {last} ('{}'): an older state of the job was restored than of its results, and resuming would count twice. \
             Restore the newest checkpoints; or bring the folder back to the same state, by removing the files with a number \
             above {newest} before their subtask's; or start with --fresh, which removes all and counts again",
            self.storage.describe(""),
            newer.len(),
            self.storage.describe(path),
        )))
    }

    /// The newest checkpoint of this lineage that has files here.
    async fn newest_result(&self) -> Result<ShownResults> {
        let (all, own) = (self.storage.list("").await?, self.staging.lineage());
        let of_own =
            all.iter().filter_map(|path| self.naming.committed_by(path)).filter(|(lineage, _)| *lineage == own);
        let newest = of_own.map(|(_, checkpoint)| checkpoint).max().unwrap_or(CheckpointId(0));
        Ok(ShownResults { newest: Some(newest), unrepeatable: None })
    }

    fn foreign(&self, file: &StagedFile) -> EngineError {
        EngineError::corrupt(format!(
            "'{}' already exists with other content, so '{}' is not committed over it. It is probably the result of another \
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

    /// What is staged goes first, so that a late process cannot publish it; nothing of the lineage itself, or of later ones, goes.
    async fn remove_before(&self, lineage: Lineage) -> Result<u64> {
        let owner = self.owner(lineage).await?;
        let all_goes = owner.is_anothers(&*self.storage).await?;
        let is_staged =
            |path: &str| self.naming.attempt_of(path).is_some_and(|by| all_goes || lineage.has_left_behind(by));
        let is_result = |path: &str| self.naming.committed_by(path).is_some_and(|(of, _)| all_goes || of < lineage);
        let (mut removed, mut folders) = (0, BTreeSet::new());
        let staged = self.storage.list(&self.naming.staging()).await?;
        for path in staged.iter().filter(|path| is_staged(path)) {
            self.storage.remove(path).await?;
            removed += 1;
        }
        let all = self.storage.list("").await?;
        for path in all.iter().filter(|path| is_result(path)) {
            self.storage.remove(path).await?;
            folders.extend(folder_of(path).map(str::to_owned));
            removed += 1;
        }
        for folder in &folders {
            self.storage.prune(folder).await?;
        }
        self.storage.prune(Naming::all_staging()).await?;
        owner.take_afresh(&*self.storage).await?;
        Ok(removed)
    }
}

impl Committer for FilesCommitter {
    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        async move { self.owner(self.staging.lineage()).await?.take(&*self.storage, &self.naming).await }.boxed()
    }

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

    fn verify<'a>(&'a self, committables: &'a [Committable]) -> BoxFuture<'a, Result<()>> {
        self.verify_files(committables).boxed()
    }

    fn compare(&self, newest: CheckpointId, _is_committed: bool) -> BoxFuture<'_, Result<()>> {
        self.compare_results(newest).boxed()
    }

    fn shown(&self) -> BoxFuture<'_, Result<ShownResults>> {
        self.newest_result().boxed()
    }

    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        self.remove_before(lineage).boxed()
    }
}
