//! The whole cluster, simulated: a seed that fails is printed, and
//! `cargo run --release -p weir-chaos-tests --bin simulate -- --seed SEED --verbose` runs it again, exactly.

use std::{sync::LazyLock, time::Duration};
use weir_chaos_tests::{
    faults::mutants::Mutant,
    job::campaigns::Campaigns,
    oracle::{JoinKind, WindowJoin},
    simulation::{
        Outcome, Plan, Points, WrongPart, crash_points, link,
        logs::Rotations,
        many::for_each,
        plan::{COORDINATOR, Ending, Planned, Role, Trouble, coordinator, worker},
        replays::{Damage, PlannedReplay, When, replayer},
        run, run_with,
        storage::Conditions,
    },
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
    drained.ending = Ending::Drain(Duration::from_millis(1_500));
    let outcomes = all_right(&[Plan::calm(1), drained]);
    assert!(outcomes.iter().all(|outcome| outcome.ended == 0));
}

/// Every worker stands still, hardly and for so long that it is replaced, and so does the coordinator.
fn standing_still(seed: u64) -> Plan {
    let freeze = |at, lasts, host: String| Planned {
        at: Duration::from_millis(at),
        lasts: Duration::from_millis(lasts),
        trouble: Trouble::Freeze(host),
    };
    let mut plan = Plan::calm(300 + seed);
    plan.with_store = true;
    plan.troubles = vec![
        freeze(700 + 31 * seed, 150, worker(1)),
        freeze(1_200 + 53 * seed, 3_500, worker(1)),
        freeze(1_900 + 53 * seed, 2_000, COORDINATOR.into()),
    ];
    let point = ["sql_sink.marked", "files_sink.published"][seed as usize % 2];
    plan.freeze_points.insert(worker(2), vec![((point.into(), 3 + seed), Duration::from_millis(4_500))]);
    plan
}

#[test]
fn processes_that_are_stopped_and_go_on_change_nothing() {
    let plans: Vec<Plan> = (0..2).map(standing_still).collect();
    for outcome in all_right(&plans) {
        let stood = outcome.story.iter().filter(|line| line.contains("thaws")).count();
        assert!(stood >= 4, "{}", outcome.story.join("\n"));
    }
}

/// Each of three workers leaves in its turn, and is started again; with a spare slot, and with a coordinator that ends meanwhile.
fn leaving(seed: u64) -> Plan {
    let mut plan = Plan::calm(350 + seed);
    (plan.slots, plan.with_store, plan.leaderless) = (vec![1, 1, 1], true, Duration::from_secs(60));
    plan.troubles = (1..=3)
        .map(|number| Planned {
            at: Duration::from_millis(300 + 1_300 * number + 61 * seed),
            lasts: Duration::from_secs(60),
            trouble: Trouble::Leave(worker(number as usize)),
        })
        .collect();
    if seed % 2 == 1 {
        (plan.coordinators, plan.job.checkpoint_interval_ms) = (3, 90);
        let at = Duration::from_millis(1_620 + 61 * seed);
        let trouble = Trouble::Crash("leader".into());
        plan.troubles.insert(1, Planned { at, lasts: Duration::from_millis(400), trouble });
    }
    plan
}

#[test]
fn jobs_move_off_workers_that_leave_and_nothing_has_failed() {
    let plans: Vec<Plan> = (0..3).map(leaving).collect();
    for outcome in all_right(&plans) {
        let count = |what: &str| outcome.story.iter().filter(|line| line.contains(what)).count();
        let story = outcome.story.join("\n");
        // Two that leave at about the same time are one move.
        assert!(count("moved off worker") >= 1, "{story}");
        assert_eq!(count("has not left in time"), 0, "{story}");
        assert_eq!(count("job FAILING"), 0, "{story}");
    }
}

/// Two of three coordinators are away, for longer than any lease and until sources are held.
fn without_a_majority(seed: u64) -> Plan {
    let mut plan = Plan::calm(400 + seed);
    (plan.coordinators, plan.leaderless, plan.with_store) = (3, Duration::from_secs(60), true);
    plan.troubles = [1, 2]
        .map(|number| Planned {
            at: Duration::from_millis(1_500 + 37 * seed + number as u64),
            lasts: Duration::from_millis(6_000),
            trouble: Trouble::Crash(coordinator(number)),
        })
        .into();
    plan
}

#[test]
fn without_most_coordinators_jobs_run_on_and_the_next_leader_takes_them_over() {
    let plans: Vec<Plan> = (0..2).map(without_a_majority).collect();
    for outcome in all_right(&plans) {
        assert_eq!(outcome.ended, 2, "both end before the job does");
        let restarted = outcome.story.iter().find(|line| line.contains("attempt 2"));
        assert!(restarted.is_none(), "{restarted:?}\n{}", outcome.story.join("\n"));
    }
}

