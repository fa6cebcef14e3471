//! Joins in whole jobs: whatever crashes, and at whatever parallelism the job goes on, what is committed in the end is what all
//! pairs of orders and clicks give; and a join that is built wrong is noticed.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;
use weir_chaos_tests::{
    crash::Ending,
    joins::{JoinMutant, JoinMutants, JoinScenario},
};
use weir_operators::Registry;

/// Where checkpoints, commits and restores can be interrupted.
const POINTS: [&str; 8] = [
    "upload.durable",
    "manifest.before",
    "manifest.created",
    "commit.one_done",
    "run.committed",
    "restore.part",
    "source.batch",
    "files_sink.staged",
];

/// Up to three crashes, each at another parallelism.
fn random(seed: u64) -> JoinScenario {
    let mut dice = StdRng::seed_from_u64(seed);
    let crash = |dice: &mut StdRng| {
        let most = [2, 8, 60][dice.random_range(0..3)];
        Ending::Crash(POINTS[dice.random_range(0..POINTS.len())].into(), dice.random_range(1..=most))
    };
    let runs = (0..dice.random_range(1..4)).map(|_| (dice.random_range(1..9), crash(&mut dice))).collect();
    JoinScenario { seed, runs, last_parallelism: dice.random_range(1..9), batch_rows: dice.random_range(1..30) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_without_a_crash_are_what_all_pairs_give() {
    for (seed, parallelism, batch_rows) in [(1, 1, 1), (2, 3, 7), (3, 8, 1_000)] {
        let scenario = JoinScenario { seed, runs: Vec::new(), last_parallelism: parallelism, batch_rows };
        if let Err(error) = scenario.run(Arc::new(Registry)).await {
            panic!("{error:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_crash_are_what_all_pairs_give() {
    let mut crashes = 0;
    for seed in 100..112 {
        match random(seed).run(Arc::new(Registry)).await {
            Ok(more) => crashes += more,
            Err(error) => panic!("{error:#}"),
        }
    }
    assert!(crashes >= 10, "only {crashes} crashes");
}

const SEEDS: u64 = 15;

/// Crashes when about a third, a half and two thirds of the rows have been read, one at a time, and a rescale at each: some of the
/// rows are held then, and some of the orders answered.
fn scenario(seed: u64) -> JoinScenario {
    let crash = |visit| Ending::Crash("source.batch".into(), visit);
    let runs = vec![(2, crash(90 + seed * 17 % 40)), (3, crash(60)), (1, crash(50))];
    JoinScenario { seed, runs, last_parallelism: 2, batch_rows: 2 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutant_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutant in JoinMutant::ALL {
        let mut noticed = None;
        for seed in 0..SEEDS {
            if let Err(error) = scenario(seed).run(JoinMutants::new(Arc::new(Registry), mutant)).await {
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
    for seed in 0..4 {
        if let Err(error) = scenario(seed).run(Arc::new(Registry)).await {
            panic!("{error:#}");
        }
    }
}
