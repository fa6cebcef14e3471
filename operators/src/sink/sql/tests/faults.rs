//! Crashes between any two steps, zombies, damage, and a database that goes down.

use super::*;
use crate::sink::sql::write_ahead_log::WriteAheadLog;
use conformance::{numbers, visible};
use futures::future::join;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_engine::{
    ErrorKind,
    env::CrashPlan,
    operator::{CommitOutcome, SweepScope},
};

/// Everything that a commit passes.
const POINTS: [&str; 7] = [
    "sql_sink.staged",
    "sql_sink.loaded",
    "sql_sink.marked",
    "sql_sink.written",
    "sql_sink.remembered",
    "sql_sink.committed",
    "sql_sink.cleared",
];

#[tokio::test]
async fn a_crash_between_any_two_steps_loses_and_doubles_nothing() {
    for point in POINTS {
        on_each_database(async |mut target: Target| {
            target.prepared().await;
            let first = target.staged(1, 0..10, 1).await;
            target.prepared().await.commit(CheckpointId(1), &first).await.unwrap();
            let second = target.staged(1, 10..20, 2).await;
            target.env = Env::default().with_crash_plan(CrashPlan::crash_at(point, 1));
            let crashed = match point {
                "sql_sink.staged" => {
                    let mut sink = target.sink(&context(1, 1));
                    sink.write(conformance::rows(20..30)).await.unwrap();
                    sink.stage(Barrier::new(CheckpointId(3))).await.map(|_| ())
                }
                _ => target.new_committer(JOB, SINK).commit(CheckpointId(2), &second).await.map(|_| ()),
            };
            assert_eq!(crashed.unwrap_err().kind, ErrorKind::Crash, "{point}");
            let seen = visible(&target).await;
            assert!(seen == numbers(0..10) || seen == numbers(0..20), "{point}: {seen:?}");
            // The next attempt commits what was decided, and sweeps.
            target.env = Env::default();
            let committer = target.new_committer(JOB, SINK);
            committer.commit(CheckpointId(2), &second).await.unwrap();
            committer.prepare().await.unwrap();
            committer.sweep(&SweepScope { attempt: Attempt(2), keep: second.clone(), results: None }).await.unwrap();
            assert_eq!((visible(&target).await, target.leftovers().await), (numbers(0..20), 0), "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn checkpoints_that_wait_go_in_together_or_not_at_all() {
    for point in &POINTS[1..] {
        on_each_database(async |mut target: Target| {
            let several = conformance::stage_several(&target, 5).await;
            target.prepared().await.commit(CheckpointId(1), &several[0].committables).await.unwrap();
            target.env = Env::default().with_crash_plan(CrashPlan::crash_at(*point, 1));
            let crashed = target.new_committer(JOB, SINK).commit_together(&several[1..4]).await;
            assert_eq!(crashed.unwrap_err().kind, ErrorKind::Crash, "{point}");
            let seen = visible(&target).await;
            assert!(seen == numbers(0..10) || seen == numbers(0..40), "{point}: {seen:?}");
            target.env = Env::default();
            let committer = target.new_committer(JOB, SINK);
            // Of five, some are in; the others go in with one more transaction.
            let (were_in, outcome) = committer.commit_together(&several).await.unwrap();
            assert_eq!((were_in as i64, outcome), (seen.len() as i64 / 10, CommitOutcome::AlreadyDone), "{point}");
            let rest = committer.commit_together(&several[were_in..]).await.unwrap();
            assert_eq!(rest, (5 - were_in, CommitOutcome::Done), "{point}");
            assert_eq!(committer.transactions(), 1);
            // What a crash has left of those that were in goes with them.
            assert_eq!((visible(&target).await, target.leftovers().await), (numbers(0..50), 0), "{point}");
            let history: Vec<i64> = target.query("SELECT checkpoint FROM weir_commits ORDER BY checkpoint").await;
            assert_eq!(history, [1i64, 2, 3, 4, 5]);
        })
        .await;
    }
}

#[tokio::test]
async fn what_does_not_follow_is_not_taken_along() {
    on_each_database(async |target| {
        let committer = target.prepared().await;
        let mut several = conformance::stage_several(&target, 3).await;
        // As if one in between were missing.
        several[2].committables[0].after = Some(CheckpointId(9));
        assert_eq!(committer.commit_together(&several).await.unwrap(), (2, CommitOutcome::Done));
        let error = committer.commit_together(&several[2..]).await.unwrap_err();
        assert!(error.message.contains("is at checkpoint 2"), "{error}");
        assert_eq!(visible(&target).await, numbers(0..20));
    })
    .await;
}

#[tokio::test]
async fn who_was_begun_afresh_after_is_refused() {
    on_each_database(async |target| {
        let zombie = target.prepared().await;
        zombie.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
        let late = target.staged(1, 10..20, 2).await;
        target.new_committer(JOB, SINK).reset(Lineage(2)).await.unwrap();
        let late = [late, target.staged(1, 20..30, 2).await].concat();
        let refused = zombie.commit(CheckpointId(2), &late).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
        assert_eq!(visible(&target).await, [0i64; 0]);
        let living = target.prepared().await;
        living.commit(CheckpointId(1), &target.staged(3, 100..105, 1).await).await.unwrap();
        // The same once more changes nothing; one that was frozen half-way comes too late.
        target.prepared().await.reset(Lineage(3)).await.unwrap();
        assert_eq!(visible(&target).await, numbers(100..105));
        let refused = zombie.reset(Lineage(2)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
        assert_eq!(visible(&target).await, numbers(100..105));
    })
    .await;
}

#[tokio::test]
async fn what_is_damaged_or_lost_is_not_committed() {
    on_each_database(async |target| {
        let committer = target.prepared().await;
        let staged = target.staged(1, 0..10, 1).await;
        let mut damaged = staged.clone();
        damaged[0].payload["parts"][0]["checksum"] = "00".into();
        let error = committer.commit(CheckpointId(1), &damaged).await.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("is damaged"), "{error}");
        for path in target.staging(SINK).list().await.unwrap() {
            target.store.delete(&path.as_str().into()).await.unwrap();
        }
        let error = committer.commit(CheckpointId(1), &staged).await.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("10 rows"), "{error}");
        assert_eq!(visible(&target).await, [0i64; 0]);
        // The database was lost with what was in it.
        target.execute("DELETE FROM weir_sinks").await;
        let error = committer.commit(CheckpointId(1), &staged).await.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("knows nothing"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_locked_file_is_waited_for() {
    let target = Target::sqlite();
    let committer = target.prepared().await;
    let staged = target.staged(1, 0..10, 1).await;
    let mut other = sqlx::AnyConnection::connect(&target.config.url).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let checkpoint = CheckpointId(1);
    let committing = committer.commit(checkpoint, &staged);
    let releasing = async {
        until("the sink says that it waits", || target.waits.now().contains_key(SINK)).await;
        assert!(target.waits.now()[SINK].cause.contains("database is locked"), "{:?}", target.waits.now());
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    };
    let (committed, ()) = join(committing, releasing).await;
    assert_eq!(committed.unwrap(), CommitOutcome::Done);
    assert_eq!((visible(&target).await, target.waits.now().len()), (numbers(0..10), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_take_turns_do_not_let_the_log_grow() {
    let target = Target::sqlite();
    let mut committer = target.prepared().await;
    let (path, long) = (target.config.url.trim_start_matches("sqlite:").to_owned() + "-wal", 256 << 10);
    committer.log = WriteAheadLog::of(&Database::new(&target.config.url, Role::Sink, &target.env).unwrap(), long);
    let stop = Arc::new(AtomicBool::new(false));
    // At every moment at least one of them reads.
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(read_all_the_time(target.config.url.to_string(), stop.clone()))).collect();
    let mut longest = 0;
    for checkpoint in 1..=60 {
        let from = checkpoint as i64 * 1_000;
        let staged = target.staged(1, from..from + 1_000, checkpoint).await;
        assert_eq!(committer.commit(CheckpointId(checkpoint), &staged).await.unwrap(), CommitOutcome::Done);
        longest = longest.max(std::fs::metadata(&path).unwrap().len());
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0, "nobody has read");
    }
    assert!(longest < 2 * long, "the log has {longest} bytes");
    assert_eq!(visible(&target).await, numbers(1_000..61_000));
}

/// Transactions of some milliseconds, one after the other, until it is told to stop. Returns how many.
async fn read_all_the_time(url: String, stop: Arc<AtomicBool>) -> u64 {
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    let mut transactions = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query("SELECT max(n) FROM numbers").fetch_one(&mut *transaction).await.unwrap();
        Env::default().sleep(Duration::from_millis(5)).await;
        transaction.commit().await.unwrap();
        transactions += 1;
    }
    transactions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_has_every_row_once() {
    let Some(mut server) = PostgresServer::start().unwrap() else { return };
    let mut target = Target::postgres(&server);
    // The same one goes on all the time: its connection breaks again and again.
    let committer = target.prepared().await;
    let mut decided = Vec::new();
    for (k, point) in POINTS.into_iter().skip(1).enumerate() {
        let (checkpoint, from) = (k as u64 + 1, k as i64 * 10);
        let staged = target.staged(1, from..from + 10, checkpoint).await;
        // Ends the server while the committer stands at the point.
        let (reached, stands) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let goes_on = parking_lot::Mutex::new(goes_on);
        let plan = CrashPlan::end_at(point, 1, move || {
            reached.send(()).unwrap();
            goes_on.lock().recv().unwrap();
        });
        target.env = Env::default().with_crash_plan(plan);
        let dying = target.new_committer(JOB, SINK);
        let moved = staged.clone();
        let task = tokio::spawn(async move { dying.commit(CheckpointId(checkpoint), &moved).await });
        tokio::task::block_in_place(|| stands.recv().unwrap());
        server.kill().unwrap();
        go_on.send(()).unwrap();
        assert!(task.await.unwrap().is_err());
        target.env = Env::default();
        let number = CheckpointId(checkpoint);
        // A connection may outlive its server for long enough.
        let is_done = AtomicBool::new(false);
        let committing = async {
            let committed = committer.commit(number, &staged).await;
            is_done.store(true, Ordering::SeqCst);
            committed
        };
        let (committed, server_back) = join(committing, async {
            let waits = || target.waits.now().contains_key(SINK) || is_done.load(Ordering::SeqCst);
            until("the sink says that it waits", waits).await;
            tokio::task::block_in_place(|| server.restart())
        })
        .await;
        server_back.unwrap();
        committed.unwrap();
        decided.extend(from..from + 10);
        assert_eq!(visible(&target).await, decided, "{point}");
    }
    assert_eq!(committer.sweep(&SweepScope { attempt: Attempt(2), keep: vec![], results: None }).await.unwrap(), 0);
}

/// A committer that stands still at a point, as a process that is stopped, until it is told to go on.
struct Stopped {
    committing: tokio::task::JoinHandle<weir_engine::Result<CommitOutcome>>,
    go_on: std::sync::mpsc::Sender<()>,
}

impl Stopped {
    /// Returns when it stands.
    fn at(point: &str, target: &mut Target, checkpoint: u64, staged: &[Committable]) -> Self {
        let (reached, stands) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let goes_on = parking_lot::Mutex::new(goes_on);
        target.env = Env::default().with_crash_plan(CrashPlan::stand_at(point, 1, move || {
            reached.send(()).unwrap();
            tokio::task::block_in_place(|| goes_on.lock().recv().unwrap());
        }));
        let committer = target.new_committer(JOB, SINK);
        target.env = Env::default();
        let staged = staged.to_vec();
        let committing = tokio::spawn(async move { committer.commit(CheckpointId(checkpoint), &staged).await });
        tokio::task::block_in_place(|| stands.recv().unwrap());
        Stopped { committing, go_on }
    }

    async fn goes_on(self) -> weir_engine::Result<CommitOutcome> {
        self.go_on.send(()).unwrap();
        self.committing.await.unwrap()
    }
}

/// Longer than a server bears a client that says nothing in a transaction, and its successor the wait.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_is_stopped_in_a_transaction_holds_nobody_up_for_long() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let mut target = Target::postgres(&server);
    let successor = target.prepared().await;
    let mut decided = Vec::new();
    for (k, point) in ["sql_sink.marked", "sql_sink.written", "sql_sink.remembered"].into_iter().enumerate() {
        let (checkpoint, from) = (k as u64 + 1, k as i64 * 10);
        let staged = target.staged(1, from..from + 10, checkpoint).await;
        let stopped = Stopped::at(point, &mut target, checkpoint, &staged);
        let begun = target.env.now();
        assert_eq!(successor.commit(CheckpointId(checkpoint), &staged).await.unwrap(), CommitOutcome::Done, "{point}");
        assert!(target.env.now() - begun < SOON, "{point}: after {:?}", target.env.now() - begun);
        decided.extend(from..from + 10);
        assert_eq!(visible(&target).await, decided, "{point}");
        // Its transaction is over. It tries again, and finds out.
        assert_eq!(stopped.goes_on().await.unwrap(), CommitOutcome::AlreadyDone, "{point}");
        assert_eq!((visible(&target).await, target.leftovers().await), (decided.clone(), 0), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_was_stopped_in_a_transaction_is_refused_after_a_fresh_start() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let mut target = Target::postgres(&server);
    let successor = target.prepared().await;
    let staged = target.staged(1, 0..10, 1).await;
    // A fresh start removes what is staged. This one has read it before.
    let stopped = Stopped::at("sql_sink.written", &mut target, 1, &staged);
    successor.reset(Lineage(2)).await.unwrap();
    let refused = stopped.goes_on().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");
    assert_eq!(visible(&target).await, [0i64; 0]);
    successor.commit(CheckpointId(1), &target.staged(2, 100..105, 1).await).await.unwrap();
    assert_eq!(visible(&target).await, numbers(100..105));
}

#[tokio::test]
async fn what_is_decided_about_a_session_stays() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let mut target = Target::postgres(&server);
    assert_eq!(target.query::<String>("SHOW idle_in_transaction_session_timeout").await, ["5s"]);
    assert_eq!(target.query::<String>("SHOW lock_timeout").await, ["3s"]);
    assert_eq!(target.query::<String>("SELECT current_setting('tcp_keepalives_idle')").await, ["3"]);
    *target.config.url += "?options=-c%20lock_timeout%3D7s";
    assert_eq!(target.query::<String>("SHOW lock_timeout").await, ["7s"]);
    assert_eq!(target.query::<String>("SHOW idle_in_transaction_session_timeout").await, ["5s"]);
}

#[tokio::test]
async fn who_waits_for_its_storage_in_a_transaction_is_alive() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let mut target = Target::postgres(&server);
    *target.config.url += "?options=-c%20idle_in_transaction_session_timeout%3D2s";
    let mut connection = Database::new(&target.config.url, Role::Sink, &target.env).unwrap().connect().await.unwrap();
    connection.begin().await.unwrap();
    connection.awake(target.env.sleep(Duration::from_secs(5))).await.unwrap();
    connection.commit().await.unwrap();
    connection.begin().await.unwrap();
    target.env.sleep(Duration::from_secs(5)).await;
    let fault = connection.commit().await.unwrap_err();
    assert!(matches!(fault, weir_store::Fault::Passing(_)), "{fault:?}");
}

#[tokio::test]
async fn a_database_and_checkpoints_of_different_times_are_told_apart() {
    on_each_database(async |target| {
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
        assert!(older.message.contains("at checkpoint 5,") && older.message.contains("checkpoint 8 to it"), "{older}");
        committer.compare(CheckpointId(8), false).await.expect("it is not committed yet");
        committer.compare(CheckpointId(3), false).await.expect_err("newer is newer");
        // While the job runs, too: what comes next says what it comes after.
        let mut staged = target.staged(1, 90..100, 9).await;
        staged.iter_mut().for_each(|one| one.after = Some(CheckpointId(8)));
        let gap = committer.commit(CheckpointId(9), &staged).await.unwrap_err();
        assert!(gap.message.contains("at checkpoint 5,") && gap.message.contains("checkpoint 8 to it"), "{gap}");
        staged.iter_mut().for_each(|one| one.after = Some(CheckpointId(5)));
        committer.commit(CheckpointId(9), &staged).await.unwrap();
        assert_eq!(visible(&target).await, [numbers(30..40), numbers(50..60), numbers(90..100)].concat());
    })
    .await;
}
