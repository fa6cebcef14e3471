//! The whole cluster, simulated: a seed that fails is printed, and
//! `cargo run --release -p weir-chaos-tests --bin simulate -- --seed SEED --verbose` runs it again, exactly.

use std::sync::LazyLock;
use weir_chaos_tests::simulation::{
    Outcome, Plan, Points, crash_points,
    many::for_each,
    plan::{Ending, Role},
    run,
};

static POINTS: LazyLock<Points> = LazyLock::new(|| crash_points().unwrap_or_else(|error| panic!("{error:#}")));

/// Runs all plans, and fails with everything about the first that is wrong.
fn all_right(plans: &[Plan]) -> Vec<Outcome> {
    let outcomes = for_each(plans, run, |_, _| {});
    let wrong: Vec<u64> = plans
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| outcome.verdict.is_err())
        .map(|(plan, _)| plan.seed)
        .collect();
    for (plan, outcome) in plans.iter().zip(&outcomes) {
        if let Err(error) = &outcome.verdict {
            let story = outcome.story.join("\n");
            panic!(
                "{plan}\n{story}\n{error:#}\n\nwrong seeds: {wrong:?}; again with\n  \
                 cargo run --release -p weir-chaos-tests --bin simulate -- --seed {} --verbose",
                plan.seed
            );
        }
    }
    outcomes
}

#[test]
fn a_calm_run_is_right_and_so_is_one_that_is_drained() {
    let mut drained = Plan::calm(2);
    drained.ending = Ending::Drain(std::time::Duration::from_millis(1_500));
    let outcomes = all_right(&[Plan::calm(1), drained]);
    assert!(outcomes.iter().all(|outcome| outcome.ended == 0));
}

#[test]
fn one_seed_gives_one_run() {
    let plans: Vec<Plan> = (0..6).map(|seed| Plan::random(seed, &POINTS)).collect();
    let twice = [plans.clone(), plans].concat();
    let outcomes = all_right(&twice);
    for (first, second) in outcomes.iter().zip(&outcomes[6..]) {
        let parted = first.details.iter().zip(&second.details).position(|(first, second)| first != second);
        if let Some(line) = parted {
            let before = first.details[line.saturating_sub(30)..line].join("\n");
            panic!("after {line} lines:\n{before}\n\n{}\n{}", first.details[line], second.details[line]);
        }
        assert_eq!(first.details.len(), second.details.len());
    }
    assert_ne!(outcomes[0].details, outcomes[1].details);
}

#[test]
fn a_process_may_end_at_every_crash_point() {
    let points = &*POINTS;
    assert!(points.coordinator.len() >= 10 && points.worker.len() >= 10, "{points:?}");
    // Some are passed once an attempt.
    let often = |point: &str| !["attempt.", "recovery.", "run.", "worker."].iter().any(|once| point.starts_with(once));
    let of = |role, names: &[String]| {
        let plans = names.iter().flat_map(|point| {
            let visits = if often(point) { &[1, 3][..] } else { &[1] };
            visits.iter().map(|visit| (format!("{point} {visit}"), Plan::at_point(*visit, role, point, *visit)))
        });
        plans.collect::<Vec<_>>()
    };
    let plans = [of(Role::Coordinator, &points.coordinator), of(Role::Worker, &points.worker)].concat();
    let (names, plans): (Vec<_>, Vec<_>) = plans.into_iter().unzip();
    let outcomes = all_right(&plans);
    let unvisited = names.iter().zip(&outcomes).filter(|(_, outcome)| outcome.ended < 2).map(|(name, _)| name);
    let unvisited: Vec<_> = unvisited.collect();
    assert!(unvisited.is_empty(), "not come by: {unvisited:?}");
}

const SEEDS: u64 = 30;

#[test]
fn dozens_of_seeds_are_right() {
    let plans: Vec<Plan> = (100..100 + SEEDS).map(|seed| Plan::random(seed, &POINTS)).collect();
    let outcomes = all_right(&plans);
    let ended: usize = outcomes.iter().map(|outcome| outcome.ended).sum();
    println!("{} seeds, {ended} processes ended before their time", outcomes.len());
    assert!(ended > outcomes.len());
}
