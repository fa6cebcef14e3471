//! Reading partitions.

use super::{
    Rig,
    rig::{record, send},
};
use std::time::Duration;
use weir_kafka::{Isolation, KafkaErrorKind, NewRecord, RecordRef, TopicPartition};

type Whole = (i64, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn whole(record: RecordRef<'_>) -> Whole {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    (record.offset, record.timestamp_ms, owned(record.key), owned(record.value), record.headers.all())
}

/// Keys, values, headers and times; nothing and an empty text are different things.
pub async fn records_come_back_as_they_were_written(rig: &Rig) {
    let to = rig.topic("whole").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    producer.begin().unwrap();
    let new = |key, value, headers, timestamp_ms| NewRecord {
        topic: &to.topic,
        partition: to.partition,
        key,
        value,
        headers,
        timestamp_ms,
    };
    let headers: [(&str, &[u8]); 3] = [("a", b"1"), ("b", b""), ("a", b"2")];
    producer.send(new(Some(b"key"), Some(b"value"), &headers, Some(1_646_352_000_123))).await.unwrap();
    producer.send(new(None, Some(b""), &[], Some(5))).await.unwrap();
    producer.send(new(Some(b""), None, &[], Some(6))).await.unwrap();
    producer.commit().await.unwrap();
    let mut consumer = rig.cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&to, 0).unwrap();
    let mut records = Vec::new();
    rig.until("three records come", async || {
        reader.take(10, &mut |record| records.push(whole(record))).unwrap();
        records.len() >= 3
    })
    .await;
    let (text, header) =
        (|text: &str| Some(text.as_bytes().to_vec()), |name: &str, value: &str| (name.into(), Some(value.into())));
    let all = vec![header("a", "1"), header("b", ""), header("a", "2")];
    assert_eq!(records[0], (0, Some(1_646_352_000_123), text("key"), text("value"), all));
    assert_eq!(records[1], (1, Some(5), None, text(""), Vec::new()));
    assert_eq!(records[2], (2, Some(6), text(""), None, Vec::new()));
}

/// Over one consumer, each from its own offset.
pub async fn partitions_are_read_apart(rig: &Rig) {
    let topic = rig.topic_with("apart", 3, &[]).await;
    let of = |partition| TopicPartition { topic: topic.clone(), partition };
    let mut producer = rig.producer(&rig.name("id")).await;
    for partition in 0..3 {
        let values = ["a", "b", "c", "d"].map(|value| format!("{value}{partition}"));
        rig.commit(producer.as_mut(), &of(partition), &values.each_ref().map(String::as_str)).await;
    }
    let mut consumer = rig.cluster.consumer(Isolation::Committed).unwrap();
    let mut readers = Vec::new();
    for partition in 0..3 {
        readers.push(consumer.read(&of(partition), i64::from(partition)).unwrap());
    }
    for (partition, reader) in readers.iter_mut().enumerate() {
        let read = rig.read_on(consumer.as_ref(), reader.as_mut(), 5).await;
        let expected: Vec<String> =
            ["a", "b", "c", "d"][partition..].iter().map(|v| format!("{v}{partition}")).collect();
        assert_eq!(read.values(), expected);
        assert_eq!(reader.end(), Some(5));
    }
}

/// A partition is read once at a time; after its reader is gone, again, from anywhere.
pub async fn a_reader_ends_when_it_is_dropped(rig: &Rig) {
    let of = rig.topic("dropped").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    rig.commit(producer.as_mut(), &of, &["a", "b", "c"]).await;
    let mut consumer = rig.cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&of, 2).unwrap();
    assert_eq!(consumer.read(&of, 0).map(|_| ()).unwrap_err().kind, KafkaErrorKind::Refused);
    assert_eq!(rig.read_on(consumer.as_ref(), reader.as_mut(), 4).await.values(), ["c"]);
    drop(reader);
    let mut reader = consumer.read(&of, 0).unwrap();
    assert_eq!(rig.read_on(consumer.as_ref(), reader.as_mut(), 4).await.values(), ["a", "b", "c"]);
}

/// When there was nothing, and then something comes.
pub async fn whoever_waits_is_woken(rig: &Rig) {
    let of = rig.topic("woken").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    let mut consumer = rig.cluster.consumer(Isolation::Committed).unwrap();
    let woken = consumer.woken();
    let mut reader = consumer.read(&of, 0).unwrap();
    for (round, value) in ["a", "b"].into_iter().enumerate() {
        rig.commit(producer.as_mut(), &of, &[value]).await;
        let mut got = Vec::new();
        while got.len() <= round / 2 {
            let taken = reader.take(10, &mut |record| got.push(record.value.map(<[u8]>::to_vec))).unwrap();
            if taken == 0 {
                let late = tokio::time::timeout(Duration::from_secs(60), woken.notified()).await;
                late.expect("a record came and nobody was woken");
            }
        }
        assert_eq!(got, [Some(value.as_bytes().to_vec())]);
    }
}

/// Behind the end, and where records have been and are no more, a reader goes nowhere by itself.
pub async fn an_offset_that_is_not_there_is_an_error(rig: &Rig) {
    let of = rig.topic("beyond").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    rig.commit(producer.as_mut(), &of, &["a"]).await;
    rig.until_stable(&of).await;
    let read = rig.read(Isolation::Committed, &of, 7, 100).await;
    let error = read.error.expect("there is nothing at offset 7");
    assert_eq!(error.kind, KafkaErrorKind::OutOfRange, "{error}");
    assert!(error.message.contains(&of.to_string()) && error.message.contains('7'), "{error}");
    assert_eq!(read.records, []);
    // The end itself is a place to begin at.
    let mut consumer = rig.cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&of, 2).unwrap();
    rig.commit(producer.as_mut(), &of, &["b"]).await;
    assert_eq!(rig.read_on(consumer.as_ref(), reader.as_mut(), 4).await.values(), ["b"]);
}

/// It is told, not waited for without end.
pub async fn a_topic_that_is_not_there_cannot_be_read(rig: &Rig) {
    let of = TopicPartition { topic: rig.name("no-such-topic"), partition: 0 };
    let error = match rig.cluster.consumer(Isolation::Committed).unwrap().read(&of, 0) {
        Err(error) => error,
        Ok(_) => rig.read(Isolation::Committed, &of, 0, 1).await.error.expect("there is no such topic"),
    };
    assert_eq!(error.kind, KafkaErrorKind::NotFound, "{error}");
}

/// The plain producer, as for `at_least_once`.
pub async fn records_without_transactions_are_there_after_a_flush(rig: &Rig) {
    let of = rig.topic("plain").await;
    let mut producer = rig.cluster.producer().unwrap();
    for value in ["a", "b"] {
        producer.send(record(&of, value)).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(rig.end(&of).await, 2);
    assert_eq!(rig.committed(&of).await.values(), ["a", "b"]);
    // Nothing of a transaction is in its way.
    let mut other = rig.producer(&rig.name("id")).await;
    other.begin().unwrap();
    send(other.as_mut(), &of, &["c"]).await;
    other.commit().await.unwrap();
    assert_eq!(rig.committed(&of).await.values(), ["a", "b", "c"]);
}
