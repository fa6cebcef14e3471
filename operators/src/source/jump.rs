//! Rows with a wrong clock: what is too far ahead of its split, where a split's event time starts, and when a jump is accepted.
//!
//! Invariant: each of the three is a function of event times in the order of the split, and of nothing else.

use serde::{Deserialize, Serialize};

/// How far ahead of its split a row must be to be doubted, where a definition does not say: a day, in milliseconds.
pub(super) const UNSET_MAX_JUMP_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is believed of rows that are ahead of their split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JumpRule {
    /// A row whose event time is further ahead of its split's time than this does not move it, in milliseconds.
    pub max_jump_ms: i64,
    /// Whether it is refused, too. Otherwise it is passed on like any other.
    pub refuses: bool,
    /// When event time advances nevertheless.
    pub after: JumpAfter,
}

/// How many rows ahead must agree before event time advances to where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpAfter {
    /// So many more of them must agree than not. So many records at the beginning of a split are looked at together, too.
    pub rows: u64,
    /// They must cover at least this much event time, in milliseconds.
    pub span_ms: i64,
}

impl Default for JumpAfter {
    fn default() -> Self {
        JumpAfter { rows: 1_000, span_ms: 10 * 60_000 }
    }
}

impl JumpAfter {
    /// The most that `rows` may be: the beginning of a split is held in memory.
    pub const MOST_ROWS: u64 = 10_000;
}

impl JumpRule {
    /// Whether an event time is too far ahead of a split whose event time is at `newest`.
    pub(super) fn is_ahead(&self, event_time: i64, newest: i64) -> bool {
        event_time > newest.saturating_add(self.max_jump_ms)
    }

    /// Where the time of a split with these first event times begins: at the one that most of them fit to, the smallest of
    /// several. A row fits that is neither ahead of the rows before it nor behind them by more than a jump (or the delay,
    /// which is disorder that is expected).
    pub(super) fn beginning(&self, event_times: &[i64], delay_ms: i64) -> Option<i64> {
        let behind = self.max_jump_ms.max(delay_ms);
        let fitting = |start: i64| {
            let (mut newest, mut fitting) = (start, 0);
            for event_time in event_times {
                if !self.is_ahead(*event_time, newest) && *event_time >= newest.saturating_sub(behind) {
                    newest = newest.max(*event_time);
                    fitting += 1;
                }
            }
            fitting
        };
        let mut sorted = event_times.to_vec();
        sorted.sort_unstable();
        // For each: one past the last that can be reached from it without a jump.
        let mut reached = vec![sorted.len(); sorted.len()];
        for at in (1..sorted.len()).rev() {
            reached[at - 1] = if self.is_ahead(sorted[at], sorted[at - 1]) { at } else { reached[at] };
        }
        let mut best: Option<(usize, i64)> = None;
        let mut first_fitting = 0;
        for (at, start) in sorted.iter().enumerate() {
            if at > 0 && sorted[at - 1] == *start {
                continue;
            }
            while sorted[first_fitting] < start.saturating_sub(behind) {
                first_fitting += 1;
            }
            let most = best.map_or(0, |(most, _)| most);
            // No more than these can fit, so that most candidates need not be tried.
            if reached[at] - first_fitting > most {
                let fits = fitting(*start);
                if fits > most {
                    best = Some((fits, *start));
                }
            }
        }
        best.map(|(_, start)| start)
    }
}

/// The rows ahead of a split that agree with each other. Its serialised form goes into checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowsAhead {
    /// How many more have agreed than not.
    pub(super) rows: u64,
    /// The smallest event time among them, in milliseconds.
    oldest: i64,
    /// The largest.
    pub(super) newest: i64,
}

impl RowsAhead {
    /// After one more row that is ahead. One that disagrees removes one, or replaces the last.
    pub(super) fn and(before: Option<Self>, event_time: i64, rule: &JumpRule) -> Self {
        let alone = RowsAhead { rows: 1, oldest: event_time, newest: event_time };
        let Some(before) = before else { return alone };
        let reach = before.oldest.saturating_sub(rule.max_jump_ms)..=before.newest.saturating_add(rule.max_jump_ms);
        match reach.contains(&event_time) {
            true => RowsAhead {
                rows: before.rows + 1,
                oldest: before.oldest.min(event_time),
                newest: before.newest.max(event_time),
            },
            false if before.rows > 1 => RowsAhead { rows: before.rows - 1, ..before },
            false => alone,
        }
    }

    /// Whether event time advances to where they are.
    pub(super) fn are_believed(&self, rule: &JumpRule) -> bool {
        self.rows >= rule.after.rows && self.newest.saturating_sub(self.oldest) >= rule.after.span_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: JumpRule = JumpRule { max_jump_ms: 100, refuses: true, after: JumpAfter { rows: 3, span_ms: 20 } };

    #[test]
    fn time_begins_where_most_rows_fit() {
        let beginning = |times: &[i64]| RULE.beginning(times, 10);
        assert_eq!(beginning(&[]), None);
        assert_eq!(beginning(&[7]), Some(7));
        assert_eq!(beginning(&[9_000, 50, 60, 55]), Some(50), "one ahead of all");
        assert_eq!(beginning(&[9_000, 9_001, 50, 9_002, 60, 55, 70]), Some(50), "several in a row");
        assert_eq!(beginning(&[0, 5_000, 5_010, 5_005]), Some(5_000), "one far behind all");
        assert_eq!(beginning(&[9_000, 50]), Some(50), "of two that disagree the older");
        // The first is two hundred ahead of its file, which gets there in the end.
        let times: Vec<i64> = [250].into_iter().chain(0..400).collect();
        assert_eq!(beginning(&times), Some(0));
    }

    #[test]
    fn rows_ahead_must_agree_and_cover_a_span() {
        let after = |times: &[i64]| times.iter().fold(None, |before, time| Some(RowsAhead::and(before, *time, &RULE)));
        let believed = |times: &[i64]| after(times).is_some_and(|rows: RowsAhead| rows.are_believed(&RULE));
        assert!(believed(&[5_000, 5_010, 5_020]));
        assert!(!believed(&[5_000, 5_010, 5_019]), "too short a span");
        assert!(!believed(&[5_000, 5_020]), "too few");
        assert!(!believed(&[5_000, 5_010, 9_000, 5_020]), "one that disagrees takes one away");
        assert!(believed(&[5_000, 5_010, 9_000, 5_020, 5_021]));
        assert!(believed(&[9_000, 5_000, 5_010, 5_020, 5_021]), "the first one alone is soon outvoted");
    }

    proptest! {
        /// What was left out to be fast changes nothing.
        #[test]
        fn the_beginning_is_the_best_of_all(times in proptest::collection::vec(prop_oneof![3 => 0i64..300, 1 => 0i64..3_000], 1..40)) {
            let fits = |start: i64| {
                let mut newest = start;
                times.iter().filter(|time| {
                    let fit = (newest - 100..=newest + 100).contains(*time);
                    if fit { newest = newest.max(**time) }
                    fit
                }).count()
            };
            let most = times.iter().map(|time| fits(*time)).max().unwrap();
            let expected = times.iter().copied().filter(|time| fits(*time) == most).min();
            prop_assert_eq!(RULE.beginning(&times, 10), expected);
        }
    }
}
