//! Checkpoint storage that fails, loses answers, is slow or holds damaged objects: the job ends with a clear error, and goes on
//! from where it was when it is started again.

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use std::sync::Arc;
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
use weir_operators::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_storage_costs_attempts_and_no_clicks() {
    let mut failures = 0;
    for seed in 0..6 {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
        let config = small_job();
        Workload::generate(&small_workload(seed)).write(&bench.input(), config.format).unwrap();
        for attempt in 0..12 {
            let flaky = FaultyStore::new(objects.clone(), Flaky::new(seed * 100 + attempt, 25));
            let store = CheckpointStore::over(flaky, JOB);
            let env = Env::seeded(seed * 100 + attempt);
            match bench.run_on(store, &config, Arc::new(Registry), env, StopSignal::default()).await {
                Ok(outcome) if outcome.was_finished => break,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Unavailable, "seed {seed}, attempt {attempt}: {error}");
                    assert!(error.message.contains("503 slow down"), "the cause is told: {error}");
                    failures += 1;
                }
            }
        }
        let outcome = bench.run_to_end(&config, Arc::new(Registry), seed * 100 + 99).await.unwrap();
        if let Err(error) = bench.check(&config, &outcome) {
            panic!("seed {seed}:\n{error}");
        }
    }
    assert!(failures > 6, "only {failures} runs failed");
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
