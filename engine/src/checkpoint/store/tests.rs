//! The same promises from every kind of store.

use super::{claims::KEPT_CLAIMS, *};
use crate::{
    checkpoint::manifest::{
        checksum,
        tests::{manifest, of_the_first_format},
    },
    error::ErrorKind,
    ids::Attempt,
};

/// A manifest of a lineage, as it is stored.
fn stored(lineage: Lineage, checkpoint: u64) -> Bytes {
    Manifest { lineage, ..manifest(checkpoint, &[]) }.to_bytes().unwrap().into()
}

async fn keeps_its_promises(store: CheckpointStore) {
    let env = Env::default();
    let path = store.layout().manifest(CheckpointId(1));
    assert!(store.newest().await.unwrap().is_none());
    assert!(!store.exists(&path).await.unwrap());
    assert!(store.create(&env, &path, stored(Lineage::NAMELESS, 1)).await.unwrap());
    assert!(!store.create(&env, &path, Bytes::from_static(b"other")).await.unwrap(), "never replaced");
    assert!(store.exists(&path).await.unwrap());
    store.create(&env, &store.layout().manifest(CheckpointId(2)), stored(Lineage::NAMELESS, 2)).await.unwrap();
    assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(1), CheckpointId(2)]);
    assert_eq!(store.newest().await.unwrap().unwrap(), manifest(2, &[]));
    store.delete(&path).await.unwrap();
    store.delete(&path).await.expect("deleting twice is fine");

    let (one, two) = futures::join!(store.claim_attempt(&env), store.claim_attempt(&env));
    let (one, two) = (one.unwrap().0, two.unwrap().0);
    assert_ne!(one, two, "every claim is another attempt");
    // One that is overtaken before it has looked around takes another number.
    let last = one.max(two);
    assert!((2..=3).contains(&last), "{last}");
    assert_eq!(store.newest_attempt().await.unwrap(), Some(Attempt(last)));
    let next = store.claim(&env, Attempt(0), true).await.unwrap();
    assert_eq!(next, Claim { attempt: Attempt(last + 1), lineage: Lineage(last + 1), starts_over: true });
    assert!(store.remove_left_behind().await.unwrap() > 0);
    assert!(store.checkpoints().await.unwrap().is_empty());
    for (attempt, after) in [(last - 1, true), (last, true), (last + 1, false), (last + 2, false)] {
        let next = after.then_some(Attempt(last + 1));
        assert_eq!(store.attempt_after(Attempt(attempt)).await.unwrap(), next, "after {attempt}");
    }
    let far = store.claim(&env, Attempt(9), false).await.unwrap();
    assert_eq!(far, Claim { attempt: Attempt(10), ..next }, "it goes on in the same lineage");
    assert_eq!(store.attempt_after(next.attempt).await.unwrap(), Some(far.attempt), "numbers sort as numbers");
}

async fn knows_lineages_apart(store: CheckpointStore) {
    let env = Env::default();
    let mut before: Option<(Lineage, CheckpointStore)> = None;
    for starts_over in [false, true, true] {
        let claim = store.claim(&env, Attempt(0), starts_over).await.unwrap();
        let own = store.clone().in_lineage(claim.lineage);
        assert!(own.newest().await.unwrap().is_none(), "it begins with nothing");
        own.create(&env, &own.layout().manifest(CheckpointId(1)), stored(claim.lineage, 1)).await.unwrap();
        own.create(&env, &own.layout().state_file(claim.attempt, CheckpointId(1), "op", 0), "x".into()).await.unwrap();
        if let Some((old, zombie)) = &before {
            // Held up on its way, and landing now: further than the new lineage is.
            zombie.create(&env, &zombie.layout().manifest(CheckpointId(60)), stored(*old, 60)).await.unwrap();
            zombie.create(&env, &zombie.layout().committed(CheckpointId(1)), "{}".into()).await.unwrap();
            assert_eq!(own.checkpoints().await.unwrap(), [CheckpointId(1)]);
            assert_eq!(store.newest().await.unwrap().unwrap(), own.newest().await.unwrap().unwrap());
            assert!(!own.exists(&own.layout().committed(CheckpointId(1))).await.unwrap());
            // A start-over that was frozen half-way goes on.
            zombie.remove_left_behind().await.unwrap();
            assert_eq!(own.newest().await.unwrap().unwrap().lineage, claim.lineage);
            own.remove_left_behind().await.unwrap();
            assert!(zombie.newest().await.unwrap().is_none(), "nothing is left of it");
            assert_eq!(own.list(&own.layout().state()).await.unwrap().len(), 1);
        }
        before = Some((claim.lineage, own));
    }
}

