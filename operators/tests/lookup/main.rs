//! The lookup, driven by hand, against a recount that goes row by row; and what is stored of it.

mod model;
mod state;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use futures::future::BoxFuture;
use std::sync::Arc;
use weir_engine::{
    Result,
    element::Batch,
    operator::{LookupService, OperatorContext},
};
use weir_operators::{
    lookup::{CacheConfig, HttpLookup, LookupConfig, LookupOperator, Missing, OnFailure, Retries, ServiceConfig},
    schema::ColumnSchema,
    source::column_type::{ColumnType, DeclaredSchema},
};

/// Nobody asks it: the tests answer themselves.
struct Nobody;

impl LookupService for Nobody {
    fn ask(&self, _keys: RecordBatch) -> BoxFuture<'static, Result<RecordBatch>> {
        Box::pin(std::future::pending())
    }
}

/// What is told about a key.
#[derive(Clone, Copy, Debug)]
enum Told {
    Value(i64),
    Missing,
    Failed,
}

fn input() -> Schema {
    Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("ad", DataType::Utf8, true)])
}

fn config(in_flight: u32, cache: Option<CacheConfig>) -> LookupConfig {
    let (url, headers) = ("http://localhost/{ad}".to_owned().into(), std::collections::BTreeMap::new());
    LookupConfig {
        service: ServiceConfig::Http(HttpLookup { url, headers }),
        input: ColumnSchema::from(&input()),
        columns: DeclaredSchema::new([("value", ColumnType::Integer)]),
        output: None,
        in_flight,
        timeout_ms: 1_000,
        retries: Retries::default(),
        cache,
        on_failure: OnFailure::DeadLetter,
        missing: Missing::Null,
    }
}

fn operator(config: LookupConfig, context: &OperatorContext) -> LookupOperator {
    LookupOperator::new(config, Arc::new(Nobody), context).unwrap()
}

/// Rows of these numbers and keys.
fn rows(rows: &[(i64, Option<String>)]) -> Batch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(n, _)| *n)));
    let keys: ArrayRef = Arc::new(rows.iter().map(|(_, key)| key.as_deref()).collect::<StringArray>());
    let mut batch = Batch::new(RecordBatch::try_new(Arc::new(input()), vec![numbers, keys]).unwrap());
    // Each has a watermark of its own, which must not get lost.
    batch.split_watermarks = Some(rows.iter().map(|(n, _)| n * 100).collect());
    batch
}

/// What a service says about one key.
fn answer(told: Told) -> RecordBatch {
    let (found, failure, value) = match told {
        Told::Value(value) => (true, None, Some(value)),
        Told::Missing => (false, None, None),
        Told::Failed => (false, Some("down"), None),
    };
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("found", Arc::new(BooleanArray::from(vec![found])), false),
        ("failure", Arc::new(StringArray::from(vec![failure])), true),
        ("value", Arc::new(Int64Array::from(vec![value])), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn numbers(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn values(batch: &RecordBatch) -> Vec<Option<i64>> {
    batch.column_by_name("value").unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn keys(batch: &RecordBatch) -> Vec<String> {
    let keys = batch.column(0).as_string::<i32>();
    (0..keys.len()).map(|row| keys.value(row).to_owned()).collect()
}
