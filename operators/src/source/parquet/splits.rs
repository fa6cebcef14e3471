//! How a file is cut into splits that can be read side by side.
//!
//! Invariant: lateness is a function of the file's content alone, however it is cut. A row is behind when its event time is
//! below the largest one before it *in the file* less a delay; so a split that begins in the middle must know the largest
//! event time before its first row. The statistics of row groups tell it, unless some event time among them might be one
//! that moves nothing, since its row is refused: too far ahead, or one that cannot be meant. From there on the file is not
//! cut.

use crate::source::{JumpRule, PLAUSIBLE_EVENT_TIMES};
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

/// The event times of the row groups so far.
#[derive(Clone, Copy, Default)]
struct Known {
    /// All of them; none where there was none.
    span: Option<Span>,
}

/// Cuts a file. `event_time` is the column that lateness is judged by; with none, every row group may begin a split. `jump`
/// says which rows are refused.
pub(super) fn plan(
    metadata: &ParquetMetaData,
    file_bytes: u64,
    stored: &Schema,
    event_time: Option<&str>,
    jump: Option<JumpRule>,
) -> Vec<ParquetSplit> {
    let mut splits: Vec<ParquetSplit> = Vec::new();
    let mut known = Ok(Known::default());
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows().max(0) as u64;
        match (splits.last_mut(), &known) {
            (Some(split), Err(Unknown)) => split.extend(index, rows),
            (Some(split), Ok(_)) if split.rows < LEAST_ROWS => split.extend(index, rows),
            (_, Ok(Known { span })) => {
                let newest_before_ms = span.map(|span| span.newest);
                splits.push(ParquetSplit { row_groups: index..index + 1, rows, file_bytes, newest_before_ms });
            }
            (None, Err(Unknown)) => {}
        }
        if let (Some(event_time), Ok(before)) = (event_time.filter(|_| rows > 0), known) {
            known = before.and(group_span(group, metadata, stored, event_time), jump);
        }
    }
    splits
}

impl ParquetSplit {
    fn extend(&mut self, group: usize, rows: u64) {
        self.row_groups.end = group + 1;
        self.rows += rows;
    }
}

/// How far time has come after a row group cannot be told from its statistics.
#[derive(Clone, Copy)]
struct Unknown;

impl Known {
    /// After one more row group with that span (none: no event time in it).
    fn and(self, span: Result<Option<Span>, Unknown>, jump: Option<JumpRule>) -> Result<Known, Unknown> {
        let Some(span) = span? else { return Ok(self) };
        let all = self.span.map_or(span, |before| Span {
            oldest: before.oldest.min(span.oldest),
            newest: before.newest.max(span.newest),
            rows: before.rows + span.rows,
        });
        let is_meant = PLAUSIBLE_EVENT_TIMES.contains(&span.oldest) && PLAUSIBLE_EVENT_TIMES.contains(&span.newest);
        let may_be_ahead = jump.is_some_and(|jump| match self.span {
            // Time has begun: no row is ahead if even the newest one is not ahead of where time has come before all of them.
            Some(before) if before.rows >= jump.after.rows => jump.is_ahead(span.newest, before.newest),
            // Where it begins follows from the first rows together: at the smallest if none is ahead of that.
            _ => jump.is_ahead(all.newest, all.oldest),
        });
        if is_meant && !may_be_ahead { Ok(Known { span: Some(all) }) } else { Err(Unknown) }
    }
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
    use crate::source::JumpAfter;

    const JUMP: JumpRule = JumpRule { max_jump_ms: 100, refuses: true, after: JumpAfter { rows: 5, span_ms: 10 } };

    fn span(oldest: i64, newest: i64) -> Result<Option<Span>, Unknown> {
        Ok(Some(Span { oldest, newest, rows: 3 }))
    }

    /// The largest event time after these row groups; none where it is not known.
    fn newest(spans: &[Result<Option<Span>, Unknown>], jump: Option<JumpRule>) -> Option<i64> {
        let known = spans.iter().try_fold(Known::default(), |known, span| known.and(*span, jump));
        known.ok().map(|known| known.span.expect("an event time").newest)
    }

    #[test]
    fn the_newest_event_time_is_carried_over_groups() {
        assert_eq!(newest(&[span(5, 9)], None), Some(9));
        assert_eq!(newest(&[span(5, 20), span(5, 9), Ok(None)], None), Some(20));
        assert_eq!(newest(&[span(5, 9), Err(Unknown)], None), None);
        assert_eq!(newest(&[span(5, 9), span(0, 1_000_000)], None), Some(1_000_000), "nothing is refused");
    }

    #[test]
    fn a_row_that_may_be_ahead_makes_it_unknown() {
        assert_eq!(newest(&[span(0, 101)], Some(JUMP)), None);
        assert_eq!(newest(&[span(1, 101)], Some(JUMP)), Some(101));
        assert_eq!(newest(&[span(1, 101), span(101, 150)], Some(JUMP)), None, "the first rows are looked at together");
        let begun = [span(0, 50), span(20, 50)];
        let and = |last| newest(&[&begun[..], &[last]].concat(), Some(JUMP));
        assert_eq!((and(span(0, 150)), and(span(0, 151))), (Some(150), None));
    }

    #[test]
    fn so_do_times_that_cannot_be_meant() {
        assert_eq!(newest(&[span(-1, 9)], None), None);
        assert_eq!(newest(&[span(5, 9), span(9, i64::MAX)], None), None);
    }
}
