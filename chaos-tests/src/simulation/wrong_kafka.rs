//! Clusters that make of the right commit protocol a wrong one: what a sink asks for in the right order reaches the brokers in another,
//! or what it is told of their topics is what a careless one would have concluded.

use super::power::Power;
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Notify;
use weir_engine::env::{Env, Moment};
use weir_kafka::{
    Bounds, Cluster, Consumer, Isolation, KafkaErrorKind, NewRecord, NewTopic, PartitionReader, Producer, RecordRef,
    Result, Topic, TopicPartition, TransactionalProducer,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongKafka {
    /// Progress is read, and only then others are fenced.
    ProgressBeforeFence,
    /// The progress is taken to end where nothing has come for a while.
    EndByTimeout,
    /// The progress is taken to end at the last stable offset.
    EndByStableOffset,
    /// After an unknown outcome the transaction is aborted, and the same producer goes on.
    NoInitAfterUnknown,
    /// Every process has a transactional id of its own.
    AttemptInTheId,
    /// The progress is written when the transaction is committed.
    ProgressOutside,
}

impl WrongKafka {
    /// All of them.
    pub const ALL: [WrongKafka; 6] = [
        WrongKafka::ProgressBeforeFence,
        WrongKafka::EndByTimeout,
        WrongKafka::EndByStableOffset,
        WrongKafka::NoInitAfterUnknown,
        WrongKafka::AttemptInTheId,
        WrongKafka::ProgressOutside,
    ];
}

/// For so long nothing comes, and a careless reader takes it for the end.
const TAKEN_FOR_THE_END: Duration = Duration::from_millis(200);

/// Whether a topic is one of progress.
fn is_progress(topic: &str) -> bool {
    topic.starts_with("weir-progress")
}

type Kept = Arc<Mutex<BTreeMap<String, Box<dyn TransactionalProducer>>>>;

/// A right cluster, seen wrongly.
pub struct WrongCluster {
    right: Arc<dyn Cluster>,
    wrong: WrongKafka,
    power: Power,
    /// Producers that go on, by process and transactional id.
    kept: Kept,
}

impl WrongCluster {
    /// Over a right one.
    pub fn new(right: Arc<dyn Cluster>, wrong: WrongKafka, power: Power) -> Self {
        WrongCluster { right, wrong, power, kept: Kept::default() }
    }

    fn process(&self) -> String {
        self.power.here().map_or_else(String::new, |process| format!("{}-{}", process.host(), process.number()))
    }
}

impl std::fmt::Debug for WrongCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrongCluster").field("wrong", &self.wrong).finish_non_exhaustive()
    }
}

impl Cluster for WrongCluster {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.right.topics()
    }

    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Topic>>> {
        self.right.describe(topic)
    }

    fn create<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<()>> {
        self.right.create(topic)
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Bounds>> {
        async move {
            let bounds = self.right.bounds(topic, partition).await?;
            match self.wrong == WrongKafka::EndByStableOffset && is_progress(topic) {
                true => Ok(Bounds { end: bounds.stable_end, ..bounds }),
                false => Ok(bounds),
            }
        }
        .boxed()
    }

    fn offset_at<'a>(&'a self, topic: &'a str, partition: i32, time_ms: i64) -> BoxFuture<'a, Result<Option<i64>>> {
        self.right.offset_at(topic, partition, time_ms)
    }

    fn group_offsets<'a>(
        &'a self,
        group: &'a str,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>>> {
        self.right.group_offsets(group, partitions)
    }

    fn set_group_offsets<'a>(
        &'a self,
        group: &'a str,
        offsets: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<()>> {
        self.right.set_group_offsets(group, offsets)
    }

    fn consumer(&self, isolation: Isolation) -> Result<Box<dyn Consumer>> {
        let right = self.right.consumer(isolation)?;
        match self.wrong {
            WrongKafka::EndByTimeout => Ok(Box::new(Impatient(right))),
            _ => Ok(right),
        }
    }

    fn transactional(&self, id: &str, timeout: Duration) -> Result<Box<dyn TransactionalProducer>> {
        let right = &self.right;
        Ok(match self.wrong {
            WrongKafka::ProgressBeforeFence => {
                Box::new(LateFence { right: right.transactional(id, timeout)?, is_fenced: false, is_open: false })
            }
            WrongKafka::NoInitAfterUnknown => {
                let (name, kept) = (format!("{} {id}", self.process()), self.kept.clone());
                let (before, fresh) = (kept.lock().remove(&name), right.transactional(id, timeout)?);
                Box::new(GoesOn { name, kept, before, fresh: Some(fresh), is_spent: false })
            }
            WrongKafka::AttemptInTheId => right.transactional(&format!("{id}-{}", self.process()), timeout)?,
            WrongKafka::ProgressOutside => {
                Box::new(Outside { right: right.transactional(id, timeout)?, plain: right.producer()?, held: None })
            }
            WrongKafka::EndByTimeout | WrongKafka::EndByStableOffset => right.transactional(id, timeout)?,
        })
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        self.right.producer()
    }
}

/// Takes silence for the end.
struct Impatient(Box<dyn Consumer>);

