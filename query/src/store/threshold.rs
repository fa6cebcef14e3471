//! When the most clicked ads of a window are known for certain, although most of its counts were never looked at.
//!
//! A window is a list of minutes, each with a list of ads by count, descending. An ad that is not above some level in any
//! list has, over the whole window, at most the sum of `min(level - 1, head)` over the lists. So once the N-th best total
//! found is more than that, nobody unseen can displace it. This is Fagin's threshold algorithm (Fagin, Lotem, Naor: Optimal
//! aggregation algorithms for middleware, 2001) with one level for all lists instead of one depth, as in TPUT (Cao, Wang:
//! Efficient top-K query calculation in distributed networks, 2004): what any N ads have reached in a first, shallow look
//! tells how deep the second must go, so there is never a third.

/// Counts below this are not in the sorted lists. The store's index has the same number in its condition.
pub(super) const LEAST_LISTED: i64 = 32;

/// The largest count of each minute of a window that has any; where it is not in the list, what it can be at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heads(Vec<i64>);

impl Heads {
    /// From the largest listed count of each minute that has any count, `None` where no count is listed.
    pub(super) fn new(largest: impl IntoIterator<Item = Option<i64>>) -> Self {
        Heads(largest.into_iter().map(|head| head.unwrap_or(LEAST_LISTED - 1)).collect())
    }

    /// How many minutes have any count.
    pub(super) fn minutes(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    /// What an ad that is nowhere at `level` or above can have in all.
    pub(super) fn most_unseen(&self, level: i64) -> i64 {
        self.0.iter().map(|head| (level - 1).min(*head)).sum()
    }

    /// The largest level at which nobody unseen can have `total` or more; `None` when the lists do not go deep enough.
    pub(super) fn level_below(&self, total: i64) -> Option<i64> {
        let (mut proven, mut open) = (LEAST_LISTED, self.0.iter().max()? + 2);
        if self.most_unseen(proven) >= total {
            return None;
        }
        while proven + 1 < open {
            let middle = proven + (open - proven) / 2;
            if self.most_unseen(middle) < total { proven = middle } else { open = middle }
        }
        Some(proven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_level_is_as_high_as_can_be_proven() {
        let heads = Heads::new([Some(100), Some(50), None]);
        assert_eq!(heads.most_unseen(32), 31 * 3);
        assert_eq!(heads.most_unseen(60), 59 + 50 + 31);
        assert_eq!(heads.level_below(31 * 3), None, "an unseen ad might have as many");
        assert_eq!(heads.level_below(31 * 3 + 1), Some(32));
        assert_eq!(heads.level_below(141), Some(60));
        assert_eq!(heads.level_below(1_000_000), Some(101), "above all heads: nobody need be looked at");
        assert_eq!(Heads::new([]).level_below(1), None);
    }

    proptest! {
        #[test]
        fn one_level_more_would_prove_less(heads in prop::collection::vec(prop::option::of(32..500i64), 1..60), total in 0..20_000i64) {
            let heads = Heads::new(heads);
            match heads.level_below(total) {
                None => prop_assert!(heads.most_unseen(LEAST_LISTED) >= total),
                Some(level) => {
                    prop_assert!(level >= LEAST_LISTED && heads.most_unseen(level) < total);
                    let top = *heads.0.iter().max().unwrap();
                    prop_assert!(level > top || heads.most_unseen(level + 1) >= total);
                }
            }
        }
    }
}
