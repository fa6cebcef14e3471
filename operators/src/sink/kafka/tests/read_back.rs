//! A topic read back: what is committed, each record once, in rows.

use super::*;
use crate::{
    schema::ColumnSchema,
    sink::{StoredSink, read_back::ReadBackOf},
};
use arrow::{array::AsArray, datatypes::Int64Type};
use conformance::numbers;
use weir_kafka::NewRecord;

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_read_back_once() {
    let target = Target::new();
    let columns = ColumnSchema::from(conformance::rows(0..1).columns.schema_ref().as_ref());
    let of = ReadBackOf { job: JOB, sink: SINK, columns: &columns, env: &target.env };
    let mut results = target.config.read_back(&of).unwrap().unwrap();
    assert!(!results.is_whole() && results.identity().is_empty(), "these are no results");
    let committer = target.prepared().await;
    let mut read = async || {
        target.env.sleep(Duration::from_millis(100)).await;
        let rows = results.next().await.unwrap();
        let mut found: Vec<i64> =
            rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(read().await, [0i64; 0]);
    for (checkpoint, range) in [(1, 0..10), (2, 10..15)] {
        let staged = target.staged(1, range.clone(), checkpoint).await;
        assert_eq!(read().await, [0i64; 0], "it is not committed yet");
        committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
        assert_eq!(read().await, numbers(range));
    }
    // What somebody else has written there is no row.
    let mut producer = target.model.cluster().producer().unwrap();
    for value in [Some(b"{\"n\":99,\"time\":null}".as_slice()), Some(b"nonsense"), None] {
        let record = NewRecord { topic: TOPIC, partition: 0, key: None, value, headers: &[], timestamp_ms: None };
        producer.send(record).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(read().await, [99]);
}
