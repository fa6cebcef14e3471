//! The event times of some rows, and which of them cannot be meant.

use super::jump::{JumpAfter, JumpRule};
use arrow::{
    array::{Array, BooleanArray, PrimitiveArray, RecordBatch},
    datatypes::{DataType, TimestampMillisecondType},
    util::display::array_value_to_string,
};
use std::ops::Range;
use weir_engine::error::{EngineError, Result};

/// Event times outside of this range, 1970 to 2199, are taken for mistakes: in milliseconds since the epoch.
pub const PLAUSIBLE_EVENT_TIMES: Range<i64> = 0..7_258_118_400_000;

/// The event time column of some rows.
pub(super) struct EventTimes<'rows> {
    column: &'rows str,
    times: &'rows PrimitiveArray<TimestampMillisecondType>,
}

impl<'rows> EventTimes<'rows> {
    /// Finds the column.
    ///
    /// # Errors
    /// When it is missing or is no timestamp in milliseconds.
    pub(super) fn of(rows: &'rows RecordBatch, column: &'rows str) -> Result<Self> {
        let Some(found) = rows.column_by_name(column) else {
            let names: Vec<_> = rows.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
            return Err(EngineError::definition(format!(
                "there is no column '{column}' to use as the event time; the columns are: {}",
                names.join(", ")
            )));
        };
        let times = found.as_any().downcast_ref().ok_or_else(|| {
            EngineError::definition(format!(
                "the event time '{column}' is of type {}; a timestamp is needed: {}",
                found.data_type(),
                timestamp_advice(found.data_type())
            ))
        })?;
        Ok(EventTimes { column, times })
    }

    /// The event times in milliseconds. Meaningless where one is null.
    pub(super) fn values(&self) -> &'rows [i64] {
        self.times.values()
    }

    /// Which rows have an event time that can be meant; `None`: all.
    pub(super) fn plausible(&self) -> Option<BooleanArray> {
        let plausible = |time: i64| PLAUSIBLE_EVENT_TIMES.contains(&time);
        if self.times.null_count() == 0 && self.values().iter().all(|time| plausible(*time)) {
            return None;
        }
        Some(
            (0..self.times.len())
                .map(|row| Some(self.times.is_valid(row) && plausible(self.times.value(row))))
                .collect(),
        )
    }

    /// The other rows, and why.
    pub(super) fn refused(&self) -> Vec<(usize, String)> {
        let Some(plausible) = self.plausible() else { return Vec::new() };
        (0..self.times.len()).filter(|row| !plausible.value(*row)).map(|row| (row, self.reason(row))).collect()
    }

    /// The rows that can be meant and are more than `max_ahead_ms` ahead of the wall clock, and why they are refused.
    pub(super) fn ahead_of_clock(&self, now_ms: i64, max_ahead_ms: i64) -> Vec<(usize, String)> {
        let limit = now_ms.saturating_add(max_ahead_ms);
        let is_ahead = |time: i64| time > limit && PLAUSIBLE_EVENT_TIMES.contains(&time);
        let ahead = (0..self.times.len()).filter(|row| is_ahead(self.times.value(*row)) && self.times.is_valid(*row));
        let reason = |row: usize| {
            let (most, now) = (span(max_ahead_ms), crate::moment::show(now_ms));
            format!("{}, more than {most} (max_ahead) ahead of the clock of this machine, {now}", self.shown(row))
        };
        ahead.map(|row| (row, reason(row))).collect()
    }

    /// Why a row is refused that is ahead of its split, whose event time is at `newest`.
    pub(super) fn ahead_of_split(&self, row: usize, newest: i64, rule: &JumpRule) -> String {
        let (most, newest) = (span(rule.max_jump_ms), crate::moment::show(newest));
        let JumpAfter { rows, span_ms } = rule.after;
        let after = format!("{rows} such rows that agree and cover {}", span(span_ms));
        format!(
            "{}, more than {most} (max_jump) ahead of its file, whose event time is at {newest} and advances after {after} \
             (jump_after)",
            self.shown(row)
        )
    }

    fn reason(&self, row: usize) -> String {
        if self.times.is_null(row) {
            return format!("the event time {} is empty", self.column);
        }
        format!("{}, which is not between 1970 and 2199", self.shown(row))
    }

    fn shown(&self, row: usize) -> String {
        let time = array_value_to_string(self.times, row).unwrap_or_else(|_| format!("{} ms", self.times.value(row)));
        format!("the event time {} is {time}", self.column)
    }
}

/// A span of milliseconds in the largest unit that divides it, as definitions write it.
fn span(milliseconds: i64) -> String {
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds > 0 && milliseconds % size == 0 {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

fn timestamp_advice(found: &DataType) -> &'static str {
    match found {
        DataType::Utf8 | DataType::Utf8View | DataType::Int64 => {
            "declare the column as timestamp in the source's schema"
        }
        _ => "name a column of type timestamp",
    }
}
