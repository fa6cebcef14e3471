//! Topics in memory behind the traits of the client: enough of a cluster to see what the source asks of one, and what it makes of
//! the answers. What a broker really does, the model and the tests with a real one tell.

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use weir_kafka::{
    Bounds, Cluster, Consumer, Headers, Isolation, KafkaError, KafkaErrorKind, NewTopic, PartitionReader, Producer,
    RecordRef, Result, Topic, TopicPartition, TransactionalProducer,
    provided::{Provided, provide},
};

/// What lies at an offset.
#[derive(Clone, Debug)]
pub(super) enum Lies {
    Record {
        timestamp_ms: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    },
    /// The end of a transaction, say: it is passed over.
    Marker,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) beginning: i64,
    /// From offset 0 on; those before the beginning are gone.
    pub(super) lies: Vec<Lies>,
    /// A transaction is open from here on.
    pub(super) open_from: Option<i64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, (String, Vec<Log>)>,
    pub(super) groups: BTreeMap<(String, TopicPartition), i64>,
    /// No broker answers.
    pub(super) away: bool,
    wakers: Vec<Arc<Notify>>,
}

/// A cluster. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Arc<Mutex<State>>);

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

/// A record with a value.
pub(super) fn record(timestamp_ms: i64, value: &str) -> Lies {
    Lies::Record { timestamp_ms, key: None, value: Some(value.into()), headers: Vec::new() }
}

impl Fake {
    /// With topics of so many partitions, and the name that stands for its brokers.
    pub(super) fn with(topics: &[(&str, usize)]) -> (Self, Provided, String) {
        let fake = Fake::default();
        topics.iter().for_each(|(topic, partitions)| fake.make(topic, *partitions));
        let brokers = format!("fake:{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        (fake.clone(), provide(brokers.clone(), Arc::new(fake)), brokers)
    }

    /// Makes a topic, or another one of that name.
    pub(super) fn make(&self, topic: &str, partitions: usize) {
        let id = format!("id-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.0.lock().topics.insert(topic.into(), (id, vec![Log::default(); partitions]));
    }

    pub(super) fn put(&self, topic: &str, partition: usize, lies: impl IntoIterator<Item = Lies>) {
        self.change(topic, partition, |log| log.lies.extend(lies));
    }

    pub(super) fn change(&self, topic: &str, partition: usize, change: impl FnOnce(&mut Log)) {
        let mut state = self.0.lock();
        change(&mut state.topics.get_mut(topic).expect("a topic").1[partition]);
        state.wakers.iter().for_each(|waker| waker.notify_one());
    }

    fn asked<T>(&self, answer: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.0.lock();
        if state.away {
            return Err(KafkaError::of(KafkaErrorKind::Unavailable, "no broker answers"));
        }
        answer(&mut state)
    }

    fn log<T>(&self, topic: &str, partition: i32, answer: impl FnOnce(&Log) -> T) -> Result<T> {
        self.asked(|state| match state.topics.get(topic).and_then(|(_, logs)| logs.get(partition as usize)) {
            Some(log) => Ok(answer(log)),
            None => Err(KafkaError::of(KafkaErrorKind::NotFound, format!("there is no {topic}-{partition}"))),
        })
    }
}

impl Log {
    fn end(&self) -> i64 {
        self.lies.len() as i64
    }

    fn stable_end(&self) -> i64 {
        self.open_from.unwrap_or(self.end())
    }
}

impl Cluster for Fake {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        async { self.asked(|state| Ok(state.topics.keys().cloned().collect())) }.boxed()
    }

    fn describe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<Topic>>> {
        let describe = |(id, logs): &(String, Vec<Log>)| Topic {
            id: Some(id.clone()),
            partitions: logs.len() as i32,
            max_message_bytes: 1 << 20,
            is_compacted: false,
        };
        async move { self.asked(|state| Ok(state.topics.get(topic).map(describe))) }.boxed()
    }

    fn create<'a>(&'a self, _topic: &'a NewTopic) -> BoxFuture<'a, Result<()>> {
        unreachable!("a source makes no topics")
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Bounds>> {
        let bounds = |log: &Log| Bounds { beginning: log.beginning, stable_end: log.stable_end(), end: log.end() };
        async move { self.log(topic, partition, bounds) }.boxed()
    }

    fn offset_at<'a>(&'a self, topic: &'a str, partition: i32, time_ms: i64) -> BoxFuture<'a, Result<Option<i64>>> {
        let is_later = move |lies: &Lies| matches!(lies, Lies::Record { timestamp_ms, .. } if *timestamp_ms >= time_ms);
        let find = move |log: &Log| log.lies.iter().position(is_later).map(|at| at as i64);
        async move { self.log(topic, partition, find) }.boxed()
    }

    fn group_offsets<'a>(
        &'a self,
        group: &'a str,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>>> {
        let noted =
            |state: &mut State, place: &TopicPartition| state.groups.get(&(group.to_owned(), place.clone())).copied();
        async move { self.asked(|state| Ok(partitions.iter().map(|place| noted(state, place)).collect())) }.boxed()
    }

    fn set_group_offsets<'a>(
        &'a self,
        group: &'a str,
        offsets: &'a [(TopicPartition, i64)],
    ) -> BoxFuture<'a, Result<()>> {
        let note = |state: &mut State| {
            let noted = offsets.iter().map(|(place, offset)| ((group.to_owned(), place.clone()), *offset));
            state.groups.extend(noted);
            Ok(())
        };
        async move { self.asked(note) }.boxed()
    }

    fn consumer(&self, isolation: Isolation) -> Result<Box<dyn Consumer>> {
        assert_eq!(isolation, Isolation::Committed);
        let woken = Arc::<Notify>::default();
        self.0.lock().wakers.push(Arc::clone(&woken));
        Ok(Box::new(FakeConsumer { fake: self.clone(), woken }))
    }

    fn transactional(&self, _id: &str, _timeout: Duration) -> Result<Box<dyn TransactionalProducer>> {
        unreachable!("a source writes nothing")
    }

    fn producer(&self) -> Result<Box<dyn Producer>> {
        unreachable!("a source writes nothing")
    }
}

