//! How a file is cut into splits that can be read side by side.
//!
//! Invariant: lateness is a function of the file's content alone, however it is cut. A row is behind when its event time is
//! below the largest one before it *in the file* less a delay; so a split that begins in the middle must know the largest
//! event time before its first row. The statistics of row groups tell it, unless some event time among them might be one
//! that does not move the watermark as it stands: a jump, or one that cannot be meant. From there on the file is not cut.

use crate::source::PLAUSIBLE_EVENT_TIMES;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use parquet::file::{
    metadata::{ParquetMetaData, RowGroupMetaData},
    statistics::Statistics,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Row groups are put together until a split has this many rows, so that small ones don't cost a split each.
const LEAST_ROWS: u64 = 65_536;

/// Consecutive row groups of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParquetSplit {
    /// Which row groups.
    pub row_groups: Range<usize>,
    /// Their rows.
    pub rows: u64,
    /// Size of the file: one that was replaced is recognised by it.
    pub file_bytes: u64,
    /// The largest event time of the file before them, in milliseconds; none at the beginning.
    pub newest_before_ms: Option<i64>,
}

/// Event times of some rows, in milliseconds.
#[derive(Clone, Copy)]
struct Span {
    oldest: i64,
    newest: i64,
    /// How many rows have one.
    rows: u64,
}

/// So few event times may not have been enough for a split's watermark to begin.
const ENOUGH_TO_BEGIN: u64 = 3;

/// Cuts a file. `event_time` is the column that lateness is judged by; with none, every row group may begin a split. An
/// event time more than `max_jump_ms` ahead of the ones before it is a jump.
pub(super) fn plan(
    metadata: &ParquetMetaData,
    file_bytes: u64,
    stored: &Schema,
    event_time: Option<&str>,
    max_jump_ms: i64,
) -> Vec<ParquetSplit> {
    let mut splits: Vec<ParquetSplit> = Vec::new();
    let mut newest: Option<i64> = None;
    let mut known = true;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows().max(0) as u64;
        match splits.last_mut() {
            Some(split) if !known || split.rows < LEAST_ROWS => {
                split.row_groups.end = index + 1;
                split.rows += rows;
            }
            _ => splits.push(ParquetSplit { row_groups: index..index + 1, rows, file_bytes, newest_before_ms: newest }),
        }
        if let Some(event_time) = event_time.filter(|_| known && rows > 0) {
            match newest_after(newest, group_span(group, metadata, stored, event_time), max_jump_ms) {
                Ok(after) => newest = after,
                Err(Unknown) => known = false,
            }
        }
    }
    splits
}

/// The watermark after a row group cannot be told from its statistics.
struct Unknown;

/// The largest event time after a row group, given the one before it and the group's span (none: no event time in it).
fn newest_after(
    before: Option<i64>,
    span: Result<Option<Span>, Unknown>,
    max_jump_ms: i64,
) -> Result<Option<i64>, Unknown> {
    let Some(span) = span? else { return Ok(before) };
    // No row can be a jump when even the newest one is none from the lowest that the watermark can stand at.
    let lowest = before.unwrap_or(span.oldest);
    let begun = before.is_some() || span.rows >= ENOUGH_TO_BEGIN;
    let meant = PLAUSIBLE_EVENT_TIMES.contains(&lowest) && PLAUSIBLE_EVENT_TIMES.contains(&span.newest);
    if !begun || !meant || span.newest.saturating_sub(lowest) > max_jump_ms {
        return Err(Unknown);
    }
    Ok(Some(lowest.max(span.newest)))
}

/// Smallest and largest event time of a row group, converted as the rows are.
fn group_span(
    group: &RowGroupMetaData,
    metadata: &ParquetMetaData,
    stored: &Schema,
    event_time: &str,
) -> Result<Option<Span>, Unknown> {
    let position = stored.index_of(event_time).map_err(|_| Unknown)?;
    let DataType::Timestamp(unit, _) = stored.field(position).data_type() else { return Err(Unknown) };
    let schema = metadata.file_metadata().schema_descr();
    let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == position).ok_or(Unknown)?;
    let statistics = group.column(leaf).statistics().ok_or(Unknown)?;
    let nulls = match statistics.null_count_opt() {
        Some(nulls) => nulls,
        None if schema.column(leaf).max_def_level() == 0 => 0,
        None => return Err(Unknown),
    };
    let rows = u64::try_from(group.num_rows()).ok().and_then(|rows| rows.checked_sub(nulls)).ok_or(Unknown)?;
    if rows == 0 {
        return Ok(None);
    }
    // Old files have INT96 timestamps, of whose statistics nothing is sure.
    let Statistics::Int64(values) = statistics else { return Err(Unknown) };
    let oldest = milliseconds(*values.min_opt().ok_or(Unknown)?, *unit)?;
    let newest = milliseconds(*values.max_opt().ok_or(Unknown)?, *unit)?;
    Ok(Some(Span { oldest, newest, rows }))
}

/// As the cast of the rows does it: towards zero, and null where it does not fit.
fn milliseconds(value: i64, unit: TimeUnit) -> Result<i64, Unknown> {
    match unit {
        TimeUnit::Second => value.checked_mul(1_000).ok_or(Unknown),
        TimeUnit::Millisecond => Ok(value),
        TimeUnit::Microsecond => Ok(value / 1_000),
        TimeUnit::Nanosecond => Ok(value / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(oldest: i64, newest: i64) -> Result<Option<Span>, Unknown> {
        Ok(Some(Span { oldest, newest, rows: 3 }))
    }

    #[test]
    fn the_newest_event_time_is_carried_over_groups() {
        let never = i64::MAX;
        assert!(matches!(newest_after(None, span(5, 9), never), Ok(Some(9))));
        assert!(matches!(newest_after(Some(20), span(5, 9), never), Ok(Some(20))));
        assert!(matches!(newest_after(Some(20), Ok(None), 1), Ok(Some(20))));
        assert!(newest_after(None, Err(Unknown), never).is_err());
    }

    #[test]
    fn a_possible_jump_makes_the_watermark_unknown() {
        assert!(newest_after(None, span(0, 101), 100).is_err());
        assert!(newest_after(None, span(1, 101), 100).is_ok());
        assert!(newest_after(Some(50), span(0, 151), 100).is_err());
        assert!(newest_after(Some(50), span(i64::MIN, 150), 100).is_ok());
    }

    #[test]
    fn so_do_too_few_rows_and_times_that_cannot_be_meant() {
        let few = || Ok(Some(Span { oldest: 5, newest: 9, rows: 2 }));
        assert!(newest_after(None, few(), i64::MAX).is_err());
        assert!(newest_after(Some(5), few(), i64::MAX).is_ok());
        assert!(newest_after(None, span(-1, 9), i64::MAX).is_err());
        assert!(newest_after(Some(5), span(9, i64::MAX), i64::MAX).is_err());
    }
}