#[tokio::test]
async fn a_local_folder_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    keeps_its_promises(CheckpointStore::open(&url, "job").unwrap()).await;
    knows_lineages_apart(CheckpointStore::open(&url, "other").unwrap()).await;
    let claims = folder.path().join("jobs/job/attempts");
    let left: Vec<_> = walk(&folder.path().join("jobs/job"));
    let is_claim = |path: &PathBuf| path.starts_with(&claims) && path.extension() == Some("json".as_ref());
    assert_eq!((left.len(), left.iter().all(is_claim)), (4, true), "nothing but claims is left: {left:?}");
}

#[tokio::test]
async fn memory_keeps_its_promises() {
    keeps_its_promises(CheckpointStore::open("memory:///", "job").unwrap()).await;
    keeps_its_promises(CheckpointStore::open("memory:///below/this", "job").unwrap()).await;
    knows_lineages_apart(CheckpointStore::open("memory:///", "job").unwrap()).await;
}

#[tokio::test]
async fn a_job_of_before_there_were_lineages_goes_on_where_it_was() {
    let (env, store) = (Env::default(), CheckpointStore::open("memory:///new/place", "job").unwrap());
    let claim = r#"{ "attempt": 4, "process": 1, "claimed_at_ms": 0, "nonce": 7 }"#;
    store.create(&env, &"jobs/job/attempts/0000000004.json".into(), claim.into()).await.unwrap();
    let rooted = of_the_first_format(7, "old/place/jobs/job/state/0000000004/0000000007/op-0.parquet");
    let path = "jobs/job/checkpoints/0000000007/manifest.json";
    store.create(&env, &path.into(), rooted.into()).await.unwrap();
    let next = store.claim(&env, Attempt(0), false).await.unwrap();
    assert_eq!(next, Claim { attempt: Attempt(5), lineage: Lineage::NAMELESS, starts_over: false });
    let found = store.newest().await.unwrap().unwrap();
    let files: Vec<_> = found.files().map(|file| file.path.as_str()).collect();
    assert_eq!((found.checkpoint.0, files), (7, vec!["jobs/job/state/0000000004/0000000007/op-0.parquet"]));
    let afresh = store.claim(&env, Attempt(0), true).await.unwrap();
    assert_eq!((afresh.lineage, store.newest().await.unwrap()), (Lineage(6), None));
}

#[tokio::test]
async fn a_manifest_in_the_place_of_another_is_refused() {
    let (env, store) = (Env::default(), CheckpointStore::in_memory("job").in_lineage(Lineage(2)));
    for (number, content) in [(1, stored(Lineage(1), 1)), (2, stored(Lineage(2), 1))] {
        store.create(&env, &store.layout().manifest(CheckpointId(number)), content).await.unwrap();
        let error = store.newest().await.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("moved it"), "{error}");
    }
}

#[tokio::test]
async fn a_storage_can_be_moved() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("file://{}/{name}", folder.path().display());
    let (env, before) = (Env::default(), CheckpointStore::open(&url("before"), "job").unwrap());
    let path = before.layout().state_file(Attempt(1), CheckpointId(1), "op", 0);
    before.create(&env, &path, "x".into()).await.unwrap();
    let file = FileRef { path: path.to_string(), bytes: 1, checksum: checksum(b"x") };
    std::fs::rename(folder.path().join("before"), folder.path().join("after")).unwrap();
    let after = CheckpointStore::open(&url("after"), "job").unwrap();
    assert_eq!(after.read_state(&env, &file).await.unwrap(), "x");
    assert_eq!(after.describe(&path), format!("{}/after/{path}", folder.path().canonicalize().unwrap().display()));
}

