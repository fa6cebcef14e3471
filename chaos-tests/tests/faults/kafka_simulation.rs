//! The simulated cluster with a Kafka: clicks come from its topics, results go to them, and its brokers, the way to them and the
//! processes that commit have all the troubles there are. Each result is there once, and each way to get that wrong is noticed.
//!
//! `cargo run --release -p weir-chaos-tests --bin simulate -- --kafka --seeds 1000` runs others.

use std::{ops::Range, sync::LazyLock, time::Duration};
use weir_chaos_tests::{
    simulation::{
        Outcome, Plan, Points, WrongKafka, WrongPart,
        many::for_each,
        plan::{COORDINATOR, Planned, Role, Trouble, worker},
        run,
        run::kafka_points,
        run_with,
    },
    workload::InputFormat,
};
use weir_kafka_model::Conditions;

static KAFKA_POINTS: LazyLock<Vec<String>> =
    LazyLock::new(|| kafka_points().unwrap_or_else(|error| panic!("{error:#}")));

fn all_right(plans: &[Plan]) -> Vec<Outcome> {
    let outcomes = for_each(plans, run, |_, _| {});
    for (plan, outcome) in plans.iter().zip(&outcomes) {
        if let Err(error) = &outcome.verdict {
            panic!("{plan}\n{}\n{error:#}", outcome.story.join("\n"));
        }
    }
    outcomes
}

fn to_kafka(seed: u64) -> Plan {
    let mut plan = Plan::calm(seed);
    plan.job.to_kafka = true;
    plan
}

fn planned(at: u64, lasts: u64, trouble: Trouble) -> Planned {
    Planned { at: Duration::from_millis(at), lasts: Duration::from_millis(lasts), trouble }
}

#[test]
fn a_calm_run_is_right() {
    let plans = [false, true].map(|from_kafka| {
        let mut plan = to_kafka(1);
        plan.job.from_kafka = from_kafka;
        if from_kafka {
            plan.job.format = InputFormat::Json;
        }
        plan
    });
    all_right(&plans);
}

#[test]
fn a_process_may_end_at_every_step_of_a_commit() {
    let points = &*KAFKA_POINTS;
    for point in ["kafka.fenced", "kafka.progress_read", "kafka.sent", "kafka.committed"] {
        assert!(points.iter().any(|known| known == point), "{point} is not passed: {points:?}");
    }
    let plans = (0..2).map(|nth| {
        // Some are passed by a new producer only, which only a new process has.
        let visits: Vec<_> = points.iter().map(|point| (point.clone(), 1 + nth % 2)).collect();
        let mut plan = Plan::at_points(40 + nth, Role::Worker, &visits);
        plan.job.to_kafka = true;
        plan.job.from_kafka = nth == 1;
        plan
    });
    let plans: Vec<Plan> = plans.collect();
    for outcome in all_right(&plans) {
        let ended = outcome.story.iter().filter(|line| line.contains("crash point kafka.")).count();
        assert!(ended >= 4, "{}", outcome.story.join("\n"));
    }
}

/// A worker that stands still in the midst of a commit is replaced, and goes on.
#[test]
fn a_zombie_in_a_commit_changes_nothing() {
    let plans = KAFKA_POINTS.iter().zip(0..).map(|(point, nth)| {
        let mut plan = to_kafka(60 + nth);
        let stands = Duration::from_millis(1_500 + 1_300 * nth);
        plan.freeze_points.insert(worker(1 + nth as usize % 2), vec![((point.clone(), 1 + nth % 2), stands)]);
        plan
    });
    all_right(&plans.collect::<Vec<_>>());
}

#[test]
fn brokers_that_are_away_slow_or_stand_still_lose_and_double_nothing() {
    let fair = Conditions::default();
    let troubles = [
        Conditions { is_down: true, ..fair },
        Conditions { is_frozen: true, ..fair },
        Conditions { lose_one_in: 6, lose_answer_one_in: 6, ..fair },
        Conditions { late_one_in: 8, latest: Duration::from_secs(3), ..fair },
    ];
    let mut plans: Vec<Plan> = Vec::new();
    for (nth, trouble) in (0..).zip(troubles) {
        let mut plan = to_kafka(80 + nth);
        plan.job.from_kafka = nth % 2 == 1;
        plan.troubles = vec![planned(900, 3_500, Trouble::Kafka(trouble))];
        plans.push(plan);
    }
    // For longer than a transaction may be open, and only between one worker and the brokers.
    let mut cut = to_kafka(90);
    cut.troubles =
        vec![planned(800, 7_000, Trouble::KafkaCut(worker(1))), planned(1_500, 100, Trouble::Crash(worker(2)))];
    plans.push(cut);
    all_right(&plans);
}

