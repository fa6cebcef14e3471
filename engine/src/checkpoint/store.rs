//! The checkpoint store: objects of one job in object storage, written so that what was acknowledged stays.
//!
//! Invariants: [`CheckpointStore::create`] makes an object or fails, never replaces one; when it returns, the object survives
//! the death of the process and, on a local disk, of the machine (file and folder are synced). Checkpoints are those of one
//! lineage: the one that the store was [told](CheckpointStore::in_lineage), or else the newest. Claims say who may write them.

mod claims;

pub use claims::Claim;

use super::{
    draft::Draft,
    layout::Layout,
    manifest::{FileRef, Manifest},
    pins,
    segment_ledger::SegmentLedger,
    state_cache::StateCache,
    state_file,
};
use crate::{
    disk::{self, FoundFolder},
    env::Env,
    error::{EngineError, Result},
    ids::{CheckpointId, Lineage},
    object_storage,
    operator::{Patience, Wait, Waits},
    patient_store::PatientStore,
};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use parking_lot::Mutex;
use std::{collections::BTreeSet, io::Write, path::PathBuf, sync::Arc};
use tokio::sync::OnceCell;

/// Opens the checkpoint store of a job: at a storage URL, for a job's name.
pub type OpenStore = Arc<dyn Fn(&str, &str) -> Result<CheckpointStore> + Send + Sync>;

