//! Copies of jobs that stay, go on and are started over meanwhile.

use super::*;
use crate::{
    checkpoint::manifest::{checksum, tests::manifest},
    ids::{Attempt, Lineage},
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, memory::InMemory,
};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};

/// Two checkpoints of a lineage that was started over; the results of the newer one are not visible yet.
async fn running(env: &Env) -> CheckpointStore {
    let store = CheckpointStore::open("memory:///from", "job").unwrap();
    store.claim_attempt(env).await.unwrap();
    let claim = store.claim(env, Attempt(0), true).await.unwrap();
    let store = store.in_lineage(claim.lineage);
    for number in 1..=2 {
        let path = store.layout().state_file(claim.attempt, CheckpointId(number), "op", 0);
        store.create(env, &path, "x".into()).await.unwrap();
        let manifest = Manifest { lineage: claim.lineage, ..manifest(number, &[path.as_ref()]) };
        let (at, content) = (store.layout().manifest(CheckpointId(number)), manifest.to_bytes().unwrap());
        store.create(env, &at, content.into()).await.unwrap();
    }
    committed::mark(&store, env, CheckpointId(1), Attempt(1)).await.unwrap();
    store
}

#[tokio::test]
async fn a_copy_is_the_same_job_in_another_place() {
    let env = Env::from_entropy();
    let folder = tempfile::tempdir().unwrap();
    let from = running(&env).await;
    let url = format!("file://{}/backup", folder.path().display());
    let to = CheckpointStore::open(&url, "job").unwrap();
    let copied = export(&from, &to, &env).await.unwrap();
    assert_eq!((copied.manifest.checkpoint.0, copied.files, copied.bytes), (1, 1, 1));
    // Whatever becomes of the original.
    drop(from.clone());
    let found = to.newest().await.unwrap().unwrap();
    assert_eq!((found.lineage, found.checkpoint.0), (Lineage(2), 1));
    for file in found.files() {
        assert_eq!(checksum(&to.read_state(&env, file).await.unwrap()), file.checksum);
    }
    assert!(committed::is_marked(&to.current().await.unwrap(), found.checkpoint, found.attempt).await.unwrap());
    assert_eq!(to.identity().await.unwrap(), from.identity().await.unwrap());
    let next = to.claim(&env, Attempt(0), false).await.unwrap();
    assert_eq!((next.attempt, next.lineage), (Attempt(3), Lineage(2)), "it goes on");
    let again = export(&from, &to, &env).await.unwrap_err();
    assert!(again.message.contains("/backup/jobs/job'"), "{again}");
}

/// A start-over takes its claim at any moment, also between the manifest that is copied and the claims.
#[tokio::test]
async fn a_copy_is_of_one_lineage_whoever_starts_over_meanwhile() {
    let env = Env::from_entropy();
    let (from, to) = (running(&env).await, CheckpointStore::in_memory("job"));
    let manifest = from.manifest(CheckpointId(1)).await.unwrap();
    let newer = from.claim(&env, Attempt(0), true).await.unwrap();
    copy(&from, &to, &env, &manifest).await.unwrap();
    assert_eq!(to.newest_attempt().await.unwrap(), Some(Attempt(2)), "not the newer lineage's claim");
    let found = to.newest().await.unwrap().map(|found| (found.lineage, found.checkpoint.0));
    assert_eq!(found, Some((Lineage(2), 1)), "it can be gone on from");
    assert_eq!(to.identity().await.unwrap(), from.identity().await.unwrap());
    // So many attempts have come since that nothing says any more who had begun it.
    for _ in 0..20 {
        from.claim(&env, newer.attempt, false).await.unwrap();
    }
    let (again, to) = (from.manifest(CheckpointId(1)).await.unwrap(), CheckpointStore::in_memory("job"));
    let error = copy(&from, &to, &env, &again).await.unwrap_err();
    assert!(error.message.contains("started over while checkpoint 1 was copied"), "{error}");
    assert!(to.newest().await.unwrap().is_none(), "it is no checkpoint");
}

#[tokio::test]
async fn a_copy_begins_with_the_lineage_that_is_the_newest_then() {
    let env = Env::from_entropy();
    let opened = CheckpointStore::open("memory:///started-over", "job").unwrap();
    opened.claim_attempt(&env).await.unwrap();
    let claim = opened.claim(&env, Attempt(0), true).await.unwrap();
    let (path, number) = (opened.layout().clone().in_lineage(claim.lineage), CheckpointId(1));
    let manifest = Manifest { lineage: claim.lineage, ..manifest(1, &[]) };
    opened.create(&env, &path.manifest(number), manifest.to_bytes().unwrap().into()).await.unwrap();
    committed::mark(&opened.current().await.unwrap(), &env, number, manifest.attempt).await.unwrap();
    let to = CheckpointStore::in_memory("job");
    assert_eq!(export(&opened, &to, &env).await.unwrap().manifest.lineage, claim.lineage);
    opened.claim(&env, Attempt(0), true).await.unwrap();
    let none = export(&opened, &CheckpointStore::in_memory("job"), &env).await.unwrap_err();
    assert!(none.message.contains("no checkpoint whose results are visible"), "{none}");
}