impl Consumer for Impatient {
    fn read_on(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        leader_epoch: Option<i32>,
    ) -> Result<Box<dyn PartitionReader>> {
        let right = self.0.read_on(partition, offset, leader_epoch)?;
        match is_progress(&partition.topic) {
            true => Ok(Box::new(ImpatientReader { right, heard: Env::default().now() })),
            false => Ok(right),
        }
    }

    fn woken(&self) -> Arc<Notify> {
        self.0.woken()
    }
}

struct ImpatientReader {
    right: Box<dyn PartitionReader>,
    heard: Moment,
}

impl PartitionReader for ImpatientReader {
    fn take(&mut self, most: usize, each: &mut dyn FnMut(RecordRef<'_>)) -> Result<usize> {
        let taken = self.right.take(most, each)?;
        if taken > 0 {
            self.heard = Env::default().now();
        }
        Ok(taken)
    }

    fn position(&self) -> i64 {
        match Env::default().now() >= self.heard + TAKEN_FOR_THE_END {
            true => i64::MAX,
            false => self.right.position(),
        }
    }

    fn end(&self) -> Option<i64> {
        self.right.end()
    }
}

/// Fences when the first record is sent.
struct LateFence {
    right: Box<dyn TransactionalProducer>,
    is_fenced: bool,
    is_open: bool,
}

impl TransactionalProducer for LateFence {
    fn init(&mut self) -> BoxFuture<'_, Result<()>> {
        self.is_fenced = false;
        async { Ok(()) }.boxed()
    }

    fn begin(&mut self) -> Result<()> {
        self.is_open = false;
        Ok(())
    }

    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            if !self.is_fenced {
                self.right.init().await?;
                self.is_fenced = true;
            }
            if !self.is_open {
                self.right.begin()?;
                self.is_open = true;
            }
            self.right.send(record).await
        }
        .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        self.right.commit()
    }

    fn may_have_repeated(&self) -> bool {
        self.right.may_have_repeated()
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<()>> {
        self.right.abort()
    }
}

/// Goes on with the producer that its process had before, in the same epoch, if that can abort.
struct GoesOn {
    name: String,
    kept: Kept,
    before: Option<Box<dyn TransactionalProducer>>,
    fresh: Option<Box<dyn TransactionalProducer>>,
    /// Whether it was told something else than that the outcome is unknown.
    is_spent: bool,
}

impl GoesOn {
    fn with<'a, T: 'a>(
        &'a mut self,
        work: impl FnOnce(&'a mut Box<dyn TransactionalProducer>) -> Result<T>,
    ) -> Result<T> {
        let producer = self.before.as_mut().or(self.fresh.as_mut());
        let none = || weir_kafka::KafkaError::of(KafkaErrorKind::Refused, "there is no producer");
        work(producer.ok_or_else(none)?)
    }

    fn told(&mut self, done: Result<()>) -> Result<()> {
        self.is_spent |= done.as_ref().is_err_and(|error| error.kind != KafkaErrorKind::Unknown);
        done
    }
}

impl TransactionalProducer for GoesOn {
    fn init(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            if let Some(before) = &mut self.before {
                if before.abort().await.is_ok() {
                    return Ok(());
                }
                self.before = None;
            }
            self.with(|producer| Ok(producer.init()))?.await
        }
        .boxed()
    }

    fn begin(&mut self) -> Result<()> {
        let begun = self.with(|producer| producer.begin());
        self.told(begun)
    }

    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            let sent = self.with(|producer| Ok(producer.send(record)))?.await;
            self.told(sent)
        }
        .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            let committed = self.with(|producer| Ok(producer.commit()))?.await;
            self.told(committed)
        }
        .boxed()
    }

    fn may_have_repeated(&self) -> bool {
        self.before.as_ref().or(self.fresh.as_ref()).is_some_and(|producer| producer.may_have_repeated())
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            let aborted = self.with(|producer| Ok(producer.abort()))?.await;
            self.told(aborted)
        }
        .boxed()
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        if let Some(producer) = self.before.take().or_else(|| self.fresh.take())
            && !self.is_spent
        {
            self.kept.lock().insert(std::mem::take(&mut self.name), producer);
        }
    }
}

/// Writes the progress when all else is committed.
struct Outside {
    right: Box<dyn TransactionalProducer>,
    plain: Box<dyn Producer>,
    /// Topic, key and value of the progress.
    held: Option<(String, Vec<u8>, Vec<u8>)>,
}

impl TransactionalProducer for Outside {
    fn init(&mut self) -> BoxFuture<'_, Result<()>> {
        self.right.init()
    }

    fn begin(&mut self) -> Result<()> {
        self.held = None;
        self.right.begin()
    }

    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        if is_progress(record.topic) {
            let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
            self.held = Some((record.topic.into(), bytes(record.key), bytes(record.value)));
            return async { Ok(()) }.boxed();
        }
        self.right.send(record)
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.right.commit().await?;
            let Some((topic, key, value)) = self.held.take() else { return Ok(()) };
            Env::default().sleep(Duration::from_millis(20)).await;
            let (key, value) = (Some(key.as_slice()), Some(value.as_slice()));
            let progress = NewRecord { topic: &topic, partition: 0, key, value, headers: &[], timestamp_ms: None };
            self.plain.send(progress).await?;
            self.plain.flush().await
        }
        .boxed()
    }

    fn may_have_repeated(&self) -> bool {
        self.right.may_have_repeated()
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<()>> {
        self.right.abort()
    }
}
