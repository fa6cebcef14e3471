//! Smallest and largest timestamp of a column chunk, and its nulls: what a replay skips row groups by.

use arrow::buffer::{Buffer, ScalarBuffer};
use parquet::file::statistics::Statistics;

/// Grows with the pages of a column of timestamps.
#[derive(Debug, Default)]
pub(super) struct TimestampStatistics {
    range: Option<(i64, i64)>,
    nulls: u64,
}

impl TimestampStatistics {
    /// Takes in a page: its values that are not null, in PLAIN form, and how many others there are.
    pub fn add(&mut self, values: &Buffer, nulls: usize) {
        self.nulls += nulls as u64;
        let values = ScalarBuffer::<i64>::new(values.clone(), 0, values.len() / 8);
        let mut range = self.range.unwrap_or((i64::MAX, i64::MIN));
        for value in values.iter() {
            range = (range.0.min(*value), range.1.max(*value));
        }
        if !values.is_empty() {
            self.range = Some(range);
        }
    }

    /// In Parquet's form.
    pub fn finish(&self) -> Statistics {
        let (min, max) = (self.range.map(|range| range.0), self.range.map(|range| range.1));
        Statistics::int64(min, max, None, Some(self.nulls), false)
    }
}
