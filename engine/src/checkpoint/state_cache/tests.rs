//! One store of objects, several machines with caches: what is read is always what was written, and the folders stay small.

use super::{folder::Entry, *};
use crate::{
    checkpoint::{
        CheckpointStore,
        manifest::{FilePart, SegmentState, checksum},
    },
    ids::{Attempt, CheckpointId},
    key_group::KeyGroupRange,
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use std::{fs, io::Write};

const LARGE: u64 = 64 << 20;

/// Objects that all machines reach.
#[derive(Default)]
struct Storage(Arc<InMemory>);

impl Storage {
    fn seen_from(&self, folder: &std::path::Path, limit_bytes: u64) -> CheckpointStore {
        let objects: Arc<dyn ObjectStore> = self.0.clone();
        CheckpointStore::over(objects, "job").with_cache(StateCache::new(folder.into(), limit_bytes))
    }

    /// From now on whoever reads it from here fails.
    async fn lose(&self, file: &FileRef) {
        self.0.delete(&Path::from(file.path.as_str())).await.unwrap();
    }
}

async fn publish(store: &CheckpointStore, checkpoint: u64, content: &[u8]) -> FileRef {
    let env = Env::default();
    let path = store.layout().state_file(Attempt(1), CheckpointId(checkpoint), "sum", 0);
    let mut draft = store.draft(&env, &path);
    draft.write_all(content).unwrap();
    assert!(store.publish(&env, &path, draft).await.unwrap());
    FileRef { path: path.to_string(), bytes: content.len() as u64, checksum: checksum(content) }
}

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn bytes(folder: &std::path::Path) -> u64 {
    files(folder).iter().map(|file| size_on_disk(fs::metadata(file).unwrap().len())).sum()
}

#[tokio::test]
async fn what_was_written_here_is_read_here_after_a_restart() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let file = publish(&storage.seen_from(folder.path(), LARGE), 1, b"rows").await;
    storage.lose(&file).await;
    let restarted = storage.seen_from(folder.path(), LARGE);
    assert_eq!(restarted.read_state(&env, &file).await.unwrap(), "rows");
    let path = Path::from(file.path.as_str());
    assert!(restarted.read(&path).await.is_err(), "a plain read asks the storage");
}

#[tokio::test]
async fn what_another_machine_wrote_is_fetched_once() {
    let (env, storage) = (Env::default(), Storage::default());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = folders.each_ref().map(|folder| storage.seen_from(folder.path(), LARGE));
    let file = publish(&there, 1, b"rows").await;
    assert_eq!(here.read_state(&env, &file).await.unwrap(), "rows");
    storage.lose(&file).await;
    assert_eq!(here.read_state(&env, &file).await.unwrap(), "rows");
}

#[tokio::test]
async fn damage_is_recognised_and_mended_from_the_storage() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let store = storage.seen_from(folder.path(), LARGE);
    let file = publish(&store, 1, b"rows").await;
    let cached = files(folder.path()).pop().unwrap();
    for damage in [&b"rowz"[..], b"row", b"rows and more", b""] {
        fs::write(&cached, damage).unwrap();
        assert_eq!(store.read_state(&env, &file).await.unwrap(), "rows");
        assert_eq!(fs::read(&cached).unwrap(), b"rows", "replaced");
    }
    fs::write(&cached, b"rowz").unwrap();
    storage.lose(&file).await;
    store.read_state(&env, &file).await.unwrap_err();
    assert!(files(folder.path()).is_empty(), "what is damaged does not stay");
}

#[tokio::test]
async fn an_object_of_the_same_name_with_other_content_is_another() {
    let (env, folder) = (Env::default(), tempfile::tempdir().unwrap());
    publish(&Storage::default().seen_from(folder.path(), LARGE), 1, b"of the storage before").await;
    let store = Storage::default().seen_from(folder.path(), LARGE);
    let objects = CheckpointStore::over(Arc::new(InMemory::new()), "job");
    let file = publish(&objects, 1, b"rows").await;
    let path = Path::from(file.path.as_str());
    store.create(&env, &path, objects.read(&path).await.unwrap()).await.unwrap();
    assert_eq!(store.read_state(&env, &file).await.unwrap(), "rows");
}

