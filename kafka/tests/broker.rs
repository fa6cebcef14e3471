//! The client against Apache Kafka where it is killed, frozen or away; and with what only a real broker has. What any cluster
//! promises is in the scenarios of `weir-kafka-model`.
#![allow(clippy::disallowed_methods, reason = "it waits for a real process")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use weir_kafka::{
    Cluster, Connection, Consumer, Isolation, KafkaError, KafkaErrorKind, NewRecord, NewTopic, PartitionReader,
    TopicPartition, connect,
};
use weir_test_support::kafka_server::KafkaServer;

#[cfg(feature = "tls")]
#[path = "broker/tls.rs"]
mod tls;

const PATIENCE: Duration = Duration::from_secs(90);

fn connection(brokers: &str, properties: &[(&str, &str)]) -> Connection {
    let properties = properties.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Connection { brokers: brokers.into(), properties: properties.collect::<BTreeMap<_, _>>() }
}

async fn topic(cluster: &dyn Cluster, name: &str) -> TopicPartition {
    let new = NewTopic { name: name.into(), partitions: 1, replication: Some(1), settings: Vec::new() };
    cluster.create(&new).await.unwrap();
    TopicPartition { topic: name.into(), partition: 0 }
}

fn record<'a>(of: &'a TopicPartition, value: &'a str) -> NewRecord<'a> {
    let value = Some(value.as_bytes());
    NewRecord { topic: &of.topic, partition: of.partition, key: None, value, headers: &[], timestamp_ms: None }
}

/// Writes one value in a transaction of an id.
async fn commit(cluster: &dyn Cluster, id: &str, of: &TopicPartition, value: &str) -> Result<(), KafkaError> {
    let mut producer = cluster.transactional(id, Duration::from_secs(5))?;
    producer.init().await?;
    producer.begin()?;
    producer.send(record(of, value)).await?;
    producer.commit().await
}

