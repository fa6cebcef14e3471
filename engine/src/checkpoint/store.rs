//! The checkpoint store: objects of one job in object storage, written so that what was acknowledged stays.
//!
//! Invariants: [`CheckpointStore::create`] makes an object or fails, never replaces one; when it returns, the object survives
//! the death of the process and, on a local disk, of the machine (file and folder are synced). Checkpoints are those of one
//! lineage: the one that the store was [told](CheckpointStore::in_lineage), or else the newest.

use super::{
    draft::Draft,
    layout::Layout,
    manifest::{FileRef, Manifest, checksum},
    pins,
    segment_ledger::SegmentLedger,
    state_cache::StateCache,
    state_file,
};
use crate::{
    disk,
    env::Env,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
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
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, io::Write, path::PathBuf, sync::Arc};
use tokio::sync::OnceCell;

/// Claims of attempts that are kept, but for the oldest.
const KEPT_CLAIMS: usize = 16;

/// Opens the checkpoint store of a job: at a storage URL, for a job's name.
pub type OpenStore = Arc<dyn Fn(&str, &str) -> Result<CheckpointStore> + Send + Sync>;

/// Objects of one job.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    layout: Layout,
    /// Whether a lineage has been chosen.
    in_lineage: bool,
    /// Folder of a local store.
    local: Option<PathBuf>,
    url: String,
    cache: Option<StateCache>,
    /// Never changes once it is there.
    identity: Arc<OnceCell<String>>,
}

/// An attempt that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub attempt: Attempt,
    /// The lineage that it is of.
    pub lineage: Lineage,
    /// Whether that was begun by a start-over: what lineages before it have left is to go.
    pub starts_over: bool,
}

