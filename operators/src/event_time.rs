//! The event time of a batch's rows.

use arrow::{
    array::Array,
    array::AsArray,
    buffer::ScalarBuffer,
    datatypes::{DataType, TimeUnit, TimestampMillisecondType},
    record_batch::RecordBatch,
};
use weir_engine::{EngineError, Result};

/// The Arrow type of event-time and window columns: milliseconds since the epoch, UTC.
pub fn event_time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The values of an event-time column, shared.
///
/// # Errors
/// When the column is missing, of another type, or has a null: sources send records without an event time to their dead
/// letters, so a null here comes from a `map` that made one.
pub fn event_times(batch: &RecordBatch, column: &str) -> Result<ScalarBuffer<i64>> {
    let array = batch.column_by_name(column).ok_or_else(|| {
        let schema = batch.schema_ref();
        let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        EngineError::internal(format!("event time column '{column}' is not among the columns ({})", found.join(", ")))
    })?;
    let times = array.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(|| {
        EngineError::definition(format!(
            "event time column '{column}' is of type {}; a timestamp in milliseconds is needed",
            array.data_type()
        ))
    })?;
    if times.null_count() > 0 {
        return Err(EngineError::definition(format!(
            "event time column '{column}' has {} nulls; filter them out before, with \"{column} is not null\"",
            times.null_count()
        )));
    }
    Ok(times.values().clone())
}
