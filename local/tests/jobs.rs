//! Whole jobs in one process, with operators made for the purpose: what is committed at the end is right, whatever crashed.

mod support;

use support::{Sinks, job, run_once, run_to_end};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    error::ErrorKind,
    task::StopSignal,
};

fn store() -> CheckpointStore {
    CheckpointStore::open("memory:///", "job").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_commits_every_row_once_and_its_sums_are_right() {
    for parallelism in [1, 2, 5] {
        let (store, sinks) = (store(), Sinks::default());
        let outcome =
            run_once(job(parallelism, 2000), &store, &sinks, Env::default(), &StopSignal::default()).await.unwrap();
        assert!(outcome.manifest.last && !outcome.was_finished);
        sinks.check(2000);
        let again =
            run_once(job(parallelism, 2000), &store, &sinks, Env::default(), &StopSignal::default()).await.unwrap();
        assert!(again.was_finished, "a finished job stays finished");
        sinks.check(2000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_job_goes_on_where_it_was_at_another_parallelism() {
    let (store, sinks) = (store(), Sinks::default());
    for parallelism in [2, 5, 1, 3] {
        let stop = StopSignal::default();
        let stopper = stop.clone();
        let stopping = async move {
            Env::default().sleep(std::time::Duration::from_millis(30)).await;
            stopper.stop();
        };
        let (outcome, ()) =
            tokio::join!(run_once(job(parallelism, 20_000), &store, &sinks, Env::default(), &stop), stopping);
        let outcome = outcome.unwrap();
        assert!(outcome.manifest.committables.iter().all(|one| sinks.is_visible(one)), "a stop commits");
    }
    run_to_end(job(4, 20_000), &store, &sinks, Env::default()).await;
    sinks.check(20_000);
}

/// State that rests is only referred to by later checkpoints; however often its key groups change hands, a row counts once, and
/// a row that has been replaced by its new owner counts no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_at_rest_survives_any_sequence_of_parallelisms() {
    let (store, sinks) = (store(), Sinks::default());
    for (step, parallelism) in [1, 2, 1, 1, 3, 2, 2, 1, 1].into_iter().enumerate() {
        let mut job = job(parallelism, 20_000);
        let stop = StopSignal::default();
        // Every third run reads a little; the others only pass on what they were given.
        let reads = step % 3 == 0;
        if !reads {
            job.nodes[0].config["rest_ms"] = 60_000.into();
            stop.stop();
        }
        let stopper = stop.clone();
        let stopping = async move {
            Env::default().sleep(std::time::Duration::from_millis(50)).await;
            stopper.stop();
        };
        let env = Env::seeded(step as u64);
        let (outcome, ()) = tokio::join!(run_once(job, &store, &sinks, env, &stop), stopping);
        outcome.unwrap();
    }
    run_to_end(job(2, 20_000), &store, &sinks, Env::default()).await;
    sinks.check(20_000);
}

/// Every named point, at its first and at a later visit, and points after one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_changes_nothing() {
    let observed = CrashPlan::observe();
    let env = Env::default().with_crash_plan(observed.clone());
    let sinks = Sinks::default();
    // A stop and a fresh start, so that the points of recovery are visited too.
    let store = store();
    let stop = StopSignal::default();
    stop.stop();
    run_once(job(2, 2000), &store, &sinks, env.clone(), &stop).await.unwrap();
    run_once(job(2, 2000), &store, &sinks, env, &StopSignal::default()).await.unwrap();
    let points: Vec<&str> = observed.visits().into_keys().collect();
    assert!(points.len() >= 15, "{points:?}");
    let mut crashes = 0;
    let mut scenarios = 0;
    for (position, first) in points.iter().enumerate() {
        // Every third pair; all of them are tried by the chaos tests.
        let seconds = points.iter().enumerate().filter(|(other, _)| (position + other) % 3 == 0);
        for (second, visit) in seconds.map(|(_, point)| (point, 1)).chain([(first, 3)]) {
            scenarios += 1;
            let (store, sinks) = (self::store(), Sinks::default());
            for (point, visit) in [(first, 1), (second, visit)] {
                let plan = CrashPlan::crash_at(*point, visit);
                let env = Env::default().with_crash_plan(plan.clone());
                match run_once(job(2, 1000), &store, &sinks, env, &StopSignal::default()).await {
                    Ok(_) => assert!(!plan.crashed()),
                    Err(error) => assert_eq!(error.kind, ErrorKind::Crash, "{first} then {second}: {error}"),
                }
                crashes += u32::from(plan.crashed());
            }
            run_to_end(job(3, 1000), &store, &sinks, Env::default()).await;
            sinks.check(1000);
        }
    }
    assert!(crashes > scenarios, "only {crashes} crashes in {scenarios} scenarios");
}

#[tokio::test]
async fn another_definition_and_another_job_are_refused() {
    let (store, sinks) = (store(), Sinks::default());
    run_once(job(1, 10), &store, &sinks, Env::default(), &StopSignal::default()).await.unwrap();
    let error = support::run_definition(job(1, 10), "another", &store, &sinks).await.unwrap_err();
    assert!(error.message.contains("another version of the definition"), "{error}");
}

#[tokio::test]
async fn an_error_of_an_operator_is_the_cause_and_not_its_echo() {
    let (store, sinks) = (store(), Sinks::default());
    let mut broken = job(3, 1000);
    broken.nodes.iter_mut().find(|node| node.id == "sum").unwrap().config = serde_json::json!({ "fail_at": 500 });
    let error = run_once(broken, &store, &sinks, Env::default(), &StopSignal::default()).await.unwrap_err();
    assert!(error.message.contains("asked to fail at 500"), "{error}");
}

#[tokio::test]
async fn what_a_source_says_itself_is_not_about_the_rows_that_came_before() {
    let (store, sinks) = (store(), Sinks::default());
    let mut broken = job(1, 1000);
    broken.nodes.iter_mut().find(|node| node.id == "numbers").unwrap().config["refuse_at"] = 5.into();
    let error = run_once(broken, &store, &sinks, Env::default(), &StopSignal::default()).await.unwrap_err();
    assert!(error.message.contains("b.csv: its header is wrong") && !error.message.contains("a.csv"), "{error}");
}