#[tokio::test]
async fn claims_are_few_however_often_a_job_was_started() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["memory:///".to_string(), format!("file://{}", folder.path().display())] {
        let (store, env) = (CheckpointStore::open(&url, "job").unwrap(), Env::default());
        store.claim_attempt(&env).await.unwrap();
        let identity = store.identity().await.unwrap();
        for attempt in 2..60 {
            let (lineage, starts_over) = if attempt < 30 { (1, false) } else { (30, true) };
            let claim = store.claim(&env, Attempt(0), attempt == 30).await.unwrap();
            assert_eq!(claim, Claim { attempt: Attempt(attempt), lineage: Lineage(lineage), starts_over });
            let claims = store.list(&store.layout().attempts()).await.unwrap();
            assert!(claims.len() <= KEPT_CLAIMS + 2, "{}", claims.len());
            for older in [1, attempt / 2, attempt - 1] {
                let after = store.attempt_after(Attempt(older)).await.unwrap();
                assert_eq!(after, Some(Attempt(attempt)), "attempt {older} finds that it was replaced");
            }
        }
        let fresh = CheckpointStore { identity: Arc::default(), ..store };
        assert_eq!(fresh.identity().await.unwrap(), identity);
    }
}

#[tokio::test]
async fn a_claim_that_comes_late_is_not_gone_by() {
    let (store, env) = (CheckpointStore::in_memory("job"), Env::default());
    for attempt in 1..40 {
        assert_eq!(store.claim(&env, Attempt(0), attempt == 20).await.unwrap().attempt, Attempt(attempt));
    }
    // Of an attempt that was claimed before the start-over, and whose number is free again.
    let late = store.layout().attempt(Attempt(3));
    let record = r#"{ "attempt": 3, "lineage": 1, "process": 1, "claimed_at_ms": 0, "nonce": 7 }"#;
    assert!(store.create(&env, &late, record.into()).await.unwrap());
    assert_eq!(store.current().await.unwrap().layout().lineage(), Lineage(20));
    let next = store.claim(&env, Attempt(0), false).await.unwrap();
    assert_eq!(next, Claim { attempt: Attempt(40), lineage: Lineage(20), starts_over: true });
    assert!(!store.exists(&late).await.unwrap(), "it went with the next claim");
}

#[tokio::test]
async fn the_folder_of_a_checkpoint_goes_with_its_last_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(&format!("file://{}", folder.path().display()), "job").unwrap();
    let store = store.in_lineage(Lineage(2));
    let (env, layout, nameless) = (Env::default(), store.layout().clone(), Layout::new("job"));
    let n = CheckpointId(1);
    let state = layout.state_file(Attempt(1), n, "op", 0);
    // Those of the lineage before it have folders of their own.
    let (manifest, mark) = (nameless.manifest(n), nameless.committed(n));
    let staged = layout.staged(Attempt(1), "sink", "a");
    let paths = [manifest, mark, layout.manifest(n), layout.committed(n), state, staged];
    for round in 0..2 {
        for path in &paths {
            assert!(store.create(&env, path, "x".into()).await.unwrap());
        }
        let folder_of = |path: &Path| folder.path().join(path.as_ref()).parent().unwrap().is_dir();
        store.delete(&paths[0]).await.unwrap();
        assert!(folder_of(&paths[0]), "the mark is still there");
        for path in &paths[1..] {
            store.delete(path).await.unwrap();
        }
        let left: Vec<bool> = paths.iter().map(folder_of).collect();
        assert_eq!(left, [false, false, false, false, false, true], "round {round}: only that of a sink is used again");
    }
    store.remove_empty_folders(&env).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("jobs/job")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_damaged_newest_checkpoint_is_refused_not_skipped() {
    let env = Env::default();
    let store = CheckpointStore::open("memory:///", "job").unwrap();
    let good = manifest(1, &[]).to_bytes().unwrap();
    store.create(&env, &store.layout().manifest(CheckpointId(1)), good.into()).await.unwrap();
    store.create(&env, &store.layout().manifest(CheckpointId(2)), Bytes::from_static(b"{}")).await.unwrap();
    let error = store.newest().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.message.contains("0000000002/manifest.json"), "{error}");
}

