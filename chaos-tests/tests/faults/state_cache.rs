//! State files cached on a local disk: a restart fetches nothing that was written here, and whatever happens to the cache,
//! what is committed stays right.

use object_store::{ObjectStore, memory::InMemory};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use weir_chaos_tests::{
    bench::Bench,
    crash::{small_job, small_workload},
    faults::store::{Fault, FaultPlan, FaultyStore, Verb},
    job::{JOB, JobConfig},
    workload::{Workload, WorkloadConfig},
};
use weir_engine::{
    ErrorKind,
    checkpoint::{CheckpointStore, StateCache},
    env::{CrashPlan, Env},
    task::StopSignal,
};
use weir_operators::Registry;

/// Counts how often state files are fetched.
struct Fetches(Arc<AtomicU64>);

impl FaultPlan for Fetches {
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault> {
        if verb == Verb::Get && path.contains("/state/") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        None
    }
}

/// A job over storage that is far away.
struct Far {
    bench: Bench,
    config: JobConfig,
    objects: Arc<dyn ObjectStore>,
    fetches: Arc<AtomicU64>,
    folder: tempfile::TempDir,
}

impl Far {
    fn new(seed: u64) -> Self {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
        let config = small_job();
        // More than all runs get to read before they crash.
        let workload = WorkloadConfig { lines_per_file: 2_000, ..small_workload(seed) };
        Workload::generate(&workload).write(&bench.input(), config.format).unwrap();
        Far { bench, config, objects, fetches: Arc::default(), folder: tempfile::tempdir().unwrap() }
    }

    /// Runs until so many checkpoints are complete, as a new process with the cache of the ones before; gives the state files that
    /// it fetched.
    async fn run(&self, seed: u64, checkpoints: u64, cache: Option<(&Path, u64)>) -> u64 {
        self.fetches.store(0, Ordering::SeqCst);
        let mut store =
            CheckpointStore::over(FaultyStore::new(self.objects.clone(), Fetches(self.fetches.clone())), JOB);
        if let Some((folder, limit_bytes)) = cache {
            store = store.with_cache(StateCache::new(folder.into(), limit_bytes));
        }
        let env = Env::seeded(seed).with_crash_plan(CrashPlan::crash_at("manifest.created", checkpoints));
        let ended = self.bench.run_on(store, &self.config, Arc::new(Registry), env, StopSignal::default()).await;
        assert_eq!(ended.expect_err("the input goes on").kind, ErrorKind::Crash);
        self.fetches.load(Ordering::SeqCst)
    }

    async fn check(&self) {
        let in_large_steps = JobConfig { batch_rows: 500, checkpoint_interval_ms: 100, ..self.config.clone() };
        let outcome = self.bench.run_to_end(&in_large_steps, Arc::new(Registry), 99).await.unwrap();
        self.bench.check(&self.config, &outcome).unwrap();
    }

    fn cached(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_fetches_nothing_that_was_written_here() {
    let far = Far::new(1);
    let cache = Some((far.folder.path(), 64 << 20));
    far.run(1, 3, cache).await;
    for seed in 2..4 {
        assert_eq!(far.run(seed, 2, cache).await, 0);
    }
    assert!(far.run(4, 1, None).await > 0, "there is state to fetch");
    assert!(far.run(5, 1, cache).await > 0, "what was written elsewhere is fetched");
    far.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cache_is_no_damage() {
    let far = Far::new(2);
    let cache = Some((far.folder.path(), 64 << 20));
    far.run(1, 3, cache).await;
    for (index, path) in far.cached().into_iter().enumerate() {
        let mut content = std::fs::read(&path).unwrap();
        match index % 3 {
            0 => content.truncate(content.len() / 2),
            1 => content.clear(),
            _ => content.iter_mut().for_each(|byte| *byte ^= 4),
        }
        std::fs::write(path, content).unwrap();
    }
    assert!(far.run(2, 2, cache).await > 0);
    assert_eq!(far.run(3, 1, cache).await, 0, "mended");
    far.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_too_small_or_cannot_be_written_only_costs_fetches() {
    let far = Far::new(3);
    let blocked = far.folder.path().join("blocked");
    std::fs::write(&blocked, b"a file where the folder should be").unwrap();
    for cache in [(far.folder.path(), 16 << 10), (blocked.as_path(), 64 << 20)] {
        far.run(1, 2, Some(cache)).await;
        assert!(far.run(2, 1, Some(cache)).await > 0);
    }
    far.check().await;
}
