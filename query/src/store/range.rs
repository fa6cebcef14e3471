//! Ranges of event time, half-open, on minute boundaries.

use weir_store::MINUTE_MS;

/// `[from, to)` in milliseconds since the epoch: both on minute boundaries, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from_ms: i64,
    to_ms: i64,
}

impl Range {
    /// A range; `None` when it is empty or does not begin and end on minutes.
    pub fn new(from_ms: i64, to_ms: i64) -> Option<Self> {
        let on_minutes = from_ms.rem_euclid(MINUTE_MS) == 0 && to_ms.rem_euclid(MINUTE_MS) == 0;
        (on_minutes && from_ms < to_ms).then_some(Range { from_ms, to_ms })
    }

    /// Its first millisecond.
    pub fn from_ms(self) -> i64 {
        self.from_ms
    }

    /// The first millisecond behind it.
    pub fn to_ms(self) -> i64 {
        self.to_ms
    }

    /// How many minutes it spans.
    pub fn minutes(self) -> i64 {
        (self.to_ms - self.from_ms) / MINUTE_MS
    }

    /// The starts within this range of those buckets, `step_ms` wide, that lie between the first and the last one there is.
    pub(super) fn starts(self, step_ms: i64, bounds: Option<(i64, i64)>) -> Option<Starts> {
        let (first, last) = bounds?;
        let first = self.from_ms.max(first);
        let first = first + (step_ms - first.rem_euclid(step_ms)) % step_ms;
        let end = self.to_ms.min(last.saturating_add(1));
        (first < end).then_some(Starts { first, end, step_ms })
    }
}

/// The starts of some buckets of time: `first`, and on in steps, below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Starts {
    pub first: i64,
    pub end: i64,
    pub step_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::{DAY_MS, HOUR_MS};

    #[test]
    fn a_range_is_whole_minutes_and_not_empty() {
        assert!(Range::new(0, MINUTE_MS).is_some());
        assert!(Range::new(0, 0).is_none() && Range::new(MINUTE_MS, 0).is_none());
        assert!(Range::new(1, MINUTE_MS).is_none() && Range::new(0, MINUTE_MS + 1).is_none());
        assert_eq!(Range::new(-MINUTE_MS, MINUTE_MS).unwrap().minutes(), 2);
    }

    #[test]
    fn starts_are_those_that_there_can_be() {
        let range = Range::new(0, 3 * HOUR_MS).unwrap();
        let whole = Starts { first: 0, end: 3 * HOUR_MS, step_ms: MINUTE_MS };
        assert_eq!(range.starts(MINUTE_MS, Some((-DAY_MS, DAY_MS))), Some(whole));
        assert_eq!(range.starts(MINUTE_MS, None), None);
        assert_eq!(range.starts(MINUTE_MS, Some((3 * HOUR_MS, DAY_MS))), None);
        let some = range.starts(MINUTE_MS, Some((5 * MINUTE_MS, 5 * MINUTE_MS))).unwrap();
        assert_eq!((some.first, some.end), (5 * MINUTE_MS, 5 * MINUTE_MS + 1));
        let hours = Range::new(MINUTE_MS, 2 * HOUR_MS + MINUTE_MS).unwrap().starts(HOUR_MS, Some((0, DAY_MS))).unwrap();
        assert_eq!((hours.first, hours.end), (HOUR_MS, 2 * HOUR_MS + MINUTE_MS));
    }
}
