//! The Kafka sink against Apache Kafka itself: a broker that is killed or frozen in each step of a commit, a job that is down for
//! longer than brokers leave a transaction open, committers who don't know of each other. Whoever reads what is committed sees each
//! revision of each result once.
#![allow(clippy::disallowed_methods, reason = "it waits for a real process")]

use arrow::array::{ArrayRef, FixedSizeBinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};
use weir_engine::{
    ErrorKind,
    checkpoint::{CheckpointStore, Staging},
    element::{Barrier, Batch},
    env::{CrashPlan, Env},
    ids::{Attempt, CheckpointId},
    operator::{CommitOutcome, Committable, Committer, CommitterContext, OperatorContext, Sink, SweepScope, Waits},
};
use weir_kafka::{Cluster, Connection, Isolation, NewTopic, TopicPartition, connect};
use weir_operators::sink::kafka::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
use weir_test_support::kafka_server::KafkaServer;

/// Everything that a commit passes.
const POINTS: [&str; 5] = ["kafka.fenced", "kafka.progress_read", "kafka.sent", "kafka.committed", "kafka.cleared"];

/// The shortest that there is.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A topic at a broker, and a job's checkpoint storage.
struct Target {
    config: KafkaSinkConfig,
    cluster: Arc<dyn Cluster>,
    store: CheckpointStore,
    job: String,
    waits: Waits,
}

impl Target {
    async fn at(server: &KafkaServer, settings: &[(&str, &str)]) -> Self {
        let brokers = server.brokers();
        let cluster = connect(&Connection { brokers: brokers.clone(), properties: BTreeMap::new() }).unwrap();
        let topic = server.new_name("results");
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        cluster.create(&NewTopic { name: topic.clone(), partitions: 3, replication: None, settings }).await.unwrap();
        let config = json!({
            "connection": { "brokers": brokers },
            "topic": topic,
            "key": ["record_id"],
            "results": true,
            "transaction_timeout_ms": TIMEOUT.as_millis() as u64,
        });
        let job = server.new_name("job");
        let store = CheckpointStore::in_memory(&job);
        store.claim_attempt(&Env::from_entropy()).await.unwrap();
        let config = KafkaSinkConfig::from_json(&config).unwrap();
        Target { config, cluster, store, job, waits: Waits::default() }
    }

    fn staging(&self) -> Staging {
        Staging::new(self.store.clone(), "sink.counts")
    }

    fn committer(&self, env: Env) -> KafkaCommitter {
        let context = CommitterContext {
            staging: self.staging(),
            waits: self.waits.clone(),
            env,
            ..CommitterContext::single(&self.job, "sink.counts")
        };
        KafkaCommitter::new(self.config.clone(), context).unwrap()
    }

    /// What a subtask stages of results with these numbers.
    async fn staged(&self, subtask: usize, numbers: Range<i64>, checkpoint: u64) -> Vec<Committable> {
        let mut context = OperatorContext::single(&self.job, "sink.counts");
        (context.staging, context.subtask) = (self.staging(), subtask);
        context.attempt = Attempt(checkpoint);
        let mut sink = KafkaSink::new(self.config.clone(), &context);
        sink.write(results(numbers)).await.unwrap();
        sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap()
    }

    /// The ids and revisions that a reader of committed records sees, in order.
    async fn visible(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut consumer = self.cluster.consumer(Isolation::Committed).unwrap();
        let woken = consumer.woken();
        for partition in 0..3 {
            let end = self.cluster.bounds(&self.config.topic, partition).await.unwrap().end;
            let of = TopicPartition { topic: self.config.topic.clone(), partition };
            let mut reader = consumer.read(&of, 0).unwrap();
            while reader.position() < end {
                let taken = reader.take(1_000, &mut |record| {
                    let headers = record.headers.all();
                    let header = |name: &str| {
                        let value =
                            headers.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.clone());
                        String::from_utf8(value.unwrap()).unwrap()
                    };
                    assert_eq!(record.key, Some(header("record_id").as_bytes()));
                    all.push((header("record_id"), header("revision")));
                });
                if taken.unwrap() == 0 {
                    let _ = tokio::time::timeout(Duration::from_millis(100), woken.notified()).await;
                }
            }
        }
        all.sort();
        all
    }
}

fn id(number: i64) -> [u8; 16] {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

fn results(numbers: Range<i64>) -> Batch {
    let mut ids = FixedSizeBinaryBuilder::new(16);
    numbers.clone().for_each(|number| ids.append_value(id(number)).unwrap());
    let text = "x".repeat(100);
    let columns: [(&str, ArrayRef); 4] = [
        ("record_id", Arc::new(ids.finish())),
        ("n", Arc::new(Int64Array::from_iter_values(numbers.clone()))),
        ("text", Arc::new(numbers.clone().map(|_| Some(text.as_str())).collect::<StringArray>())),
        ("revision", Arc::new(Int32Array::from_iter_values(numbers.map(|_| 0)))),
    ];
    Batch::new(RecordBatch::try_from_iter(columns).unwrap())
}

fn expected(numbers: Range<i64>) -> Vec<(String, String)> {
    numbers.map(|number| (uuid::Uuid::from_bytes(id(number)).to_string(), "0".to_owned())).collect()
}

/// What happens to the broker while a commit stands at a point.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `kill -9`, and started again.
    Killed,
    /// `SIGSTOP` for longer than a transaction may be open, and `SIGCONT`.
    Frozen,
}

