//! What scenarios run on, and what they have in common.

use futures::future::BoxFuture;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use weir_engine::env::Env;
use weir_kafka::{
    Cluster, Consumer, Isolation, KafkaError, KafkaErrorKind, NewRecord, NewTopic, PartitionReader, Result,
    TopicPartition, TransactionalProducer,
};

/// How long is waited for what has to come: much longer than it takes, on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a broker leaves a transaction open, where nothing depends on it.
const OPEN: Duration = Duration::from_secs(60);

/// Removes a topic: what no job of Weir's does.
pub type Delete = Arc<dyn Fn(String) -> BoxFuture<'static, ()> + Send + Sync>;

/// What scenarios run on.
#[derive(Clone)]
pub struct Rig {
    /// The cluster.
    pub cluster: Arc<dyn Cluster>,
    /// Its time.
    pub env: Env,
    /// How a topic is removed.
    pub delete: Delete,
}

impl fmt::Debug for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What a reader has given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Offset and value of each record.
    pub records: Vec<(i64, String)>,
    /// Why it went no further.
    pub error: Option<KafkaError>,
}

impl Read {
    /// The values alone.
    pub fn values(&self) -> Vec<&str> {
        self.records.iter().map(|(_, value)| value.as_str()).collect()
    }
}

impl Rig {
    /// A name that no other scenario has.
    pub fn name(&self, what: &str) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// A new topic, with settings.
    pub(super) async fn topic_with(&self, what: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = self.name(what);
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let topic = NewTopic { name: name.clone(), partitions, replication: Some(1), settings };
        self.cluster.create(&topic).await.unwrap();
        name
    }

    /// A new topic of one partition.
    pub(super) async fn topic(&self, what: &str) -> TopicPartition {
        TopicPartition { topic: self.topic_with(what, 1, &[]).await, partition: 0 }
    }

    /// A producer of transactions that has fenced those before it.
    pub(super) async fn producer(&self, id: &str) -> Box<dyn TransactionalProducer> {
        self.producer_within(id, OPEN).await
    }

    /// The same, with a time that its transactions may be open.
    pub(super) async fn producer_within(&self, id: &str, open: Duration) -> Box<dyn TransactionalProducer> {
        let mut producer = self.cluster.transactional(id, open).unwrap();
        self.patiently("init", async || producer.init().await).await;
        producer
    }

    /// Asks until there is an answer: a broker that is new makes what it keeps transactions and groups in first.
    pub(super) async fn patiently<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> T {
        let begun = self.env.now();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) if error.kind == KafkaErrorKind::Unavailable && begun.elapsed() < PATIENCE => {
                    self.env.sleep(Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }

    /// Writes values in one transaction, and commits.
    pub(super) async fn commit(&self, producer: &mut dyn TransactionalProducer, to: &TopicPartition, values: &[&str]) {
        producer.begin().unwrap();
        send(producer, to, values).await;
        producer.commit().await.unwrap();
    }

    /// The end of a partition (the high watermark).
    pub(super) async fn end(&self, of: &TopicPartition) -> i64 {
        self.cluster.bounds(&of.topic, of.partition).await.unwrap().end
    }

    /// Waits until so many records are with the broker, of transactions that are open, too.
    pub(super) async fn until_end(&self, of: &TopicPartition, end: i64) {
        self.until(&format!("{of} has {end} records"), async || self.end(of).await >= end).await;
    }

    /// Waits until no transaction is open in a partition: what ended one is written a little later than it is promised.
    pub(super) async fn until_stable(&self, of: &TopicPartition) {
        let stable = async || {
            let bounds = self.cluster.bounds(&of.topic, of.partition).await.unwrap();
            bounds.stable_end == bounds.end
        };
        self.until(&format!("no transaction is open in {of}"), stable).await;
    }

    /// Waits until something holds.
    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let begun = self.env.now();
        while !holds().await {
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
            self.env.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads a partition from an offset until the position is at `to`, or until it fails.
    pub(super) async fn read(&self, isolation: Isolation, from: &TopicPartition, offset: i64, to: i64) -> Read {
        let mut consumer = self.cluster.consumer(isolation).unwrap();
        let mut reader = consumer.read(from, offset).unwrap();
        self.read_on(consumer.as_ref(), reader.as_mut(), to).await
    }

    /// Everything that is committed, up to the end.
    pub(super) async fn committed(&self, from: &TopicPartition) -> Read {
        self.until_stable(from).await;
        let end = self.end(from).await;
        let read = self.read(Isolation::Committed, from, 0, end).await;
        assert_eq!(read.error, None);
        read
    }

    /// Reads on until the position is at `to`, or until it fails otherwise than for want of a broker.
    pub(super) async fn read_on(&self, by: &dyn Consumer, reader: &mut dyn PartitionReader, to: i64) -> Read {
        let (begun, woken) = (self.env.now(), by.woken());
        let mut read = Read { records: Vec::new(), error: None };
        while reader.position() < to {
            assert!(begun.elapsed() < PATIENCE, "at {} and not at {to}, with {:?}", reader.position(), read.records);
            let before = reader.position();
            let taken = reader.take(3, &mut |record| {
                assert!(record.offset >= before, "offset {} came after {before}", record.offset);
                let value = String::from_utf8_lossy(record.value.unwrap_or(b"(none)")).into_owned();
                read.records.push((record.offset, value));
            });
            assert!(reader.position() >= before, "the position fell from {before} to {}", reader.position());
            match taken {
                Ok(0) if reader.position() < to => self.wait(&woken).await,
                Ok(taken) => assert!(taken <= 3),
                Err(error) => {
                    read.error = Some(error);
                    break;
                }
            }
        }
        read
    }

    /// Waits for a reader to be woken, or a little: for the end of a partition, which nobody is woken for everywhere.
    pub(super) async fn wait(&self, woken: &tokio::sync::Notify) {
        tokio::select! {
            () = woken.notified() => {}
            () = self.env.sleep(Duration::from_millis(100)) => {}
        }
    }
}

/// Hands values over.
pub(super) async fn send(producer: &mut dyn TransactionalProducer, to: &TopicPartition, values: &[&str]) {
    for value in values {
        producer.send(record(to, value)).await.unwrap();
    }
}

/// A record with a value alone.
pub(super) fn record<'a>(to: &'a TopicPartition, value: &'a str) -> NewRecord<'a> {
    let value = Some(value.as_bytes());
    NewRecord { topic: &to.topic, partition: to.partition, key: None, value, headers: &[], timestamp_ms: None }
}
