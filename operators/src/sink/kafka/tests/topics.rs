//! What is in topics: keys, partitions, headers, rows that are too large; and topics that are not what they were.

use super::*;
use arrow::array::{ArrayRef, FixedSizeBinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray};
use conformance::{numbers, visible};
use std::collections::BTreeMap;
use weir_engine::{ErrorKind, element::Batch};
use weir_kafka::{NewRecord, partition::partition_of};

/// Results: the same record in several revisions.
fn results(of: &[(u8, &str, i64, i32)]) -> Batch {
    let mut ids = FixedSizeBinaryBuilder::new(16);
    of.iter().for_each(|row| ids.append_value([row.0; 16]).unwrap());
    let columns: [(&str, ArrayRef); 4] = [
        ("record_id", Arc::new(ids.finish())),
        ("ad_id", Arc::new(of.iter().map(|row| Some(row.1)).collect::<StringArray>())),
        ("n", Arc::new(Int64Array::from_iter_values(of.iter().map(|row| row.2)))),
        ("revision", Arc::new(Int32Array::from_iter_values(of.iter().map(|row| row.3)))),
    ];
    Batch::new(RecordBatch::try_from_iter(columns).unwrap())
}

async fn commit(target: &Target, committer: &KafkaCommitter, rows: Batch, checkpoint: u64) {
    let mut sink = target.sink(&context(1, 0));
    sink.write(rows).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
    committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
    // Only the newest name in the staging area is new.
    committer
        .sweep(&weir_engine::operator::SweepScope {
            attempt: weir_engine::ids::Attempt(9),
            keep: vec![],
            results: None,
        })
        .await
        .unwrap();
}

