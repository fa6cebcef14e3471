//! Transactions.

use super::{
    Rig,
    rig::{record, send},
};
use std::time::Duration;
use weir_kafka::{Isolation, KafkaErrorKind, NewRecord, TopicPartition};

/// The marker that ends a transaction occupies an offset: a reader's position passes it, though no record lies there.
pub async fn positions_pass_markers_of_transactions(rig: &Rig) {
    let of = rig.topic("markers").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    rig.commit(producer.as_mut(), &of, &["a", "b"]).await;
    rig.commit(producer.as_mut(), &of, &["c"]).await;
    rig.until_stable(&of).await;
    let bounds = rig.cluster.bounds(&of.topic, 0).await.unwrap();
    assert_eq!((bounds.beginning, bounds.stable_end, bounds.end), (0, 5, 5));
    let read = rig.read(Isolation::Committed, &of, 0, 5).await;
    assert_eq!(read.records, [(0, "a".into()), (1, "b".into()), (3, "c".into())]);
    // From the marker on there is nothing but the marker.
    assert_eq!(rig.read(Isolation::Committed, &of, 4, 5).await.records, []);
}

/// Their offsets are passed.
pub async fn aborted_records_are_not_seen(rig: &Rig) {
    let of = rig.topic("aborted").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    rig.commit(producer.as_mut(), &of, &["a"]).await;
    producer.begin().unwrap();
    send(producer.as_mut(), &of, &["lost", "lost too"]).await;
    rig.until_end(&of, 4).await;
    producer.abort().await.unwrap();
    rig.until_stable(&of).await;
    let end = rig.end(&of).await;
    assert_eq!(end, 5);
    assert_eq!(rig.read(Isolation::Committed, &of, 0, end).await.values(), ["a"]);
    let all = rig.read(Isolation::Uncommitted, &of, 0, end).await;
    assert_eq!(all.values(), ["a", "lost", "lost too"]);
}

/// What another id commits behind it is seen only when it has ended; uncommitted readers and the high watermark don't wait.
pub async fn an_open_transaction_hides_what_follows(rig: &Rig) {
    let of = rig.topic("open").await;
    let mut open = rig.producer(&rig.name("open")).await;
    open.begin().unwrap();
    send(open.as_mut(), &of, &["first"]).await;
    rig.until_end(&of, 1).await;
    let mut other = rig.producer(&rig.name("other")).await;
    rig.commit(other.as_mut(), &of, &["second"]).await;
    rig.until_end(&of, 3).await;
    let bounds = rig.cluster.bounds(&of.topic, 0).await.unwrap();
    assert_eq!((bounds.stable_end, bounds.end), (0, 3));
    assert_eq!(rig.read(Isolation::Uncommitted, &of, 0, 3).await.values(), ["first", "second"]);
    let mut consumer = rig.cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&of, 0).unwrap();
    for _ in 0..10 {
        assert_eq!(reader.take(10, &mut |record| panic!("{record:?} was seen")), Ok(0));
        assert_eq!(reader.position(), 0);
        rig.env.sleep(Duration::from_millis(100)).await;
    }
    open.commit().await.unwrap();
    assert_eq!(rig.read_on(consumer.as_ref(), reader.as_mut(), 4).await.values(), ["first", "second"]);
}

/// Whatever the older one does from then on is refused.
pub async fn a_newer_producer_fences_the_older(rig: &Rig) {
    let of = rig.topic("fenced").await;
    let id = rig.name("id");
    let mut older = rig.producer(&id).await;
    rig.commit(older.as_mut(), &of, &["a"]).await;
    let mut newer = rig.producer(&id).await;
    // A client may learn of it when it begins, when it sends, or when it commits: at the latest then.
    let done = async {
        older.begin()?;
        older.send(record(&of, "zombie")).await?;
        older.commit().await
    };
    let error = done.await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::Fenced, "{error}");
    assert!(error.message.contains(&id) || error.message.contains(&of.topic), "{error}");
    rig.commit(newer.as_mut(), &of, &["b"]).await;
    assert_eq!(rig.committed(&of).await.values(), ["a", "b"]);
}

/// By `init` of the newer one; and a commit that the older one had not yet asked for is refused however late it comes.
pub async fn what_a_fenced_producer_left_open_is_aborted(rig: &Rig) {
    let of = rig.topic("left-open").await;
    let id = rig.name("id");
    let mut older = rig.producer(&id).await;
    older.begin().unwrap();
    send(older.as_mut(), &of, &["zombie"]).await;
    rig.until_end(&of, 1).await;
    let mut newer = rig.producer(&id).await;
    rig.until_stable(&of).await;
    rig.commit(newer.as_mut(), &of, &["a"]).await;
    newer.begin().unwrap();
    send(newer.as_mut(), &of, &["b"]).await;
    rig.until_end(&of, 5).await;
    let error = older.commit().await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::Fenced, "{error}");
    // It has not ended the newer one's transaction, either.
    let bounds = rig.cluster.bounds(&of.topic, 0).await.unwrap();
    assert_eq!(bounds.stable_end, 4);
    newer.commit().await.unwrap();
    assert_eq!(rig.committed(&of).await.values(), ["a", "b"]);
}

