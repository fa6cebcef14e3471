//! Values in the formats of schemas: what of them is in the topic and is read back, and where a row goes that is none.

use super::*;
use crate::{
    format::testing::sample_path,
    schema::ColumnSchema,
    sink::{StoredSink, read_back::ReadBackOf},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use weir_engine::element::Batch;

fn format(of: serde_json::Value) -> crate::format::WrittenFormat {
    serde_json::from_value(of).unwrap()
}

fn avro(fields: serde_json::Value) -> crate::format::WrittenFormat {
    let schema = json!({ "type": "record", "name": "Row", "fields": fields });
    format(json!({ "avro": { "file": "row.avsc", "pinned": schema.to_string() } }))
}

/// Rows that are committed, read back.
async fn read_back(target: &Target, rows: RecordBatch) -> Vec<RecordBatch> {
    let columns = ColumnSchema::from(rows.schema_ref().as_ref());
    let of = ReadBackOf { job: JOB, sink: SINK, columns: &columns, env: &target.env };
    let mut results = target.config.read_back(&of).unwrap().unwrap();
    let committer = target.prepared().await;
    let mut sink = target.sink(&context(1, 0));
    sink.write(Batch::new(rows)).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    committer.commit(CheckpointId(1), &staged).await.unwrap();
    target.env.sleep(Duration::from_millis(100)).await;
    results.next().await.unwrap().into_iter().filter(|rows| rows.num_rows() > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn a_row_that_its_schema_cannot_hold_is_set_aside_with_its_key_and_blocks_no_other() {
    let mut target = Target::new();
    target.model.create("refused", 1, &[]);
    let time = json!({ "type": "long", "logicalType": "timestamp-millis" });
    target.config.format = avro(json!([{ "name": "n", "type": "int" }, { "name": "time", "type": time }]));
    (target.config.key, target.config.rejected_topic) = (vec!["n".into()], Some("refused".into()));
    let committer = target.prepared().await;
    let most = i64::from(i32::MAX);
    let staged = target.staged(1, most - 1..most + 2, 1).await;
    committer.commit(CheckpointId(1), &staged).await.unwrap();
    let mut keys: Vec<Vec<u8>> =
        target.committed(TOPIC).await.iter().map(|written| written.record.key.clone().unwrap()).collect();
    keys.sort();
    assert_eq!(keys, [b"2147483646".to_vec(), b"2147483647".to_vec()]);
    assert_eq!(target.waits.rejected()[SINK], 1);
    let refused = target.committed("refused").await;
    let record = &refused[0].record;
    let value: serde_json::Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    let reason = "the row can't be written in the format of the topic: n is 2147483648";
    assert!(value["reason"].as_str().unwrap().starts_with(reason), "{value}");
    assert_eq!((refused.len(), record.key.as_deref()), (1, Some(b"2147483648".as_slice())));
    assert!(value["raw"].as_str().unwrap().starts_with(r#"{"n":2147483648,"time":"#), "{value}");
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_read_back() {
    let days = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("ad_id", Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef, true),
        ("n", Arc::new(Int64Array::from(vec![1, 2])), true),
        ("days", Arc::new(days.clone()), true),
    ]);
    let rows = rows.unwrap();
    let mut target = Target::new();
    // All in one partition, in their order.
    target.model.create("rows", 1, &[]);
    target.config.topic = "rows".into();
    let list = json!({ "type": "array", "items": ["null", "long"] });
    let field = |name: &str, of: serde_json::Value| json!({ "name": name, "type": ["null", of] });
    let fields = [field("days", list), field("n", json!("int")), field("ad_id", json!("string"))];
    target.config.format = avro(json!(fields));
    let found = read_back(&target, rows.clone()).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].column(0).as_string::<i32>(), rows.column(0).as_string::<i32>());
    assert_eq!(found[0].column(1).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
    let found_days = found[0].column(2).as_list::<i32>();
    assert_eq!((found_days.value(0), found_days.is_null(1)), (days.value(0), true));

    let mut target = Target::new();
    target.model.create("messages", 1, &[]);
    target.config.topic = "messages".into();
    let bytes = std::fs::read(sample_path("clicks.desc")).unwrap();
    let descriptors = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    target.config.format =
        format(json!({ "protobuf": { "descriptors": "clicks.desc", "message": "ads.Click", "pinned": descriptors } }));
    let rows = RecordBatch::try_from_iter([
        ("ad_id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("user", Arc::new(Int64Array::from(vec![1, 2]))),
    ]);
    let found = read_back(&target, rows.unwrap()).await;
    assert_eq!(found[0].column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found[0].column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
}
