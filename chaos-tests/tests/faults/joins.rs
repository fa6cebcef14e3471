//! Joins in whole jobs: whatever crashes, and at whatever parallelism the job goes on, what is committed in the end is what all
//! pairs of orders and clicks give, or of counts of them; and a join that is built wrong is noticed.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;
use weir_chaos_tests::{
    crash::Ending,
    joins::{JoinMutant, JoinMutants, JoinScenario, Joined, WindowJoinMutant, WindowJoinMutants},
};
use weir_engine::operator::Factory;
use weir_operators::Registry;

const BOTH: [Joined; 2] = [Joined::Events, Joined::Results];

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
fn random(joined: Joined, seed: u64) -> JoinScenario {
    let mut dice = StdRng::seed_from_u64(seed);
    let crash = |dice: &mut StdRng| {
        let most = [2, 8, 60][dice.random_range(0..3)];
        Ending::Crash(POINTS[dice.random_range(0..POINTS.len())].into(), dice.random_range(1..=most))
    };
    let runs = (0..dice.random_range(1..4)).map(|_| (dice.random_range(1..9), crash(&mut dice))).collect();
    JoinScenario { joined, seed, runs, last_parallelism: dice.random_range(1..9), batch_rows: dice.random_range(1..30) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_without_a_crash_are_what_all_pairs_give() {
    let scenarios = BOTH.into_iter().flat_map(|joined| [(joined, 1, 1, 1), (joined, 2, 3, 7), (joined, 3, 8, 1_000)]);
    for (joined, seed, parallelism, batch_rows) in scenarios {
        let scenario = JoinScenario { joined, seed, runs: Vec::new(), last_parallelism: parallelism, batch_rows };
        if let Err(error) = scenario.run(Arc::new(Registry)).await {
            panic!("{error:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_crash_are_what_all_pairs_give() {
    for (joined, seeds) in [(Joined::Events, 100..112), (Joined::Results, 200..204)] {
        let (mut crashes, runs) = (0, seeds.clone().count());
        for seed in seeds {
            match random(joined, seed).run(Arc::new(Registry)).await {
                Ok(more) => crashes += more,
                Err(error) => panic!("{error:#}"),
            }
        }
        assert!(crashes * 6 >= runs * 5, "only {crashes} crashes of joins of {joined:?}");
    }
}

const SEEDS: u64 = 15;

/// Crashes when about a third, a half and two thirds of the rows have been read, one at a time, and a rescale at each: some of the
/// rows are held then, and some of the orders answered.
fn scenario(joined: Joined, seed: u64) -> JoinScenario {
    let crash = |visit| Ending::Crash("source.batch".into(), visit);
    let runs = vec![(2, crash(90 + seed * 17 % 40)), (3, crash(60)), (1, crash(50))];
    JoinScenario { joined, seed, runs, last_parallelism: 2, batch_rows: 2 }
}

/// No crash at all.
fn calm(joined: Joined, seed: u64) -> JoinScenario {
    JoinScenario { joined, seed, runs: Vec::new(), last_parallelism: 2, batch_rows: 12 }
}

/// How a join that is built wrong is noticed, if it is.
async fn noticed(scenario: impl Fn(u64) -> JoinScenario, mutants: Arc<dyn Factory>) -> Option<String> {
    for seed in 0..SEEDS {
        if let Err(error) = scenario(seed).run(mutants.clone()).await {
            let how: String = error.root_cause().to_string().lines().next()?.chars().take(160).collect();
            return Some(format!("noticed after {} seeds: {how}", seed + 1));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutant_is_noticed() {
    let mut unnoticed = Vec::new();
    let mut note = |mutant: String, how: Option<String>| match how {
        Some(how) => println!("{mutant}: {how}"),
        None => unnoticed.push(mutant),
    };
    for mutant in JoinMutant::ALL {
        let mutants = JoinMutants::new(Arc::new(Registry), mutant);
        note(format!("{mutant:?}"), noticed(|seed| scenario(Joined::Events, seed), mutants).await);
    }
    for mutant in WindowJoinMutant::ALL {
        let mutants = WindowJoinMutants::new(Arc::new(Registry), mutant);
        let how = match mutant.is_of_restores() {
            true => noticed(|seed| scenario(Joined::Results, seed), mutants).await,
            false => noticed(|seed| calm(Joined::Results, seed), mutants).await,
        };
        note(format!("{mutant:?}"), how);
    }
    assert!(unnoticed.is_empty(), "not noticed within {SEEDS} seeds: {unnoticed:?}");
}

/// The same crashes without a mutant are survived, so that it is the mutants that are noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_scenarios_are_right_without_a_mutant() {
    for (joined, seed) in [(Joined::Events, 0), (Joined::Events, 1), (Joined::Results, 0)] {
        if let Err(error) = scenario(joined, seed).run(Arc::new(Registry)).await {
            panic!("{error:#}");
        }
    }
}