/// The broker aborts it, and readers go on.
pub async fn a_transaction_that_timed_out_cannot_be_committed(rig: &Rig) {
    let of = rig.topic("timed-out").await;
    let id = rig.name("id");
    let mut slow = rig.producer_within(&id, Duration::from_secs(1)).await;
    slow.begin().unwrap();
    send(slow.as_mut(), &of, &["late"]).await;
    rig.until_end(&of, 1).await;
    rig.until_end(&of, 2).await;
    rig.until_stable(&of).await;
    let error = slow.commit().await.unwrap_err();
    assert!(matches!(error.kind, KafkaErrorKind::Fenced | KafkaErrorKind::Unknown), "{error}");
    drop(slow);
    let mut again = rig.producer(&id).await;
    rig.commit(again.as_mut(), &of, &["again"]).await;
    assert_eq!(rig.committed(&of).await.values(), ["again"]);
}

/// The same producer goes on.
pub async fn an_id_is_used_again_after_an_abort(rig: &Rig) {
    let of = rig.topic("again").await;
    let mut producer = rig.producer(&rig.name("id")).await;
    producer.begin().unwrap();
    send(producer.as_mut(), &of, &["lost"]).await;
    producer.abort().await.unwrap();
    rig.commit(producer.as_mut(), &of, &["a"]).await;
    assert_eq!(rig.committed(&of).await.values(), ["a"]);
}

/// All of it is there, or nothing.
pub async fn one_transaction_spans_partitions_and_topics(rig: &Rig) {
    let (first, other) = (rig.topic_with("spans", 2, &[]).await, rig.topic("spans").await);
    let all =
        [TopicPartition { topic: first.clone(), partition: 0 }, TopicPartition { topic: first, partition: 1 }, other];
    let mut producer = rig.producer(&rig.name("id")).await;
    for (round, commits) in [false, true].into_iter().enumerate() {
        producer.begin().unwrap();
        for of in &all {
            send(producer.as_mut(), of, &[&format!("round {round}")]).await;
        }
        if commits {
            producer.commit().await.unwrap();
        } else {
            producer.abort().await.unwrap();
        }
    }
    for of in &all {
        assert_eq!(rig.committed(of).await.values(), ["round 1"]);
    }
}

/// Nothing of its transaction is committed, and the next producer of the id goes on.
pub async fn a_record_that_is_too_large_is_told(rig: &Rig) {
    let topic = rig.topic_with("large", 1, &[("max.message.bytes", "20000")]).await;
    let of = TopicPartition { topic, partition: 0 };
    let id = rig.name("id");
    let mut producer = rig.producer(&id).await;
    producer.begin().unwrap();
    send(producer.as_mut(), &of, &["lost"]).await;
    let large = "x".repeat(50_000);
    let done = async {
        producer.send(record(&of, &large)).await?;
        producer.commit().await
    };
    let error = done.await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::TooLarge, "{error}");
    assert!(error.message.contains(&of.to_string()), "{error}");
    drop(producer);
    let mut producer = rig.producer(&id).await;
    rig.commit(producer.as_mut(), &of, &["small"]).await;
    assert_eq!(rig.committed(&of).await.values(), ["small"]);
}

/// By a compacted topic, which keeps the newest of each key.
pub async fn a_record_without_a_key_is_refused_where_keys_decide(rig: &Rig) {
    let topic = rig.topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let of = TopicPartition { topic, partition: 0 };
    let id = rig.name("id");
    let mut producer = rig.producer(&id).await;
    producer.begin().unwrap();
    let done = async {
        producer.send(record(&of, "lost")).await?;
        producer.commit().await
    };
    let error = done.await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::Refused, "{error}");
    drop(producer);
    let mut producer = rig.producer(&id).await;
    producer.begin().unwrap();
    producer.send(NewRecord { key: Some(b"k"), ..record(&of, "kept") }).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(rig.committed(&of).await.values(), ["kept"]);
}

/// A topic that there is none of.
pub async fn a_transaction_to_nowhere_is_told(rig: &Rig) {
    let of = TopicPartition { topic: rig.name("no-such-topic"), partition: 0 };
    let mut producer = rig.producer(&rig.name("id")).await;
    producer.begin().unwrap();
    let done = async {
        producer.send(record(&of, "a")).await?;
        producer.commit().await
    };
    let error = done.await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::NotFound, "{error}");
}
