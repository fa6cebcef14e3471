//! The watermark of one split: how far its event time has come, and which of its rows are behind that, or too far ahead.
//!
//! Invariant: what comes out is a pure function of the event times of the split's rows and their order (and of a floor,
//! if one was set). How the rows are cut into batches, when they come and what other splits do changes nothing.
//!
//! **The rule.** The watermark before a row is the largest event time of the split before it, less the delay. Without a rule
//! for jumps every row moves time, whatever its event time. With one, a row further ahead than `max_jump` moves nothing,
//! however many such rows come, and is refused if the rule says so. Time advances to where they are when `rows` more of them
//! agree with each other than not, cover `span` of event time, and no other row has moved time forward meanwhile.
//!
//! What time can have come to without a row is no jump: a split that was [silent](SplitWatermark::was_silent) may come back so
//! much later, and one that joins others may be as far as they are (the floor). Bounded splits know neither.
//!
//! Where time begins is told by [`begin_at`](SplitWatermark::begin_at), after the first rows were looked at together
//! ([`head`](super::head)). Rows of a live source cannot be held until there are many: there, time begins with the third
//! row, and until then none is refused.

use super::jump::{JumpRule, RowsAhead};
use serde::{Deserialize, Serialize};
use weir_engine::element::WATERMARK_MIN;

/// With so many rows time begins where it was not told to: the least that can outvote one.
const LEAST_ROWS: usize = 3;

/// The settings of a split's watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkRule {
    /// How far the watermark stays behind the largest event time, in milliseconds.
    pub delay_ms: i64,
    /// Which rows are refused for being ahead; none: none are.
    pub jump: Option<JumpRule>,
}

/// The event time of one split. Its serialised form goes into checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitWatermark {
    /// The largest event time of the rows that were not refused, in milliseconds.
    confirmed: Option<i64>,
    /// Event times of the first rows, fewer than three, as long as time has not begun.
    #[serde(default, alias = "ahead", skip_serializing_if = "Vec::is_empty")]
    first: Vec<i64>,
    /// The rows ahead that agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jump: Option<RowsAhead>,
    /// How far time can have come while no row moved it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silent_until: Option<i64>,
    /// The watermark is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<i64>,
}

/// What is said of some rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The watermark before each row, if a row is behind it.
    pub watermarks: Option<Vec<i64>>,
    /// The rows that are refused, in their order.
    pub refused: Vec<RefusedAhead>,
    /// Where event time advanced to rows ahead.
    pub jumps: Vec<Jump>,
}

/// A row that is too far ahead of its split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedAhead {
    /// Which row.
    pub row: usize,
    /// How far the split's time had come, in milliseconds.
    pub newest: i64,
}

/// Event time advanced to where rows ahead were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// How far it had come, in milliseconds.
    pub from: i64,
    /// How far it has come now.
    pub to: i64,
    /// How many more rows had agreed than not.
    pub rows: u64,
}

/// What one row is.
enum Seen {
    Fits,
    Ahead { newest: i64 },
    Jumped(Jump),
}

impl SplitWatermark {
    /// For a split that begins in the middle of a file: `newest` is the largest event time before its first row.
    pub fn beginning_after(newest: Option<i64>) -> Self {
        SplitWatermark { confirmed: newest, ..SplitWatermark::default() }
    }

    /// Whether time has begun.
    pub fn has_begun(&self) -> bool {
        self.confirmed.is_some()
    }

    /// Time begins here, at the event time of one of the first rows, which all are still to come.
    pub fn begin_at(&mut self, event_time: i64) {
        (self.confirmed, self.first) = (Some(event_time), Vec::new());
    }

    /// The watermark is never below `floor` from now on: for a split that joins, or comes back, after event time advanced
    /// without it. Its older rows are behind, since what they belong to may be closed already.
    pub fn raise_floor(&mut self, floor: i64) {
        if floor > self.floor.unwrap_or(WATERMARK_MIN) {
            self.floor = Some(floor);
        }
    }

