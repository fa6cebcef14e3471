//! The watermark of one split: how far its event time has come, and which of its rows are behind that.
//!
//! Invariant: what comes out is a pure function of the event times of the split's rows and their order (and of a floor,
//! if one was set). How the rows are cut into batches, when they come and what other splits do changes nothing.
//!
//! **The rule.** The watermark before a row is the largest confirmed event time of the split before it, less the delay. A
//! row confirms its event time unless it lies more than `max_jump` ahead of the largest confirmed one, or nothing is
//! confirmed yet. Such a row is emitted like any other but does not move the watermark, until three in a row lie ahead:
//! then the smallest of the three is confirmed, and after it the others in rising order as far as they are no jump from
//! there. So one absurd date does not make everything after it late, and a stream that really jumps goes on.

use arrow::buffer::ScalarBuffer;
use serde::{Deserialize, Serialize};
use weir_engine::element::WATERMARK_MIN;

/// So many rows in a row must agree before the watermark jumps.
const AGREEING_ROWS: usize = 3;

/// How far a split's event time may jump unless the definition says otherwise: a day, in milliseconds.
pub const DEFAULT_MAX_JUMP_MS: i64 = 24 * 60 * 60 * 1_000;

/// The two settings of a split's watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkRule {
    /// How far the watermark stays behind the largest event time, in milliseconds.
    pub delay_ms: i64,
    /// An event time further ahead than this must be agreed to, in milliseconds.
    pub max_jump_ms: i64,
}

/// The event time of one split. Its serialised form goes into checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitWatermark {
    /// The largest confirmed event time, in milliseconds.
    confirmed: Option<i64>,
    /// Event times of the last rows, fewer than three, as far as they are not confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<i64>,
    /// The watermark is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<i64>,
}

impl SplitWatermark {
    /// For a split that begins in the middle of a file: `newest` is the largest event time before its first row.
    pub fn beginning_after(newest: Option<i64>) -> Self {
        SplitWatermark { confirmed: newest, ..SplitWatermark::default() }
    }

    /// The watermark is never below `floor` from now on: for a split that joins, or comes back, after time went on
    /// without it. Its older rows are behind, since what they belong to may be closed already.
    pub fn raise_floor(&mut self, floor: i64) {
        if floor > self.floor.unwrap_or(WATERMARK_MIN) {
            self.floor = Some(floor);
        }
    }

    /// The watermark now, in milliseconds.
    pub fn watermark(&self, rule: WatermarkRule) -> i64 {
        let confirmed = self.confirmed.map_or(WATERMARK_MIN, |confirmed| confirmed.saturating_sub(rule.delay_ms));
        confirmed.max(self.floor.unwrap_or(WATERMARK_MIN))
    }

    /// Takes the event times of the next rows. Returns the watermark before each of them if any is behind.
    pub fn observe(&mut self, event_times: &[i64], rule: WatermarkRule) -> Option<ScalarBuffer<i64>> {
        let (Some(oldest), Some(newest)) = (event_times.iter().min(), event_times.iter().max()) else { return None };
        let before = self.watermark(rule);
        // The usual batch: no jump in it, and no row behind even the watermark after it.
        if let Some(confirmed) = self.confirmed
            && *newest <= confirmed.saturating_add(rule.max_jump_ms)
            && *oldest >= before.max(newest.saturating_sub(rule.delay_ms))
        {
            self.confirmed = Some(confirmed.max(*newest));
            self.ahead.clear();
            return None;
        }
        let mut behind = false;
        let mut watermarks = Vec::with_capacity(event_times.len());
        for event_time in event_times {
            let watermark = self.watermark(rule);
            behind |= *event_time < watermark;
            watermarks.push(watermark);
            self.observe_one(*event_time, rule.max_jump_ms);
        }
        behind.then(|| watermarks.into())
    }

    fn observe_one(&mut self, event_time: i64, max_jump_ms: i64) {
        match self.confirmed {
            Some(confirmed) if event_time <= confirmed.saturating_add(max_jump_ms) => {
                self.confirmed = Some(confirmed.max(event_time));
                self.ahead.clear();
            }
            _ => self.observe_ahead(event_time, max_jump_ms),
        }
    }

