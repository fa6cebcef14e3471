//! The tests are tested: every part that is built wrong on purpose is noticed. Prints after how many seeds.

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use std::sync::Arc;
use weir_chaos_tests::{
    bench::Bench,
    crash::{Ending, Scenario, small_job, small_workload},
    faults::{
        lineages::BlindStore,
        mutants::{Mutant, MutantFactory},
    },
    job::{JOB, JobConfig},
    workload::Workload,
};
use weir_engine::{
    EngineError, ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    ids::{CheckpointId, Lineage},
    task::StopSignal,
};
use weir_local::{Submission, run_apart};
use weir_operators::Registry;

/// Crashes with everything in the making, a rescale at each, and none that a right job would not survive.
fn scenario(seed: u64) -> Scenario {
    let crash = |point: &str, visit| Ending::Crash(point.into(), visit);
    let endings = [crash("commit.one_done", 9 + seed % 5), crash("manifest.before", 3), crash("upload.durable", 30)];
    let mut scenario = Scenario::of(seed, endings);
    // Its mutants are of sinks that write files.
    scenario.job.with_table = false;
    // Most windows are corrected, many of them several times.
    (scenario.job.allowed_lateness_minutes, scenario.workload.one_late_in) = (8, 4);
    scenario.runs.iter_mut().zip([2, 3, 1]).for_each(|(run, parallelism)| run.0 = parallelism);
    scenario
}

const SEEDS: u64 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutant_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutant in Mutant::ALL {
        let mut noticed = None;
        for seed in 0..SEEDS {
            let factory = MutantFactory::new(Arc::new(Registry), mutant);
            if let Err(error) = scenario(seed).run(factory).await {
                noticed = Some((seed, format!("{:#}", error.root_cause())));
                break;
            }
        }
        match noticed {
            Some((seed, how)) => {
                let how: String = how.lines().next().unwrap_or_default().chars().take(160).collect();
                println!("{mutant:?}: noticed after {} seeds: {how}", seed + 1);
            }
            None => unnoticed.push(mutant),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed within {SEEDS} seeds: {unnoticed:?}");
}

/// The same crashes without a mutant are survived, so that it is the mutants that are noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_scenarios_are_right_without_a_mutant() {
    for seed in 0..8 {
        if let Err(error) = scenario(seed).run(Arc::new(Registry)).await {
            panic!("{error:#}");
        }
    }
}

/// A job that is started over, and the last manifest of before, which comes when the new lineage has two checkpoints.
async fn a_manifest_from_before_comes_late(objects: Arc<InMemory>, seen: Arc<dyn ObjectStore>) -> anyhow::Result<()> {
    let bench = Bench::with_store(CheckpointStore::over(seen, JOB))?;
    // A line at a time, so that there are more checkpoints than that.
    let config = JobConfig { with_table: false, batch_rows: 1, ..small_job() };
    Workload::generate(&small_workload(1)).write(&bench.input(), config.format)?;
    let late = bench.store.layout().clone().in_lineage(Lineage(1)).manifest(CheckpointId(3));
    let mut held_up = None;
    for (starts_over, checkpoints) in [(false, 3), (true, 2)] {
        let env = Env::seeded(checkpoints).with_crash_plan(CrashPlan::crash_at("manifest.created", checkpoints));
        let settings = bench.settings(bench.store.clone(), &config, Arc::new(Registry), env)?;
        let submission = Submission { start_over: starts_over, ..Submission::new("test") };
        let ended = run_apart(2, settings, submission, StopSignal::default()).await.map_err(EngineError::from);
        let has_crashed = ended.is_err_and(|error| error.kind == ErrorKind::Crash);
        assert!(has_crashed, "the job has not come to checkpoint {checkpoints}");
        if !starts_over {
            held_up = Some(objects.get(&late).await?.bytes().await?);
            objects.delete(&late).await?;
        }
    }
    objects.put(&late, held_up.unwrap_or_default().into()).await?;
    let outcome = bench.run_to_end(&config, Arc::new(Registry), 3).await?;
    bench.check(&config, &outcome)
}

#[tokio::test]
async fn a_storage_that_does_not_tell_lineages_apart_is_noticed() {
    let right = Arc::new(InMemory::new());
    a_manifest_from_before_comes_late(right.clone(), right).await.unwrap();
    let objects = Arc::new(InMemory::new());
    let noticed = a_manifest_from_before_comes_late(objects.clone(), BlindStore::new(objects)).await;
    let how = noticed.expect_err("a checkpoint of before the start-over was gone on from, and nobody noticed");
    println!("lineages not told apart: noticed: {how:#}");
}