/// A claim as it lies in the storage. Those of earlier versions say nothing of a lineage.
#[derive(Debug, Serialize, Deserialize)]
struct ClaimRecord {
    attempt: Attempt,
    #[serde(default)]
    lineage: Lineage,
    #[serde(default)]
    starts_over: bool,
    process: u32,
    claimed_at_ms: i64,
    /// The text is this claim's own, so that a retried write is distinguished from another's claim.
    nonce: u64,
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
            disk::make_folder(folder).map_err(|error| {
                let problem = format!("cannot create the folder '{}': {error}", folder.display());
                EngineError::caused_by(&error, problem)
            })?;
        }
        let cannot_open = |error| EngineError::definition(format!("cannot open the storage '{url}': {error}"));
        // Paths are relative to the storage, so that it can be moved.
        let store: Arc<dyn ObjectStore> = match &local {
            Some(folder) => Arc::new(LocalFileSystem::new_with_prefix(folder).map_err(cannot_open)?),
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

    /// Takes the next attempt's number, to continue in the newest lineage. Two processes never get the same one.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn claim_attempt(&self, env: &Env) -> Result<Attempt> {
        Ok(self.claim(env, Attempt(0), false).await?.attempt)
    }

    /// The same, above a number that is known to have been taken; in a lineage of its own if it starts over.
    ///
    /// # Errors
    /// When the store refuses, the newest claim is damaged, or the store replaces what it was told to leave alone.
    pub async fn claim(&self, env: &Env, known: Attempt, starts_over: bool) -> Result<Claim> {
        loop {
            let paths = self.list(&self.layout.attempts()).await?;
            let claimed: Vec<Attempt> = paths.iter().filter_map(|path| self.layout.attempt_of(path)).collect();
            let last = claimed.last().copied();
            let former = match last {
                Some(last) => Some(self.read_claim(last).await?),
                None => None,
            };
            let attempt = Attempt(last.unwrap_or(Attempt(0)).max(known).0 + 1);
            let claim = match former {
                Some(former) if !starts_over => Claim { attempt, ..former },
                _ => Claim { attempt, lineage: Lineage(attempt.0), starts_over },
            };
            let record = ClaimRecord {
                attempt,
                lineage: claim.lineage,
                starts_over: claim.starts_over,
                process: std::process::id(),
                claimed_at_ms: env.wall_clock_ms(),
                nonce: env.nonce(),
            };
            let text = serde_json::to_string_pretty(&record)
                .map_err(|error| EngineError::internal(format!("the claim of attempt {attempt}: {error}")))?;
            let (path, content) = (self.layout.attempt(attempt), Bytes::from(text + "\n"));
            if self.create(env, &path, content.clone()).await? {
                self.refuse_if_it_replaces(&path, content).await?;
                // A claim that was long on its way may come when the one that had this number has been removed.
                if self.attempt_after(attempt).await?.is_none() {
                    self.remove_old_claims(&claimed).await?;
                    return Ok(claim);
                }
            }
        }
    }

    /// Removes claims, but for the newest ones, which say to a process of any age that it was replaced and in which lineage to go
    /// on, and the oldest, which is the storage's [identity](CheckpointStore::identity). So they can be listed however often a job
    /// has failed.
    async fn remove_old_claims(&self, claimed: &[Attempt]) -> Result<()> {
        let many = claimed.len().saturating_sub(KEPT_CLAIMS);
        for attempt in claimed.iter().take(many).skip(1) {
            self.delete(&self.layout.attempt(*attempt)).await?;
        }
        Ok(())
    }

    async fn newest_claim(&self) -> Result<Option<Claim>> {
        match self.newest_attempt().await? {
            Some(newest) => Ok(Some(self.read_claim(newest).await?)),
            None => Ok(None),
        }
    }

    async fn read_claim(&self, attempt: Attempt) -> Result<Claim> {
        let path = self.layout.attempt(attempt);
        let record: ClaimRecord = serde_json::from_slice(&self.read(&path).await?).map_err(|error| {
            EngineError::corrupt(format!(
                "storage '{}': the claim '{path}', which says what attempt {attempt} resumes from, is damaged ({error}). Restore \
                 the object from a backup",
                self.url
            ))
        })?;
        Ok(Claim { attempt, lineage: record.lineage, starts_over: record.starts_over })
    }

    /// Everything here rests on objects that are made only where there is none: a store that does not know that is found out by
    /// making one again, with the same content, which harms nothing.
    async fn refuse_if_it_replaces(&self, path: &Path, content: Bytes) -> Result<()> {
        if self.local.is_some() {
            return Ok(());
        }
        match self.store.put_opts(path, PutPayload::from_bytes(content), create_only()).await {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
            Ok(_) => Err(EngineError::definition(format!(
                "storage '{}' overwrites objects that it is told to create only if absent (it ignores 'If-None-Match: *'): \
                 two processes could run the same job without noticing. Use storage that supports conditional writes, as S3 \
                 itself, MinIO, Ceph and R2 do",
                self.url
            ))),
            Err(error) => Err(self.failed("write", path, &error)),
        }
    }

    /// The newest attempt that was claimed after this one: the newest claim is never removed, so a process of any age finds out that
    /// it was replaced. Only what comes behind is asked for.
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

    /// The oldest claim and the newest of a lineage, oldest first; none where no claim of the lineage is there any more.
    pub(super) async fn claims_of(&self, lineage: Lineage) -> Result<Option<BTreeSet<Path>>> {
        let paths = self.list(&self.layout.attempts()).await?;
        let claimed: Vec<Attempt> = paths.iter().filter_map(|path| self.layout.attempt_of(path)).collect();
        for attempt in claimed.iter().rev() {
            if self.read_claim(*attempt).await?.lineage == lineage {
                let ends = claimed.first().into_iter().chain([attempt]);
                return Ok(Some(ends.map(|attempt| self.layout.attempt(*attempt)).collect()));
            }
        }
        Ok(None)
    }

    /// Distinguishes this job in this storage from the same job in any other: the checksum of the oldest claim, which is never
    /// removed.
    ///
    /// # Errors
    /// When the store refuses, or no attempt was ever claimed.
    pub async fn identity(&self) -> Result<String> {
        self.identity.get_or_try_init(|| self.read_identity()).await.cloned()
    }

    async fn read_identity(&self) -> Result<String> {
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
        self.local.as_ref().map(|folder| folder.join(path.as_ref()))
    }

    /// Where an object lies, as something that can be opened.
    pub fn describe(&self, path: &Path) -> String {
        match self.local_path(path) {
            Some(path) => path.display().to_string(),
            None => format!("{}/{path}", self.url.trim_end_matches('/')),
        }
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