#[tokio::test]
async fn manifests_and_marks_are_never_kept() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let store = storage.seen_from(folder.path(), LARGE);
    for path in [store.layout().manifest(CheckpointId(1)), store.layout().committed(CheckpointId(1))] {
        let mut draft = store.draft(&env, &path);
        draft.write_all(b"{}").unwrap();
        store.publish(&env, &path, draft).await.unwrap();
    }
    store.claim_attempt(&env).await.unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn near_storage_goes_without() {
    let (folder, storage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for url in [format!("file://{}", storage.path().display()), "memory:///".into()] {
        let store =
            CheckpointStore::open(&url, "job").unwrap().with_cache(StateCache::new(folder.path().into(), LARGE));
        publish(&store, 1, b"rows").await;
        assert!(files(folder.path()).is_empty(), "{url}");
    }
}

#[tokio::test]
async fn the_oldest_go_first_and_the_limit_holds_for_all_processes() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let limit = 1 << 20;
    fs::write(folder.path().join("somebody's.state"), vec![0; 2 << 20]).unwrap();
    let leftovers = [format!("weir-{:032x}.1-1.part", 7), format!("weir-{:032x}.state", 8)];
    for (age, name) in leftovers.iter().enumerate() {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_len(600 << 10).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64)).unwrap();
    }
    let foreign = 2 << 20;
    let processes = [(); 3].map(|()| storage.seen_from(folder.path(), limit));
    let mut published = Vec::new();
    for checkpoint in 0..60 {
        let file = publish(&processes[checkpoint % 3], checkpoint as u64, &[checkpoint as u8; 50_000]).await;
        assert!(bytes(folder.path()) - foreign <= limit, "{} at {checkpoint}", bytes(folder.path()));
        storage.lose(&file).await;
        published.push(file);
    }
    assert!(leftovers.iter().all(|name| !folder.path().join(name).exists()));
    let mut here = Vec::new();
    for file in &published {
        here.push(processes[0].read_state(&env, file).await.is_ok());
    }
    let first = here.iter().position(|here| *here).unwrap();
    assert!(here[first..].iter().all(|here| *here), "the youngest stay: {here:?}");
    assert!((8..=21).contains(&(60 - first)), "most of the room is used: {here:?}");
    assert!(folder.path().join("somebody's.state").exists(), "no other file is touched");
    publish(&processes[0], 99, &vec![1; 600 << 10]).await;
    assert!(bytes(folder.path()) - foreign <= limit, "one that would push out most others is not kept");
}

#[tokio::test]
async fn state_that_is_in_use_outlives_what_came_after_it() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let store = storage.seen_from(folder.path(), 1 << 20);
    let old = publish(&store, 0, &[0; 50_000]).await;
    let key_groups = KeyGroupRange::all(128);
    let part = FilePart { file: old.clone(), first_row_group: 0, row_groups: 1, key_groups, level: 0, part_bytes: 1 };
    let mut ledger = SegmentLedger::new(key_groups);
    ledger.restore(&[SegmentState { id: "table".into(), parts: vec![part] }]);
    let ledger = Arc::new(Mutex::new(ledger));
    store.watch(&ledger);
    storage.lose(&old).await;
    for checkpoint in 1..60 {
        publish(&store, checkpoint, &[1; 50_000]).await;
    }
    store.read_state(&env, &old).await.unwrap();
    drop(ledger);
    for checkpoint in 60..120 {
        publish(&store, checkpoint, &[1; 50_000]).await;
    }
    store.read_state(&env, &old).await.unwrap_err();
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_nothing_but_the_cache() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let blocked = folder.path().join("a file where the folder should be");
    fs::write(&blocked, b"").unwrap();
    let cache = StateCache::new(blocked.clone(), LARGE);
    let objects: Arc<dyn ObjectStore> = storage.0.clone();
    let store = CheckpointStore::over(objects, "job").with_cache(cache.clone());
    for checkpoint in 1..3 {
        let file = publish(&store, checkpoint, b"rows").await;
        assert_eq!(store.read_state(&env, &file).await.unwrap(), "rows");
        assert!(cache.shared.gave_up.load(Ordering::Relaxed), "said once, and not tried again");
    }
    fs::remove_file(&blocked).unwrap();
    publish(&store, 3, b"rows").await;
    assert!(!blocked.exists());
}

#[tokio::test]
async fn a_folder_that_is_cleared_meanwhile_is_made_again() {
    let (env, storage, folder) = (Env::default(), Storage::default(), tempfile::tempdir().unwrap());
    let below = folder.path().join("cache/state");
    let store = storage.seen_from(&below, LARGE);
    publish(&store, 1, b"first").await;
    fs::remove_dir_all(&below).unwrap();
    let file = publish(&store, 2, b"second").await;
    storage.lose(&file).await;
    assert_eq!(store.read_state(&env, &file).await.unwrap(), "second");
}

#[test]
fn those_that_go_are_the_oldest_and_no_more_than_needed() {
    let entry = |name: &str, bytes, age| Entry {
        name: name.into(),
        bytes,
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(age),
    };
    let entries = vec![entry("b", 10, 2), entry("c", 30, 3), entry("a", 20, 1), entry("d", 5, 3)];
    let names = |space| outdated(entries.clone(), space).into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    assert!(names(65).is_empty());
    assert_eq!(names(64), ["a"]);
    assert_eq!(names(44), ["a", "b"]);
    assert_eq!(names(0), ["a", "b", "c", "d"]);
}
