//! The tests are tested: every part that is built wrong on purpose is noticed. Prints after how many seeds.

use std::sync::Arc;
use weir_chaos_tests::{
    crash::{Ending, Scenario},
    faults::mutants::{Mutant, MutantFactory},
};
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
