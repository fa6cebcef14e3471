//! The checkpoint store: objects of one job in object storage, written so that what was acknowledged stays.
//!
//! Invariants: [`CheckpointStore::create`] makes an object or fails, never replaces one; when it returns, the object survives
//! the death of the process and, on a local disk, of the machine (file and folder are synced).

use super::{
    draft::Draft,
    layout::Layout,
    manifest::{FileRef, Manifest, checksum},
    segment_ledger::SegmentLedger,
    state_cache::StateCache,
    state_file,
};
use crate::{
    disk,
    env::Env,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use std::{
    collections::BTreeSet,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Claims of attempts that are kept, but for the oldest.
const KEPT_CLAIMS: usize = 16;

/// Opens the checkpoint store of a job: at a storage URL, for a job's name.
pub type OpenStore = Arc<dyn Fn(&str, &str) -> Result<CheckpointStore> + Send + Sync>;

/// Objects of one job.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    layout: Layout,
    /// Folder of a local store.
    local: Option<PathBuf>,
    url: String,
    cache: Option<StateCache>,
}

impl CheckpointStore {
    /// Opens `file://`, `s3://` or `memory://`. Settings of S3 come from the environment (`AWS_ENDPOINT`, `AWS_ACCESS_KEY_ID` …).
    ///
    /// # Errors
    /// When the URL is not one of these or its folder cannot be made.
    pub fn open(url: &str, job: &str) -> Result<Self> {
        let parsed = url::Url::parse(url).map_err(|error| {
            EngineError::definition(format!("'{url}' is not a storage URL ({error}); use file://, s3:// or memory://"))
        })?;
        let local = match parsed.scheme() {
            "file" => Some(parsed.to_file_path().map_err(|()| {
                EngineError::definition(format!("'{url}' is not a local path; write file:///absolute/path"))
            })?),
            "s3" | "memory" => None,
            other => {
                return Err(EngineError::definition(format!(
                    "storage '{url}': there is no '{other}://'; use file://, s3:// or memory://"
                )));
            }
        };
        if let Some(folder) = &local {
            disk::make_folder(folder)
                .map_err(|error| EngineError::io(format!("cannot make the folder '{}': {error}", folder.display())))?;
        }
        let environment =
            std::env::vars().filter(|(key, _)| key.starts_with("AWS_")).map(|(k, v)| (k.to_lowercase(), v));
        let (store, root) = object_store::parse_url_opts(&parsed, environment)
            .map_err(|error| EngineError::definition(format!("cannot open the storage '{url}': {error}")))?;
        Ok(CheckpointStore {
            store: Arc::from(store),
            layout: Layout::new(&root, job),
            local,
            url: url.into(),
            cache: None,
        })
    }

    /// Over a store that is there already, as tests want it.
    pub fn over(store: Arc<dyn ObjectStore>, job: &str) -> Self {
        CheckpointStore {
            store,
            layout: Layout::new(&Path::default(), job),
            local: None,
            url: "given".into(),
            cache: None,
        }
    }

    /// In memory, for a single job, as tests want it.
    pub fn in_memory(job: &str) -> Self {
        CheckpointStore::over(Arc::new(object_store::memory::InMemory::new()), job)
    }

    /// The same, with recent state files on a local disk, too. A folder or memory as storage is near already and goes without.
    pub fn with_cache(self, cache: StateCache) -> Self {
        let is_near = self.local.is_some() || self.url.starts_with("memory:");
        CheckpointStore { cache: Some(cache).filter(|_| !is_near), ..self }
    }

    /// The paths.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// As opened.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an object that was not there. `false`: there is one already.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn create(&self, env: &Env, path: &Path, content: Bytes) -> Result<bool> {
        if self.local.is_some() {
            let mut draft = self.draft(env, path);
            return env
                .run_blocking(move || {
                    draft.write_all(&content)?;
                    draft.publish_local()
                })
                .await;
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, PutPayload::from_bytes(content.clone()), options).await {
            Ok(_) => Ok(true),
            // A retried request of our own may be what is there: compare before giving it up as another's.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(self.read(path).await? == content)
            }
            Err(error) => Err(self.failed("write", path, &error)),
        }
    }

    /// Begins an object that is written piece by piece; [`CheckpointStore::publish`] makes it appear.
    pub fn draft(&self, env: &Env, path: &Path) -> Draft {
        match self.local_path(path) {
            Some(path) => Draft::beside(path, env.nonce()),
            None => Draft::in_memory(),
        }
    }

    /// Makes a drafted object that was not there. `false`: there is one already.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn publish(&self, env: &Env, path: &Path, mut draft: Draft) -> Result<bool> {
        match draft.take_memory() {
            Some(content) => {
                let content = Bytes::from(content);
                // At the same time: the one is about the disk, the other about the network.
                futures::join!(self.create(env, path, content.clone()), self.keep(env, path, &content)).0
            }
            None => env.run_blocking(move || draft.publish_local()).await,
        }
    }

    /// The content of an object.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn read(&self, path: &Path) -> Result<Bytes> {
        match self.store.get(path).await {
            Ok(found) => found.bytes().await.map_err(|error| self.failed("read", path, &error)),
            Err(error) => Err(self.failed("read", path, &error)),
        }
    }

    /// The content of an object, if it is there.
    ///
    /// # Errors
    /// When the store does not say.
    pub async fn find(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.get(path).await {
            Ok(found) => found.bytes().await.map(Some).map_err(|error| self.failed("read", path, &error)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", path, &error)),
        }
    }

    /// The content of a state file, as it was written: from the cache, or else from the storage.
    ///
    /// # Errors
    /// When it is not there, cannot be read or is damaged.
    pub async fn read_state(&self, env: &Env, file: &FileRef) -> Result<Bytes> {
        if let Some(cache) = &self.cache
            && let Some(content) = cache.find(env, &self.url, file).await
        {
            return Ok(content);
        }
        let path = Path::from(file.path.as_str());
        let content = self.read(&path).await?;
        state_file::verify(file, &content)?;
        self.keep(env, &path, &content).await;
        Ok(content)
    }

    /// Lets the cache know which files a subtask's state lies in, for as long as the subtask lives.
    pub(crate) fn watch(&self, ledger: &Arc<Mutex<SegmentLedger>>) {
        if let Some(cache) = &self.cache {
            cache.watch(&self.url, ledger);
        }
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the store does not say.
    pub async fn exists(&self, path: &Path) -> Result<bool> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look up", path, &error)),
        }
    }

    /// All objects below a prefix, in the order of their paths.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn list(&self, prefix: &Path) -> Result<Vec<Path>> {
        let listed = self.store.list(Some(prefix)).map_ok(|object| object.location).try_collect::<Vec<_>>().await;
        let mut paths = listed.map_err(|error| self.failed("list", prefix, &error))?;
        paths.sort();
        Ok(paths)
    }

    /// Removes an object; one that is not there is no error. On a local disk the folder of a checkpoint goes with the last of
    /// what is in it: nobody would ever look into it again, but for listings that would take longer each time.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn delete(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.failed("delete", path, &error)),
        }
        let of_checkpoint = [self.layout.checkpoints(), self.layout.state()].iter().any(|all| path.prefix_matches(all));
        if let Some(folder) = self.local_path(path).as_deref().and_then(|file| file.parent())
            && of_checkpoint
        {
            disk::remove_folder_if_empty(folder);
        }
        Ok(())
    }

    /// On a local disk, removes the folders of the job that nothing is in, as crashes and earlier versions have left them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn remove_empty_folders(&self, env: &Env) -> Result<()> {
        let Some(folder) = self.local_path(self.layout.job()) else { return Ok(()) };
        env.run_blocking(move || {
            disk::remove_empty_folders(&folder)
                .map_err(|error| EngineError::io(format!("cannot look through '{}': {error}", folder.display())))
        })
        .await
    }

    /// Takes the next attempt's number. Two processes never get the same one.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn claim_attempt(&self, env: &Env) -> Result<Attempt> {
        self.claim_attempt_above(env, Attempt(0)).await
    }

    /// The same, above a number that is known to have been taken.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn claim_attempt_above(&self, env: &Env, known: Attempt) -> Result<Attempt> {
        loop {
            let paths = self.list(&self.layout.attempts()).await?;
            let claimed: Vec<Attempt> = paths.iter().filter_map(|path| self.layout.attempt_of(path)).collect();
            let last = claimed.last().copied().unwrap_or(Attempt(0)).max(known);
            let next = Attempt(last.0 + 1);
            // The text is this claim's own, so that a retried write is told from another's claim.
            let claim = serde_json::json!({
                "attempt": next,
                "process": std::process::id(),
                "claimed_at_ms": env.wall_clock_ms(),
                "nonce": env.nonce(),
            });
            let is_ours = self.create(env, &self.layout.attempt(next), Bytes::from(format!("{claim:#}\n"))).await?;
            // A claim that was long on its way may come when the one that had this number has been removed.
            if is_ours && self.attempt_after(next).await?.is_none() {
                self.remove_old_claims(&claimed).await?;
                return Ok(next);
            }
        }
    }

    /// Removes claims, but for the newest ones, which say to a process of any age that it was replaced, and the oldest, which is
    /// the storage's [identity](CheckpointStore::identity). So they can be listed however often a job has failed.
    async fn remove_old_claims(&self, claimed: &[Attempt]) -> Result<()> {
        let many = claimed.len().saturating_sub(KEPT_CLAIMS);
        for attempt in claimed.iter().take(many).skip(1) {
            self.delete(&self.layout.attempt(*attempt)).await?;
        }
        Ok(())
    }

    /// The newest attempt that was claimed after this one.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn attempt_after(&self, attempt: Attempt) -> Result<Option<Attempt>> {
        let (attempts, own) = (self.layout.attempts(), self.layout.attempt(attempt));
        let listed = self.store.list_with_offset(Some(&attempts), &own).map_ok(|object| object.location);
        let later: Vec<Path> = listed.try_collect().await.map_err(|error| self.failed("list", &attempts, &error))?;
        Ok(later.iter().filter_map(|path| self.layout.attempt_of(path)).max())
    }

    /// The newest attempt that was claimed.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn newest_attempt(&self) -> Result<Option<Attempt>> {
        let claimed = self.list(&self.layout.attempts()).await?;
        Ok(claimed.iter().filter_map(|path| self.layout.attempt_of(path)).max())
    }

    /// What tells this job in this storage from the same job in any other: the checksum of the oldest claim, which is never
    /// removed.
    ///
    /// # Errors
    /// When the store refuses, or no attempt was ever claimed.
    pub async fn identity(&self) -> Result<String> {
        let claimed = self.list(&self.layout.attempts()).await?;
        let oldest = claimed.iter().find(|path| self.layout.attempt_of(path).is_some()).ok_or_else(|| {
            EngineError::internal(format!("storage '{}': no attempt of '{}' was claimed", self.url, self.layout.job()))
        })?;
        Ok(checksum(&self.read(oldest).await?))
    }

    /// The numbers of all completed checkpoints that are still there, oldest first.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointId>> {
        let paths = self.list(&self.layout.checkpoints()).await?;
        let manifests = paths.iter().filter(|path| path.filename() == Some("manifest.json"));
        let numbers: BTreeSet<_> = manifests.filter_map(|path| self.layout.checkpoint_of(path)).collect();
        Ok(numbers.into_iter().collect())
    }

    /// The manifest of a checkpoint.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub async fn manifest(&self, checkpoint: CheckpointId) -> Result<Manifest> {
        let path = self.layout.manifest(checkpoint);
        Manifest::from_bytes(&self.read(&path).await?, path.as_ref())
    }

    /// The newest completed checkpoint. A damaged one is an error, never skipped: what it committed may be visible already, and
    /// an older one would commit it again.
    ///
    /// # Errors
    /// When it is damaged or the store refuses.
    pub async fn newest(&self) -> Result<Option<Manifest>> {
        match self.checkpoints().await?.last() {
            Some(newest) => Ok(Some(self.manifest(*newest).await?)),
            None => Ok(None),
        }
    }

    /// Removes the job's checkpoints and state. The claims of attempts stay: an attempt that is alive elsewhere must go on
    /// finding that it was replaced, and numbers go on rising.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn remove_job(&self) -> Result<usize> {
        let mut all = self.list(self.layout.job()).await?;
        all.retain(|path| self.layout.attempt_of(path).is_none());
        // Manifests last: a job that is half removed still names what it needs.
        let (manifests, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|path| path.filename() == Some("manifest.json"));
        for path in others.into_iter().chain(manifests) {
            self.delete(path).await?;
        }
        Ok(all.len())
    }

    /// Puts a state file into the cache, and nothing else: manifests and marks must be read from where others write them.
    async fn keep(&self, env: &Env, path: &Path, content: &Bytes) {
        if let Some(cache) = self.cache.as_ref().filter(|_| path.prefix_matches(&self.layout.state())) {
            cache.keep(env, &self.url, path.as_ref(), content.clone()).await;
        }
    }

    fn local_path(&self, path: &Path) -> Option<PathBuf> {
        // object_store's local paths are absolute, without the leading slash.
        self.local.as_ref().map(|_| PathBuf::from(format!("/{path}")))
    }

    fn failed(&self, what: &str, path: &Path, error: &object_store::Error) -> EngineError {
        EngineError::io(format!("storage '{}': cannot {what} '{path}': {error}", self.url))
    }
}

#[cfg(test)]
mod tests;
