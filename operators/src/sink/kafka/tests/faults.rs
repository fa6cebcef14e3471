//! Crashes between any two steps, zombies, answers that are lost and requests that come late, brokers that are away.

use super::*;
use conformance::{numbers, visible};
use futures::future::join;
use weir_engine::{
    ErrorKind,
    env::CrashPlan,
    ids::Attempt,
    operator::{CommitOutcome, SweepScope},
};
use weir_kafka_model::Conditions;

/// Everything that a commit passes.
const POINTS: [&str; 6] =
    ["kafka.staged", "kafka.fenced", "kafka.progress_read", "kafka.sent", "kafka.committed", "kafka.cleared"];

/// Longer than brokers leave a transaction open.
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_steps_loses_and_doubles_nothing() {
    for (point, pause) in POINTS.into_iter().flat_map(|point| [(point, Duration::ZERO), (point, LONG)]) {
        let mut target = Target::new();
        let first = target.staged(1, 0..10, 1).await;
        target.prepared().await.commit(CheckpointId(1), &first).await.unwrap();
        let second = target.staged(1, 10..20, 2).await;
        target.env = Env::simulated(1, Arc::new(|| 0)).with_crash_plan(CrashPlan::crash_at(point, 1));
        let crashed = match point {
            "kafka.staged" => {
                let mut sink = target.sink(&context(1, 1));
                sink.write(conformance::rows(20..30)).await.unwrap();
                sink.stage(Barrier::new(CheckpointId(3))).await.map(|_| ())
            }
            _ => target.new_committer().commit(CheckpointId(2), &second).await.map(|_| ()),
        };
        assert_eq!(crashed.unwrap_err().kind, ErrorKind::Crash, "{point}");
        target.env = Env::simulated(2, Arc::new(|| 0));
        target.env.sleep(pause).await;
        let seen = visible(&target).await;
        assert!(seen == numbers(0..10) || seen == numbers(0..20), "{point}: {seen:?}");
        // The next attempt commits what was decided, and sweeps.
        let committer = target.new_committer();
        committer.commit(CheckpointId(2), &second).await.unwrap();
        assert_eq!(visible(&target).await, numbers(0..20), "{point}: at once, whatever was left open");
        committer.prepare().await.unwrap();
        committer.compare(CheckpointId(2), true).await.unwrap();
        committer.sweep(&SweepScope { attempt: Attempt(2), keep: second.clone(), results: None }).await.unwrap();
        assert_eq!((visible(&target).await, target.leftovers().await), (numbers(0..20), 0), "{point}");
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_that_wait_are_written_in_one_transaction_or_not_at_all() {
    for point in &POINTS[1..] {
        let mut target = Target::new();
        let several = conformance::stage_several(&target, 5).await;
        target.prepared().await.commit(CheckpointId(1), &several[0].committables).await.unwrap();
        target.env = Env::simulated(1, Arc::new(|| 0)).with_crash_plan(CrashPlan::crash_at(*point, 1));
        let crashed = target.new_committer().commit_together(&several[1..4]).await;
        assert_eq!(crashed.unwrap_err().kind, ErrorKind::Crash, "{point}");
        target.env = Env::simulated(2, Arc::new(|| 0));
        target.env.sleep(LONG).await;
        let seen = visible(&target).await;
        assert!(seen == numbers(0..10) || seen == numbers(0..40), "{point}: {seen:?}");
        let committer = target.new_committer();
        assert_eq!(committer.commit_together(&several).await.unwrap(), (5, CommitOutcome::Done), "{point}");
        assert_eq!(committer.transactions(), 1, "{point}: for all that was left");
        assert_eq!((visible(&target).await, target.leftovers().await), (numbers(0..50), 0), "{point}");
        committer.compare(CheckpointId(5), true).await.unwrap();
        // Each record says of which checkpoint it is.
        for written in target.committed(TOPIC).await {
            let of = &written.record.headers.iter().find(|(name, _)| name == "checkpoint").unwrap().1;
            assert_eq!(of.as_deref(), Some((number(&written) / 10 + 1).to_string().as_bytes()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_follow_is_not_taken_along() {
    let target = Target::new();
    let committer = target.prepared().await;
    let mut several = conformance::stage_several(&target, 3).await;
    // As if one in between were missing.
    several[2].committables[0].after = Some(CheckpointId(9));
    assert_eq!(committer.commit_together(&several).await.unwrap(), (2, CommitOutcome::Done));
    let error = committer.commit_together(&several[2..]).await.unwrap_err();
    assert!(error.message.contains("checkpoint 2 is the newest"), "{error}");
    assert_eq!(visible(&target).await, numbers(0..20));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_lost_holds_up_its_own_checkpoint_and_those_behind() {
    let target = Target::new();
    let committer = target.prepared().await;
    let several = conformance::stage_several(&target, 4).await;
    let path = several[2].committables[0].payload["parts"][0]["file"]["path"].as_str().unwrap().to_owned();
    target.store.delete(&path.as_str().into()).await.unwrap();
    let error = committer.commit_together(&several).await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains(&path), "{error}");
    assert_eq!(visible(&target).await, numbers(0..20), "what is before it is decided, and there");
}

/// It loses and delays questions and answers, and lets some overtake others.
fn bad_way() -> Conditions {
    Conditions {
        lose_one_in: 9,
        lose_answer_one_in: 7,
        late_one_in: 12,
        overtaken_one_in: 12,
        latest: Duration::from_secs(3),
        slowest: Duration::from_millis(30),
        ..Conditions::default()
    }
}

/// Two workers commit what waits, not the same, over a way that loses and delays.
async fn commit_what_waits_over_a_bad_way(seed: u64) {
    let target = Target::seeded(seed);
    let mut workers = [target.prepared().await, target.new_committer()];
    let several = conformance::stage_several(&target, 12).await;
    for (from, until) in [(0, 1), (1, 5), (3, 6), (0, 12)] {
        target.model.set(bad_way());
        let first = conformance::commit_waiting(&workers[0], &several[from..until]);
        let second = conformance::commit_waiting(&workers[1], &several[..until - seed as usize % until]);
        join(first, second).await;
        if until == 6 {
            workers[1] = target.new_committer();
            target.model.compact(2);
        }
    }
    target.model.set(Conditions::default());
    target.env.sleep(LONG).await;
    assert_eq!(visible(&target).await, numbers(0..120), "{seed}");
    target.prepared().await.compare(CheckpointId(12), true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_neither_lost_nor_doubled_on_a_bad_way() {
    for seed in 0..60 {
        commit_what_waits_over_a_bad_way(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_down_between_a_checkpoint_and_its_commit_loses_nothing() {
    let target = Target::new();
    let committer = target.prepared().await;
    committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    let staged = target.staged(1, 10..20, 2).await;
    // Longer than a transaction may be open; and longer than brokers remember a transactional id.
    for (checkpoint, pause) in [(2, LONG), (3, Duration::from_secs(15 * 86_400))] {
        let from = checkpoint as i64 * 10 - 10;
        let staged = if checkpoint == 2 { staged.clone() } else { target.staged(1, from..from + 10, 3).await };
        target.env.sleep(pause).await;
        let number = CheckpointId(checkpoint);
        assert_eq!(
            committer.commit(number, &staged).await.unwrap(),
            CommitOutcome::Done,
            "by the one that stood still"
        );
        assert_eq!(target.new_committer().commit(number, &staged).await.unwrap(), CommitOutcome::AlreadyDone);
        assert_eq!(visible(&target).await, numbers(0..from + 10));
    }
}

/// Two workers commit every checkpoint at the same time, over a way that loses and delays.
async fn commit_over_a_bad_way(seed: u64) {
    let target = Target::seeded(seed);
    let mut workers = [target.prepared().await, target.new_committer()];
    let mut decided = 0;
    for checkpoint in 1..=6 {
        let staged = target.staged(1, decided..decided + 25, checkpoint).await;
        decided += 25;
        target.model.set(bad_way());
        let number = CheckpointId(checkpoint);
        let (one, other) = join(workers[0].commit(number, &staged), workers[1].commit(number, &staged)).await;
        assert!(one.is_ok() && other.is_ok(), "{seed}: {one:?} {other:?}");
        if checkpoint == 3 {
            workers[1] = target.new_committer();
            target.model.compact(2);
        }
    }
    target.model.set(Conditions::default());
    target.env.sleep(LONG).await;
    assert_eq!(visible(&target).await, numbers(0..decided), "{seed}");
    target.prepared().await.compare(CheckpointId(6), true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_late_requests_neither_lose_nor_double() {
    for seed in 0..60 {
        commit_over_a_bad_way(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_was_cut_off_in_its_commit_finds_it_done() {
    for cut_after in [0, 3, 6, 9, 12, 15, 20, 30] {
        let target = Target::seeded(cut_after);
        let mut zombie = target.new_committer();
        zombie.cluster = target.model.cluster_of("zombie");
        zombie.prepare().await.unwrap();
        let staged = target.staged(1, 0..50, 1).await;
        let alone = async {
            target.env.sleep(Duration::from_millis(cut_after)).await;
            target.model.set_cut("zombie", true);
            target.env.sleep(Duration::from_secs(5)).await;
            let successor = target.new_committer();
            let outcome = successor.commit(CheckpointId(1), &staged).await.unwrap();
            let next = target.staged(2, 50..60, 2).await;
            successor.commit(CheckpointId(2), &next).await.unwrap();
            target.model.set_cut("zombie", false);
            outcome
        };
        let (late, outcome) = join(zombie.commit(CheckpointId(1), &staged), alone).await;
        late.unwrap();
        assert!(outcome == CommitOutcome::Done || cut_after > 3, "{cut_after}");
        assert_eq!(visible(&target).await, numbers(0..60), "{cut_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_that_are_away_are_waited_for_and_it_is_said() {
    let target = Target::new();
    let committer = target.prepared().await;
    for (checkpoint, is_frozen) in [(1, false), (2, true)] {
        let from = checkpoint as i64 * 10;
        let staged = target.staged(1, from..from + 10, checkpoint).await;
        target.model.set(Conditions { is_down: !is_frozen, is_frozen, ..Conditions::default() });
        let back = async {
            target.env.sleep(LONG).await;
            let wait = target.waits.now().remove(SINK).expect("it says that it waits");
            assert!(wait.cause.contains("do not answer"), "{wait:?}");
            target.model.set(Conditions::default());
        };
        let (committed, ()) = join(committer.commit(CheckpointId(checkpoint), &staged), back).await;
        committed.unwrap();
        assert!(target.waits.now().is_empty());
    }
    assert_eq!(visible(&target).await, numbers(10..30));
    target.model.set(Conditions { is_down: true, ..Conditions::default() });
    let error = target.new_committer().prepare().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "a start does not wait for ever: {error}");
}

#[tokio::test(start_paused = true)]
async fn who_was_begun_afresh_after_is_refused() {
    let target = Target::new();
    let zombie = target.prepared().await;
    zombie.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    let late = target.staged(1, 10..20, 2).await;
    let fresh = target.committer_in(SINK, Lineage(2));
    fresh.reset(Lineage(2)).await.unwrap();
    // Staged since, by one who is still at work.
    let mut sink = target.sink(&context(1, 1));
    sink.write(conformance::rows(20..30)).await.unwrap();
    let since = sink.stage(Barrier::new(CheckpointId(2))).await.unwrap();
    let refused = zombie.commit(CheckpointId(2), &since).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
    let refused = zombie.commit(CheckpointId(2), &late).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
    assert_eq!(zombie.prepare().await.unwrap_err().kind, ErrorKind::Fenced);
    fresh.commit(CheckpointId(1), &target.staged(3, 100..105, 1).await).await.unwrap();
    // The same once more changes nothing; one that was frozen half-way comes too late.
    fresh.reset(Lineage(2)).await.unwrap();
    fresh.compare(CheckpointId(1), true).await.unwrap();
    let next = target.committer_in(SINK, Lineage(4));
    next.reset(Lineage(4)).await.unwrap();
    let refused = fresh.reset(Lineage(2)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
    assert_eq!(visible(&target).await, [numbers(0..10), numbers(100..105)].concat());
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_checkpoints_lie_elsewhere_is_refused_until_it_starts_over() {
    let mut target = Target::new();
    target.prepared().await.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    target.store = store();
    let other = target.new_committer();
    let refused = other.prepare().await.unwrap_err();
    assert!(refused.kind == ErrorKind::Definition && refused.message.contains("lie elsewhere"), "{refused}");
    let staged = target.staged(1, 0..10, 1).await;
    assert!(other.commit(CheckpointId(1), &staged).await.is_err());
    let other = target.committer_in(SINK, Lineage(2));
    other.reset(Lineage(2)).await.unwrap();
    other.prepare().await.unwrap();
    other.commit(CheckpointId(1), &target.staged(2, 10..20, 1).await).await.unwrap();
    assert_eq!(visible(&target).await, numbers(0..20));
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_or_lost_is_not_committed() {
    let target = Target::new();
    let committer = target.prepared().await;
    let staged = target.staged(1, 0..10, 1).await;
    let mut damaged = staged.clone();
    damaged[0].payload["parts"][0]["file"]["checksum"] = "00".into();
    for failed in [committer.verify(&damaged).await, committer.commit(CheckpointId(1), &damaged).await.map(|_| ())] {
        let error = failed.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("is damaged"), "{error}");
    }
    committer.verify(&staged).await.unwrap();
    for path in target.staging(SINK).list().await.unwrap() {
        target.store.delete(&path.as_str().into()).await.unwrap();
    }
    let error = committer.commit(CheckpointId(1), &staged).await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains("10 rows"), "{error}");
    assert_eq!(visible(&target).await, [0i64; 0]);
}

#[tokio::test(start_paused = true)]
async fn topics_and_checkpoints_of_different_times_are_told_apart() {
    let target = Target::new();
    let committer = target.prepared().await;
    committer.compare(CheckpointId(0), true).await.unwrap();
    for checkpoint in [3, 5] {
        let from = checkpoint as i64 * 10;
        let staged = target.staged(1, from..from + 10, checkpoint).await;
        committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
    }
    committer.compare(CheckpointId(5), true).await.unwrap();
    let newer = committer.compare(CheckpointId(3), true).await.unwrap_err();
    assert!(newer.message.contains("up to checkpoint 3,") && newer.message.contains("of checkpoint 5 "), "{newer}");
    let older = committer.compare(CheckpointId(8), true).await.unwrap_err();
    assert!(older.message.contains("checkpoint 5 is the newest"), "{older}");
    committer.compare(CheckpointId(8), false).await.expect("it is not committed yet");
    committer.compare(CheckpointId(3), false).await.expect_err("newer is newer");
    // One that remembers an older state looks once more before it complains.
    let remembers = target.prepared().await;
    let staged = target.staged(2, 60..70, 6).await;
    target.new_committer().commit(CheckpointId(6), &staged).await.unwrap();
    remembers.prepare().await.unwrap();
    remembers.compare(CheckpointId(6), true).await.unwrap();
    // While the job runs, too: what comes next says what it comes after.
    let mut staged = target.staged(1, 90..100, 9).await;
    staged.iter_mut().for_each(|one| one.after = Some(CheckpointId(8)));
    let gap = committer.commit(CheckpointId(9), &staged).await.unwrap_err();
    assert!(gap.message.contains("checkpoint 6 is the newest"), "{gap}");
    staged.iter_mut().for_each(|one| one.after = Some(CheckpointId(6)));
    committer.commit(CheckpointId(9), &staged).await.unwrap();
    assert_eq!(visible(&target).await, [numbers(30..40), numbers(50..70), numbers(90..100)].concat());
}

#[tokio::test(start_paused = true)]
async fn a_large_checkpoint_is_split_and_goes_on_where_it_was() {
    let mut target = Target::new();
    target.model.create("small", 3, &[("max.message.bytes", "900")]);
    target.config.topic = "small".into();
    async fn seen(target: &Target) -> Vec<i64> {
        let mut seen: Vec<i64> = target.committed("small").await.iter().map(number).collect();
        seen.sort_unstable();
        seen
    }
    let staged = target.staged(1, 0..20, 1).await;
    for visit in 2..4 {
        target.env =
            Env::simulated(visit, Arc::new(|| 0)).with_crash_plan(CrashPlan::crash_at("kafka.committed", visit));
        let committer = target.new_committer();
        committer.is_small.store(true, Ordering::Relaxed);
        let crashed = committer.commit(CheckpointId(1), &staged).await.unwrap_err();
        assert_eq!(crashed.kind, ErrorKind::Crash);
    }
    // After two and three transactions of two or three rows each.
    let count = seen(&target).await.len() as i64;
    assert!((9..20).contains(&count) && seen(&target).await == numbers(0..count), "{count}");
    target.env = Env::simulated(1, Arc::new(|| 0));
    let committer = target.new_committer();
    committer.compare(CheckpointId(1), true).await.expect_err("it is not all in");
    committer.compare(CheckpointId(1), false).await.unwrap();
    assert_eq!(committer.commit(CheckpointId(1), &staged).await.unwrap(), CommitOutcome::Done);
    assert_eq!(committer.transactions(), 1, "what is left fits into one");
    assert_eq!(seen(&target).await, numbers(0..20));
    let next = target.staged(1, 20..40, 2).await;
    committer.is_small.store(true, Ordering::Relaxed);
    committer.commit(CheckpointId(2), &next).await.unwrap();
    assert!(committer.transactions() > 5, "{} transactions of two or three rows", committer.transactions());
}

#[tokio::test(start_paused = true)]
async fn a_rescale_changes_no_id() {
    let target = Target::new();
    let committer = target.prepared().await;
    for (checkpoint, subtasks) in [(1, 1_usize), (2, 4), (3, 2)] {
        let mut staged = Vec::new();
        for subtask in 0..subtasks {
            let mut sink = target.sink(&context(checkpoint, subtask));
            let from = checkpoint as i64 * 100 + subtask as i64 * 10;
            sink.write(conformance::rows(from..from + 10)).await.unwrap();
            staged.extend(sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap());
        }
        committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
        assert_eq!(
            target.new_committer().commit(CheckpointId(checkpoint), &staged).await.unwrap(),
            CommitOutcome::AlreadyDone
        );
    }
    assert_eq!(visible(&target).await, [numbers(100..110), numbers(200..240), numbers(300..320)].concat());
}

#[tokio::test(start_paused = true)]
async fn at_least_once_loses_nothing_and_needs_no_progress() {
    for seed in 0..20 {
        let mut target = Target::seeded(seed);
        target.config.delivery = Delivery::AtLeastOnce;
        let committer = target.prepared().await;
        for checkpoint in 1..=4 {
            let from = checkpoint as i64 * 10;
            let staged = target.staged(1, from..from + 10, checkpoint).await;
            target.model.set(Conditions { lose_one_in: 5, lose_answer_one_in: 4, ..Conditions::default() });
            assert_eq!(committer.commit(CheckpointId(checkpoint), &staged).await.unwrap(), CommitOutcome::Done);
            let again = target.new_committer().commit(CheckpointId(checkpoint), &staged).await.unwrap();
            assert_eq!(again, CommitOutcome::AlreadyDone);
        }
        let mut seen = visible(&target).await;
        seen.dedup();
        assert_eq!(seen, numbers(10..50), "{seed}");
        assert_eq!(target.model.committed(PROGRESS), None);
    }
}