#[tokio::test]
async fn what_is_damaged_or_not_there_is_not_copied() {
    let env = Env::from_entropy();
    let from = running(&env).await;
    let found = from.manifest(CheckpointId(1)).await.unwrap();
    let path = Path::from(found.files().next().unwrap().path.as_str());
    let to = CheckpointStore::in_memory("job");
    from.delete(&path).await.unwrap();
    from.create(&env, &path, "y".into()).await.unwrap();
    let damaged = export(&from, &to, &env).await.unwrap_err();
    assert_eq!(damaged.kind, crate::ErrorKind::Corrupt, "{damaged}");
    assert!(to.newest().await.unwrap().is_none(), "it is no checkpoint");
    from.delete(&path).await.unwrap();
    from.create(&env, &path, "x".into()).await.unwrap();
    export(&from, &to, &env).await.expect("begun again, it finds its own");
    let nothing = CheckpointStore::in_memory("job");
    let none = export(&nothing, &CheckpointStore::in_memory("job"), &env).await.unwrap_err();
    assert!(none.message.contains("no checkpoint"), "{none}");
}

/// The checkpoint that wrote what a busy job merges anew for each of its checkpoints.
const MERGED: CheckpointId = CheckpointId(20);

/// Storage of a job that goes on: after so many reads of state there is a newer checkpoint, and the one before is gone.
#[derive(Debug)]
struct Busy {
    inner: Arc<dyn ObjectStore>,
    /// The same storage, where nobody reads.
    quiet: CheckpointStore,
    newest: Mutex<u64>,
    reads: Mutex<Vec<Path>>,
}

impl Busy {
    const READS: usize = 8;

    async fn begun(newest: u64) -> Arc<Self> {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let quiet = CheckpointStore::over(inner.clone(), "job");
        let claim = quiet.claim(&Env::default(), Attempt(0), true).await.unwrap();
        let quiet = quiet.in_lineage(claim.lineage);
        complete(&quiet, newest).await;
        Arc::new(Busy { inner, quiet, newest: Mutex::new(newest), reads: Mutex::default() })
    }

    async fn go_on(&self) {
        let gone = *self.newest.lock();
        *self.newest.lock() += 1;
        complete(&self.quiet, gone + 1).await;
        let (layout, number) = (self.quiet.layout(), CheckpointId(gone));
        let marks = [layout.manifest(number), layout.committed(number)];
        for path in marks.into_iter().chain(own_files(&self.quiet, gone)) {
            self.quiet.delete(&path).await.unwrap();
        }
    }
}

/// What no other checkpoint of a busy job needs.
fn own_files(store: &CheckpointStore, number: u64) -> [Path; 3] {
    let file = |checkpoint, subtask| store.layout().state_file(Attempt(1), checkpoint, "op", subtask);
    [file(CheckpointId(number), 0), file(CheckpointId(number), 1), file(MERGED, number as usize)]
}

/// A checkpoint of it: with files of its own, and with older ones than those that are merged, and newer.
async fn complete(store: &CheckpointStore, number: u64) {
    let (env, layout) = (Env::default(), store.layout());
    let kept = (1..=10).chain(21..=30).map(|old| layout.state_file(Attempt(1), CheckpointId(old), "op", 0));
    let files: Vec<Path> = own_files(store, number).into_iter().chain(kept).collect();
    for path in &files {
        store.create(&env, path, "x".into()).await.unwrap();
    }
    let named: Vec<&str> = files.iter().map(AsRef::as_ref).collect();
    let manifest = Manifest { lineage: layout.lineage(), ..manifest(number, &named) };
    let content = manifest.to_bytes().unwrap();
    store.create(&env, &layout.manifest(CheckpointId(number)), content.into()).await.unwrap();
    committed::mark(store, &env, CheckpointId(number), Attempt(1)).await.unwrap();
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy")
    }
}

type Answer<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Busy {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Answer<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Answer<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Answer<GetResult> {
        let found = self.inner.get_opts(path, options).await?;
        if path.prefix_matches(&self.quiet.layout().state()) {
            let reads = {
                let mut reads = self.reads.lock();
                reads.push(path.clone());
                reads.len()
            };
            if reads.is_multiple_of(Busy::READS) {
                self.go_on().await;
            }
        }
        Ok(found)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Answer<Path>>) -> BoxStream<'static, Answer<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Answer<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Answer<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Answer<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_job_that_goes_on_is_copied_without_reading_anything_twice() {
    let (busy, to) = (Busy::begun(40).await, CheckpointStore::in_memory("job"));
    let from = CheckpointStore::over(busy.clone(), "job");
    let copied = export(&from, &to, &Env::default()).await.unwrap();
    assert!(copied.manifest.checkpoint > CheckpointId(40), "a file of the first one was gone before it was read");
    let reads = busy.reads.lock().clone();
    assert_eq!(reads.iter().collect::<BTreeSet<_>>().len(), reads.len(), "{reads:?}");
    let there = to.newest().await.unwrap().unwrap();
    assert_eq!((there.checkpoint, copied.files), (copied.manifest.checkpoint, 23));
    for file in there.files() {
        let content = to.read(&Path::from(file.path.as_str())).await.unwrap();
        assert_eq!((content.len() as u64, checksum(&content)), (file.bytes, file.checksum.clone()));
    }
}