/// Logs grow, are rotated and removed while processes end and stand still.
#[test]
fn logs_that_grow_and_are_rotated_are_counted_once() {
    let plans = (0..2).map(|seed| {
        let mut plan = troubled(10 + seed);
        plan.follow(Rotations::ALL);
        plan
    });
    all_right(&plans.collect::<Vec<_>>());
}

/// Two sources that flow together, on files of their own, while processes end and stand still.
#[test]
fn two_sources_that_flow_together_are_counted_once() {
    let plans = (0..3).map(|seed| {
        let mut plan = troubled(40 + seed);
        plan.job.two_sources = true;
        plan.with_store = true;
        plan
    });
    all_right(&plans.collect::<Vec<_>>());
}

/// Half of the requests do not come, and half of the answers do not come back.
fn lossy_webhook(plan: &mut Plan) {
    plan.job.to_webhook = true;
    let lossy = link::Conditions { refuse_one_in: 2, lose_one_in: 2, ..link::Conditions::default() };
    let (at, lasts) = (Duration::from_millis(300), Duration::from_millis(9_000));
    plan.troubles.insert(0, Planned { at, lasts, trouble: Trouble::Webhook(lossy) });
}

/// Rows are posted while processes end, requests are lost, and answers to them; and clicks are paired meanwhile.
#[test]
fn what_is_posted_is_there_at_least_once() {
    let plans = (0..2).map(|seed| {
        let mut plan = troubled(70 + seed);
        plan.job.pairs = true;
        lossy_webhook(&mut plan);
        plan
    });
    let outcomes = all_right(&plans.collect::<Vec<_>>());
    for lost in ["the request to", "the answer to"].map(|what| format!("webhook: {what} rows is lost")) {
        let times = outcomes.iter().flat_map(|outcome| &outcome.story).filter(|line| line.contains(&lost)).count();
        assert!(times >= 3, "{times} times {lost}");
    }
}

/// An ad's campaign changes all the time, while processes end. Of every other seed the database is slow at first and loses answers.
fn looking_up(seed: u64) -> Plan {
    let mut plan = troubled(90 + seed);
    let waits = seed.is_multiple_of(2);
    plan.job.campaigns = Some(Campaigns { waits, ..Campaigns::default() });
    plan.workload.lines_per_file = 80;
    if !waits {
        let slow = link::Conditions { slowest: Duration::from_millis(60), lose_one_in: 3, ..Default::default() };
        let (at, lasts) = (Duration::from_millis(600), Duration::from_millis(1_000));
        plan.troubles.insert(0, Planned { at, lasts, trouble: Trouble::Database(slow) });
    }
    plan
}

#[test]
fn what_was_looked_up_stays_so_whoever_ends() {
    let outcomes = all_right(&(0..4).map(looking_up).collect::<Vec<_>>());
    let lost = |line: &&String| line.contains("database: the answer to") && line.ends_with("is lost");
    let lost = outcomes.iter().flat_map(|outcome| &outcome.story).filter(lost).count();
    assert!(lost > 0, "no answer is lost");
}

#[test]
fn a_job_that_is_started_over_forgets_what_was_before() {
    let plans = (0..4).map(|seed| {
        let mut plan = troubled(seed);
        plan.with_store = true;
        plan.start_over_at = Some(Duration::from_millis(1_800 + 400 * seed));
        if seed >= 2 {
            // What was asked for before is done after it was forgotten: one request in eight, seconds later.
            let late = Conditions { late_one_in: 8, latest: Duration::from_secs(6), ..Conditions::default() };
            let (at, lasts) = (Duration::from_millis(600), Duration::from_millis(1_600));
            plan.troubles.push(Planned { at, lasts, trouble: Trouble::Storage(late) });
        }
        plan
    });
    for outcome in all_right(&plans.collect::<Vec<_>>()) {
        assert!(outcome.story.iter().any(|line| line.contains("submitted, to start over")));
    }
}

/// A job over some hours, of which minutes are counted again while it runs, and all of them when it has ended.
fn counted_again(seed: u64, damages: &[Option<Damage>]) -> Plan {
    let mut plan = Plan::calm(700 + seed);
    plan.workload.minutes = 30;
    // Most minutes are corrected, and lists with them.
    (plan.job.allowed_lateness_minutes, plan.workload.one_late_in) = (3, 4);
    let replays = damages.iter().zip(0..).map(|(damage, nth)| PlannedReplay {
        when: When::At(Duration::from_millis(2_000 + 700 * nth)),
        host: 1 + nth as usize % 2,
        from: [None, Some(2), Some(4)][nth as usize % 3],
        to: None,
        damage: *damage,
    });
    plan.replay(replays.collect());
    plan
}

