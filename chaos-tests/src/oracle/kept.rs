//! What is left of the counts behind the aggregate: only what is true of the last count of each matters.

use super::CountKey;
use std::collections::BTreeMap;

/// The counts that leave nothing or two when they are divided by three.
pub(super) fn kept(counts: &BTreeMap<CountKey, i64>) -> BTreeMap<CountKey, i64> {
    counts.iter().filter(|(_, count)| **count % 3 != 1).map(|(key, count)| (key.clone(), *count)).collect()
}

/// Of these, what each makes of sixty; there is nothing of five.
pub(super) fn shares(kept: &BTreeMap<CountKey, i64>) -> BTreeMap<CountKey, i64> {
    let share = |(key, count): (&CountKey, &i64)| Some((key.clone(), 60_i64.checked_div(count - 5)?));
    kept.iter().filter_map(share).collect()
}
