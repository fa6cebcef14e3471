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

/// What the kept counts of some minutes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How many minutes have one.
    pub minutes: i64,
    /// Their sum.
    pub clicks: i64,
    /// The largest.
    pub most: i64,
}

/// So many minutes after midnight are a block, and so on; one without a kept count is none.
pub(super) fn blocks(kept: &BTreeMap<CountKey, i64>, block_minutes: i64) -> BTreeMap<CountKey, Block> {
    let mut blocks: BTreeMap<CountKey, Block> = BTreeMap::new();
    for ((ad, minute, filter), count) in kept {
        let begins = minute - minute.rem_euclid(block_minutes * super::MINUTE_MS);
        let block = blocks.entry((ad.clone(), begins, filter.clone()));
        let block = block.or_insert(Block { minutes: 0, clicks: 0, most: i64::MIN });
        block.minutes += 1;
        block.clicks += count;
        block.most = block.most.max(*count);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_hand() {
        let minute = |ad: &str, minute: i64, count: i64| ((ad.to_owned(), minute * 60_000, "all".to_owned()), count);
        let kept =
            BTreeMap::from([minute("ad1", -1, 3), minute("ad1", 0, 2), minute("ad1", 2, 6), minute("ad2", 3, 5)]);
        let block = |minutes, clicks, most| Block { minutes, clicks, most };
        let found: Vec<_> = blocks(&kept, 3).into_iter().map(|((ad, at, _), block)| (ad, at / 60_000, block)).collect();
        let expected = [("ad1", -3, block(1, 3, 3)), ("ad1", 0, block(2, 8, 6)), ("ad2", 3, block(1, 5, 5))];
        assert_eq!(found, expected.map(|(ad, at, block)| (ad.to_owned(), at, block)));
    }
}
