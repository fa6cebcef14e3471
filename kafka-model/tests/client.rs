//! What code under test sees of the model, through the traits.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use weir_engine::env::Env;
use weir_kafka::{
    Bounds, Cluster, Connection, Isolation, KafkaErrorKind, NewRecord, PartitionReader, TopicPartition,
    TransactionalProducer, provided,
};
use weir_kafka_model::{Conditions, Model, Patience};

const TIMEOUT: Duration = Duration::from_secs(10);

fn record<'a>(topic: &'a str, value: &'a [u8]) -> NewRecord<'a> {
    NewRecord {
        topic,
        partition: 0,
        key: Some(b"key"),
        value: Some(value),
        headers: &[("h", b"1")],
        timestamp_ms: None,
    }
}

fn partition(topic: &str) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: 0 }
}

async fn wait(milliseconds: u64) {
    Env::default().sleep(Duration::from_millis(milliseconds)).await;
}

async fn producer(cluster: &Arc<dyn Cluster>, id: &str) -> Box<dyn TransactionalProducer> {
    let mut producer = cluster.transactional(id, TIMEOUT).unwrap();
    producer.init().await.unwrap();
    producer
}

fn taken(reader: &mut dyn PartitionReader) -> Vec<String> {
    let mut values = Vec::new();
    let mut see = |record: weir_kafka::RecordRef<'_>| {
        values.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
    };
    reader.take(100, &mut see).unwrap();
    values
}

fn model() -> (Model, Arc<dyn Cluster>) {
    let model = Model::with(1, Patience { batch: 8, ..Patience::default() });
    model.create("t", 1, &[]);
    (model.clone(), model.cluster())
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_read_and_what_is_aborted_is_not() {
    let (_, cluster) = model();
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&partition("t"), 0).unwrap();
    assert_eq!(consumer.read(&partition("t"), 0).err().map(|error| error.kind), Some(KafkaErrorKind::Refused));
    let mut producer = producer(&cluster, "id").await;
    for (value, commits) in [("1", true), ("2", false), ("3", true)] {
        producer.begin().unwrap();
        for _ in 0..8 {
            producer.send(record("t", value.as_bytes())).await.unwrap();
        }
        if commits { producer.commit().await } else { producer.abort().await }.unwrap();
    }
    wait(200).await;
    assert_eq!(taken(&mut *reader).concat(), "1111111133333333");
    assert_eq!((reader.position(), reader.end()), (27, Some(27)), "markers take up offsets");
    assert_eq!(cluster.bounds("t", 0).await.unwrap(), Bounds { beginning: 0, stable_end: 27, end: 27 });
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_is_woken() {
    let (model, cluster) = model();
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&partition("t"), 0).unwrap();
    let (woken, appending) = (consumer.woken(), model.clone());
    tokio::spawn(async move {
        wait(3_000).await;
        appending.append(&record("t", b"late"));
    });
    let mut values = Vec::new();
    while values.is_empty() {
        woken.notified().await;
        values = taken(&mut *reader);
    }
    assert_eq!(values, ["late"]);
}

