//! The bounds of a window, as its results say them.

use crate::columns::{WINDOW_END, WINDOW_START};
use crate::event_time::event_times;
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use weir_engine::Result;

/// `[start, end)` in milliseconds; windows are in the order of their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) end: i64,
    pub(super) start: i64,
}

impl Span {
    /// The windows that some results are of, and for each row which of them.
    pub(super) fn of_rows(rows: &RecordBatch) -> Result<(Vec<Span>, Vec<i64>)> {
        let (starts, ends) = (event_times(rows, WINDOW_START)?, event_times(rows, WINDOW_END)?);
        let mut spans: Vec<Span> = Vec::new();
        let mut known: HashMap<Span, i64> = HashMap::new();
        let mut numbers = Vec::with_capacity(starts.len());
        let mut last: Option<(Span, i64)> = None;
        for (start, end) in starts.iter().zip(ends.iter()) {
            let span = Span { end: *end, start: *start };
            let number = match last {
                // Results of one window come together.
                Some((before, number)) if before == span => number,
                _ => *known.entry(span).or_insert_with(|| {
                    spans.push(span);
                    spans.len() as i64 - 1
                }),
            };
            last = Some((span, number));
            numbers.push(number);
        }
        Ok((spans, numbers))
    }
}
