//! What every two-phase sink must do, whatever it writes to. Each rule is run against each sink.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use futures::future::BoxFuture;
use std::{collections::BTreeMap, ops::Range, sync::Arc};
use weir_engine::{
    element::{Barrier, Batch},
    ids::{Attempt, CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, OperatorContext, Sink, SweepScope, ToCommit},
};

pub(super) const JOB: &str = "ad-click";
pub(super) const SINK: &str = "sink.counts";

/// A sink whose target a test can look into. A new one has an empty target of its own.
pub(super) trait SinkUnderTest: Sync {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink>;

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer>;

    /// The numbers in column `n` of all rows that a reader sees, in any order.
    fn visible(&self) -> BoxFuture<'_, Vec<i64>>;

    /// How many things are staged, finished or not.
    fn leftovers(&self) -> BoxFuture<'_, usize>;

    /// Whether a reset makes results disappear.
    fn can_take_back(&self) -> bool {
        true
    }
}

/// Runs all rules, each on a target of its own.
pub(super) async fn check_all<S: SinkUnderTest>(new: impl Fn() -> S) {
    rows_are_seen_after_their_commit_and_once(&new()).await;
    anyone_may_commit_at_the_same_time(&new()).await;
    a_checkpoint_is_staged_beside_the_next_one(&new()).await;
    a_crash_before_the_commit_loses_nothing(&new()).await;
    what_was_not_staged_is_written_again(&new()).await;
    subtasks_and_sinks_do_not_meet(&new()).await;
    nothing_makes_no_committable(&new()).await;
    a_sweep_takes_only_what_the_dead_have_left(&new()).await;
    a_reset_starts_afresh(&new()).await;
    checkpoints_that_wait_are_committed_in_order_and_once(&new()).await;
    several_committers_may_be_asked_for_different_checkpoints(&new()).await;
}

/// Rows with the numbers of a range, a minute apart.
pub(super) fn rows(numbers: Range<i64>) -> Batch {
    let times = TimestampMillisecondArray::from_iter_values(numbers.clone().map(|n| n * 60_000)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 2] =
        [("n", Arc::new(Int64Array::from_iter_values(numbers))), ("time", Arc::new(times))];
    Batch::new(RecordBatch::try_from_iter(columns).unwrap())
}

pub(super) fn context(attempt: u64, subtask: usize) -> OperatorContext {
    let mut context = OperatorContext::single(JOB, SINK);
    context.attempt = Attempt(attempt);
    context.subtask = subtask;
    context
}

pub(super) fn numbers(range: Range<i64>) -> Vec<i64> {
    range.collect()
}

pub(super) async fn visible(target: &impl SinkUnderTest) -> Vec<i64> {
    let mut numbers = target.visible().await;
    numbers.sort_unstable();
    numbers
}

async fn stage(sink: &mut Box<dyn Sink>, numbers: Range<i64>, checkpoint: u64) -> Vec<Committable> {
    sink.write(rows(numbers)).await.unwrap();
    through_a_manifest(&sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap())
}

/// Committables as they come back from storage.
fn through_a_manifest(committables: &[Committable]) -> Vec<Committable> {
    serde_json::from_str(&serde_json::to_string(committables).unwrap()).unwrap()
}

async fn commit(committer: &dyn Committer, committables: &[Committable], expected: CommitOutcome) {
    for (checkpoint, committables) in by_checkpoint(committables) {
        assert_eq!(committer.commit(checkpoint, &committables).await.unwrap(), expected);
    }
}

/// Rows of so many checkpoints, ten each, as manifests say of them.
pub(super) async fn stage_several(target: &impl SinkUnderTest, many: u64) -> Vec<ToCommit> {
    let (mut sink, mut several) = (target.sink(&context(1, 0)), Vec::new());
    for number in 1..=many {
        let first = (number as i64 - 1) * 10;
        let mut committables = stage(&mut sink, first..first + 10, number).await;
        committables.iter_mut().for_each(|one| one.after = Some(CheckpointId(number - 1)));
        several.push(ToCommit { checkpoint: CheckpointId(number), committables });
    }
    several
}

/// Commits what waits, as recovery does. Returns how many commits made something visible.
pub(super) async fn commit_waiting(committer: &dyn Committer, mut rest: &[ToCommit]) -> usize {
    let mut done = 0;
    while !rest.is_empty() {
        let (many, outcome) = committer.commit_together(rest).await.unwrap();
        assert!((1..=rest.len()).contains(&many), "{many} of {}", rest.len());
        done += usize::from(outcome == CommitOutcome::Done);
        rest = &rest[many..];
    }
    done
}

fn by_checkpoint(committables: &[Committable]) -> BTreeMap<CheckpointId, Vec<Committable>> {
    let mut groups: BTreeMap<_, Vec<Committable>> = BTreeMap::new();
    committables.iter().for_each(|one| groups.entry(one.checkpoint).or_default().push(one.clone()));
    groups
}