const SEEDS: u64 = 12;

#[test]
fn many_seeds_are_right() {
    let points = Points { kafka: KAFKA_POINTS.clone(), ..Points::default() };
    let plans = (0..SEEDS).map(|seed| {
        use rand::{SeedableRng, rngs::StdRng};
        let mut plan = troubled(seed);
        plan.with_kafka_at_random(&mut StdRng::seed_from_u64(seed), &points);
        plan
    });
    all_right(&plans.collect::<Vec<_>>());
}

#[test]
fn one_seed_gives_one_run() {
    let mut plan = troubled(3);
    plan.job.from_kafka = true;
    let outcomes = all_right(&[plan.clone(), plan]);
    assert_eq!(outcomes[0].course(), outcomes[1].course());
}

/// A worker and the coordinator end while results are in the making, the brokers are unreliable, and transactions are left open.
fn troubled(seed: u64) -> Plan {
    let mut plan = to_kafka(1_000 + seed);
    (plan.job.allowed_lateness_minutes, plan.workload.one_late_in) = (8, 4);
    plan.troubles = vec![
        planned(1_200 + 37 * seed, 120, Trouble::Crash(worker(1))),
        planned(2_300 + 37 * seed, 120, Trouble::Crash(COORDINATOR.into())),
    ];
    plan
}

/// What a whole job shows within some seeds. The other two want somebody who has lost his place and goes on from the middle of a
/// commit, which a worker that thaws does not: `kafka-model/tests/commit_protocol` notices them.
const NOTICED: [WrongKafka; 4] = [
    WrongKafka::EndByTimeout,
    WrongKafka::EndByStableOffset,
    WrongKafka::NoInitAfterUnknown,
    WrongKafka::ProgressOutside,
];

/// The seeds that a wrong cluster is looked for in, and what befalls it in each.
fn search(seed: u64, wrong: WrongKafka) -> Plan {
    let mut plan = troubled(seed);
    let crash = |at, lasts, nth: u64| planned(at, lasts, Trouble::Crash(worker(1 + nth as usize % 2)));
    plan.troubles = match wrong {
        // A transaction of somebody else is open in the progress topic, behind it the progress, and processes end.
        WrongKafka::EndByTimeout | WrongKafka::EndByStableOffset => {
            let ends =
                [1_900, 2_500, 4_300, 4_700].into_iter().zip(seed..).map(|(at, nth)| crash(at + 70 * seed, 60, nth));
            [planned(700, 9_000, Trouble::KafkaOpen)].into_iter().chain(ends).collect()
        }
        WrongKafka::NoInitAfterUnknown => {
            let late = Conditions { late_one_in: 25, latest: Duration::from_millis(300), ..Conditions::default() };
            vec![planned(600, 30_000, Trouble::Kafka(late))]
        }
        _ => (0..8).map(|nth| crash(900 + 450 * nth + 29 * seed, 50, nth)).collect(),
    };
    plan
}

/// From the first one on that most are noticed by.
static WRONG_SEEDS: Range<u64> = 5..35;

#[test]
fn clusters_that_are_seen_wrongly_are_noticed() {
    // Without a wrong one all is right.
    all_right(&NOTICED.map(|wrong| [search(0, wrong), search(1, wrong)]).concat());
    let noticed = for_each(
        &NOTICED,
        |wrong| {
            WRONG_SEEDS.clone().find_map(|seed| {
                let error = run_with(&search(seed, *wrong), Some(WrongPart::Kafka(*wrong))).verdict.err()?;
                Some((seed, format!("{error:#}")))
            })
        },
        |wrong, noticed| match noticed {
            Some((seed, how)) => {
                let how: String = how.lines().next().unwrap_or_default().chars().take(160).collect();
                println!("{wrong:?}: noticed by seed {seed}: {how}");
            }
            None => println!("{wrong:?}: not noticed"),
        },
    );
    let unnoticed: Vec<_> = NOTICED.iter().zip(&noticed).filter(|(_, noticed)| noticed.is_none()).collect();
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
}
