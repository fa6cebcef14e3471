//! The staging area: what a sink has made durable with a checkpoint, and its committer takes out again.
//!
//! For sinks whose target cannot hold rows invisibly. A blob is written once, under a name that carries its attempt,
//! and is known by its size and checksum from then on, so that a damaged one is refused and never committed.

use super::{
    CheckpointStore,
    manifest::{FileRef, checksum},
};
use crate::{
    env::Env,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
};
use bytes::Bytes;
use object_store::path::Path;
use std::collections::HashSet;

/// The blobs that one sink of a job has staged, whatever the attempt. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Staging {
    store: CheckpointStore,
    sink: String,
}

impl Staging {
    /// Of the node `sink` of the job whose checkpoints are in `store`.
    pub fn new(store: CheckpointStore, sink: impl Into<String>) -> Self {
        Staging { store, sink: sink.into() }
    }

    /// In memory, as tests of a single sink want it.
    pub fn in_memory(job: &str, sink: &str) -> Self {
        Staging::new(CheckpointStore::in_memory(job), sink)
    }

    /// Makes a blob durable. `name` must be new in the attempt, and free of slashes.
    ///
    /// # Errors
    /// When the storage refuses, or there is such a blob with another content.
    pub async fn put(&self, env: &Env, attempt: Attempt, name: &str, content: Bytes) -> Result<FileRef> {
        let path = self.store.layout().staged(attempt, &self.sink, name);
        let file = FileRef { path: path.to_string(), bytes: content.len() as u64, checksum: checksum(&content) };
        if !self.store.create(env, &path, content).await? {
            return Err(EngineError::fenced(format!(
                "'{path}' was already staged, with other content: another process runs attempt {attempt}, this one stops"
            )));
        }
        Ok(file)
    }

    /// What all subtasks of a node are to take for true in an attempt, where each has looked for itself at a moment of its own: what
    /// the first of them says. Gone when a later attempt sweeps.
    ///
    /// # Errors
    /// When the storage refuses.
    pub async fn agree(&self, env: &Env, attempt: Attempt, said: Bytes) -> Result<Bytes> {
        let folder = self.store.layout().state_of(attempt, CheckpointId(0));
        let path = folder.join(format!("{}-agreed", self.sink));
        if self.store.create(env, &path, said.clone()).await? {
            return Ok(said);
        }
        self.store.read(&path).await
    }

    /// The content of a blob, checked. `None`: it is gone.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was put.
    pub async fn get(&self, file: &FileRef) -> Result<Option<Bytes>> {
        let path = self.path(file);
        let Some(content) = self.store.find(&path).await? else { return Ok(None) };
        let actual = checksum(&content);
        if content.len() as u64 == file.bytes && actual == file.checksum {
            return Ok(Some(content));
        }
        Err(EngineError::corrupt(format!(
            "'{path}', which '{}' has staged, is damaged: {} bytes with checksum {actual}, but {} bytes with checksum {} were \
             written. Nothing of it is committed; restore the file from a backup, or start over with --fresh",
            self.sink,
            content.len(),
            file.bytes,
            file.checksum
        )))
    }

    /// Removes a blob; one that is not there is no error.
    ///
    /// # Errors
    /// When the storage refuses.
    pub async fn remove(&self, file: &FileRef) -> Result<()> {
        self.store.delete(&self.path(file)).await
    }

    fn path(&self, file: &FileRef) -> Path {
        Path::from(self.store.layout().relative(&file.path))
    }

    /// The paths of all blobs of this sink, of every attempt.
    ///
    /// # Errors
    /// When the storage refuses.
    pub async fn list(&self) -> Result<Vec<String>> {
        let layout = self.store.layout();
        let mut all = self.store.list(&layout.staging()).await?;
        all.retain(|path| layout.staged_by(path).is_some_and(|(_, sink)| sink == self.sink));
        Ok(all.iter().map(Path::to_string).collect())
    }

