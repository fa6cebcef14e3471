//! Checkpoint storage that fails, loses answers, is slow or holds damaged objects: what waiting heals is waited for, what it does not
//! heal ends the job with a clear error, and it resumes when it is started again.

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use std::{sync::Arc, time::Duration};
use weir_chaos_tests::{
    crash::{small_job, small_workload},
    faults::store::{FaultyStore, Flaky},
    job::{Bench, JOB},
    workload::Workload,
};
use weir_engine::{
    ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    task::StopSignal,
};
use weir_local::{OneProcess, Settings, Submission};
use weir_operators::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_storage_costs_attempts_and_no_clicks() {
    let mut failures = 0;
    for seed in 0..6 {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
        let config = small_job();
        Workload::generate(&small_workload(seed)).write(&bench.input(), config.format).unwrap();
        let flaky = CheckpointStore::over(FaultyStore::new(objects, Flaky::new(seed, 60)), JOB);
        let settings = bench.settings(flaky, &config, Arc::new(Registry), Env::seeded(seed)).unwrap();
        // No restart: what waiting heals counts as no failure.
        let settings = Settings { restarts: 0, first_backoff: Duration::from_millis(1), ..settings };
        let process = OneProcess::start(settings).await.unwrap();
        let (notices, mut told) = tokio::sync::mpsc::unbounded_channel();
        let submission = Submission { notices, ..Submission::new("test") };
        let outcome = process.run(submission).await.unwrap_or_else(|failed| panic!("seed {seed}: {failed}"));
        assert!(outcome.manifest.last, "seed {seed}");
        while let Ok(notice) = told.try_recv() {
            assert!(notice.contains("503 slow down"), "the cause is told: {notice}");
            failures += 1;
        }
        if let Err(error) = bench.check(&config, &outcome) {
            panic!("seed {seed}:\n{error}");
        }
    }
    assert!(failures > 6, "only {failures} attempts failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_objects_are_refused_by_name() {
    let objects = Arc::new(InMemory::new());
    let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
    let config = small_job();
    Workload::generate(&small_workload(5)).write(&bench.input(), config.format).unwrap();
    let env = Env::seeded(1).with_crash_plan(CrashPlan::crash_at("manifest.created", 3));
    bench.run(&config, Arc::new(Registry), env, StopSignal::default()).await.unwrap_err();
    let manifest = bench.store.newest().await.unwrap().unwrap();
    let state = manifest.files().next().expect("a checkpoint after some batches holds state").path.clone();
    let named = bench.store.clone().in_lineage(manifest.lineage).layout().manifest(manifest.checkpoint);
    for (seed, path) in [named, Path::from(state)].into_iter().enumerate() {
        let whole = objects.get(&path).await.unwrap().bytes().await.unwrap();
        let mut damaged = whole.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 4;
        for (round, content) in [damaged, whole[..middle].to_vec()].into_iter().enumerate() {
            objects.put(&path, content.into()).await.unwrap();
            let env = Env::seeded(10 * seed as u64 + round as u64 + 2);
            let error = bench.run(&config, Arc::new(Registry), env, StopSignal::default()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
            assert!(error.message.contains(path.as_ref()), "the object is named: {error}");
        }
        objects.put(&path, whole.into()).await.unwrap();
    }
    let outcome = bench.run_to_end(&config, Arc::new(Registry), 99).await.unwrap();
    bench.check(&config, &outcome).unwrap();
}
