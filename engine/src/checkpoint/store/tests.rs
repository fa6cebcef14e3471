//! The same promises from every kind of store.

use super::*;
use crate::checkpoint::manifest::tests::manifest;

async fn keeps_its_promises(store: CheckpointStore) {
    let env = Env::default();
    let path = store.layout().manifest(CheckpointId(1));
    assert!(store.newest().await.unwrap().is_none());
    assert!(!store.exists(&path).await.unwrap());
    let first = manifest(1, &[]).to_bytes().unwrap();
    assert!(store.create(&env, &path, first.into()).await.unwrap());
    assert!(!store.create(&env, &path, Bytes::from_static(b"other")).await.unwrap(), "never replaced");
    assert!(store.exists(&path).await.unwrap());
    let second = manifest(2, &[]).to_bytes().unwrap();
    store.create(&env, &store.layout().manifest(CheckpointId(2)), second.into()).await.unwrap();
    assert_eq!(store.checkpoints().await.unwrap(), [CheckpointId(1), CheckpointId(2)]);
    assert_eq!(store.newest().await.unwrap().unwrap(), manifest(2, &[]));
    store.delete(&path).await.unwrap();
    store.delete(&path).await.expect("deleting twice is fine");

    let (one, two) = futures::join!(store.claim_attempt(&env), store.claim_attempt(&env));
    let mut attempts = [one.unwrap().0, two.unwrap().0];
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2], "every claim is another attempt");
    assert_eq!(store.newest_attempt().await.unwrap(), Some(Attempt(2)));
    assert!(store.remove_job().await.unwrap() > 0);
    assert!(store.checkpoints().await.unwrap().is_empty());
    let next = store.claim_attempt(&env).await.unwrap();
    assert_eq!(next, Attempt(3), "a fresh start fences the attempts before it");
    for (attempt, after) in [(1, Some(3)), (2, Some(3)), (3, None), (4, None)] {
        assert_eq!(store.attempt_after(Attempt(attempt)).await.unwrap(), after.map(Attempt), "after {attempt}");
    }
    let far = store.claim_attempt_above(&env, Attempt(9)).await.unwrap();
    assert_eq!(store.attempt_after(next).await.unwrap(), Some(far), "numbers sort as numbers");
}

#[tokio::test]
async fn a_local_folder_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    keeps_its_promises(CheckpointStore::open(&url, "job").unwrap()).await;
    let claims = folder.path().join("jobs/job/attempts");
    let left: Vec<_> = walk(folder.path());
    let is_claim = |path: &PathBuf| path.starts_with(&claims) && path.extension() == Some("json".as_ref());
    assert_eq!((left.len(), left.iter().all(is_claim)), (4, true), "nothing but claims is left: {left:?}");
}

#[tokio::test]
async fn memory_keeps_its_promises() {
    keeps_its_promises(CheckpointStore::open("memory:///", "job").unwrap()).await;
}

#[tokio::test]
async fn claims_are_few_however_often_a_job_was_started() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["memory:///".to_string(), format!("file://{}", folder.path().display())] {
        let (store, env) = (CheckpointStore::open(&url, "job").unwrap(), Env::default());
        store.claim_attempt(&env).await.unwrap();
        let identity = store.identity().await.unwrap();
        for attempt in 2..60 {
            assert_eq!(store.claim_attempt(&env).await.unwrap(), Attempt(attempt));
            let claims = store.list(&store.layout().attempts()).await.unwrap();
            assert!(claims.len() <= KEPT_CLAIMS + 2, "{}", claims.len());
            for older in [1, attempt / 2, attempt - 1] {
                let after = store.attempt_after(Attempt(older)).await.unwrap();
                assert_eq!(after, Some(Attempt(attempt)), "attempt {older} finds that it was replaced");
            }
        }
        assert_eq!(store.identity().await.unwrap(), identity);
    }
}

#[tokio::test]
async fn the_folder_of_a_checkpoint_goes_with_its_last_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(&format!("file://{}", folder.path().display()), "job").unwrap();
    let (env, layout) = (Env::default(), store.layout().clone());
    let n = CheckpointId(1);
    let state = layout.state_file(Attempt(1), n, "op", 0);
    let paths = [layout.manifest(n), layout.committed(n), state, layout.staged(Attempt(1), "sink", "a")];
    for round in 0..2 {
        for path in &paths {
            assert!(store.create(&env, path, "x".into()).await.unwrap());
        }
        let folder_of = |path: &Path| PathBuf::from(format!("/{path}")).parent().unwrap().is_dir();
        store.delete(&paths[0]).await.unwrap();
        assert!(folder_of(&paths[0]), "the mark is still there");
        for path in &paths[1..] {
            store.delete(path).await.unwrap();
        }
        let left: Vec<bool> = paths.iter().map(folder_of).collect();
        assert_eq!(left, [false, false, false, true], "round {round}: only that of a sink is used again");
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
    assert_eq!(error.kind, crate::ErrorKind::Corrupt);
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
