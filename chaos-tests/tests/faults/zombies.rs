//! Two runs of one job over one storage: the older is frozen at a step of its own, replaced, and thawed. It must find out
//! that it was replaced, and whatever it still does must not be seen.

use object_store::memory::InMemory;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use weir_chaos_tests::{
    bench::Bench,
    crash::{small_job, small_workload},
    faults::store::{Fault, FaultyStore, Gate, Once, Verb},
    job::{JOB, JobConfig},
    workload::Workload,
};
use weir_engine::{
    ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    ids::{CheckpointId, Lineage},
    task::RunOutcome,
};
use weir_operators::Registry;

/// One thread, so that nothing moves while nobody blocks on it: frozen like a stopped process.
fn frozen_world() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Freezes a run at an operation on its storage, lets another one replace it, thaws it.
fn replace_while_frozen(verb: Verb, path: &'static str, nth: u64, before: bool, successor_crashes_at: Option<&str>) {
    let scenario = format!("frozen {} {verb:?} {nth} of '{path}'", if before { "before" } else { "after" });
    let objects = Arc::new(InMemory::new());
    let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
    // Frozen inside a transaction, a process keeps SQLite's lock, and its successor would wait for it: rightly, but here for
    // ever. PostgreSQL ends such a session: see the cluster's tests of serving.
    let config = JobConfig { with_table: false, ..small_job() };
    Workload::generate(&small_workload(nth)).write(&bench.input(), config.format).unwrap();
    let gate = Arc::new(Gate::default());
    let fault = if before { Fault::FreezeBefore(gate.clone()) } else { Fault::FreezeAfter(gate.clone()) };
    let faulty = FaultyStore::new(objects, Once::new(verb, path, nth, fault));
    let older = CheckpointStore::over(faulty, JOB);
    let (old_world, new_world) = (frozen_world(), frozen_world());
    let run = bench.run_here(older, &config, Env::seeded(1), false);
    let mut run = Box::pin(run);
    let ended = old_world.block_on(async {
        tokio::select! {
            biased;
            () = gate.reached() => None,
            ended = &mut run => Some(ended),
        }
    });
    if let Some(ended) = ended {
        panic!("{scenario}: never came there: {:?}", ended.map(|outcome| outcome.manifest.checkpoint));
    }
    // On a fast machine it may have made its last checkpoint, and only have to tidy up.
    let newest = new_world.block_on(bench.store.newest()).unwrap();
    let was_done = newest.is_some_and(|newest| newest.last);
    if let Some(point) = successor_crashes_at {
        let plan = CrashPlan::crash_at(point, 1);
        let env = Env::seeded(2).with_crash_plan(plan);
        let crashed = new_world.block_on(bench.run_here(bench.store.clone(), &config, env, false));
        assert_eq!(crashed.unwrap_err().kind, ErrorKind::Crash);
        gate.release();
        end_of_a_zombie(old_world.block_on(run), was_done, &scenario);
        finish_and_check(&bench, &config, &new_world, &scenario);
    } else {
        finish_and_check(&bench, &config, &new_world, &scenario);
        gate.release();
        end_of_a_zombie(old_world.block_on(run), was_done, &scenario);
        finish_and_check(&bench, &config, &new_world, &scenario);
    }
}

fn end_of_a_zombie(ended: weir_engine::Result<RunOutcome>, was_done: bool, scenario: &str) {
    match ended {
        Ok(_) if was_done => {}
        Ok(outcome) => panic!("{scenario}: the replaced run went on to checkpoint {}", outcome.manifest.checkpoint),
        // Its files may be swept away under its hands before it notices.
        Err(error) => assert!(
            matches!(error.kind, ErrorKind::Fenced | ErrorKind::Io | ErrorKind::Unavailable),
            "{scenario}: {error}"
        ),
    }
}

fn finish_and_check(bench: &Bench, config: &JobConfig, world: &Runtime, scenario: &str) {
    let config = JobConfig { parallelism: 3, ..config.clone() };
    let outcome = world.block_on(bench.run_to_end(&config, Arc::new(Registry), 3));
    let outcome = outcome.unwrap_or_else(|error| panic!("{scenario}: {error:#}"));
    if let Err(error) = bench.check(&config, &outcome) {
        panic!("{scenario}:\n{error}");
    }
}

/// A run whose manifest is held up on its way, while the user starts over, again and again: what comes then is of a run that nobody
/// remembers, however much further it had come.
#[test]
fn a_manifest_from_before_a_start_over_comes_late() {
    for start_overs in [1, 3] {
        let scenario = format!("{start_overs} start-overs");
        let objects = Arc::new(InMemory::new());
        let bench = Bench::with_store(CheckpointStore::over(objects.clone(), JOB)).unwrap();
        let config = JobConfig { with_table: false, ..small_job() };
        Workload::generate(&small_workload(start_overs)).write(&bench.input(), config.format).unwrap();
        let gate = Arc::new(Gate::default());
        let held_up = Once::new(Verb::Put, "1/0000000003.json", 1, Fault::FreezeBefore(gate.clone()));
        let older = CheckpointStore::over(FaultyStore::new(objects, held_up), JOB);
        let (old_world, new_world) = (frozen_world(), frozen_world());
        let run = bench.run_here(older, &config, Env::seeded(1), false);
        let mut run = Box::pin(run);
        old_world.block_on(async {
            tokio::select! {
                biased;
                () = gate.reached() => {}
                ended = &mut run => panic!("never came there: {:?}", ended.map(|outcome| outcome.manifest.checkpoint)),
            }
        });
        for number in 1..=start_overs {
            let env = Env::seeded(1 + number).with_crash_plan(CrashPlan::crash_at("manifest.created", 2));
            let crashed = bench.run_here(bench.store.clone(), &config, env, true);
            assert_eq!(new_world.block_on(crashed).unwrap_err().kind, ErrorKind::Crash);
        }
        let newest = || new_world.block_on(bench.store.newest()).unwrap().unwrap();
        let before = newest();
        assert_eq!((before.lineage.0, before.checkpoint.0), (1 + start_overs, 2), "{scenario}");
        gate.release();
        end_of_a_zombie(old_world.block_on(run), false, &scenario);
        let late = bench.store.layout().clone().in_lineage(Lineage(1)).manifest(CheckpointId(3));
        assert!(new_world.block_on(bench.store.exists(&late)).unwrap(), "it has come");
        assert_eq!(newest(), before, "{scenario}");
        finish_and_check(&bench, &config, &new_world, &scenario);
        assert!(!new_world.block_on(bench.store.exists(&late)).unwrap(), "and is gone");
    }
}

#[test]
fn frozen_at_the_commit_point_and_replaced() {
    for manifest in ["1/0000000001.json", "1/0000000002.json", "1/0000000003.json"] {
        for before in [true, false] {
            for successor_crashes_at in [None, Some("recovery.swept"), Some("manifest.created")] {
                replace_while_frozen(Verb::Put, manifest, 1, before, successor_crashes_at);
            }
        }
    }
}

#[test]
fn frozen_anywhere_else_and_replaced() {
    for (verb, path, most) in [
        (Verb::Put, "committed", 2),
        (Verb::Put, "/state/", 9),
        (Verb::List, "attempts", 3),
        (Verb::List, "checkpoints", 2),
        (Verb::Get, "committed", 2),
        (Verb::Delete, "1/0000000001.json", 1),
        (Verb::Delete, "/state/", 1),
    ] {
        for before in [true, false] {
            for successor_crashes_at in [None, Some("recovery.done")] {
                replace_while_frozen(verb, path, most, before, successor_crashes_at);
            }
        }
    }
}
