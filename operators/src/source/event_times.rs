//! The event times of some rows, and which of them cannot be meant.

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
                "there is no column '{column}' to be the event time; the columns are: {}",
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
        let plausible = self.plausible();
        let refused = |row: &usize| plausible.as_ref().is_some_and(|plausible| !plausible.value(*row));
        (0..self.times.len()).filter(refused).map(|row| (row, self.reason(row))).collect()
    }

    fn reason(&self, row: usize) -> String {
        let column = self.column;
        if self.times.is_null(row) {
            return format!("the event time {column} is empty");
        }
        let time = array_value_to_string(self.times, row).unwrap_or_else(|_| format!("{} ms", self.times.value(row)));
        format!("the event time {column} is {time}, which is not between 1970 and 2199")
    }
}

fn timestamp_advice(found: &DataType) -> &'static str {
    match found {
        DataType::Utf8 | DataType::Utf8View | DataType::Int64 => {
            "declare the column as timestamp in the source's schema"
        }
        _ => "name a column of type timestamp",
    }
}