/// Whoever counts again ends at each of its steps, and stands still at each.
#[test]
fn what_is_counted_again_is_right() {
    let mut ended = counted_again(0, &[None, None]);
    let mut frozen = counted_again(1, &[Some(Damage::Changed(0)), Some(Damage::Lists), Some(Damage::Removed(1))]);
    frozen.job.wrong_filter = true;
    let own: Vec<_> = POINTS.replayer.iter().filter(|point| point.starts_with("replay.")).collect();
    assert!(own.len() >= 5, "{own:?}");
    for (nth, point) in own.into_iter().enumerate() {
        ended.crash_points.entry(replayer(1)).or_default().push((point.clone(), 1));
        let stands = ((point.clone(), 1), Duration::from_millis(300 + 900 * nth as u64));
        frozen.freeze_points.entry(replayer(1 + nth % 2)).or_default().push(stands);
    }
    for outcome in all_right(&[ended, frozen]) {
        let through = outcome.story.iter().filter(|line| line.contains("is through")).count();
        assert!(through >= 3, "{}", outcome.story.join("\n"));
    }
}

#[test]
fn one_seed_gives_one_run() {
    let mut followed = Plan::random(3, &POINTS);
    followed.follow(Rotations { remove: false, ..Rotations::ALL });
    followed.with_store = true;
    let plans = vec![Plan::random(1, &POINTS), followed, counted_again(2, &[Some(Damage::Removed(0))])];
    let twice = [plans.clone(), plans].concat();
    let outcomes = all_right(&twice);
    for (first, second) in outcomes.iter().zip(&outcomes[3..]) {
        let (first, second) = (first.course(), second.course());
        let parted = first.iter().zip(&second).position(|(first, second)| first != second);
        if let Some(line) = parted {
            let before = first[line.saturating_sub(30)..line].join("\n");
            panic!("after {line} lines:\n{before}\n\n{}\n{}", first[line], second[line]);
        }
        assert_eq!(first.len(), second.len());
    }
    assert_ne!(outcomes[0].course(), outcomes[1].course());
}

#[test]
fn a_process_may_end_at_every_crash_point() {
    let points = &*POINTS;
    assert!(points.coordinator.len() >= 10 && points.worker.len() >= 10, "{points:?}");
    // Some are passed once an attempt; the others rather in the middle of it.
    let once = ["attempt.", "recovery.", "run.", "worker.", "source.open", "files.listed", "http_sink."];
    // What is left to read after other points is few batches.
    let visit = |point: &str| match point {
        "source.batch" => 2,
        _ if once.iter().any(|once| point.starts_with(once)) => 1,
        _ => 3,
    };
    let of = |role, names: &[String], seed, (with_store, to_webhook)| {
        let visits: Vec<_> = names.iter().map(|point| (point.clone(), visit(point))).collect();
        let plans = visits.chunks(POINTS_AT_ONCE).zip(seed..).map(|(some, seed)| {
            let mut plan = Plan::at_points(seed, role, some);
            (plan.with_store, plan.job.to_webhook) = (with_store, to_webhook);
            if to_webhook {
                // Blocks are corrected again and again, so that there is something to post.
                (plan.job.allowed_lateness_minutes, plan.workload.one_late_in) = (8, 4);
            }
            plan
        });
        plans.collect::<Vec<_>>()
    };
    let plans = [
        of(Role::Coordinator, &points.coordinator, 500, (false, false)),
        of(Role::Worker, &points.worker, 600, (false, false)),
        of(Role::Worker, &points.database, 700, (true, false)),
        of(Role::Worker, &points.webhook, 800, (false, true)),
    ];
    let plans = plans.concat();
    let mut unvisited = Vec::new();
    for (plan, outcome) in plans.iter().zip(all_right(&plans)) {
        let ended = outcome.story.iter().filter(|line| line.contains(" ends (process "));
        let ended: Vec<&String> = ended.collect();
        for (point, visit) in plan.crash_points.values().flatten() {
            let told = format!("crash point {point}, visit {visit}");
            if !ended.iter().any(|line| line.ends_with(&told)) {
                unvisited.push((plan.seed, told));
            }
        }
    }
    assert!(unvisited.is_empty(), "not come by: {unvisited:?}");
}

/// So many processes of a host end in one simulation, each at a point of its own.
const POINTS_AT_ONCE: usize = 4;

const SEEDS: u64 = 14;

