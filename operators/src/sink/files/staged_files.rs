//! What a job has staged in a folder, for readers of the results there that know nothing else of the job.
//!
//! Invariant: a file is waited for until it is gone from where it was staged, which it is only when it is visible under its
//! final name, or when no checkpoint will ever decide that it is to be.

use super::{
    naming::{attempt_of_staged, staging_of},
    storage::{self, Storage},
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{error::Result, ids::Attempt};

/// Files of a job that were staged in a folder when it was looked at.
#[derive(Debug)]
pub struct StagedFiles {
    storage: Arc<dyn Storage>,
    job: String,
    waiting: BTreeMap<String, Attempt>,
}

impl StagedFiles {
    /// All that the sinks of a job have staged at `path` by now, which is where they write to, half-written files too.
    ///
    /// # Errors
    /// When there is no such storage, or it does not say.
    pub async fn of(path: &str, job: &str) -> Result<Self> {
        let mut files =
            StagedFiles { storage: storage::open(path)?, job: job.to_owned(), waiting: BTreeMap::default() };
        files.waiting = files.list().await?;
        files.forget_the_dead(&files.waiting.clone());
        Ok(files)
    }

    /// Looks again which of them are left. What has been staged since does not count.
    ///
    /// # Errors
    /// When the storage does not say.
    pub async fn look_again(&mut self) -> Result<()> {
        let staged = self.list().await?;
        self.waiting.retain(|path, _| staged.contains_key(path));
        self.forget_the_dead(&staged);
        Ok(())
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is left: what had been decided when they were looked at first is visible now.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// One that is left, for people to look at.
    pub fn example(&self) -> Option<String> {
        self.waiting.keys().next().map(|path| self.storage.describe(path))
    }

    /// An attempt stages nothing before all that was decided before it is visible. So of the attempts before the newest that
    /// has staged anything, nothing is waited for: what they have left is swept away, or was staged after their end.
    fn forget_the_dead(&mut self, staged: &BTreeMap<String, Attempt>) {
        let newest = staged.values().max().copied();
        self.waiting.retain(|_, attempt| Some(*attempt) >= newest);
    }

    async fn list(&self) -> Result<BTreeMap<String, Attempt>> {
        let paths = self.storage.list(&staging_of(&self.job)).await?;
        let staged = paths.into_iter().filter_map(|path| {
            let attempt = attempt_of_staged(&self.job, &path)?;
            Some((path, attempt))
        });
        Ok(staged.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::naming::{Ending, Naming},
        *,
    };
    use crate::sink::files::FilesSinkConfig;
    use weir_engine::ids::{CheckpointId, Lineage};

    fn parquet() -> Ending {
        Ending::of(&FilesSinkConfig::at(""))
    }

    async fn put(storage: &Arc<dyn Storage>, path: &str) {
        let mut file = storage.create(path).await.unwrap();
        file.write("rows".into()).await.unwrap();
        file.finish().await.unwrap();
    }

    #[tokio::test]
    async fn files_are_waited_for_until_they_are_decided_about() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().display().to_string(), "memory://staged_files/out/raw".into()] {
            let storage = storage::open(&path).unwrap();
            assert!(StagedFiles::of(&path, "job").await.unwrap().is_empty(), "nothing is there at all");
            let (raw, other) = (Naming::new("job", "sink.raw"), Naming::new("other", "sink.raw"));
            put(&storage, &raw.committed(Some("hour=2022-03-04T00"), (Lineage(1), CheckpointId(1)), (0, 0), parquet()))
                .await;
            put(&storage, &other.staged(Attempt(9), 0, 0, parquet())).await;
            assert!(StagedFiles::of(&path, "job").await.unwrap().is_empty(), "nor of this job");

            let staged = [0, 1].map(|k| raw.staged(Attempt(2), 0, k, parquet()));
            for file in &staged {
                put(&storage, file).await;
            }
            let mut files = StagedFiles::of(&path, "job").await.unwrap();
            assert_eq!(files.len(), 2);
            assert!(files.example().unwrap().ends_with("/_staging/job/2/raw/0-0.parquet.staged"));
            let path_of =
                |k| raw.committed(Some("hour=2022-03-04T00"), (Lineage(1), CheckpointId(2)), (0, k), parquet());
            storage.publish(&staged[0], &path_of(0)).await.unwrap();
            files.look_again().await.unwrap();
            assert_eq!(files.len(), 2, "a reader may not have seen it when it listed the results");
            storage.remove(&staged[0]).await.unwrap();
            put(&storage, &raw.staged(Attempt(2), 0, 2, parquet())).await;
            files.look_again().await.unwrap();
            assert_eq!(files.len(), 1, "later ones do not count");
            storage.remove(&staged[1]).await.unwrap();
            files.look_again().await.unwrap();
            assert!(files.is_empty());
        }
    }

    #[tokio::test]
    async fn leftovers_of_the_dead_are_not_waited_for_once_a_successor_has_staged() {
        let path = "memory://staged_files_of_the_dead/raw";
        let storage = storage::open(path).unwrap();
        let raw = Naming::new("job", "sink.raw");
        put(&storage, &raw.staged(Attempt(2), 0, 0, parquet())).await;
        let mut files = StagedFiles::of(path, "job").await.unwrap();
        assert_eq!(files.len(), 1, "its successor may have to commit it");
        put(&storage, &raw.staged(Attempt(3), 0, 0, parquet())).await;
        files.look_again().await.unwrap();
        assert!(files.is_empty(), "it has done so");
        let files = StagedFiles::of(path, "job").await.unwrap();
        assert_eq!(files.example().unwrap(), format!("{path}/{}", raw.staged(Attempt(3), 0, 0, parquet())));
    }
}
