//! What the files look like: columns, folders, sizes, names.

use super::*;
use crate::sink::{
    conformance::{JOB, SINK, context, numbers, rows, visible},
    files::config::PartitionBy,
};
use arrow::{
    array::{
        Array, ArrayRef, DictionaryArray, FixedSizeBinaryArray, Int64Array, ListArray, StringArray, StringViewArray,
    },
    datatypes::{DataType, Field, Int32Type, Schema},
};
use parquet::basic::{Compression as PageCompression, LogicalType};
use std::collections::HashMap;
use weir_engine::{
    element::{Barrier, Batch},
    ids::CheckpointId,
};

/// Writes batches as one checkpoint and commits it.
async fn write(target: &Target, batches: Vec<Batch>) {
    let mut sink = target.sink(&context(1, 0));
    for batch in batches {
        sink.write(batch).await.unwrap();
    }
    let committer = target.committer(JOB, SINK);
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    committer.commit(CheckpointId(1), &staged).await.unwrap();
}

#[tokio::test]
async fn files_are_named_by_job_sink_checkpoint_and_part() {
    let target = Target::local();
    write(&target, vec![rows(0..10), rows(10..20)]).await;
    assert_eq!(target.results().await, ["ad-click-counts-00000001-0-0.parquet"]);
}

#[tokio::test]
async fn hours_have_folders_and_few_files_are_open() {
    let mut target = Target::local();
    target.config.partition_by = PartitionBy::Hour;
    target.config.partition_column = Some("time".into());
    // A hundred hours, more than may be open at a time, and then the first ones again.
    let minutes = 6000;
    write(&target, vec![rows(0..minutes / 2), rows(minutes / 2..minutes), rows(0..120)]).await;
    assert_eq!(visible(&target).await.len() as i64, minutes + 120);
    let results = target.results().await;
    assert_eq!(results.len(), 102);
    for path in &results {
        let folder = path.split('/').next().unwrap();
        for batch in target.read(path).await {
            for n in batch.column(0).as_primitive::<Int64Type>().values() {
                let hour = chrono::DateTime::from_timestamp(n * 60, 0).unwrap().format("hour=%Y-%m-%dT%H");
                assert_eq!(folder, hour.to_string());
            }
        }
    }
}

#[tokio::test]
async fn large_files_are_rolled() {
    let mut target = Target::memory();
    target.config.roll_bytes = 6 << 20;
    let batches: Vec<_> = (0..20).map(|k| rows(k * 60_000..(k + 1) * 60_000)).collect();
    write(&target, batches).await;
    assert_eq!(visible(&target).await, numbers(0..1_200_000));
    let results = target.results().await;
    assert!((2..=4).contains(&results.len()), "{results:?}");
}

#[tokio::test]
async fn strings_may_come_in_any_form() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let mut target = Target::memory();
        target.config.compression = compression;
        let texts = ["ad001", "ad002", "ad001"];
        let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
        let forms: [ArrayRef; 3] = [
            Arc::new(StringArray::from_iter_values(texts)),
            Arc::new(StringViewArray::from_iter_values(texts)),
            Arc::new(dictionary),
        ];
        let batches = forms.map(|form| Batch::new(RecordBatch::try_from_iter([("ad_id", form)]).unwrap()));
        write(&target, batches.into()).await;
        let results = target.results().await;
        assert_eq!(results.len(), 1, "one file for all forms");
        let found: Vec<String> = target.read(&results[0]).await.iter().flat_map(strings).collect();
        assert_eq!(found, texts.repeat(3));
    }
}

fn strings(batch: &RecordBatch) -> Vec<String> {
    assert_eq!(batch.column(0).data_type(), &DataType::Utf8);
    batch.column(0).as_string::<i32>().iter().flatten().map(str::to_string).collect()
}