#[tokio::test(start_paused = true)]
async fn a_later_one_fences() {
    let (model, cluster) = model();
    let mut old = producer(&cluster, "id").await;
    old.begin().unwrap();
    old.send(record("t", b"old")).await.unwrap();
    let mut new = producer(&cluster, "id").await;
    assert_eq!(old.commit().await.unwrap_err().kind, KafkaErrorKind::Fenced);
    new.begin().unwrap();
    new.send(record("t", b"new")).await.unwrap();
    new.commit().await.unwrap();
    wait(100).await;
    let written = model.committed("t").unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].record.value.as_deref(), Some(&b"new"[..]));
    assert_eq!(written[0].record.headers, [("h".to_owned(), Some(b"1".to_vec()))]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let (model, cluster) = model();
    let mut producer = producer(&cluster, "id").await;
    producer.begin().unwrap();
    for _ in 0..20 {
        producer.send(record("t", b"1")).await.unwrap();
    }
    wait(TIMEOUT.as_millis() as u64 + 1_000).await;
    let bounds = cluster.bounds("t", 0).await.unwrap();
    assert!(bounds.stable_end == bounds.end && bounds.end == 17, "{bounds:?}");
    assert_eq!(producer.commit().await.unwrap_err().kind, KafkaErrorKind::Fenced);
    assert!(model.committed("t").unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answers_are_lost_is_done_and_unknown() {
    let (model, cluster) = model();
    let mut producer = producer(&cluster, "id").await;
    producer.begin().unwrap();
    for _ in 0..8 {
        producer.send(record("t", b"1")).await.unwrap();
    }
    model.set(Conditions { lose_answer_one_in: 1, ..Conditions::default() });
    assert_eq!(producer.commit().await.unwrap_err().kind, KafkaErrorKind::Unknown);
    assert_eq!(model.committed("t").unwrap().len(), 8);
}

/// A commit that is delayed ends the next transaction of the same epoch, in the midst of it. After `init` it is refused.
#[tokio::test(start_paused = true)]
async fn a_delayed_commit_is_refused_after_init() {
    for inits in [false, true] {
        let (model, cluster) = model();
        let mut late = producer(&cluster, "id").await;
        let batch = async |late: &mut Box<dyn TransactionalProducer>| {
            late.begin().unwrap();
            for _ in 0..8 {
                late.send(record("t", b"1")).await.unwrap();
            }
        };
        batch(&mut late).await;
        model.set(Conditions { late_one_in: 1, latest: Duration::from_secs(5), ..Conditions::default() });
        assert_eq!(late.commit().await.unwrap_err().kind, KafkaErrorKind::Unknown);
        model.set(Conditions::default());
        late.abort().await.unwrap();
        if inits {
            late.init().await.unwrap();
        }
        batch(&mut late).await;
        let bounds = model.bounds("t", 0).unwrap();
        assert_eq!((bounds.stable_end, bounds.end), (9, 17), "the second one is open");
        let is_done = async || {
            for _ in 0..80 {
                wait(100).await;
                if !model.committed("t").unwrap().is_empty() {
                    return true;
                }
            }
            false
        };
        // Before the time-out of the transaction.
        assert_eq!(is_done().await, !inits);
    }
}

/// A commit that was asked for again and confirmed: the first request comes later, and ends the next transaction of the same epoch.
#[tokio::test(start_paused = true)]
async fn an_overtaken_commit_ends_the_next_transaction_unless_it_was_told_of_and_heeded() {
    for heeds in [false, true] {
        let (model, cluster) = model();
        let mut producer = producer(&cluster, "id").await;
        let batch = async |producer: &mut Box<dyn TransactionalProducer>| {
            producer.begin().unwrap();
            for _ in 0..8 {
                producer.send(record("t", b"1")).await.unwrap();
            }
        };
        batch(&mut producer).await;
        producer.commit().await.unwrap();
        assert!(!producer.may_have_repeated());
        batch(&mut producer).await;
        model.set(Conditions { overtaken_one_in: 2, latest: Duration::from_secs(2), ..Conditions::default() });
        producer.commit().await.unwrap();
        model.set(Conditions::default());
        if !producer.may_have_repeated() {
            // Chance has not struck this one.
            continue;
        }
        if heeds {
            producer.init().await.unwrap();
        }
        batch(&mut producer).await;
        wait(3_000).await;
        let committed = model.committed("t").unwrap().len();
        assert_eq!(committed, if heeds { 16 } else { 24 }, "heeds: {heeds}");
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_that_stand_still_do_afterwards_what_was_asked_for() {
    let (model, cluster) = model();
    let mut producer = producer(&cluster, "id").await;
    producer.begin().unwrap();
    for _ in 0..8 {
        producer.send(record("t", b"1")).await.unwrap();
    }
    model.set(Conditions { is_frozen: true, ..Conditions::default() });
    assert_eq!(producer.commit().await.unwrap_err().kind, KafkaErrorKind::Unknown);
    wait(5_000).await;
    model.set(Conditions::default());
    wait(100).await;
    assert_eq!(model.committed("t").unwrap().len(), 8, "the commit was under way");
}

#[tokio::test(start_paused = true)]
async fn brokers_that_are_away_are_unavailable_and_lose_nothing() {
    let (model, cluster) = model();
    model.append(&record("t", b"1"));
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    model.set(Conditions { is_down: true, ..Conditions::default() });
    assert_eq!(cluster.topics().await.unwrap_err().kind, KafkaErrorKind::Unavailable);
    let mut reader = consumer.read(&partition("t"), 0).unwrap();
    wait(4_000).await;
    assert_eq!(reader.take(1, &mut |_| {}).unwrap_err().kind, KafkaErrorKind::Unavailable);
    model.set(Conditions::default());
    wait(2_000).await;
    assert_eq!(taken(&mut *reader), ["1"]);
    model.set_cut("client", true);
    assert_eq!(cluster.topics().await.unwrap_err().kind, KafkaErrorKind::Unavailable);
    assert_eq!(model.cluster_of("another").topics().await.unwrap(), ["t"]);
}

#[tokio::test(start_paused = true)]
async fn topics_are_told_apart_and_their_offsets_end() {
    let (model, cluster) = model();
    (0..3).for_each(|_| model.append(&record("t", b"1")));
    let before = cluster.describe("t").await.unwrap().unwrap();
    model.grow("t", 4);
    assert_eq!(cluster.describe("t").await.unwrap().unwrap().partitions, 4);
    model.retain_from("t", 0, 2);
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    for (offset, kind) in [(1, KafkaErrorKind::OutOfRange), (9, KafkaErrorKind::OutOfRange)] {
        let mut reader = consumer.read(&partition("t"), offset).unwrap();
        wait(100).await;
        assert_eq!(reader.take(1, &mut |_| {}).unwrap_err().kind, kind);
    }
    model.delete("t");
    assert_eq!(cluster.describe("t").await.unwrap(), None);
    assert_eq!(cluster.bounds("t", 0).await.unwrap_err().kind, KafkaErrorKind::NotFound);
    model.create("t", 1, &[]);
    assert_ne!(cluster.describe("t").await.unwrap().unwrap().id, before.id);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_and_is_cut_off_is_told() {
    let (model, cluster) = model();
    (0..3).for_each(|_| model.append(&record("t", b"1")));
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&partition("t"), 0).unwrap();
    wait(100).await;
    let mut epochs = Vec::new();
    reader.take(9, &mut |record| epochs.push(record.leader_epoch)).unwrap();
    assert_eq!(epochs, [Some(0); 3]);
    model.lose_from("t", 0, 2);
    (0..3).for_each(|_| model.append(&record("t", b"2")));
    wait(4_000).await;
    assert_eq!(reader.take(9, &mut |_| {}).unwrap_err().kind, KafkaErrorKind::Truncated);
    drop(reader);
    for (offset, epoch, expected) in [(3, Some(0), None), (2, Some(0), Some(3)), (3, None, Some(2))] {
        let mut reader = consumer.read_on(&partition("t"), offset, epoch).unwrap();
        wait(100).await;
        let taken = reader.take(9, &mut |_| {});
        assert_eq!(taken.map_err(|error| error.kind), expected.ok_or(KafkaErrorKind::Truncated), "from {offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_large_is_told() {
    let (model, cluster) = model();
    model.create("small", 1, &[("max.message.bytes", "500")]);
    let mut transactions = producer(&cluster, "id").await;
    transactions.begin().unwrap();
    transactions.send(record("small", &[0; 600])).await.unwrap();
    assert_eq!(transactions.commit().await.unwrap_err().kind, KafkaErrorKind::TooLarge);
    let mut plain = cluster.producer().unwrap();
    plain.send(record("small", &[0; 600])).await.unwrap();
    assert_eq!(plain.flush().await.unwrap_err().kind, KafkaErrorKind::TooLarge);
    plain.send(record("small", &[0; 100])).await.unwrap();
    plain.flush().await.unwrap();
    assert_eq!(model.committed("small").unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn times_and_groups_are_known() {
    let (model, cluster) = model();
    for time in [10, 20, 30] {
        model.append(&NewRecord { timestamp_ms: Some(time), ..record("t", b"1") });
    }
    assert_eq!(cluster.offset_at("t", 0, 15).await.unwrap(), Some(1));
    assert_eq!(cluster.offset_at("t", 0, 31).await.unwrap(), None);
    let partitions = [partition("t"), partition("u")];
    cluster.set_group_offsets("g", &[(partition("t"), 2)]).await.unwrap();
    assert_eq!(cluster.group_offsets("g", &partitions).await.unwrap(), [Some(2), None]);
    assert_eq!(cluster.group_offsets("h", &partitions).await.unwrap(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn it_is_provided_under_a_name() {
    let (_, cluster) = model();
    let _provided = provided::provide("model:one", cluster);
    let connection = Connection { brokers: "model:one".into(), properties: Default::default() };
    assert_eq!(weir_kafka::connect(&connection).unwrap().topics().await.unwrap(), ["t"]);
}

/// Whatever is read in pieces is what is read at once.
#[tokio::test(start_paused = true)]
async fn reading_in_pieces_misses_nothing() {
    let (model, cluster) = model();
    let mut dice = StdRng::seed_from_u64(5);
    let mut producer = producer(&cluster, "id").await;
    for nth in 0..60 {
        producer.begin().unwrap();
        for record_nth in 0..dice.random_range(1..12) {
            producer.send(record("t", format!("{nth} {record_nth}").as_bytes())).await.unwrap();
        }
        if dice.random_range(0..3) == 0 { producer.abort().await } else { producer.commit().await }.unwrap();
    }
    wait(100).await;
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&partition("t"), 0).unwrap();
    let (mut offsets, mut position) = (Vec::new(), 0);
    while reader.position() < cluster.bounds("t", 0).await.unwrap().end {
        reader.take(dice.random_range(1..20), &mut |record| offsets.push(record.offset)).unwrap();
        assert!(reader.position() >= position, "it never falls");
        position = reader.position();
    }
    let all: Vec<i64> = model.committed("t").unwrap().iter().map(|written| written.offset).collect();
    assert_eq!(offsets, all);
}