fn befall(server: &Arc<Mutex<KafkaServer>>, fault: Fault) {
    tokio::task::block_in_place(|| match fault {
        Fault::Killed => server.lock().kill().unwrap(),
        Fault::Frozen => server.lock().stop().unwrap(),
    });
    let server = Arc::clone(server);
    std::thread::spawn(move || {
        std::thread::sleep(3 * TIMEOUT);
        match fault {
            Fault::Killed => server.lock().restart().unwrap(),
            Fault::Frozen => server.lock().go_on().unwrap(),
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_in_a_commit_has_every_result_once() {
    commits_meanwhile(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_frozen_in_a_commit_has_every_result_once() {
    commits_meanwhile(Fault::Frozen).await;
}

/// As a job does it: a broker that has only just begun, on a machine that has other work, is asked again.
async fn prepared(committer: &KafkaCommitter) {
    for _ in 0..20 {
        match committer.prepare().await {
            Err(error) if error.kind == ErrorKind::Unavailable => {}
            prepared => return prepared.unwrap(),
        }
    }
    panic!("the broker does not answer");
}

/// Something happens to the broker at each step of a commit.
async fn commits_meanwhile(fault: Fault) {
    let Some(server) = KafkaServer::start().unwrap() else { return };
    let target = Target::at(&server, &[]).await;
    let server = Arc::new(Mutex::new(server));
    let (mut checkpoint, mut decided) = (0, 0);
    // The same one goes on all the time: its producer is lost again and again.
    let lasting = target.committer(Env::default());
    prepared(&lasting).await;
    for point in POINTS {
        checkpoint += 1;
        let staged = target.staged(0, decided..decided + 50, checkpoint).await;
        decided += 50;
        let struck = Arc::clone(&server);
        let plan = CrashPlan::stand_at(point, 1, move || befall(&struck, fault));
        let committer = target.committer(Env::default().with_crash_plan(plan));
        let number = CheckpointId(checkpoint);
        committer.commit(number, &staged).await.unwrap_or_else(|error| panic!("{point}: {error}"));
        lasting.commit(number, &staged).await.unwrap_or_else(|error| panic!("{point}: {error}"));
        assert_eq!(target.visible().await, expected(0..decided), "{point}");
    }
    lasting.compare(CheckpointId(checkpoint), true).await.unwrap();
    assert!(target.waits.now().is_empty());
    assert_eq!(lasting.sweep(&SweepScope { attempt: Attempt(99), keep: vec![], results: None }).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_down_for_longer_than_a_transaction_may_be_open_loses_nothing() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let target = Target::at(&server, &[]).await;
    target.committer(Env::default()).commit(CheckpointId(1), &target.staged(0, 0..50, 1).await).await.unwrap();
    // It dies between its checkpoint and its commit; and in its commit, with the transaction open.
    for (checkpoint, point) in [(2, "kafka.fenced"), (3, "kafka.sent"), (4, "kafka.committed")] {
        let from = checkpoint as i64 * 50 - 50;
        let staged = target.staged(0, from..from + 50, checkpoint).await;
        let plan = CrashPlan::crash_at(point, 1);
        let dying = target.committer(Env::default().with_crash_plan(plan));
        let crashed = dying.commit(CheckpointId(checkpoint), &staged).await.unwrap_err();
        assert_eq!(crashed.kind, ErrorKind::Crash);
        // It still has its connections: it is frozen rather than dead.
        tokio::time::sleep(6 * TIMEOUT).await;
        target.committer(Env::default()).commit(CheckpointId(checkpoint), &staged).await.unwrap();
        assert_eq!(target.visible().await, expected(0..from + 50), "{point}");
        drop(dying);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committers_who_do_not_know_of_each_other_commit_once() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let target = Target::at(&server, &[]).await;
    let committers: Vec<_> = (0..3).map(|_| target.committer(Env::from_entropy())).collect();
    for checkpoint in 1..=3 {
        let from = checkpoint as i64 * 100 - 100;
        let mut staged = target.staged(0, from..from + 50, checkpoint).await;
        staged.extend(target.staged(1, from + 50..from + 100, checkpoint).await);
        let commits = committers.iter().map(|committer| committer.commit(CheckpointId(checkpoint), &staged));
        for outcome in futures::future::join_all(commits).await {
            outcome.unwrap();
        }
        assert_eq!(target.visible().await, expected(0..from + 100));
    }
    // A commit after another one without a pause is done by the producer that is there.
    let staged = target.staged(0, 300..350, 4).await;
    assert_eq!(committers[0].commit(CheckpointId(4), &staged).await.unwrap(), CommitOutcome::Done);
    assert_eq!(committers[1].commit(CheckpointId(4), &staged).await.unwrap(), CommitOutcome::AlreadyDone);
    assert_eq!(target.visible().await, expected(0..350));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_takes_small_batches_only_gets_every_result_once() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let target = Target::at(&server, &[("max.message.bytes", "5000")]).await;
    let committer = target.committer(Env::default());
    // Of each partition more than a batch may have: the client makes larger ones than the broker takes.
    let staged = target.staged(0, 0..400, 1).await;
    committer.commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(target.visible().await, expected(0..400));
    assert!(target.waits.now().is_empty());
    assert_eq!(target.waits.rejected().get("sink.counts"), Some(&0));
}