#[tokio::test]
async fn uuids_are_marked_and_pages_compressed_as_asked() {
    let kinds = [
        (Compression::None, PageCompression::UNCOMPRESSED),
        (Compression::Snappy, PageCompression::SNAPPY),
        (Compression::Zstd, PageCompression::ZSTD(Default::default())),
        (Compression::Gzip, PageCompression::GZIP(Default::default())),
    ];
    for (compression, expected) in kinds {
        let mut target = Target::memory();
        target.config.compression = compression;
        let uuid = HashMap::from([("ARROW:extension:name".to_string(), "arrow.uuid".to_string())]);
        let field = Field::new("record_id", DataType::FixedSizeBinary(16), false).with_metadata(uuid);
        let ids = FixedSizeBinaryArray::try_from_iter((0..100u8).map(|n| [n; 16])).unwrap();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(ids)]).unwrap();
        write(&target, vec![Batch::new(batch.clone())]).await;
        let path = target.results().await.remove(0);
        let file = ParquetRecordBatchReaderBuilder::try_new(target.bytes(&path).await).unwrap();
        let column = file.metadata().row_group(0).column(0);
        assert_eq!(column.column_descr().logical_type_ref(), Some(&LogicalType::Uuid));
        assert_eq!(std::mem::discriminant(&column.compression()), std::mem::discriminant(&expected));
        assert_eq!(target.read(&path).await, [batch]);
    }
}

#[tokio::test]
async fn nested_columns_take_the_general_way() {
    let target = Target::memory();
    let lists: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]));
    let batch = RecordBatch::try_from_iter([("lists", lists)]).unwrap();
    write(&target, vec![Batch::new(batch.clone())]).await;
    let path = target.results().await.remove(0);
    assert_eq!(target.read(&path).await[0].column(0), batch.column(0));
}

#[tokio::test]
async fn rows_of_other_columns_begin_a_file_of_their_own() {
    let target = Target::memory();
    let other: ArrayRef = Arc::new(Int64Array::from(vec![Some(100), None]));
    let other = RecordBatch::try_from_iter([("n", other)]).unwrap();
    write(&target, vec![rows(0..2), Batch::new(other), rows(2..4)]).await;
    assert_eq!(target.results().await.len(), 2);
}

#[test]
fn settings_are_checked() {
    let check = |config: serde_json::Value| FilesSinkConfig::from_json(&config);
    let all = serde_json::json!({ "path": "out", "format": "parquet", "compression": "zstd", "partition_by": "hour",
        "partition_column": "window_start", "roll_bytes": 1000 });
    assert_eq!(check(all).unwrap().compression, Compression::Zstd);
    let wrong = [
        (serde_json::json!({}), "path"),
        (serde_json::json!({ "path": "" }), "'path' is empty"),
        (serde_json::json!({ "path": "out", "compresion": "zstd" }), "compresion"),
        (serde_json::json!({ "path": "out", "compression": "lzo" }), "lzo"),
        (
            serde_json::json!({ "path": "out", "compression": "snappy", "format": "csv" }),
            "\"snappy\" is not for CSV files",
        ),
        (
            serde_json::json!({ "path": "out", "compression": "gzip", "format": "avro" }),
            "\"gzip\" is not for Avro files",
        ),
        (serde_json::json!({ "path": "out", "partition_by": "hour" }), "partition_column"),
    ];
    for (config, expected) in wrong {
        let message = check(config).unwrap_err().message;
        assert!(message.contains(expected), "{message}");
    }
    assert!(storage::open("ftp://host/x").unwrap_err().message.contains("ftp"));
}

#[tokio::test]
async fn memory_urls_share_their_store_and_paths_are_kept() {
    let path = "memory://formats/a b/c%41";
    let mut file = storage::open(path).unwrap().create("x/y.parquet").await.unwrap();
    file.write(Bytes::from_static(b"abc")).await.unwrap();
    file.finish().await.unwrap();
    let again = storage::open(path).unwrap();
    assert_eq!(again.size("x/y.parquet").await.unwrap(), Some(3));
    assert_eq!(again.list("").await.unwrap(), ["x/y.parquet"]);
    assert_eq!(storage::open("memory://other/a").unwrap().list("").await.unwrap(), [""; 0]);
}