    /// For so long, in milliseconds, a live split had nothing to say: its event time may have advanced by as much.
    pub fn was_silent(&mut self, milliseconds: i64) {
        if let Some(newest) = self.confirmed {
            self.silent_until = Some(self.silent_until.unwrap_or(newest).saturating_add(milliseconds));
        }
    }

    /// How far time has come, or can have come.
    fn reached(&self, newest: i64, rule: WatermarkRule) -> i64 {
        let of_others = self.floor.map_or(newest, |floor| floor.saturating_add(rule.delay_ms));
        newest.max(self.silent_until.unwrap_or(newest)).max(of_others)
    }

    /// The watermark now, in milliseconds.
    pub fn watermark(&self, rule: WatermarkRule) -> i64 {
        let confirmed = self.confirmed.map_or(WATERMARK_MIN, |confirmed| confirmed.saturating_sub(rule.delay_ms));
        confirmed.max(self.floor.unwrap_or(WATERMARK_MIN))
    }

    /// Takes the event times of the next rows, and says what is to be said of them.
    pub fn observe(&mut self, event_times: &[i64], rule: WatermarkRule) -> Observed {
        let mut observed = Observed::default();
        let (Some(oldest), Some(newest)) = (event_times.iter().min(), event_times.iter().max()) else {
            return observed;
        };
        // The usual batch: no row ahead, and none behind even the watermark after it.
        let is_near = match (rule.jump, self.confirmed) {
            (None, _) => true,
            (Some(jump), Some(confirmed)) => !jump.is_ahead(*newest, self.reached(confirmed, rule)),
            (Some(_), None) => false,
        };
        if is_near && *oldest >= self.watermark(rule).max(newest.saturating_sub(rule.delay_ms)) {
            self.move_to(*newest);
            return observed;
        }
        let refuses = rule.jump.is_some_and(|jump| jump.refuses);
        let mut behind = false;
        let mut watermarks = Vec::with_capacity(event_times.len());
        for (row, event_time) in event_times.iter().enumerate() {
            let watermark = self.watermark(rule);
            watermarks.push(watermark);
            match self.see(*event_time, rule) {
                Seen::Fits => behind |= *event_time < watermark,
                Seen::Ahead { newest } if refuses => observed.refused.push(RefusedAhead { row, newest }),
                Seen::Ahead { .. } => {}
                Seen::Jumped(jump) => observed.jumps.push(jump),
            }
        }
        observed.watermarks = behind.then_some(watermarks);
        observed
    }

    fn see(&mut self, event_time: i64, rule: WatermarkRule) -> Seen {
        let Some(jump) = rule.jump else {
            self.move_to(event_time);
            return Seen::Fits;
        };
        let Some(newest) = self.confirmed else {
            self.see_first(event_time, rule.delay_ms, &jump);
            return Seen::Fits;
        };
        if !jump.is_ahead(event_time, self.reached(newest, rule)) {
            self.move_to(event_time);
            return Seen::Fits;
        }
        let ahead = RowsAhead::and(self.jump, event_time, &jump);
        if !ahead.are_believed(&jump) {
            self.jump = Some(ahead);
            return Seen::Ahead { newest };
        }
        self.move_to(ahead.newest);
        Seen::Jumped(Jump { from: newest, to: ahead.newest, rows: ahead.rows })
    }

    /// A row that fits moves time forward, or leaves it; only the former says that rows ahead of it are wrong.
    fn move_to(&mut self, event_time: i64) {
        if self.confirmed.is_none_or(|newest| event_time > newest) {
            (self.confirmed, self.jump, self.silent_until) = (Some(event_time), None, None);
        }
        self.first.clear();
    }