#[test]
fn dozens_of_seeds_are_right() {
    let plans: Vec<Plan> = (100..100 + SEEDS).map(|seed| Plan::random(seed, &POINTS)).collect();
    for kind in JoinKind::ALL {
        let is_drawn = plans.iter().any(|plan| plan.job.window_join.is_some_and(|join| join.kind == kind));
        assert!(is_drawn, "no job joins results by {kind:?}");
    }
    let outcomes = all_right(&plans);
    let ended: usize = outcomes.iter().map(|outcome| outcome.ended).sum();
    println!("{} seeds, {ended} processes ended before their time", outcomes.len());
    assert!(ended > outcomes.len());
}

/// Counts come and go on both sides of a join while processes end, also when most windows are over and many are corrected.
fn joining(seed: u64) -> Plan {
    let kind = JoinKind::ALL[seed as usize % 4];
    let mut plan = troubled(110 + seed);
    plan.job.window_join = Some(WindowJoin { kind, turned: seed >= 2, more_lateness_minutes: 3 * (seed as i64 % 2) });
    // So many that each subtask has some.
    (plan.workload.ads, plan.workload.lines_per_file) = (6, 80);
    let later = [4_900, 5_900, 6_900].map(|at| Planned {
        at: Duration::from_millis(at + 37 * seed),
        lasts: Duration::from_millis(120),
        trouble: Trouble::Crash(worker(1)),
    });
    plan.troubles.extend(later);
    plan
}

#[test]
fn results_are_joined_whoever_ends() {
    all_right(&(0..4).map(joining).collect::<Vec<_>>());
}

/// The seeds that a wrong part is looked for in, and what befalls the cluster in each.
fn searches(wrong: Option<WrongPart>) -> Vec<Plan> {
    // What a disk forgets may not have mattered.
    let seeds = if wrong == Some(WrongPart::DiskForgets) { 12 } else { 3 };
    (0..seeds).map(|seed| search(seed, wrong)).collect()
}

fn search(seed: u64, wrong: Option<WrongPart>) -> Plan {
    let mut plan = troubled(seed);
    match wrong {
        Some(WrongPart::Operators(Mutant::TableKeepsTheFirst | Mutant::TableSkipsCommits)) => plan.with_store = true,
        Some(WrongPart::Operators(Mutant::LookupForgets)) => return looking_up(seed),
        Some(WrongPart::WindowJoin(_)) => return joining(seed),
        Some(WrongPart::WebhookBelieved) => lossy_webhook(&mut plan),
        Some(WrongPart::ThawedForAnOlderAttempt) => plan = standing_still(seed),
        Some(wrong) if wrong.is_of_replays() => return counted_again(20 + seed, &[Some(Damage::Changed(1)), None]),
        Some(WrongPart::Operators(Mutant::SourceRestoresBehind)) => plan.follow(Rotations::ALL),
        Some(WrongPart::Operators(Mutant::ResetRemovesNothing)) => {
            plan.start_over_at = Some(Duration::from_millis(2_500));
        }
        _ => {}
    }
    plan
}

/// A worker and the coordinator end while results are in the making.
fn troubled(seed: u64) -> Plan {
    // However large the seed is, the job is not over before.
    let nth = seed % 10;
    let mut plan = Plan::calm(1_000 + seed);
    // Most windows are corrected, many of them several times.
    (plan.job.allowed_lateness_minutes, plan.workload.one_late_in) = (8, 4);
    let crash = |at: u64, lasts: u64, host: String| Planned {
        at: Duration::from_millis(at + 37 * nth),
        lasts: Duration::from_millis(lasts),
        trouble: Trouble::Crash(host),
    };
    // The coordinator is away for longer than the workers' lease: else it would take over what runs.
    plan.troubles = vec![crash(1_200, 120, worker(1)), crash(2_300, 900, COORDINATOR.into())];
    plan.crash_points.insert(worker(2), vec![("commit.one_done".into(), 5 + nth)]);
    plan
}

#[test]
fn parts_that_are_built_wrong_are_noticed() {
    // Without a wrong part all is right.
    all_right(&searches(None));
    let noticed = for_each(
        &WrongPart::ALL,
        |wrong| {
            let noticed = |(tried, plan): (usize, &Plan)| {
                let error = run_with(plan, Some(*wrong)).verdict.err()?;
                Some((tried + 1, format!("{error:#}")))
            };
            searches(Some(*wrong)).iter().enumerate().find_map(noticed)
        },
        |wrong, noticed| match noticed {
            Some((tried, how)) => {
                let how: String = how.lines().next().unwrap_or_default().chars().take(160).collect();
                println!("{wrong:?}: noticed after {tried} seeds: {how}");
            }
            None => println!("{wrong:?}: not noticed"),
        },
    );
    let unnoticed = WrongPart::ALL.iter().zip(&noticed).filter(|(_, noticed)| noticed.is_none());
    let unnoticed: Vec<_> = unnoticed.map(|(wrong, _)| wrong).collect();
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:?}");
}