    /// Removes the blobs of attempts before `attempt`, but for those in `keep`. Returns how many.
    ///
    /// # Errors
    /// When the storage refuses.
    pub async fn sweep(&self, attempt: Attempt, keep: &HashSet<String>) -> Result<u64> {
        let keep: HashSet<String> = keep.iter().map(|path| self.store.layout().relative(path)).collect();
        let mut removed = 0;
        for path in self.list().await? {
            let path = Path::from(path.as_str());
            let dead = self.store.layout().staged_by(&path).is_some_and(|(writer, _)| writer < attempt);
            if dead && !keep.contains(path.as_ref()) {
                self.store.delete(&path).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Distinguishes this storage's runs of the job from those of any other storage: made with the first attempt, and kept for
    /// good, over fresh starts too.
    ///
    /// # Errors
    /// When the storage refuses, or no attempt was ever claimed in it.
    pub async fn identity(&self) -> Result<String> {
        self.store.identity().await
    }

    /// The lineage of the attempts that stage and commit here.
    pub fn lineage(&self) -> Lineage {
        self.store.layout().lineage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn stagings() -> (tempfile::TempDir, [CheckpointStore; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let local = CheckpointStore::open(&format!("file://{}", folder.path().display()), "job").unwrap();
        (folder, [local, CheckpointStore::in_memory("job")])
    }

    #[tokio::test]
    async fn the_first_is_believed_by_all_of_its_attempt() {
        let (_folder, stores) = stagings();
        for store in stores {
            let (env, node) = (Env::default(), Staging::new(store, "source.clicks"));
            let agree = async |attempt, said: &'static str| {
                node.agree(&env, Attempt(attempt), Bytes::from_static(said.as_bytes())).await.unwrap()
            };
            assert_eq!(agree(1, "a").await, "a");
            assert_eq!(agree(1, "b").await, "a");
            assert_eq!(agree(2, "b").await, "b");
        }
    }

    #[tokio::test]
    async fn what_is_put_is_there_until_it_is_removed() {
        let (_folder, stores) = stagings();
        for store in stores {
            let (env, staging) = (Env::default(), Staging::new(store.clone(), "sink.store"));
            let file = staging.put(&env, Attempt(3), "0-1-0.arrow", Bytes::from_static(b"rows")).await.unwrap();
            assert_eq!(file.path, "jobs/job/staged/0000000003/sink.store/0-1-0.arrow");
            // As versions before this one have written it.
            let rooted = FileRef { path: format!("somewhere/{}", file.path), ..file.clone() };
            for file in [&file, &rooted] {
                assert_eq!(staging.get(file).await.unwrap().unwrap(), "rows");
            }
            assert_eq!(staging.list().await.unwrap(), std::slice::from_ref(&file.path));
            assert_eq!(Staging::new(store.clone(), "sink.stor").list().await.unwrap(), [""; 0]);
            let other = FileRef { checksum: "0".into(), ..file.clone() };
            assert_eq!(staging.get(&other).await.unwrap_err().kind, ErrorKind::Corrupt);
            staging.remove(&file).await.unwrap();
            staging.remove(&file).await.unwrap();
            assert_eq!(staging.get(&file).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_sweep_and_a_fresh_start_take_what_the_dead_have_staged() {
        let (_folder, stores) = stagings();
        for store in stores {
            let (env, staging) = (Env::default(), Staging::new(store.clone(), "sink.store"));
            let mut files = Vec::new();
            for attempt in 1..4 {
                files.push(staging.put(&env, Attempt(attempt), "a", Bytes::from_static(b"x")).await.unwrap());
            }
            let keep = HashSet::from([format!("somewhere/{}", files[0].path)]);
            assert_eq!(staging.sweep(Attempt(3), &keep).await.unwrap(), 1);
            assert_eq!(staging.list().await.unwrap(), [files[0].path.clone(), files[2].path.clone()]);
            store.in_lineage(Lineage(4)).remove_left_behind().await.unwrap();
            assert_eq!(staging.list().await.unwrap(), [""; 0]);
        }
    }

    #[tokio::test]
    async fn a_storage_stays_the_same_and_is_no_other() {
        let (_folder, stores) = stagings();
        let mut identities = HashSet::new();
        for store in stores {
            assert!(store.identity().await.is_err());
            store.claim_attempt(&Env::from_entropy()).await.unwrap();
            let identity = store.identity().await.unwrap();
            let claim = store.claim(&Env::from_entropy(), Attempt(0), true).await.unwrap();
            store.clone().in_lineage(claim.lineage).remove_left_behind().await.unwrap();
            assert_eq!(store.identity().await.unwrap(), identity);
            identities.insert(identity);
        }
        assert_eq!(identities.len(), 2);
    }
}