fn headers(written: &Written) -> BTreeMap<String, String> {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
    written.record.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_where_java_would_put_it_and_headers_say_which_result_it_is() {
    let mut target = Target::new();
    (target.config.results, target.config.key) = (true, vec!["ad_id".into()]);
    let committer = target.prepared().await;
    let ads: Vec<String> = (0..50).map(|number| format!("ad{number:06}")).collect();
    let rows: Vec<_> = ads.iter().enumerate().map(|(n, ad)| (n as u8, ad.as_str(), n as i64, 7)).collect();
    commit(&target, &committer, results(&rows), 3).await;
    let written = target.committed(TOPIC).await;
    assert_eq!(written.len(), 50);
    for record in &written {
        let key = record.record.key.clone().unwrap();
        assert_eq!(record.partition, partition_of(&key, 3));
        let (headers, n) = (headers(record), number(record));
        let id = uuid::Uuid::from_bytes([n as u8; 16]).to_string();
        assert_eq!(key, ads[n as usize].as_bytes());
        assert_eq!(
            headers,
            [("record_id", &*id), ("revision", "7"), ("checkpoint", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_compacted_topic_keeps_the_highest_revision_of_each_result() {
    let mut target = Target::new();
    target.model.create("compacted", 2, &[("cleanup.policy", "compact")]);
    target.config.topic = "compacted".into();
    (target.config.results, target.config.key) = (true, vec!["record_id".into()]);
    let committer = target.prepared().await;
    for checkpoint in 1..=6 {
        let revision = checkpoint as i32;
        let rows = [(1, "a", i64::from(revision), revision), (2, "b", 20, revision), (1, "a", 10, 10 + revision)];
        commit(&target, &committer, results(&rows), checkpoint).await;
        // The progress topic is compacted as well, and another worker continues.
        target.model.compact(1);
        target.new_committer().compare(CheckpointId(checkpoint), true).await.unwrap();
    }
    target.model.compact(0);
    let mut newest = BTreeMap::new();
    for record in target.committed("compacted").await {
        let headers = headers(&record);
        let before = newest.insert(headers["record_id"].clone(), headers["revision"].clone());
        assert_eq!(before, None, "compacted");
    }
    assert_eq!(newest.into_values().collect::<Vec<_>>(), ["16", "6"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_too_large_is_told_of_and_blocks_no_other() {
    for has_beside in [true, false] {
        let mut target = Target::new();
        target.model.create("small", 3, &[("max.message.bytes", "1200")]);
        target.model.create("refused", 1, &[]);
        target.config.topic = "small".into();
        (target.config.results, target.config.key) = (true, vec!["ad_id".into()]);
        target.config.rejected_topic = has_beside.then(|| "refused".into());
        let committer = target.prepared().await;
        let long = "x".repeat(2_000);
        commit(&target, &committer, results(&[(1, "a", 1, 0), (2, &long, 2, 0), (3, "c", 3, 0)]), 1).await;
        let mut seen: Vec<i64> = target.committed("small").await.iter().map(number).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 3]);
        assert_eq!(target.waits.rejected()[SINK], 1);
        let refused = target.committed("refused").await;
        assert_eq!(refused.len(), usize::from(has_beside));
        for record in &refused {
            let value: serde_json::Value = serde_json::from_slice(record.record.value.as_ref().unwrap()).unwrap();
            let reason = value["reason"].as_str().unwrap();
            assert!(
                reason.contains("takes ") && reason.contains("1200 at most") && reason.contains("xxxx"),
                "{reason}"
            );
            assert!(value["raw"].as_str().unwrap().starts_with("{\"record_id\":\"02020202-"), "{value}");
            assert_eq!(headers(record)["record_id"], uuid::Uuid::from_bytes([2; 16]).to_string());
        }
        // The count goes on after a restart, wherever it is committed.
        let next = target.prepared().await;
        assert_eq!(target.waits.rejected()[SINK], 1);
        commit(&target, &next, results(&[(4, &long, 4, 0)]), 2).await;
        assert_eq!(target.waits.rejected()[SINK], 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_without_a_key_is_told_of_where_a_topic_is_compacted_and_blocks_no_other() {
    let ads = |of: [Option<&str>; 3]| {
        let columns: [(&str, ArrayRef); 2] = [
            ("ad_id", Arc::new(of.into_iter().collect::<StringArray>())),
            ("n", Arc::new(Int64Array::from_iter_values(1..4))),
        ];
        Batch::new(
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap(),
        )
    };
    let mut target = Target::new();
    target.model.create("compacted", 3, &[("cleanup.policy", "compact")]);
    target.model.create("refused", 1, &[]);
    target.config.topic = "compacted".into();
    target.config.rejected_topic = Some("refused".into());
    let error = target.new_committer().prepare().await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("the sink has no `key`"), "{error}");
    target.config.key = vec!["ad_id".into()];
    let committer = target.prepared().await;
    commit(&target, &committer, ads([Some("a"), None, Some("c")]), 1).await;
    let mut seen: Vec<i64> = target.committed("compacted").await.iter().map(number).collect();
    seen.sort_unstable();
    assert_eq!((seen, target.waits.rejected()[SINK]), (vec![1, 3], 1));
    let refused = target.committed("refused").await;
    let value: serde_json::Value = serde_json::from_slice(refused[0].record.value.as_ref().unwrap()).unwrap();
    assert!(value["reason"].as_str().unwrap().starts_with("the record has no key"), "{value}");
    assert_eq!((refused.len(), &value["raw"]), (1, &serde_json::json!(r#"{"ad_id":null,"n":2}"#)));
    // A topic that became compacted after its rows were staged does not block them, either.
    target.config.topic = TOPIC.into();
    let mut sink = target.sink(&context(1, 1));
    sink.write(ads([None, Some("b"), None])).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(2))).await.unwrap();
    committer.commit(CheckpointId(2), &staged).await.unwrap();
    assert_eq!(target.committed("compacted").await.len(), 3);
    assert_eq!(target.waits.rejected()[SINK], 3);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_takes_less_than_when_rows_were_staged_does_not_block_them() {
    let mut target = Target::new();
    (target.config.results, target.config.key) = (true, vec!["ad_id".into()]);
    let long = "x".repeat(2_000);
    let mut sink = target.sink(&context(1, 0));
    sink.write(results(&[(1, "a", 1, 0), (2, &long, 2, 0)])).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    target.model.create("smaller", 3, &[("max.message.bytes", "1200")]);
    target.config.topic = "smaller".into();
    target.prepared().await.commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(target.committed("smaller").await.iter().map(number).collect::<Vec<_>>(), [1]);
    assert_eq!(target.waits.rejected()[SINK], 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_is_told_of_with_what_makes_it() {
    let mut target = Target::new();
    target.config.topic = "missing".into();
    let error = target.new_committer().prepare().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Definition);
    assert!(error.message.contains("--create --topic missing --partitions"), "{error}");
    let mut sink = target.sink(&context(1, 0));
    let error = sink.write(conformance::rows(0..1)).await.unwrap_err();
    assert!(error.message.contains("there is no topic 'missing'"), "{error}");
    let mut target = Target::new();
    target.config.rejected_topic = Some("refused".into());
    let error = target.new_committer().prepare().await.unwrap_err();
    assert!(error.message.contains("there is no topic 'refused'"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_made_anew_is_told_of() {
    let target = Target::new();
    let committer = target.prepared().await;
    committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    let staged = target.staged(1, 10..20, 2).await;
    target.model.delete(TOPIC);
    // Long enough that the one who commits looks once more.
    target.env.sleep(Duration::from_secs(60)).await;
    let gone = committer.commit(CheckpointId(2), &staged).await.unwrap_err();
    assert!(gone.message.contains("10 rows of checkpoint 2") && gone.message.contains("no topic"), "{gone}");
    target.model.create(TOPIC, 3, &[]);
    for refused in [
        committer.commit(CheckpointId(2), &staged).await.map(|_| ()),
        target.new_committer().commit(CheckpointId(2), &staged).await.map(|_| ()),
        target.new_committer().prepare().await,
        target.new_committer().compare(CheckpointId(1), true).await,
    ] {
        let error = refused.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("made anew"), "{error}");
    }
    assert_eq!(visible(&target).await, [0i64; 0]);
    // A fresh start takes it.
    let fresh = target.committer_in(SINK, Lineage(2));
    fresh.reset(Lineage(2)).await.unwrap();
    fresh.commit(CheckpointId(1), &target.staged(2, 0..5, 1).await).await.unwrap();
    assert_eq!(visible(&target).await, numbers(0..5));
}

#[tokio::test(start_paused = true)]
async fn fewer_partitions_than_rows_were_staged_for_are_told_of() {
    let target = Target::new();
    let mut staged = target.staged(1, 0..10, 1).await;
    staged[0].payload["partitions"] = 4.into();
    let error = target.new_committer().commit(CheckpointId(1), &staged).await.unwrap_err();
    assert!(error.message.contains("has 3 partitions") && error.message.contains("for partition 3"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn progress_that_was_lost_is_told_of() {
    let target = Target::new();
    let committer = target.prepared().await;
    committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
    target.model.delete(PROGRESS);
    let mut staged = target.staged(1, 10..20, 2).await;
    staged.iter_mut().for_each(|one| one.after = Some(CheckpointId(1)));
    let committer = target.prepared().await;
    for refused in
        [committer.compare(CheckpointId(1), true).await, committer.commit(CheckpointId(2), &staged).await.map(|_| ())]
    {
        let error = refused.unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("was emptied"), "{error}");
    }
    assert_eq!(visible(&target).await, numbers(0..10));
}

#[tokio::test(start_paused = true)]
async fn progress_is_found_behind_that_of_many_others() {
    let target = Target::new();
    let committer = target.prepared().await;
    let staged = target.staged(1, 0..10, 1).await;
    committer.commit(CheckpointId(1), &staged).await.unwrap();
    for number in 0..1_000_u64 {
        let (key, value) = (format!("ad-click/sink.other{}/0", number % 3), b"{}".as_slice());
        let (key, headers) = (Some(key.as_bytes()), [].as_slice());
        target.model.append(&NewRecord {
            topic: PROGRESS,
            partition: 0,
            key,
            value: Some(value),
            headers,
            timestamp_ms: None,
        });
    }
    target.new_committer().compare(CheckpointId(1), true).await.unwrap();
    target.model.compact(10);
    target.new_committer().compare(CheckpointId(1), true).await.unwrap();
    let again = target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(again, weir_engine::operator::CommitOutcome::AlreadyDone);
}

#[tokio::test(start_paused = true)]
async fn another_sinks_open_transaction_is_waited_for_and_hides_nothing() {
    let target = Target::new();
    let committer = target.prepared().await;
    let staged = target.staged(1, 0..10, 1).await;
    let mut other = target.model.cluster().transactional("other", Duration::from_secs(20)).unwrap();
    other.init().await.unwrap();
    other.begin().unwrap();
    let record = NewRecord {
        topic: PROGRESS,
        partition: 0,
        key: Some(b"other"),
        value: Some(b"{}"),
        headers: &[],
        timestamp_ms: None,
    };
    // Enough that the client sends them before the end.
    for _ in 0..1_000 {
        other.send(record).await.unwrap();
    }
    let bounds = target.model.bounds(PROGRESS, 0).unwrap();
    assert!(bounds.stable_end < bounds.end, "it is open");
    committer.commit(CheckpointId(1), &staged).await.unwrap();
    let began = target.env.now();
    let again = target.new_committer().commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(again, weir_engine::operator::CommitOutcome::AlreadyDone, "it has waited for the end");
    assert!(target.env.now() - began > Duration::from_secs(10));
    assert_eq!(visible(&target).await, numbers(0..10));
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_added_get_records_after_a_while() {
    let target = Target::new();
    let committer = target.prepared().await;
    let mut sink = target.sink(&context(1, 0));
    for (checkpoint, expected) in [(1, 3), (2, 3), (3, 5), (4, 5)] {
        sink.write(conformance::rows(0..40)).await.unwrap();
        let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
        committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
        assert_eq!(staged[0].payload["partitions"], expected, "{checkpoint}");
        match checkpoint {
            1 => target.model.grow(TOPIC, 5),
            2 => {
                // It asks beside its rows, and has the answer with those after.
                target.env.sleep(Duration::from_secs(40)).await;
                sink.write(conformance::rows(0..1)).await.unwrap();
                target.env.sleep(Duration::from_secs(1)).await;
                sink.write(conformance::rows(0..1)).await.unwrap();
            }
            _ => {}
        }
    }
}