/// Reads until so many values have come, over errors that waiting heals.
async fn values(consumer: &dyn Consumer, reader: &mut dyn PartitionReader, count: usize) -> Vec<String> {
    let (begun, woken, mut values) = (Instant::now(), consumer.woken(), Vec::new());
    while values.len() < count {
        assert!(begun.elapsed() < PATIENCE, "only {values:?} came");
        let taken = reader.take(100, &mut |record| {
            values.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
        });
        match taken {
            Ok(0) => drop(tokio::time::timeout(Duration::from_millis(200), woken.notified()).await),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind, KafkaErrorKind::Unavailable, "{error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    values
}

/// Waits for a reader to say how it is with the brokers.
async fn until(reader: &mut dyn PartitionReader, is_it: impl Fn(&Result<usize, KafkaError>) -> bool) {
    let begun = Instant::now();
    loop {
        let taken = reader.take(100, &mut |_| {});
        if is_it(&taken) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "still {taken:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn every_question_ends_where_there_is_no_broker() {
    // Nobody listens on port 1.
    let cluster = connect(&connection("127.0.0.1:1", &[])).unwrap();
    let partition = TopicPartition { topic: "t".into(), partition: 0 };
    let mut producer = cluster.transactional("id", Duration::from_secs(5)).unwrap();
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&partition, 0).unwrap();
    let begun = Instant::now();
    let partitions = [partition];
    let errors = [
        cluster.topics().await.unwrap_err(),
        cluster.describe("t").await.unwrap_err(),
        cluster.group_offsets("g", &partitions).await.unwrap_err(),
        producer.init().await.unwrap_err(),
    ];
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    for error in errors {
        assert_eq!(error.kind, KafkaErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("127.0.0.1:1") && error.message.contains("refused"), "{error}");
    }
    until(reader.as_mut(), |taken| taken.as_ref().is_err_and(|e| e.kind == KafkaErrorKind::Unavailable)).await;
}

/// Writes values without a transaction, each in a batch of its own.
async fn write(cluster: &dyn Cluster, of: &TopicPartition, values: &[&str]) {
    let mut producer = cluster.producer().unwrap();
    for value in values {
        producer.send(record(of, value)).await.unwrap();
        producer.flush().await.unwrap();
    }
}

/// Takes the last batch off a log, as if its leader had never got it.
fn cut_off_last_batch(log: &std::path::Path) {
    let bytes = std::fs::read(log).unwrap();
    let (mut begin, mut last) = (0, 0);
    // An offset of eight bytes, then how many bytes follow these four.
    while let Some(length) = bytes.get(begin + 8..begin + 12) {
        last = begin;
        begin += 12 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
    }
    assert!(last > 0 && begin == bytes.len(), "a log of several batches");
    std::fs::OpenOptions::new().write(true).open(log).unwrap().set_len(last as u64).unwrap();
}

/// Of a log of three records that has lost the last one, and has got others since.
async fn what_was_lost_is_told(cluster: &dyn Cluster, of: &TopicPartition, epoch: i32) {
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read_on(of, 3, Some(epoch)).unwrap();
    let told = |taken: &Result<usize, KafkaError>| {
        assert!(!matches!(taken, Ok(1..)), "another record has the offset");
        taken.as_ref().is_err_and(|error| error.kind == KafkaErrorKind::Truncated)
    };
    until(reader.as_mut(), told).await;
    drop(reader);
    // Who has read no more than is still there goes on.
    let mut reader = consumer.read_on(of, 2, Some(epoch)).unwrap();
    assert_eq!(values(consumer.as_ref(), reader.as_mut(), 2).await, ["d", "e"]);
    drop(reader);
    let mut reader = consumer.read(of, 3).unwrap();
    assert_eq!(values(consumer.as_ref(), reader.as_mut(), 1).await, ["e"], "without an epoch nobody knows");
}

/// How long librdkafka's threads have had a processor.
fn processor_time() -> Duration {
    let mut ticks = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        // A thread may have ended meanwhile.
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        let Some((name, numbers)) = stat.split_once(") ") else { continue };
        if name.contains("(rdk:") {
            // User and system, the 14th and the 15th of all fields.
            ticks += numbers.split(' ').skip(11).take(2).map(|number| number.parse::<u64>().unwrap()).sum::<u64>();
        }
    }
    // Linux tells it in hundredths of a second everywhere.
    Duration::from_millis(10 * ticks)
}

/// Whoever waits for an answer of a broker that is down tries again after a pause.
async fn waiting_takes_no_processor(cluster: &dyn Cluster) {
    let wanted = NewTopic { name: "later".into(), partitions: 1, replication: Some(1), settings: Vec::new() };
    let (before, waited) = (processor_time(), Duration::from_secs(3));
    let created = tokio::time::timeout(waited, cluster.create(&wanted)).await;
    assert!(created.is_err(), "nobody is there: {created:?}");
    let taken = processor_time() - before;
    assert!(taken < waited / 6, "{taken:?} of a processor to wait for {waited:?}");
}

#[tokio::test]
async fn a_killed_broker_is_waited_for() {
    let Some(mut server) = KafkaServer::start().unwrap() else { return };
    let cluster = connect(&connection(&server.brokers(), &[])).unwrap();
    let cut = topic(cluster.as_ref(), "cut").await;
    write(cluster.as_ref(), &cut, &["a", "b", "c"]).await;
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let (mut reader, mut epochs) = (consumer.read(&cut, 0).unwrap(), Vec::new());
    while epochs.len() < 3 {
        reader.take(100, &mut |record| epochs.push(record.leader_epoch.expect("an epoch"))).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(reader);
    let of = topic(cluster.as_ref(), "killed").await;
    commit(cluster.as_ref(), "id", &of, "a").await.unwrap();
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&of, 0).unwrap();
    assert_eq!(values(consumer.as_ref(), reader.as_mut(), 1).await, ["a"]);
    let mut open = cluster.transactional("open", Duration::from_secs(5)).unwrap();
    open.init().await.unwrap();
    open.begin().unwrap();
    open.send(record(&of, "open")).await.unwrap();
    server.kill().unwrap();
    until(reader.as_mut(), |taken| taken.as_ref().is_err_and(|e| e.kind == KafkaErrorKind::Unavailable)).await;
    assert_eq!(open.commit().await.unwrap_err().kind, KafkaErrorKind::Unknown);
    drop(open);
    waiting_takes_no_processor(cluster.as_ref()).await;
    cut_off_last_batch(&server.log_folder("cut", 0).join("00000000000000000000.log"));
    server.restart().unwrap();
    // Reading goes on by itself, and says that it does before anything comes.
    until(reader.as_mut(), Result::is_ok).await;
    let begun = Instant::now();
    while let Err(error) = commit(cluster.as_ref(), "id", &of, "b").await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
    let mut again = cluster.transactional("open", Duration::from_secs(5)).unwrap();
    again.init().await.unwrap();
    let values = values(consumer.as_ref(), reader.as_mut(), 1).await;
    // Whether the open one was committed is what its outcome said: unknown.
    assert!(["b", "open"].contains(&values[0].as_str()), "{values:?}");
    write(cluster.as_ref(), &cut, &["d", "e"]).await;
    what_was_lost_is_told(cluster.as_ref(), &cut, epochs[2]).await;
}

#[tokio::test]
async fn what_a_frozen_broker_was_asked_for_is_unknown() {
    let Some(server) = KafkaServer::start().unwrap() else { return };
    let cluster = connect(&connection(&server.brokers(), &[])).unwrap();
    let of = topic(cluster.as_ref(), "frozen").await;
    let mut producer = cluster.transactional("id", Duration::from_secs(5)).unwrap();
    producer.init().await.unwrap();
    producer.begin().unwrap();
    producer.send(record(&of, "a")).await.unwrap();
    server.stop().unwrap();
    let begun = Instant::now();
    let error = producer.commit().await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::Unknown, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(producer);
    server.go_on().unwrap();
    // Fencing decides it: from then on it is there or not, and stays so.
    let begun = Instant::now();
    while let Err(error) = commit(cluster.as_ref(), "id", &of, "b").await {
        assert_eq!(error.kind, KafkaErrorKind::Unavailable, "{error}");
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&of, 0).unwrap();
    let end = cluster.bounds(&of.topic, 0).await.unwrap().end;
    let begun = Instant::now();
    let mut all = Vec::new();
    while reader.position() < end {
        assert!(begun.elapsed() < PATIENCE, "at {} of {end}", reader.position());
        reader.take(100, &mut |record| all.push(record.value.map(<[u8]>::to_vec))).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all.retain(|value| value.as_deref() != Some(b"a"));
    assert_eq!(all, [Some(b"b".to_vec())]);
}

/// A broker that stands still for a moment, so that nobody knows whether the end was asked for once.
#[tokio::test]
async fn a_commit_that_took_long_may_have_been_asked_for_twice() {
    let Some(server) = KafkaServer::start().unwrap() else { return };
    let cluster = connect(&connection(&server.brokers(), &[])).unwrap();
    let of = topic(cluster.as_ref(), "repeated").await;
    let mut producer = cluster.transactional("id", Duration::from_secs(10)).unwrap();
    producer.init().await.unwrap();
    // What is committed: each transaction takes two offsets, its end being one.
    let mut committed = 0;
    // The first ones may take long on a machine that has other work.
    let begun = Instant::now();
    while committed == 0 || producer.may_have_repeated() {
        assert!(begun.elapsed() < PATIENCE, "no commit is quick");
        producer.begin().unwrap();
        producer.send(record(&of, "a")).await.unwrap();
        producer.commit().await.unwrap();
        committed += 1;
    }
    // The broker has the record, and stands still before it is asked to end the transaction. Where it stands still before the
    // producer has heard of the record, that is what takes long, and the end is asked for once: another one, then.
    let begun = Instant::now();
    while !producer.may_have_repeated() {
        assert!(begun.elapsed() < PATIENCE, "all commits are quick");
        producer.begin().unwrap();
        producer.send(record(&of, "b")).await.unwrap();
        while cluster.bounds(&of.topic, 0).await.unwrap().end < 2 * committed + 1 {
            assert!(begun.elapsed() < PATIENCE, "the record does not come");
        }
        server.stop().unwrap();
        let thaw = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.go_on().unwrap();
        };
        let (done, ()) = tokio::join!(producer.commit(), thaw);
        done.unwrap();
        committed += 1;
    }
}

#[tokio::test]
async fn records_of_all_compressions_are_read() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    for compression in ["gzip", "snappy", "lz4", "zstd", "none"] {
        let properties = [("compression.type", compression)];
        let cluster = connect(&connection(&server.brokers(), &properties)).unwrap();
        let of = topic(cluster.as_ref(), &server.new_name(compression)).await;
        let value = compression.repeat(10_000);
        commit(cluster.as_ref(), &server.new_name("id"), &of, &value).await.unwrap();
        let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
        let mut reader = consumer.read(&of, 0).unwrap();
        assert_eq!(values(consumer.as_ref(), reader.as_mut(), 1).await, [value]);
    }
}

#[tokio::test]
async fn a_property_that_there_is_none_of_is_refused() {
    for (name, value) in [("no.such.property", "1"), ("linger.ms", "soon")] {
        let refused = connect(&connection("127.0.0.1:1", &[(name, value)]));
        let error = refused.map(|_| ()).unwrap_err();
        assert_eq!(error.kind, KafkaErrorKind::Refused);
        assert!(error.message.contains(name), "{error}");
    }
}
