//! A table read back has the columns of its sink, of their types, and is given out anew when a checkpoint has come in.

use super::*;
use crate::{
    format::testing::cells,
    schema::ColumnSchema,
    sink::{
        StoredSink,
        read_back::{ReadBackOf, shown_schema},
    },
};
use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
        RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array,
    },
    datatypes::Schema,
};
use weir_engine::element::Batch;

/// A row of every type that a table takes, and one of nulls.
fn rows() -> RecordBatch {
    let ids = FixedSizeBinaryArray::try_from_iter([[0xf2_u8; 16], [1; 16]].into_iter()).unwrap();
    let cost = Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(30, 2).unwrap();
    let times = TimestampMillisecondArray::from(vec![Some(1_646_352_001_500), None]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 9] = [
        ("record_id", Arc::new(ids)),
        ("ad_id", Arc::new(StringArray::from(vec![Some("a b"), None]))),
        ("rate", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("cost", Arc::new(cost)),
        ("large", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("window_end", Arc::new(times)),
        ("day", Arc::new(Date32Array::from(vec![Some(19_055), None]))),
        ("seen", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("revision", Arc::new(Int32Array::from(vec![3, 0]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn of_every_type(mut target: Target) -> Target {
    let schema = rows().schema();
    let column = |field: &Arc<arrow::datatypes::Field>| SqlColumn {
        name: field.name().clone(),
        sql_type: SqlType::of(field.data_type()).unwrap(),
    };
    target.config.columns = schema.fields().iter().map(column).collect();
    target.config.key = vec!["record_id".into()];
    target.config.revision = Some("revision".into());
    target
}

#[tokio::test]
async fn a_table_is_read_back_as_it_changes() {
    on_each_database(async |target| {
        let (target, env) = (of_every_type(target), Env::default());
        let schema: &Schema = &rows().schema();
        let columns = ColumnSchema::from(schema);
        let of = ReadBackOf { job: JOB, sink: SINK, columns: &columns, env: &env };
        let mut results = target.config.read_back(&of).unwrap().unwrap();
        assert_eq!(results.next().await.unwrap().len(), 0, "there is no table yet");
        assert_eq!((results.identity(), results.is_whole()), (vec!["record_id".to_owned()], true));
        let committer = target.prepared().await;
        let write = async |checkpoint, rows: RecordBatch| {
            let mut sink = target.sink(&context(1, 0));
            sink.write(Batch::new(rows)).await.unwrap();
            let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
            committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
        };
        write(1, rows().slice(0, 1)).await;
        let read = results.next().await.unwrap();
        assert_eq!(read[0].schema(), shown_schema(&columns));
        let first = [
            "f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2",
            "a b",
            "0.5",
            "1.50",
            "18446744073709551615",
            "2022-03-04T00:00:01.500Z",
            "2022-03-04",
            "true",
            "3",
        ];
        assert_eq!(cells(&read[0]), [first.map(str::to_owned)]);
        assert_eq!(results.next().await.unwrap().len(), 0, "nothing has come");
        write(2, rows().slice(1, 1)).await;
        let mut read = cells(&results.next().await.unwrap()[0]);
        read.sort();
        let second = ["01010101-0101-0101-0101-010101010101", "-", "-", "-", "-", "-", "-", "-", "0"];
        assert_eq!(read, [second.map(str::to_owned), first.map(str::to_owned)]);
    })
    .await;
}
