//! What comes to a server, whatever it answers and wherever a process dies.

use super::*;
use crate::sink::{
    conformance::{numbers, visible},
    http::{config::BodyFormat, provided::provide},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use weir_engine::{
    ErrorKind,
    env::CrashPlan,
    ids::Attempt,
    operator::{CommitOutcome, SweepScope},
};
use weir_test_support::web_server::Answer;

#[tokio::test]
async fn rows_are_posted_in_batches_with_a_key_each() {
    let target = Target::with(json!({ "headers": { "Authorization": "Bearer ${env:PATH}", "X-Source": "weir" } }));
    let staged = target.staged(1, 0..10, 1).await;
    target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
    let path = std::env::var("PATH").unwrap();
    let posted = target.server.taken();
    let sizes: Vec<usize> = posted.iter().map(|posted| objects(posted).len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let all: Vec<i64> = posted.iter().flat_map(objects).map(|row| number(&row)).collect();
    assert_eq!(all, numbers(0..10), "in their order");
    for one in &posted {
        let header = |name: &str| one.headers.get(name).map(String::as_str);
        assert_eq!(one.request, "POST /hooks");
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("authorization"), Some(format!("Bearer {path}").as_str()));
        assert_eq!(header("x-source"), Some("weir"));
        assert!(header("user-agent").is_some_and(|agent| agent.starts_with("weir/")));
        assert_eq!(header("idempotency-key").map(str::len), Some(36));
    }
    assert_eq!(objects(&posted[0])[1]["time"], json!("1970-01-01T00:01:00Z"));
    let keys: std::collections::BTreeSet<_> = posted.iter().map(|one| &one.headers["idempotency-key"]).collect();
    assert_eq!((keys.len(), target.rows().len()), (3, 10));
}

#[tokio::test]
async fn a_batch_may_be_lines() {
    let mut target = Target::new();
    target.config.format = BodyFormat::JsonLines;
    let staged = target.staged(1, 0..3, 1).await;
    target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
    let posted = target.server.taken().remove(0);
    assert_eq!(posted.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = posted.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(posted.body.ends_with("}\n"));
}

/// Everything that a commit passes.
const POINTS: [(&str, u64); 5] = [
    ("http_sink.posted", 1),
    ("http_sink.posted", 2),
    ("http_sink.posted", 3),
    ("http_sink.sent", 1),
    ("http_sink.cleared", 1),
];

#[tokio::test]
async fn what_is_sent_again_after_a_crash_has_the_same_keys() {
    for (point, visit) in POINTS {
        let mut target = Target::new();
        let staged = target.staged(1, 0..10, 1).await;
        target.env = Env::from_entropy().with_crash_plan(CrashPlan::crash_at(point, visit));
        let crashed = target.new_committer().commit(CheckpointId(1), &staged).await.unwrap_err();
        assert_eq!(crashed.kind, ErrorKind::Crash, "{point}");
        let first = target.server.taken();
        target.env = Env::from_entropy();
        let committer = target.new_committer();
        let outcome = committer.commit(CheckpointId(1), &staged).await.unwrap();
        let is_done = point == "http_sink.cleared";
        assert_eq!(outcome == CommitOutcome::AlreadyDone, is_done, "{point}");
        let all = target.server.taken();
        let again = &all[first.len()..];
        assert_eq!(again.len(), if is_done { 0 } else { 3 }, "{point} {visit}: at least once");
        for (before, again) in first.iter().zip(again) {
            assert_eq!((&before.headers, &before.body), (&again.headers, &again.body), "{point} {visit}");
        }
        assert_eq!(visible(&target).await, numbers(0..10), "{point} {visit}");
        committer.sweep(&SweepScope { attempt: Attempt(2), keep: staged, results: None }).await.unwrap();
        assert_eq!(target.leftovers().await, 0);
    }
}

#[tokio::test]
async fn a_crash_while_staging_sends_nothing() {
    for point in ["http_sink.staging", "http_sink.staged"] {
        let mut target = Target::new();
        target.env = Env::from_entropy().with_crash_plan(CrashPlan::crash_at(point, 1));
        let mut sink = target.sink(&context(1, 0));
        sink.write(conformance::rows(0..10)).await.unwrap();
        assert_eq!(sink.stage(Barrier::new(CheckpointId(1))).await.unwrap_err().kind, ErrorKind::Crash);
        target.env = Env::from_entropy();
        let staged = target.staged(2, 0..10, 1).await;
        target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
        assert_eq!(visible(&target).await, numbers(0..10));
    }
}

#[tokio::test]
async fn a_server_that_cannot_now_is_waited_for() {
    for answer in [Answer::of(503), Answer::of(429), Answer::of(401), Answer::of(404), Answer::of(307), Answer::None] {
        let target = Target::new();
        let tries = Arc::new(AtomicUsize::new(0));
        let (counted, waits, first) = (Arc::clone(&tries), target.waits.clone(), answer.clone());
        target.server.answer(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => first.clone(),
            _ => {
                assert!(waits.now().contains_key(SINK), "it says that it waits");
                Answer::of(200)
            }
        });
        let staged = target.staged(1, 0..3, 1).await;
        target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
        let posted = target.server.posted();
        assert_eq!(posted.len(), 3, "{answer:?}");
        assert!(posted.iter().all(|(one, _)| one.headers == posted[0].0.headers && one.body == posted[0].0.body));
        assert_eq!((visible(&target).await, target.waits.now().len()), (numbers(0..3), 0), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_says_when_to_come_is_not_asked_before() {
    let target = Target::new();
    let is_first = std::sync::atomic::AtomicBool::new(true);
    target.server.answer(move |_| match is_first.swap(false, Ordering::SeqCst) {
        true => Answer::Status(503, "Retry-After: 1\r\n".into(), "in a second".into()),
        false => Answer::of(200),
    });
    let staged = target.staged(1, 0..3, 1).await;
    let began = target.env.now();
    let committer = target.new_committer();
    let commit = committer.commit(CheckpointId(1), &staged);
    let looked = async {
        while target.waits.now().is_empty() {
            target.env.sleep(Duration::from_millis(5)).await;
        }
        target.waits.now()[SINK].cause.clone()
    };
    let (done, cause) = futures::join!(commit, looked);
    done.unwrap();
    assert!(target.env.now() - began >= Duration::from_secs(1));
    assert_eq!(cause, "it answers 503 Service Unavailable: in a second");
}

/// Saying for a minute that it works on one, and nothing else, is refusing it.
#[tokio::test(start_paused = true)]
async fn a_server_that_could_not_answer_meanwhile_has_not_refused_what_it_works_on() {
    const URL: &str = "http://server.example/hooks";
    let target = Target::with(json!({ "url": URL }));
    let said: Arc<Mutex<Vec<u16>>> = Arc::default();
    let (noted, env, began) = (Arc::clone(&said), target.env.clone(), target.env.now());
    let server = move |_: Bytes| {
        let mut noted = noted.lock();
        let works = noted.iter().filter(|status| **status == 409).count();
        let status = match works {
            0 => 409,
            1 if env.now() - began < Duration::from_secs(70) => 503,
            1 => 409,
            _ => 200,
        };
        noted.push(status);
        futures::future::ready(Ok::<u16, io::Error>(status)).boxed()
    };
    let _provided = provide(URL, Arc::new(server));
    let staged = target.staged(1, 0..3, 1).await;
    target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
    assert!(target.waits.rejected().is_empty(), "{:?}", target.waits.rejected());
    let mut said = said.lock().clone();
    said.dedup();
    assert_eq!(said, [409, 503, 409, 200]);
}

#[tokio::test]
async fn a_server_that_is_down_is_waited_for() {
    let mut target = Target::new();
    let address = target.server.address().to_owned();
    // Its place is taken by nobody.
    target.server = WebServer::start();
    let staged = target.staged(1, 0..10, 1).await;
    let committer = target.new_committer();
    let commit = committer.commit(CheckpointId(1), &staged);
    let back = async {
        while target.waits.now().is_empty() {
            target.env.sleep(Duration::from_millis(5)).await;
        }
        let cause = target.waits.now()[SINK].cause.clone();
        (WebServer::at(&address), cause)
    };
    let (done, (server, cause)) = futures::join!(commit, back);
    done.unwrap();
    assert!(cause.starts_with("it does not answer"), "{cause}");
    assert_eq!(server.taken().len(), 3);
}

#[tokio::test]
async fn rows_that_a_server_refuses_hold_up_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::with(json!({ "batch": 100, "rejected_path": folder.path() }));
    target.server.answer(|posted| match objects(posted).iter().any(|row| [7, 42].contains(&number(row))) {
        true => Answer::Status(422, String::new(), "no odd numbers".into()),
        false => Answer::of(200),
    });
    let staged = target.staged(1, 0..100, 1).await;
    let committer = target.new_committer();
    assert_eq!(committer.commit(CheckpointId(1), &staged).await.unwrap(), CommitOutcome::Done);
    let others: Vec<i64> = (0..100).filter(|n| ![7, 42].contains(n)).collect();
    assert_eq!(visible(&target).await, others);
    assert!(target.server.posted().len() < 40, "half of it at a time");
    assert_eq!(target.waits.rejected(), BTreeMap::from([(SINK.to_owned(), 2)]));
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let kept = std::fs::read_to_string(&files[0]).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.iter().map(|line| number(&line["row"])).collect::<Vec<_>>(), [7, 42]);
    assert_eq!(kept[0]["reason"], "it answers 422 Unprocessable Entity: no odd numbers");
    assert_eq!(kept[0]["idempotency_key"], kept[0]["row"]["idempotency_key"]);
}

#[tokio::test]
async fn a_row_that_is_larger_than_a_batch_is_posted_alone() {
    let target = Target::with(json!({ "batch": 100 }));
    let texts = ["a".repeat(700_000), "b".repeat(700_000), "c".repeat(2_000_000), "d".into(), "e".into()];
    let column: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from_iter_values(&texts));
    let rows = arrow::array::RecordBatch::try_from_iter([("text", column)]).unwrap();
    let mut sink = target.sink(&context(1, 0));
    sink.write(weir_engine::element::Batch::new(rows)).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
    let sizes: Vec<usize> = target.server.taken().iter().map(|posted| objects(posted).len()).collect();
    assert_eq!(sizes, [1, 1, 1, 2]);
}