    fn observe_ahead(&mut self, event_time: i64, max_jump_ms: i64) {
        self.ahead.push(event_time);
        if self.ahead.len() < AGREEING_ROWS {
            return;
        }
        self.ahead.sort_unstable();
        let mut agreed: Option<i64> = None;
        for event_time in self.ahead.drain(..) {
            if agreed.is_none_or(|agreed| event_time <= agreed.saturating_add(max_jump_ms)) {
                agreed = Some(event_time);
            }
        }
        self.confirmed = agreed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: WatermarkRule = WatermarkRule { delay_ms: 10, max_jump_ms: 100 };

    /// The watermark before every row, one row at a time.
    fn one_by_one(split: &mut SplitWatermark, event_times: &[i64]) -> Vec<i64> {
        let mut before = Vec::new();
        for event_time in event_times {
            before.push(split.watermark(RULE));
            split.observe(&[*event_time], RULE);
        }
        before
    }

    #[test]
    fn the_watermark_is_the_largest_event_time_less_the_delay() {
        let mut split = SplitWatermark::default();
        let none = WATERMARK_MIN;
        assert_eq!(one_by_one(&mut split, &[50, 60, 55, 70, 65]), [none, none, none, 50, 60]);
        assert_eq!(split.watermark(RULE), 60);
        assert_eq!(split.observe(&[60, 61], RULE), None);
        assert_eq!(split.observe(&[59, 80, 75], RULE).map(|all| all.to_vec()), Some(vec![60, 60, 70]));
    }

    #[test]
    fn one_absurd_date_moves_nothing() {
        let mut split = SplitWatermark::default();
        one_by_one(&mut split, &[50, 50, 50]);
        assert_eq!(one_by_one(&mut split, &[9_999, 51, 9_999, 9_998, 52]), [40, 40, 41, 41, 41]);
        assert_eq!(split.watermark(RULE), 42);
    }

    #[test]
    fn three_in_a_row_are_believed() {
        let mut split = SplitWatermark::default();
        one_by_one(&mut split, &[50, 50, 50, 9_000, 9_050, 9_500]);
        assert_eq!(split.watermark(RULE), 9_040, "the smallest, and what is no jump from it");
        let mut first = SplitWatermark::default();
        one_by_one(&mut first, &[9_000, 50, 60]);
        assert_eq!(first.watermark(RULE), 50, "an absurd first date is outvoted");
    }

    #[test]
    fn a_floor_makes_older_rows_behind() {
        let mut split = SplitWatermark::default();
        split.raise_floor(70);
        split.raise_floor(60);
        assert_eq!(split.observe(&[80, 69], RULE).map(|all| all.to_vec()), Some(vec![70, 70]));
        assert_eq!(split.watermark(RULE), 70);
        let beginning = SplitWatermark::beginning_after(Some(100));
        assert_eq!(beginning.watermark(RULE), 90);
    }

    #[test]
    fn it_survives_a_checkpoint() {
        let mut split = SplitWatermark::default();
        one_by_one(&mut split, &[50, 50, 50, 9_000, 9_050]);
        split.raise_floor(3);
        let text = serde_json::to_string(&split).expect("serialisable");
        assert_eq!(text, r#"{"confirmed":50,"ahead":[9000,9050],"floor":3}"#);
        assert_eq!(serde_json::from_str::<SplitWatermark>(&text).expect("the same"), split);
    }

    proptest! {
        #[test]
        fn batches_change_nothing(
            event_times in proptest::collection::vec(prop_oneof![4 => 0i64..60, 1 => 0i64..1_000, 1 => any::<i64>()], 0..60),
            cuts in proptest::collection::vec(0usize..60, 0..6),
            floor in proptest::option::of(0i64..60),
        ) {
            let mut alone = SplitWatermark::default();
            let mut batched = SplitWatermark::default();
            for split in [&mut alone, &mut batched] {
                split.raise_floor(floor.unwrap_or(WATERMARK_MIN));
            }
            let expected = one_by_one(&mut alone, &event_times);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(event_times.len())).collect();
            cuts.extend([0, event_times.len()]);
            cuts.sort_unstable();
            for cut in cuts.windows(2) {
                let (times, expected) = (&event_times[cut[0]..cut[1]], &expected[cut[0]..cut[1]]);
                let behind = times.iter().zip(expected).any(|(time, watermark)| time < watermark);
                let observed = batched.observe(times, RULE).map(|all| all.to_vec());
                prop_assert_eq!(observed, behind.then(|| expected.to_vec()));
            }
            prop_assert_eq!(alone, batched);
        }

        #[test]
        fn the_watermark_never_falls(event_times in proptest::collection::vec(any::<i64>(), 0..60)) {
            let mut split = SplitWatermark::default();
            let before = one_by_one(&mut split, &event_times);
            prop_assert!(before.is_sorted());
        }
    }
}