    fn see_first(&mut self, event_time: i64, delay_ms: i64, rule: &JumpRule) {
        self.first.push(event_time);
        if self.first.len() < LEAST_ROWS {
            return;
        }
        let first = std::mem::take(&mut self.first);
        let Some(mut newest) = rule.beginning(&first, delay_ms) else { return };
        for event_time in first {
            if !rule.is_ahead(event_time, newest) {
                newest = newest.max(event_time);
            }
        }
        self.confirmed = Some(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::jump::JumpAfter;
    use super::*;
    use proptest::prelude::*;

    const PLAIN: WatermarkRule = WatermarkRule { delay_ms: 10, jump: None };
    const JUMPS: JumpRule = JumpRule { max_jump_ms: 100, refuses: true, after: JumpAfter { rows: 5, span_ms: 30 } };
    const RULE: WatermarkRule = WatermarkRule { delay_ms: 10, jump: Some(JUMPS) };

    /// The watermark before every row, and which rows are refused, one row at a time.
    fn one_by_one(split: &mut SplitWatermark, event_times: &[i64], rule: WatermarkRule) -> (Vec<i64>, Vec<usize>) {
        let (mut before, mut refused) = (Vec::new(), Vec::new());
        for (row, event_time) in event_times.iter().enumerate() {
            before.push(split.watermark(rule));
            if !split.observe(&[*event_time], rule).refused.is_empty() {
                refused.push(row);
            }
        }
        (before, refused)
    }

    fn begun(event_time: i64) -> SplitWatermark {
        SplitWatermark::beginning_after(Some(event_time))
    }

    #[test]
    fn the_watermark_is_the_largest_event_time_less_the_delay() {
        let mut split = SplitWatermark::default();
        let (before, _) = one_by_one(&mut split, &[50, 60, 55, 70, 65], PLAIN);
        assert_eq!(before, [WATERMARK_MIN, 40, 50, 50, 60]);
        assert_eq!(split.watermark(PLAIN), 60);
        assert_eq!(split.observe(&[60, 61], PLAIN), Observed::default());
        assert_eq!(split.observe(&[59, 80, 75], PLAIN).watermarks, Some(vec![60, 60, 70]));
        one_by_one(&mut split, &[9_999], PLAIN);
        assert_eq!(split.watermark(PLAIN), 9_989, "without a rule for jumps every event time is believed");
    }

    #[test]
    fn rows_ahead_are_refused_however_many_come() {
        let mut split = begun(50);
        // Second by second the good rows continue, and between them some clocks are wrong.
        let times: Vec<i64> = (51..1_000).flat_map(|time| [9_999, 9_000, time, 7_777 + time]).collect();
        let (_, refused) = one_by_one(&mut split, &times, RULE);
        assert_eq!(refused.len(), 3 * 949);
        assert_eq!(split.watermark(RULE), 989);
    }

    #[test]
    fn many_in_a_row_are_refused_while_they_cover_no_span() {
        let mut split = begun(50);
        let (_, refused) = one_by_one(&mut split, &[9_000; 1_000], RULE);
        assert_eq!((refused.len(), split.watermark(RULE)), (1_000, 40));
        let observed = split.observe(&[9_030], RULE);
        assert_eq!(observed.jumps, [Jump { from: 50, to: 9_030, rows: 1_001 }]);
    }

    #[test]
    fn a_stream_that_jumped_goes_on_with_the_row_that_makes_it_sure() {
        let mut split = begun(50);
        // Stragglers of before are no reason not to.
        let (before, refused) = one_by_one(&mut split, &[9_000, 9_010, 45, 9_020, 50, 9_020, 9_030, 9_031], RULE);
        assert_eq!(refused, [0, 1, 3, 5]);
        assert_eq!(before, [40, 40, 40, 40, 40, 40, 40, 9_020]);
        assert_eq!(split.watermark(RULE), 9_021);
    }

    #[test]
    fn a_split_that_was_silent_may_be_so_much_later() {
        let mut split = begun(50);
        split.was_silent(400);
        split.was_silent(100);
        let (_, refused) = one_by_one(&mut split, &[651, 650, 751], RULE);
        assert_eq!(refused, [0, 2], "up to 50 + 500 + 100, and then from there");
        let mut joins = begun(50);
        joins.raise_floor(5_000);
        let (_, refused) = one_by_one(&mut joins, &[5_111, 5_110], RULE);
        assert_eq!(refused, [0], "the others are at 5000 and the delay");
    }

    #[test]
    fn where_none_is_refused_those_ahead_move_no_time_either() {
        let rule = WatermarkRule { jump: Some(JumpRule { refuses: false, ..JUMPS }), ..RULE };
        let mut split = begun(50);
        let (before, refused) = one_by_one(&mut split, &[9_000, 9_000, 9_000, 60, 9_000, 61], rule);
        assert_eq!((before, refused), (vec![40, 40, 40, 40, 50, 50], vec![]));
    }

    #[test]
    fn a_live_split_begins_with_its_third_row() {
        let mut first = SplitWatermark::default();
        let (before, refused) = one_by_one(&mut first, &[9_000, 50, 60, 9_000], RULE);
        assert_eq!(before, [WATERMARK_MIN, WATERMARK_MIN, WATERMARK_MIN, 50], "an absurd first date is outvoted");
        assert_eq!(refused, [3]);
    }

    #[test]
    fn a_floor_makes_older_rows_behind() {
        let mut split = SplitWatermark::default();
        split.raise_floor(70);
        split.raise_floor(60);
        assert_eq!(split.observe(&[80, 69], PLAIN).watermarks, Some(vec![70, 70]));
        assert_eq!(split.watermark(PLAIN), 70);
        assert_eq!(begun(100).watermark(RULE), 90);
    }

    #[test]
    fn it_survives_a_checkpoint() {
        let mut split = begun(50);
        one_by_one(&mut split, &[9_000, 9_050], RULE);
        split.raise_floor(3);
        let text = serde_json::to_string(&split).expect("serialisable");
        assert_eq!(text, r#"{"confirmed":50,"jump":{"rows":2,"oldest":9000,"newest":9050},"floor":3}"#);
        assert_eq!(serde_json::from_str::<SplitWatermark>(&text).expect("the same"), split);
        let of_before = serde_json::from_str::<SplitWatermark>(r#"{"confirmed":50,"ahead":[9000]}"#).expect("readable");
        assert_eq!(of_before.watermark(RULE), 40);
    }

    proptest! {
        #[test]
        fn batches_change_nothing(
            event_times in proptest::collection::vec(
                prop_oneof![4 => 0i64..60, 2 => 9_000i64..9_060, 1 => 0i64..1_000, 1 => any::<i64>()], 0..60),
            cuts in proptest::collection::vec(0usize..60, 0..6),
            floor in proptest::option::of(0i64..60),
            begins in proptest::option::of(0i64..60),
            plain in any::<bool>(),
        ) {
            let rule = if plain { PLAIN } else { RULE };
            let mut alone = SplitWatermark::beginning_after(begins);
            let mut batched = alone.clone();
            for split in [&mut alone, &mut batched] {
                split.raise_floor(floor.unwrap_or(WATERMARK_MIN));
            }
            let (expected, refused) = one_by_one(&mut alone, &event_times, rule);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(event_times.len())).collect();
            cuts.extend([0, event_times.len()]);
            cuts.sort_unstable();
            let mut found_refused = Vec::new();
            for cut in cuts.windows(2) {
                let (times, expected) = (&event_times[cut[0]..cut[1]], &expected[cut[0]..cut[1]]);
                let behind = times.iter().zip(expected).any(|(time, watermark)| time < watermark);
                let observed = batched.observe(times, rule);
                prop_assert_eq!(observed.watermarks, behind.then(|| expected.to_vec()));
                found_refused.extend(observed.refused.iter().map(|refused| cut[0] + refused.row));
            }
            prop_assert_eq!(found_refused, refused);
            prop_assert_eq!(alone, batched);
        }

        #[test]
        fn the_watermark_never_falls(event_times in proptest::collection::vec(any::<i64>(), 0..60), plain in any::<bool>()) {
            let mut split = SplitWatermark::default();
            let (before, _) = one_by_one(&mut split, &event_times, if plain { PLAIN } else { RULE });
            prop_assert!(before.is_sorted());
        }
    }
}