struct FakeConsumer {
    fake: Fake,
    woken: Arc<Notify>,
}

impl Consumer for FakeConsumer {
    fn read_on(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        _leader_epoch: Option<i32>,
    ) -> Result<Box<dyn PartitionReader>> {
        Ok(Box::new(FakeReader { fake: self.fake.clone(), place: partition.clone(), next: offset }))
    }

    fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }
}

struct FakeReader {
    fake: Fake,
    place: TopicPartition,
    next: i64,
}

impl PartitionReader for FakeReader {
    fn take(&mut self, most: usize, each: &mut dyn FnMut(RecordRef<'_>)) -> Result<usize> {
        let (topic, partition) = (&self.place.topic, self.place.partition);
        let log = self.fake.log(topic, partition, Log::clone)?;
        if self.next < log.beginning {
            return Err(KafkaError::of(KafkaErrorKind::OutOfRange, "offset out of range"));
        }
        let mut taken = 0;
        while taken < most && self.next < log.stable_end() {
            if let Lies::Record { timestamp_ms, key, value, headers } = &log.lies[self.next as usize] {
                let headers = || headers.clone();
                each(RecordRef {
                    offset: self.next,
                    leader_epoch: None,
                    timestamp_ms: Some(*timestamp_ms),
                    key: key.as_deref(),
                    value: value.as_deref(),
                    headers: Headers(&headers),
                });
                taken += 1;
            }
            self.next += 1;
        }
        while self.next < log.stable_end() && matches!(log.lies[self.next as usize], Lies::Marker) {
            self.next += 1;
        }
        Ok(taken)
    }

    fn position(&self) -> i64 {
        self.next
    }

    fn end(&self) -> Option<i64> {
        self.fake.log(&self.place.topic, self.place.partition, Log::end).ok()
    }
}
