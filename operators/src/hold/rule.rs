//! How long rows are held before a sink, as a definition means it.

use super::HoldConfig;
use crate::{
    definition::duration::{millis, show},
    schema::ColumnSchema,
};
use std::time::Duration;

/// How long rows are held before a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRule {
    /// In event time.
    pub time_ms: i64,
    /// Barriers, where time stands still: as many as come in that time.
    pub barriers: u64,
    /// Bytes, where it is said.
    pub bytes: Option<u64>,
}

impl HoldRule {
    /// For so long, or until they are so many bytes. None: rows that wait for the next barrier are not held.
    pub fn every(every: Duration, bytes: Option<u64>, checkpoint_interval: Duration) -> Option<Self> {
        if every <= checkpoint_interval {
            return None;
        }
        let barriers = every.as_millis().div_ceil(checkpoint_interval.as_millis().max(1));
        Some(HoldRule { time_ms: millis(every), barriers: u64::try_from(barriers).unwrap_or(u64::MAX), bytes })
    }

    /// The settings of the operator, for rows of these columns.
    pub fn config(self, columns: ColumnSchema) -> HoldConfig {
        let standard = HoldConfig::of(columns);
        let bytes = self.bytes.map_or(standard.bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        HoldConfig { time_ms: self.time_ms, barriers: self.barriers, bytes, ..standard }
    }

    /// For how long, in words.
    pub fn note(self) -> String {
        let every = show(Duration::from_millis(self.time_ms.unsigned_abs()));
        match self.bytes {
            Some(bytes) => format!("holds rows for up to {every}, or until they are {bytes} bytes"),
            None => format!("holds rows for up to {every}, or until they are many"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_held_for_as_many_barriers_as_come_in_the_time() {
        let second = Duration::from_secs(1);
        assert_eq!(HoldRule::every(second, None, second), None);
        let rule = HoldRule::every(10 * second, Some(5), 3 * second).unwrap();
        assert_eq!(rule, HoldRule { time_ms: 10_000, barriers: 4, bytes: Some(5) });
        assert_eq!(rule.note(), "holds rows for up to 10s, or until they are 5 bytes");
        let config = rule.config(ColumnSchema::default());
        assert_eq!((config.time_ms, config.barriers, config.bytes), (10_000, 4, 5));
    }
}
