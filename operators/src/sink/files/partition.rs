//! Which folder a row belongs to.

use super::config::{FilesSinkConfig, PartitionBy};
use crate::hour_partition::{HOUR_MS, folder};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, UInt32Array},
    compute::{cast, max, min, take_record_batch},
    datatypes::{DataType, TimeUnit, TimestampMillisecondType},
};
use std::collections::BTreeMap;
use weir_engine::error::{EngineError, Result};

/// The rows of a batch by folder; `None` is the sink's own folder. The order of rows within a folder stays.
pub(super) fn split(config: &FilesSinkConfig, rows: RecordBatch) -> Result<Vec<(Option<String>, RecordBatch)>> {
    let (PartitionBy::Hour, Some(column)) = (config.partition_by, &config.partition_column) else {
        return Ok(vec![(None, rows)]);
    };
    let times = times(&rows, column)?;
    let times = times.as_primitive::<TimestampMillisecondType>();
    if let Some(hour) = only_hour(times) {
        return Ok(vec![(Some(folder(Some(hour))), rows)]);
    }
    let hour = |row: usize| times.is_valid(row).then(|| times.value(row).div_euclid(HOUR_MS));
    let mut by_hour: BTreeMap<Option<i64>, Vec<u32>> = BTreeMap::new();
    let mut last: Option<(Option<i64>, &mut Vec<u32>)> = None;
    for row in 0..rows.num_rows() {
        let hour = hour(row);
        // Neighbours mostly share their hour.
        match &mut last {
            Some((last_hour, members)) if *last_hour == hour => members.push(row as u32),
            _ => {
                let members = by_hour.entry(hour).or_default();
                members.push(row as u32);
                last = Some((hour, by_hour.entry(hour).or_default()));
            }
        }
    }
    by_hour
        .into_iter()
        .map(|(hour, members)| Ok((Some(folder(hour)), take_record_batch(&rows, &UInt32Array::from(members))?)))
        .collect()
}

/// The hour of all rows, where there is only one, as with most batches: their rows then need not be parted.
fn only_hour(times: &TimestampMillisecondArray) -> Option<i64> {
    let (first, last) = (min(times)?.div_euclid(HOUR_MS), max(times)?.div_euclid(HOUR_MS));
    (first == last && times.null_count() == 0).then_some(first)
}

fn times(rows: &RecordBatch, column: &str) -> Result<ArrayRef> {
    let Some(times) = rows.column_by_name(column) else {
        let names: Vec<_> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        return Err(EngineError::definition(format!(
            "files sink: partition_column = \"{column}\", but the rows have {}",
            names.join(", ")
        )));
    };
    match times.data_type() {
        DataType::Timestamp(_, zone) => Ok(cast(times, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?),
        other => Err(EngineError::definition(format!(
            "files sink: partition_column = \"{column}\" is {other}; it must be a timestamp"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    fn rows(times: Vec<Option<i64>>) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..times.len() as i64));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"));
        RecordBatch::try_from_iter_with_nullable([("time", times, true), ("n", numbers, false)]).unwrap()
    }

    fn hourly() -> FilesSinkConfig {
        let mut config = FilesSinkConfig::at("out");
        config.partition_by = PartitionBy::Hour;
        config.partition_column = Some("time".into());
        config
    }

    #[test]
    fn rows_go_to_the_folder_of_their_hour() {
        let start = 1_646_352_000_000; // 2022-03-04 00:00:00
        let rows =
            rows(vec![Some(start), Some(start + HOUR_MS), None, Some(start + HOUR_MS - 1), Some(-1), Some(i64::MAX)]);
        let found: BTreeMap<_, _> = split(&hourly(), rows)
            .unwrap()
            .into_iter()
            .map(|(folder, rows)| {
                let numbers = rows.column(1).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
                (folder.unwrap(), numbers)
            })
            .collect();
        let expected = [
            ("hour=1969-12-31T23", vec![4]),
            ("hour=2022-03-04T00", vec![0, 3]),
            ("hour=2022-03-04T01", vec![1]),
            ("hour=2562047788015", vec![5]),
            ("hour=__HIVE_DEFAULT_PARTITION__", vec![2]),
        ];
        assert_eq!(found, expected.map(|(folder, rows)| (folder.to_string(), rows)).into());
    }

    #[test]
    fn a_wrong_column_is_named() {
        let mut config = hourly();
        config.partition_column = Some("tiem".into());
        assert!(split(&config, rows(vec![])).unwrap_err().message.contains("time, n"));
        config.partition_column = Some("n".into());
        assert!(split(&config, rows(vec![])).unwrap_err().message.contains("must be a timestamp"));
    }
}
