//! Checkpoint storage that fails, loses answers, is slow or holds damaged objects: what waiting heals is waited for, what it does not
//! heal ends the job with a clear error, and it resumes when it is started again.

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use weir_chaos_tests::{
    bench::Bench,
    crash::{small_job, small_workload},
    faults::store::{Fault, FaultPlan, FaultyStore, Flaky, Verb},
    job::JOB,
    workload::Workload,
};
use weir_engine::{
    ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    ids::Attempt,
    operator::Wait,
    task::StopSignal,
};
use weir_local::{OneProcess, Settings, Submission};
use weir_operators::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_storage_costs_neither_attempts_nor_clicks() {
    let (mut failed_attempts, faults) = (0, Arc::new(AtomicU32::new(0)));
    for seed in 0..6 {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
        let config = small_job();
        Workload::generate(&small_workload(seed)).write(&bench.input(), config.format).unwrap();
        let flaky = Counted(Flaky::new(seed, 15), Arc::clone(&faults));
        let flaky = CheckpointStore::over(FaultyStore::new(objects, flaky), JOB);
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
            failed_attempts += 1;
        }
        if let Err(error) = bench.check(&config, &outcome) {
            panic!("seed {seed}:\n{error}");
        }
    }
    // Only before an attempt runs may it be given up.
    let faults = faults.load(Ordering::SeqCst);
    assert!(faults >= 10 && failed_attempts * 4 <= faults, "{failed_attempts} attempts failed of {faults} faults");
}

/// Counts the faults that are errors.
struct Counted(Flaky, Arc<AtomicU32>);

impl FaultPlan for Counted {
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault> {
        let fault = self.0.fault(verb, path);
        self.1.fetch_add(u32::from(matches!(fault, Some(Fault::Refuse | Fault::LoseAnswer))), Ordering::SeqCst);
        fault
    }
}

/// Away for so many requests, from the third manifest on.
struct Outage {
    manifests: AtomicU32,
    requests: AtomicU32,
}

impl FaultPlan for Outage {
    fn fault(&self, verb: Verb, path: &str) -> Option<Fault> {
        if verb == Verb::Put && path.contains("/checkpoints/") && path.ends_with(".json") {
            self.manifests.fetch_add(1, Ordering::SeqCst);
        }
        if self.manifests.load(Ordering::SeqCst) < 3 {
            return None;
        }
        let one_less = |left: u32| left.checked_sub(1);
        let left = self.requests.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok()?;
        Some(if left % 3 == 0 { Fault::LoseAnswer } else { Fault::Refuse })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_lives_through_a_storage_that_is_away() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
    let config = small_job();
    Workload::generate(&small_workload(7)).write(&bench.input(), config.format).unwrap();
    let outage = Outage { manifests: 0.into(), requests: 24.into() };
    let store = CheckpointStore::over(FaultyStore::new(objects, outage), JOB);
    let settings = bench.settings(store, &config, Arc::new(Registry), Env::seeded(7)).unwrap();
    let process = OneProcess::start(settings).await.unwrap();
    let observers = process.observers();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let looking = tokio::spawn({
        let (seen, env) = (Arc::clone(&seen), Env::default());
        async move {
            loop {
                let now = observers.waits().now();
                seen.lock().extend(now.into_iter().map(|(node, wait)| Wait::tell(&node, "", &wait.cause)));
                env.sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let outcome = process.run(Submission::new("test")).await.unwrap();
    looking.abort();
    assert_eq!(outcome.manifest.attempt, Attempt(1), "nothing was restarted");
    let seen = seen.lock().clone();
    assert!(seen.iter().any(|told| told.starts_with("checkpoints wait for the storage: ")), "{seen:?}");
    bench.check(&config, &outcome).unwrap();
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
