//! Crashes at every named point of the run, of the checkpoint, of the commit and of recovery: one by one, in pairs, and in
//! random sequences. After each the job goes on at another parallelism, and what is committed at its end is the recount.
//!
//! A sample of pairs and sequences: the simulation walks through many more, with a coordinator and workers.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;
use weir_chaos_tests::{
    crash::{Ending, Scenario, crash_points},
    workload::WorkloadConfig,
};
use weir_operators::Registry;

async fn run(scenario: Scenario) -> usize {
    match scenario.run(Arc::new(Registry)).await {
        Ok(crashes) => crashes,
        Err(error) => panic!("{error:#}"),
    }
}

/// `WEIR_CHAOS_ALL=1 cargo test --release -p weir-chaos-tests --test crashes` tries all pairs.
fn all() -> bool {
    std::env::var("WEIR_CHAOS_ALL").is_ok_and(|value| value == "1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_at_its_first_and_at_later_visits() {
    let points = crash_points(Arc::new(Registry)).await.unwrap();
    assert!(points.len() >= 25, "{points:?}");
    let mut missed = Vec::new();
    for (point, visits) in &points {
        let crash = |visit| Ending::Crash((*point).into(), visit);
        // Only an attempt that has one before it passes the points of recovery.
        let before = Ending::Crash("manifest.created".into(), 2);
        let endings = [before, crash((visits / 2).clamp(1, 20)), crash(1)];
        let scenario = Scenario::of(8, endings);
        // Long enough to get to later visits, however fast the machine.
        let workload = WorkloadConfig { lines_per_file: 240, ..scenario.workload.clone() };
        let mut crashes = run(Scenario { workload, ..scenario }).await.saturating_sub(1);
        if crashes == 0 {
            crashes = run(Scenario::of(7, [crash(1)])).await;
        }
        if crashes == 0 {
            missed.push(*point);
        }
    }
    assert!(missed.is_empty(), "never crashed at {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairs_of_points() {
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await.unwrap().into_keys().collect();
    let mut pairs: Vec<(&str, &str)> = points.iter().flat_map(|a| points.iter().map(move |b| (*a, *b))).collect();
    if !all() {
        let mut dice = StdRng::seed_from_u64(31);
        pairs = (0..12).map(|_| pairs.swap_remove(dice.random_range(0..pairs.len()))).collect();
    }
    for (seed, (first, second)) in pairs.into_iter().enumerate() {
        let endings = [(first, 1 + seed as u64 % 3), (second, 1)];
        run(Scenario::of(seed as u64, endings.map(|(point, visit)| Ending::Crash(point.into(), visit)))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_sequences_of_crashes_and_stops() {
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await.unwrap().into_keys().collect();
    let seeds = if all() { 0..2_000 } else { 0..14 };
    for seed in seeds {
        run(Scenario::random(seed, &points)).await;
    }
}
