//! What is written, against what reads it: the sources of this program, other people's readers, and bytes put down by hand.

mod avro;
mod checks;
mod protobuf;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
        Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray,
    },
    datatypes::{Int32Type, Int64Type},
};
use serde_json::{Value, json};
use std::sync::Arc;
use weir_engine::env::Env;

use super::{RowWriter, WrittenFormat, WrittenRows};
use crate::{
    definition::{KeyPath, testing::read},
    format::{FormatSettings, testing::cells},
    schema::ColumnSchema,
};

/// Rows of every kind of column: the first has values, the second nulls where it can.
fn rows() -> RecordBatch {
    let ads: DictionaryArray<Int32Type> = [Some("ad1"), None].into_iter().collect();
    let ids = FixedSizeBinaryArray::try_from_iter([[0xf2u8; 16], [1; 16]].into_iter()).unwrap();
    let cost = Decimal128Array::from(vec![Some(-150), None]).with_precision_and_scale(12, 2).unwrap();
    let days = [Some(vec![Some(1), Some(-2)]), None];
    let columns: [(&str, ArrayRef, bool); 11] = [
        ("record_id", Arc::new(ids), false),
        ("ad_id", Arc::new(ads), true),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![Some(1_500), None]).with_timezone("UTC")), true),
        ("day", Arc::new(Date32Array::from(vec![Some(19_055), None])), true),
        ("count", Arc::new(Int64Array::from(vec![i64::MAX, -1])), false),
        ("rate", Arc::new(Float64Array::from(vec![Some(0.5), None])), true),
        ("cost", Arc::new(cost), true),
        ("paid", Arc::new(BooleanArray::from(vec![Some(true), None])), true),
        ("raw", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\x00\xff"), None])), true),
        ("days", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(days)), true),
        ("revision", Arc::new(Int32Array::from(vec![0, 3])), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn columns_of(rows: &RecordBatch) -> ColumnSchema {
    ColumnSchema::from(rows.schema_ref().as_ref())
}

/// The format that keys say, and what is wrong with them or with rows of these columns.
fn told(keys: Value, columns: &ColumnSchema) -> (WrittenFormat, Vec<String>) {
    let (format, mut wrong) = read(keys, WrittenFormat::read);
    let mut mistakes = Vec::new();
    format.check(columns, &KeyPath::of(["input"]), &KeyPath::default(), &mut mistakes);
    wrong.extend(mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)));
    (format, wrong)
}

/// As a job that is started later has it.
fn stored(format: &WrittenFormat, columns: &ColumnSchema) -> WrittenFormat {
    let kept = serde_json::to_value(format.for_columns("clicks-per-minute", columns)).unwrap();
    serde_json::from_value(kept).unwrap()
}

async fn written(format: &WrittenFormat, rows: &RecordBatch) -> WrittenRows {
    let mut writer = RowWriter::new(format.clone(), Env::seeded(1));
    writer.prepare().await.unwrap();
    writer.encode(rows).unwrap().expect("no JSON")
}

/// What a source makes of records, all columns as text.
async fn read_back(format: &WrittenFormat, records: &WrittenRows, columns: &[&str]) -> Vec<Vec<String>> {
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let format = FormatSettings::from(format.as_read().unwrap());
    let mut decoder = format.messages(&columns, &Env::seeded(1)).unwrap().decoder().unwrap();
    for (place, record) in records.iter().enumerate() {
        decoder.push(record.as_ref().unwrap(), place as u64);
    }
    let decoded = decoder.finish().await.unwrap();
    assert!(decoded.bad_lines.is_empty(), "{:?}", decoded.bad_lines);
    cells(&decoded.records)
}

fn one(name: &str, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap()
}

fn texts(of: &[Option<&str>]) -> ArrayRef {
    Arc::new(of.iter().copied().collect::<StringArray>())
}

fn reasons(records: &WrittenRows) -> Vec<Option<&str>> {
    records.iter().map(|record| record.as_ref().err().map(String::as_str)).collect()
}