#[test]
fn a_wrong_url_says_what_would_be_right() {
    for url in ["nonsense", "ftp://x/y", "file://host/x"] {
        let error = CheckpointStore::open(url, "job").unwrap_err();
        assert!(error.message.contains(url), "{error}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Does not know conditional writes.
#[derive(Debug)]
struct Replacing(object_store::memory::InMemory);

impl std::fmt::Display for Replacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replacing")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Replacing {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.0.put_opts(path, payload, PutOptions::default()).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(
        &self,
        path: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(
        &self,
        prefix: Option<&Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_storage_that_replaces_what_is_there_is_refused() {
    let store = CheckpointStore::over(Arc::new(Replacing(object_store::memory::InMemory::new())), "job");
    let error = store.claim_attempt(&Env::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Definition);
    assert!(error.message.contains("If-None-Match"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_another_one_than_before_is_written_to_no_more() {
    let (root, env) = (tempfile::tempdir().unwrap(), Env::default());
    let (folder, away) = (root.path().join("storage"), root.path().join("away"));
    let store = CheckpointStore::open(&format!("file://{}", folder.display()), "job").unwrap();
    let paths = [1, 2, 3].map(|checkpoint| store.layout().manifest(CheckpointId(checkpoint)));
    assert!(store.create(&env, &paths[0], stored(Lineage::NAMELESS, 1)).await.unwrap());
    let mut begun = store.draft(&env, &paths[2]);
    begun.write_all(b"begun before").unwrap();
    // As by the loss of a mount: there may be another folder in its place, or none.
    std::fs::rename(&folder, &away).unwrap();
    let gone = store.create(&env, &paths[1], stored(Lineage::NAMELESS, 2)).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::Unavailable, "{gone}");
    assert!(!folder.exists(), "it makes none of its own");
    let there = [store.exists(&paths[0]).await.map(|_| ()), store.find(&paths[0]).await.map(|_| ())];
    for looked_for in there {
        assert_eq!(looked_for.unwrap_err().kind, ErrorKind::Unavailable, "that it is not there means nothing");
    }
    std::fs::create_dir(&folder).unwrap();
    let another = store.create(&env, &paths[1], stored(Lineage::NAMELESS, 2)).await.unwrap_err();
    assert_eq!(another.kind, ErrorKind::Unavailable);
    assert!(another.message.contains("is not the folder that it was"), "{another}");
    assert!(store.publish(&env, &paths[2], begun).await.is_err());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert!(store.create(&env, &paths[1], stored(Lineage::NAMELESS, 2)).await.unwrap());
    assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(1), CheckpointId(2)]);
}

#[tokio::test]
async fn a_folder_in_place_of_the_one_before_is_used_where_the_job_is_in_it() {
    let (root, env) = (tempfile::tempdir().unwrap(), Env::default());
    let (folder, away) = (root.path().join("storage"), root.path().join("away"));
    let store = CheckpointStore::open(&format!("file://{}", folder.display()), "job").unwrap();
    let first = store.claim_attempt(&env).await.unwrap();
    std::fs::rename(&folder, &away).unwrap();
    assert_eq!(store.found_anew().unwrap_err().kind, ErrorKind::Unavailable);
    assert!(!folder.exists(), "it makes none of its own");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(store.found_anew().unwrap_err().kind, ErrorKind::Unavailable, "nothing is in it");
    // As by a mount that has another number.
    let claim = store.layout().attempt(first);
    let copied = folder.join(claim.as_ref());
    std::fs::create_dir_all(copied.parent().unwrap()).unwrap();
    std::fs::copy(away.join(claim.as_ref()), &copied).unwrap();
    assert!(store.claim_attempt(&env).await.is_err(), "it stays what it was opened as");
    let found = store.found_anew().unwrap();
    assert!(found.claim_attempt(&env).await.unwrap() > first);
    let shared = CheckpointStore::in_memory("job");
    shared.claim_attempt(&env).await.unwrap();
    assert_eq!(shared.found_anew().unwrap().newest_attempt().await.unwrap(), Some(first), "what is in memory is one");
}