async fn rows_are_seen_after_their_commit_and_once(target: &impl SinkUnderTest) {
    let (mut sink, committer) = (target.sink(&context(1, 0)), target.committer(JOB, SINK));
    let first = stage(&mut sink, 0..10, 1).await;
    assert!(first.iter().all(|committable| committable.sink == SINK && committable.checkpoint == CheckpointId(1)));
    assert_eq!(visible(target).await, [0i64; 0]);
    commit(&*committer, &first, CommitOutcome::Done).await;
    assert_eq!(visible(target).await, numbers(0..10));
    let second = stage(&mut sink, 10..15, 2).await;
    assert_eq!(visible(target).await, numbers(0..10));
    commit(&*committer, &first, CommitOutcome::AlreadyDone).await;
    commit(&*committer, &second, CommitOutcome::Done).await;
    commit(&*target.committer(JOB, SINK), &second, CommitOutcome::AlreadyDone).await;
    commit(&*target.committer(JOB, SINK), &first, CommitOutcome::AlreadyDone).await;
    assert_eq!(visible(target).await, numbers(0..15));
    assert_eq!(target.leftovers().await, 0);
}

async fn anyone_may_commit_at_the_same_time(target: &impl SinkUnderTest) {
    let mut sink = target.sink(&context(1, 0));
    let staged = stage(&mut sink, 0..10, 1).await;
    let committers: Vec<_> = (0..4).map(|_| target.committer(JOB, SINK)).collect();
    let commits = committers.iter().map(|committer| committer.commit(CheckpointId(1), &staged));
    let outcomes = futures::future::join_all(commits).await;
    assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
    assert_eq!(visible(target).await, numbers(0..10));
}

async fn a_checkpoint_is_staged_beside_the_next_one(target: &impl SinkUnderTest) {
    let (mut sink, committer) = (target.sink(&context(1, 0)), target.committer(JOB, SINK));
    sink.write(rows(0..10)).await.unwrap();
    let first = sink.stage(Barrier::new(CheckpointId(1)));
    sink.write(rows(10..20)).await.unwrap();
    let second = sink.stage(Barrier::new(CheckpointId(2)));
    sink.write(rows(20..30)).await.unwrap();
    // Completed in another order than begun.
    let second = second.await.unwrap();
    let first = first.await.unwrap();
    commit(&*committer, &first, CommitOutcome::Done).await;
    assert_eq!(visible(target).await, numbers(0..10));
    commit(&*committer, &second, CommitOutcome::Done).await;
    assert_eq!(visible(target).await, numbers(0..20));
}

async fn a_crash_before_the_commit_loses_nothing(target: &impl SinkUnderTest) {
    let mut sink = target.sink(&context(1, 0));
    let staged = stage(&mut sink, 0..10, 1).await;
    sink.write(rows(10..20)).await.unwrap();
    drop(sink);
    // The next attempt commits first, then sweeps, then resumes from the barrier.
    let committer = target.committer(JOB, SINK);
    commit(&*committer, &staged, CommitOutcome::Done).await;
    committer.sweep(&SweepScope { attempt: Attempt(2), keep: staged.clone(), results: None }).await.unwrap();
    let mut sink = target.sink(&context(2, 0));
    let next = stage(&mut sink, 10..20, 2).await;
    commit(&*committer, &next, CommitOutcome::Done).await;
    commit(&*committer, &staged, CommitOutcome::AlreadyDone).await;
    assert_eq!(visible(target).await, numbers(0..20));
}

async fn what_was_not_staged_is_written_again(target: &impl SinkUnderTest) {
    let mut dead = target.sink(&context(1, 0));
    // Staged, but its checkpoint never completes; and rows that were not even staged.
    stage(&mut dead, 0..10, 1).await;
    dead.write(rows(10..20)).await.unwrap();
    let mut sink = target.sink(&context(2, 0));
    let staged = stage(&mut sink, 0..20, 1).await;
    // A frozen sink wakes up and continues: it does no harm.
    stage(&mut dead, 20..25, 2).await;
    let committer = target.committer(JOB, SINK);
    commit(&*committer, &staged, CommitOutcome::Done).await;
    assert_eq!(visible(target).await, numbers(0..20));
    drop(dead);
    committer.sweep(&SweepScope { attempt: Attempt(2), keep: staged, results: None }).await.unwrap();
    assert_eq!((visible(target).await, target.leftovers().await), (numbers(0..20), 0));
}

async fn subtasks_and_sinks_do_not_meet(target: &impl SinkUnderTest) {
    let (mut left, mut right) = (target.sink(&context(1, 0)), target.sink(&context(1, 1)));
    let mut other_context = context(1, 0);
    other_context.operator = "sink.counts-late".into();
    let mut other = target.sink(&other_context);
    let mut staged = stage(&mut left, 0..10, 1).await;
    staged.extend(stage(&mut right, 10..20, 1).await);
    let late = stage(&mut other, 20..30, 1).await;
    commit(&*target.committer(JOB, SINK), &staged, CommitOutcome::Done).await;
    assert_eq!(visible(target).await, numbers(0..20));
    // The sweep of one sink leaves the other's alone.
    let scope = SweepScope { attempt: Attempt(9), keep: staged, results: None };
    target.committer(JOB, SINK).sweep(&scope).await.unwrap();
    commit(&*target.committer(JOB, "sink.counts-late"), &late, CommitOutcome::Done).await;
    assert_eq!(visible(target).await, numbers(0..30));
}

