//! Which rows of a partition belong to it, and which of those are in the requested range.

use super::EventTimeRange;
use crate::{hour_partition::HOUR_MS, moment};
use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::{max, min},
    datatypes::TimestampMillisecondType,
};
use weir_engine::error::{EngineError, Result};

/// What became of the rows of a batch.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// The rows to read; `None`: all.
    pub(super) wanted: Option<BooleanArray>,
    /// Rows that do not belong into the partition, and why.
    pub(super) misplaced: Vec<(usize, String)>,
}

/// Judges rows of the partition of the hour that starts at `hour_ms`, by their event time.
///
/// # Errors
/// When `event_time` is not a column of timestamps in milliseconds.
pub(super) fn judge(rows: &RecordBatch, event_time: &str, hour_ms: i64, range: EventTimeRange) -> Result<Verdict> {
    let times = rows.column_by_name(event_time).and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>());
    let Some(times) = times else {
        return Err(EngineError::definition(format!("the event time '{event_time}' is not a column of timestamps")));
    };
    let hour = EventTimeRange { from_ms: hour_ms, to_ms: hour_ms.saturating_add(HOUR_MS) };
    let asked = range.within_hour(hour_ms).unwrap_or(EventTimeRange { from_ms: hour_ms, to_ms: hour_ms });
    let (oldest, newest) = (min(times), max(times));
    let all = |time: Option<i64>| time.is_none_or(|time| asked.contains(time));
    if times.null_count() == 0 && all(oldest) && all(newest) {
        return Ok(Verdict::default());
    }
    let mut misplaced = Vec::new();
    let wanted = times.iter().enumerate().map(|(row, time)| match time {
        Some(time) if hour.contains(time) => asked.contains(time),
        Some(time) => {
            let (time, hour) = (moment::show(time), moment::show(hour_ms));
            misplaced
                .push((row, format!("the event time {event_time} is {time}, not in the hour of its folder, {hour}")));
            false
        }
        None => {
            misplaced.push((row, format!("the event time {event_time} is empty")));
            false
        }
    });
    let wanted = BooleanArray::from_iter(wanted.map(Some));
    Ok(Verdict { wanted: Some(wanted), misplaced })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, TimestampMillisecondArray};
    use std::sync::Arc;

    fn rows(times: Vec<Option<i64>>) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"));
        RecordBatch::try_from_iter_with_nullable([("at", times, true)]).unwrap()
    }

    #[test]
    fn rows_of_the_hour_pass_untouched() {
        let verdict = judge(&rows(vec![Some(0), Some(HOUR_MS - 1)]), "at", 0, EventTimeRange::ALL).unwrap();
        assert_eq!(verdict, Verdict::default());
        assert_eq!(judge(&rows(vec![]), "at", 0, EventTimeRange::ALL).unwrap(), Verdict::default());
    }

    #[test]
    fn others_are_told_apart() {
        let range = EventTimeRange { from_ms: 100, to_ms: 200 };
        let given = rows(vec![Some(99), Some(100), Some(199), Some(200), Some(HOUR_MS), None, Some(-1)]);
        let verdict = judge(&given, "at", 0, range).unwrap();
        assert_eq!(verdict.wanted.unwrap(), BooleanArray::from(vec![false, true, true, false, false, false, false]));
        let misplaced: Vec<_> = verdict.misplaced.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
        assert_eq!(
            misplaced,
            [
                (4, "the event time at is 1970-01-01T01:00:00Z, not in the hour of its folder, 1970-01-01T00:00:00Z"),
                (5, "the event time at is empty"),
                (
                    6,
                    "the event time at is 1969-12-31T23:59:59.999Z, not in the hour of its folder, 1970-01-01T00:00:00Z"
                ),
            ]
        );
        assert!(judge(&given, "when", 0, range).unwrap_err().message.contains("'when'"));
    }
}
