//! Whole jobs with an operator of two inputs, on two workers: what is committed in the end is what one loop over both streams
//! would give, whatever crashed, at whatever parallelism, and whichever input is ahead, over or silent.

mod parts;
mod rig;

use futures::future::Either;
use parts::{NONE, REACH, Streams};
use proptest::prelude::*;
use rig::{Links, Rig};
use std::time::Duration;
use tokio::runtime::Runtime;
use weir_engine::{
    env::{CrashPlan, Env},
    error::ErrorKind,
    task::StopSignal,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_inputs_are_joined_at_any_parallelism() {
    for parallelism in [1, 2, 4] {
        for streams in [Streams::bounded(300, 200), Streams::bounded(30, 400), Streams::bounded(0, 50)] {
            let rig = Rig::new();
            rig.run_to_end(streams.job(parallelism)).await;
            assert_eq!(rig.target.rows(), streams.expected(), "{streams:?} × {parallelism}");
        }
    }
}

/// Stops a run after some milliseconds.
async fn run_for(rig: &Rig, streams: Streams, parallelism: usize, milliseconds: u64) {
    let stop = StopSignal::default();
    let stopper = stop.clone();
    let stopping = async move {
        Env::default().sleep(Duration::from_millis(milliseconds)).await;
        stopper.stop();
    };
    let (outcome, ()) = tokio::join!(rig.run(streams.job(parallelism), Env::default(), &stop), stopping);
    outcome.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_join_goes_on_at_another_parallelism() {
    let (rig, streams) = (Rig::new(), Streams::bounded(2000, 2500));
    for parallelism in [2, 4, 1, 3] {
        run_for(&rig, streams, parallelism, 20).await;
    }
    rig.run_to_end(streams.job(2)).await;
    assert_eq!(rig.target.rows(), streams.expected());
}

/// Every named point, at its first and at a later visit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_changes_nothing() {
    let streams = Streams::bounded(150, 200);
    let observed = CrashPlan::observe();
    let rig = Rig::new();
    let stop = StopSignal::default();
    stop.stop();
    let env = Env::default().with_crash_plan(observed.clone());
    rig.run(streams.job(2), env.clone(), &stop).await.unwrap();
    rig.run(streams.job(2), env, &StopSignal::default()).await.unwrap();
    let points: Vec<&str> = observed.visits().into_keys().collect();
    assert!(points.len() >= 15, "{points:?}");
    let mut crashes = 0;
    for point in points {
        let rig = Rig::new();
        for visit in [1, 4] {
            let plan = CrashPlan::crash_at(point, visit);
            let env = Env::default().with_crash_plan(plan.clone());
            match rig.run(streams.job(2), env, &StopSignal::default()).await {
                Ok(_) => assert!(!plan.crashed()),
                Err(error) => assert_eq!(error.kind, ErrorKind::Crash, "{point}: {error}"),
            }
            crashes += u32::from(plan.crashed());
        }
        rig.run_to_end(streams.job(3)).await;
        assert_eq!(rig.target.rows(), streams.expected(), "{point}");
    }
    assert!(crashes >= 25, "only {crashes} crashes");
}

/// The second input falls silent, behind an exchange. Event time goes on without it, though not to its end: it may speak again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_input_does_not_hold_the_other_up() {
    let streams = Streams { left: 400, right: 60, is_followed: true };
    for parallelism in [1, 3] {
        let (rig, stop) = (Rig::new(), StopSignal::default());
        let (target, drain) = (rig.target.clone(), stop.clone());
        let is_there = move |left: i64| target.rows().iter().any(|row| row[1] == left && row[2] == NONE);
        let watching = async move {
            let env = Env::default();
            let enough = env.now() + Duration::from_secs(30);
            while !is_there(streams.left - 40) {
                assert!(env.now() < enough, "the first input waits for the second, which is silent");
                env.sleep(Duration::from_millis(5)).await;
            }
            // More checkpoints would show more, if there were more to come.
            env.sleep(Duration::from_millis(50)).await;
            assert!(!is_there(streams.left - 1), "event time has ended, though the second input has not");
            drain.drain();
        };
        let (outcome, ()) = tokio::join!(rig.run(streams.job(parallelism), Env::default(), &stop), watching);
        assert!(outcome.unwrap().manifest.last);
        assert_eq!(rig.target.rows(), streams.expected());
    }
    assert!(streams.left - 40 > streams.right + REACH, "or the silent input would have been needed");
}

/// What a run of a random history does.
#[derive(Clone, Debug)]
struct Run {
    parallelism: usize,
    crash: Option<(&'static str, u64)>,
    stop_after_ms: u64,
}

fn run_of_history() -> impl Strategy<Value = Run> {
    let points = ["subtask.captured", "upload.durable", "manifest.created", "commit.one_done", "source.batch"];
    let crash = prop::option::of((prop::sample::select(points.to_vec()), 1u64..40));
    (1usize..5, crash, 1u64..40).prop_map(|(parallelism, crash, stop_after_ms)| Run {
        parallelism,
        crash,
        stop_after_ms,
    })
}

/// Goes through a history, with its crashes and stops, and then to the end.
async fn live(rig: &Rig, streams: Streams, history: &[Run]) -> Result<(), String> {
    for run in history {
        let plan = run.crash.map(|(point, visit)| CrashPlan::crash_at(point, visit));
        let env = match plan {
            Some(plan) => Env::default().with_crash_plan(plan),
            None => Env::default(),
        };
        let stop = StopSignal::default();
        let stopping = async {
            Env::default().sleep(Duration::from_millis(run.stop_after_ms)).await;
            stop.stop();
        };
        let running = rig.run(streams.job(run.parallelism), env, &stop);
        tokio::pin!(running, stopping);
        let outcome = match futures::future::select(running, stopping).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), running)) => running.await,
        };
        match outcome {
            Err(error) if error.kind != ErrorKind::Crash => return Err(error.to_string()),
            _ => {}
        }
    }
    let last = rig.run(streams.job(2), Env::default(), &StopSignal::default()).await;
    last.map_err(|error| error.to_string())?;
    if rig.target.rows() == streams.expected() { Ok(()) } else { Err("other rows than expected".into()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_what_one_loop_gives(
        (left, right) in (0i64..400, 0i64..400),
        history in prop::collection::vec(run_of_history(), 0..4),
    ) {
        let streams = Streams::bounded(left, right);
        let lived = Runtime::new().unwrap().block_on(live(&Rig::new(), streams, &history));
        prop_assert_eq!(lived, Ok(()));
    }
}

/// A gate that does not align its second input is noticed, and the same history is right with one that does.
#[test]
fn an_engine_that_forgets_to_align_the_second_input_is_noticed() {
    let runtime = Runtime::new().unwrap();
    // Long enough that much is still to be read when it crashes.
    let streams = Streams::bounded(1500, 1500);
    let is_noticed = (3..13).any(|visit| {
        let history = [Run { parallelism: 4, crash: Some(("commit.marked", visit)), stop_after_ms: 60_000 }];
        let with = |links| runtime.block_on(live(&Rig { links, ..Rig::new() }, streams, &history));
        assert_eq!(with(Links::Right), Ok(()));
        with(Links::BarriersOfTheSecondInputLag).is_err()
    });
    assert!(is_noticed, "rows that slip in front of a barrier are not noticed");
}