async fn nothing_makes_no_committable(target: &impl SinkUnderTest) {
    let mut sink = target.sink(&context(1, 0));
    // The first may say that an attempt has begun.
    let begun = stage(&mut sink, 0..0, 1).await;
    assert_eq!(sink.stage(Barrier::new(CheckpointId(2))).await.unwrap(), []);
    assert_eq!(stage(&mut sink, 0..0, 3).await, []);
    if !begun.is_empty() {
        commit(&*target.committer(JOB, SINK), &begun, CommitOutcome::Done).await;
    }
    assert_eq!((visible(target).await, target.leftovers().await), (vec![0i64; 0], 0));
}

async fn a_sweep_takes_only_what_the_dead_have_left(target: &impl SinkUnderTest) {
    let (mut dead, mut living) = (target.sink(&context(1, 0)), target.sink(&context(2, 0)));
    let kept = stage(&mut dead, 0..10, 1).await;
    stage(&mut dead, 90..99, 2).await;
    let current = stage(&mut living, 10..20, 2).await;
    let before = target.leftovers().await;
    let committer = target.committer(JOB, SINK);
    let scope = SweepScope { attempt: Attempt(2), keep: kept.clone(), results: None };
    let removed = committer.sweep(&scope).await.unwrap();
    assert_eq!(target.leftovers().await as u64, before as u64 - removed);
    assert_eq!(committer.sweep(&scope).await.unwrap(), 0, "a sweep that is repeated finds nothing");
    commit(&*committer, &kept, CommitOutcome::Done).await;
    commit(&*committer, &current, CommitOutcome::Done).await;
    assert_eq!((visible(target).await, target.leftovers().await), (numbers(0..20), 0));
}

async fn checkpoints_that_wait_are_committed_in_order_and_once(target: &impl SinkUnderTest) {
    let several = stage_several(target, 7).await;
    let committer = target.committer(JOB, SINK);
    // What is visible after each step is what that step has promised, and no more.
    let (mut rest, mut seen) = (&several[..3], 0);
    while !rest.is_empty() {
        let (many, outcome) = committer.commit_together(rest).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Done);
        seen += many as i64;
        assert_eq!(visible(target).await, numbers(0..seen * 10));
        rest = &rest[many..];
    }
    // Asked for more than is new: by the one who knows, and by one who does not.
    assert!(commit_waiting(&*committer, &several[..5]).await > 0);
    assert_eq!(visible(target).await, numbers(0..50));
    assert!(commit_waiting(&*target.committer(JOB, SINK), &several).await > 0);
    assert_eq!((visible(target).await, target.leftovers().await), (numbers(0..70), 0));
    for committer in [committer, target.committer(JOB, SINK)] {
        assert_eq!(commit_waiting(&*committer, &several).await, 0, "all of it is there");
        assert_eq!(commit_waiting(&*committer, &several[1..4]).await, 0);
    }
    assert_eq!((visible(target).await, target.leftovers().await), (numbers(0..70), 0));
}

async fn several_committers_may_be_asked_for_different_checkpoints(target: &impl SinkUnderTest) {
    let several = stage_several(target, 6).await;
    let committers: Vec<_> = (0..4).map(|_| target.committer(JOB, SINK)).collect();
    let parts = [&several[..2], &several[..4], &several[..], &several[..]];
    let commits = committers.iter().zip(parts).map(|(committer, part)| commit_waiting(&**committer, part));
    futures::future::join_all(commits).await;
    assert_eq!((visible(target).await, target.leftovers().await), (numbers(0..60), 0));
}

async fn a_reset_starts_afresh(target: &impl SinkUnderTest) {
    let mut sink = target.sink(&context(1, 0));
    let committer = target.committer(JOB, SINK);
    let staged = stage(&mut sink, 0..10, 1).await;
    commit(&*committer, &staged, CommitOutcome::Done).await;
    stage(&mut sink, 10..20, 2).await;
    committer.reset(Lineage(2)).await.unwrap();
    assert_eq!(target.leftovers().await, 0);
    let before = visible(target).await;
    assert!(before.is_empty() || !target.can_take_back(), "{before:?}");
    // The same checkpoint, in the run that starts over.
    let mut sink = target.sink(&context(3, 0));
    let staged = stage(&mut sink, 100..105, 1).await;
    commit(&*committer, &staged, CommitOutcome::Done).await;
    let expected = before.into_iter().chain(100..105).collect::<Vec<_>>();
    assert_eq!(visible(target).await, expected);
}
