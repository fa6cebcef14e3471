//! A job's progress, and whether the archive has everything that the counts in the store were made from.
//!
//! The sinks of a job make a checkpoint visible one after the other. What the store has counted may so come of rows whose files
//! are still staged next to the archive, and a recount of the archive then would find too little. Each of two things shows
//! that nothing is missing:
//!
//! - Checkpoints mark what is in the store as committed by all sinks. They must be the ones that decide what comes into the
//!   store, which has their mark: the same job may have run elsewhere, too.
//! - Nothing of what was staged beside the archive is staged any more. That needs no checkpoints, but a job that was killed
//!   leaves files behind which only its next start decides about.
//!
//! Invariant: first the store is looked at, then what is staged, and the archive's files are listed last. All rows of a
//! checkpoint are staged before it is complete, and it is complete before any sink commits it.

use crate::store::Store;
use std::{collections::BTreeSet, time::Duration};
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest, committed},
    env::Env,
    error::{EngineError, Result},
    ids::CheckpointId,
};
use weir_jobs::recalculation::StoreTable;
use weir_operators::sink::files::StagedFiles;
use weir_store::{
    row::{integer, text},
    tables::SINKS,
};

/// How often it is looked whether the archive has come as far as the store.
const POLL: Duration = Duration::from_millis(50);

/// A job that fills a store and an archive, and where all of this is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The job.
    pub job: &'a str,
    /// The store.
    pub store: &'a Store,
    /// The tables that the job keeps there.
    pub tables: &'a [StoreTable],
    /// Where checkpoints of the job are; there may be none, or those of another run of it.
    pub checkpoints: &'a CheckpointStore,
    /// Where the archive is read, and where the job writes it.
    pub archives: &'a BTreeSet<String>,
}

/// What the store says of the commits that it holds.
#[derive(Debug, Default)]
struct InStore {
    /// The newest checkpoint; none: nothing is known of the job.
    newest: Option<CheckpointId>,
    /// Distinguishes the checkpoints that decide about the tables.
    owners: BTreeSet<String>,
}

impl Progress<'_> {
    /// Whether the job has read all of its input and committed what came of it, so that nothing is corrected any more.
    ///
    /// # Errors
    /// When checkpoints or store cannot be read.
    pub async fn is_finished(&self) -> Result<bool> {
        let Some(newest) = self.checkpoints.newest().await? else { return Ok(false) };
        let in_store = self.in_store().await?;
        Ok(newest.last && self.decides(&in_store).await? && self.is_marked(&newest).await?)
    }

    /// Waits until everything is in the archive that has come into the store by now. `tell` is called once, when it takes a
    /// while.
    ///
    /// # Errors
    /// When nothing shows it for so long; when checkpoints, store or archive cannot be read.
    pub async fn wait_for_archive(&self, env: &Env, patience: Duration, tell: impl Fn(&str)) -> Result<()> {
        let in_store = self.in_store().await?;
        let mut staged = Vec::new();
        for archive in self.archives {
            staged.push(StagedFiles::of(archive, self.job).await?);
        }
        let until = env.now() + patience;
        let mut is_first = true;
        loop {
            staged.retain(|files| !files.is_empty());
            if staged.is_empty() || self.all_committed(&in_store).await? {
                return Ok(());
            }
            if env.now() >= until {
                return Err(EngineError::io(left_behind(self.job, &staged)));
            }
            if std::mem::take(&mut is_first) {
                tell("waiting for the archive to catch up with the store");
            }
            env.sleep(POLL).await;
            for files in &mut staged {
                files.look_again().await?;
            }
        }
    }

    /// Whether all sinks have committed what is in the store, as the checkpoints mark it.
    async fn all_committed(&self, in_store: &InStore) -> Result<bool> {
        let Some(newest) = in_store.newest else { return Ok(false) };
        if !self.decides(in_store).await? {
            return Ok(false);
        }
        let checkpoints = self.checkpoints.current().await?;
        for checkpoint in checkpoints.checkpoints().await?.into_iter().rev() {
            if checkpoint < newest {
                break;
            }
            // It may be summed up while it is looked at: then there are newer ones the next time.
            let path = checkpoints.layout().manifest(checkpoint);
            let Some(content) = checkpoints.find(&path).await? else { continue };
            if self.is_marked(&Manifest::from_bytes(&content, path.as_ref())?).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_marked(&self, manifest: &Manifest) -> Result<bool> {
        let checkpoints = self.checkpoints.clone().in_lineage(manifest.lineage);
        committed::is_marked(&checkpoints, manifest.checkpoint, manifest.attempt).await
    }

    /// Whether these checkpoints decide what comes into the store, as far as it says whose do.
    async fn decides(&self, in_store: &InStore) -> Result<bool> {
        if in_store.owners.is_empty() {
            return Ok(true);
        }
        if self.checkpoints.newest_attempt().await?.is_none() {
            return Ok(false);
        }
        let own = self.checkpoints.identity().await?;
        Ok(in_store.owners.iter().all(|owner| *owner == own))
    }

    async fn in_store(&self) -> Result<InStore> {
        let mut found = InStore::default();
        if !self.store.has(SINKS).await? {
            return Ok(found);
        }
        let sql = format!("SELECT table_name, checkpoint, owner FROM {SINKS} WHERE job = $1");
        for row in self.store.rows(&sql, &[self.job.into()]).await? {
            let table = text(&row, 0)?;
            if self.tables.iter().any(|own| own.table == table) {
                let checkpoint = u64::try_from(integer(&row, 1)?).unwrap_or(0);
                found.newest = found.newest.max(Some(CheckpointId(checkpoint)));
                found.owners.insert(text(&row, 2)?);
            }
        }
        Ok(found)
    }
}

fn left_behind(job: &str, staged: &[StagedFiles]) -> String {
    let (files, example) = (staged.iter().map(StagedFiles::len).sum::<usize>(), staged.first());
    let example = example.and_then(StagedFiles::example).unwrap_or_default();
    format!(
        "the archive may lack events that the store has counted: {files} files are staged beside it and are not committed, such as \
         '{example}'. Is job '{job}' running? Start it again, so that it commits or discards them; or, if it was stopped for good, say \
         with --data-dir or --storage where its checkpoints are, which tell whether anything is missing"
    )
}