/// Objects of one job.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    layout: Layout,
    /// Whether a lineage has been chosen.
    in_lineage: bool,
    /// Folder of a local store, as it was when that was opened.
    local: Option<FoundFolder>,
    url: String,
    cache: Option<StateCache>,
    /// Never changes once it is there.
    identity: Arc<OnceCell<String>>,
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
        let found = |folder: PathBuf| {
            let found = disk::make_folder(&folder).and_then(|()| FoundFolder::find(&folder));
            found.map_err(|error| {
                let problem = format!("cannot create the folder '{}': {error}", folder.display());
                EngineError::caused_by(&error, problem)
            })
        };
        let local = local.map(found).transpose()?;
        let cannot_open = |error| EngineError::definition(format!("cannot open the storage '{url}': {error}"));
        // Paths are relative to the storage, so that it can be moved.
        let store: Arc<dyn ObjectStore> = match &local {
            Some(folder) => Arc::new(LocalFileSystem::new_with_prefix(folder.path()).map_err(cannot_open)?),
            None => {
                let (store, root) = object_storage::open_with_few_retries(&parsed, object_storage::environment())
                    .map_err(cannot_open)?;
                Arc::new(PrefixStore::new(store, root))
            }
        };
        Ok(CheckpointStore {
            store,
            layout: Layout::new(job),
            in_lineage: false,
            local,
            url: url.into(),
            cache: None,
            identity: Arc::default(),
        })
    }

    /// The same, where there must be something: looking makes no folders.
    ///
    /// # Errors
    /// As [`CheckpointStore::open`], and when there is no such folder.
    pub fn open_existing(url: &str, job: &str) -> Result<Self> {
        let folder =
            url::Url::parse(url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        if let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
            return Err(EngineError::definition(format!("there is no storage '{}'", missing.display())));
        }
        CheckpointStore::open(url, job)
    }

    /// The same storage as it is now: where its folder is another one than before, as when it was mounted anew, that one, if there is
    /// something of the job in it. Looking makes no folders.
    ///
    /// # Errors
    /// One that waiting can heal, when there is not; and as [`CheckpointStore::open`].
    pub fn found_anew(&self) -> Result<Self> {
        let Some(Err(error)) = self.local.as_ref().map(FoundFolder::check) else { return Ok(self.clone()) };
        let claims = self.local_path(&self.layout.attempts());
        let is_there = |claims: PathBuf| claims.read_dir().is_ok_and(|mut claims| claims.next().is_some());
        if !claims.is_some_and(is_there) {
            return Err(EngineError::caused_by(&error, format!("storage '{}': {error}", self.url)));
        }
        CheckpointStore::open(&self.url, self.layout.job().filename().unwrap_or_default())
    }

    /// The same storage, for another job.
    pub fn of_job(&self, job: &str) -> Self {
        CheckpointStore { layout: Layout::new(job), in_lineage: false, identity: Arc::default(), ..self.clone() }
    }

    /// Over a store that is there already, as tests want it.
    pub fn over(store: Arc<dyn ObjectStore>, job: &str) -> Self {
        CheckpointStore {
            store,
            layout: Layout::new(job),
            in_lineage: false,
            local: None,
            url: "given".into(),
            cache: None,
            identity: Arc::default(),
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

    /// The same, for an attempt: what waiting can heal is waited for, for as long as it takes, and `waits` tells of it. On a local disk
    /// that goes for what is read and removed, not for what is written.
    pub fn patient(self, env: &Env, waits: &Waits) -> Self {
        let (env, waits, job) = (env.clone(), waits.clone(), self.layout.job().filename().unwrap_or_default().into());
        let patience = Patience { env, waits, job, node: Wait::STORAGE.into() };
        // No object of checkpoints is sent in parts.
        let store = Arc::new(PatientStore::new(Arc::clone(&self.store), Arc::clone(&self.store), patience));
        CheckpointStore { store, ..self }
    }

    /// The same, with the checkpoints of this lineage and no other.
    pub fn in_lineage(self, lineage: Lineage) -> Self {
        CheckpointStore { layout: self.layout.in_lineage(lineage), in_lineage: true, ..self }
    }

    /// The same, with the checkpoints of the newest lineage, unless it was told of another.
    ///
    /// # Errors
    /// When the store refuses, or the newest claim is damaged.
    pub async fn current(&self) -> Result<Self> {
        if self.in_lineage {
            return Ok(self.clone());
        }
        let newest = self.newest_claim().await?;
        let lineage = newest.map_or(Lineage::NAMELESS, |claim| claim.lineage);
        Ok(self.clone().in_lineage(lineage))
    }

    /// The paths. Those of checkpoints are of the lineage that the store was told, or of the nameless one.
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
        match self.store.put_opts(path, PutPayload::from_bytes(content.clone()), create_only()).await {
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
        match (&self.local, self.local_path(path)) {
            (Some(storage), Some(path)) => Draft::beside(storage.clone(), path, env.nonce()),
            _ => Draft::in_memory(),
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
    /// When the store does not say, or is not the folder that it was.
    pub async fn find(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.get(path).await {
            Ok(found) => found.bytes().await.map(Some).map_err(|error| self.failed("read", path, &error)),
            Err(object_store::Error::NotFound { .. }) => self.check_folder("read", path).map(|()| None),
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
        let path = Path::from(self.layout.relative(&file.path));
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
    /// When the store does not say, or is not the folder that it was.
    pub async fn exists(&self, path: &Path) -> Result<bool> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => self.check_folder("look up", path).map(|()| false),
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
    /// its contents: it would never be read again, except by listings that would take longer each time.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn delete(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.failed("delete", path, &error)),
        }
        let of_checkpoint =
            [self.layout.all_checkpoints(), self.layout.state()].iter().any(|all| path.prefix_matches(all));
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
                .map_err(|error| EngineError::io(format!("cannot list '{}': {error}", folder.display())))
        })
        .await
    }

    /// The numbers of all completed checkpoints that are still there, oldest first.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointId>> {
        let Self { layout, .. } = &self.current().await?;
        let paths = self.list(&layout.checkpoints()).await?;
        let numbers = paths.iter().filter_map(|path| {
            let number = layout.checkpoint_of(path)?;
            (layout.manifest(number) == *path).then_some(number)
        });
        Ok(numbers.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The manifest of a checkpoint.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub async fn manifest(&self, checkpoint: CheckpointId) -> Result<Manifest> {
        let Self { layout, .. } = &self.current().await?;
        let path = layout.manifest(checkpoint);
        let mut manifest = Manifest::from_bytes(&self.read(&path).await?, path.as_ref())?;
        if manifest.lineage != layout.lineage() || manifest.checkpoint != checkpoint {
            return Err(EngineError::corrupt(format!(
                "storage '{}': '{path}' is checkpoint {} of lineage {}, which belongs in another place: somebody has moved it. Restore \
                 the object from a backup, or start over with --fresh",
                self.url, manifest.checkpoint, manifest.lineage
            )));
        }
        manifest.files_mut().for_each(|file| file.path = layout.relative(&file.path));
        Ok(manifest)
    }

    /// The newest completed checkpoint. A damaged one is an error, never skipped: what it committed may be visible already, and
    /// an older one would commit it again.
    ///
    /// # Errors
    /// When it is damaged or the store refuses.
    pub async fn newest(&self) -> Result<Option<Manifest>> {
        let current = self.current().await?;
        match current.checkpoints().await?.last() {
            Some(newest) => Ok(Some(current.manifest(*newest).await?)),
            None => Ok(None),
        }
    }

    /// Removes the checkpoints and the state of earlier lineages, which are no longer needed, but for those that are pinned. Whatever attempts of this
    /// one, or a later one, have written stays, so it may be done by anybody and at any time. The claims of attempts stay, too: an
    /// attempt that is alive elsewhere must keep finding that it was replaced, and numbers must keep rising.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn remove_left_behind(&self) -> Result<usize> {
        let Self { layout, .. } = &self.current().await?;
        let mut all = self.list(layout.job()).await?;
        // Savepoints are their user's.
        let pinned = pins::needed(self, &all).await?;
        all.retain(|path| layout.is_left_behind(path) && !pinned.contains(path));
        // Manifests last: a lineage that is half removed still names what it needs.
        all.sort_by_key(|path| layout.lineage_of(path).is_some());
        for path in &all {
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
        self.local.as_ref().map(|folder| folder.path().join(path.as_ref()))
    }

    /// Where an object lies, as something that can be opened.
    pub fn describe(&self, path: &Path) -> String {
        match self.local_path(path) {
            Some(path) => path.display().to_string(),
            None => format!("{}/{path}", self.url.trim_end_matches('/')),
        }
    }

    /// That something is not there means nothing where the folder of a local storage is not the one that was opened.
    fn check_folder(&self, what: &str, path: &Path) -> Result<()> {
        let Some(folder) = &self.local else { return Ok(()) };
        folder.check().map_err(|error| {
            EngineError::caused_by(&error, format!("storage '{}': cannot {what} '{path}': {error}", self.url))
        })
    }

    fn failed(&self, what: &str, path: &Path, error: &object_store::Error) -> EngineError {
        EngineError::caused_by(error, format!("storage '{}': cannot {what} '{path}': {error}", self.url))
    }
}

fn create_only() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

#[cfg(test)]
mod tests;
