//! When the most clicked ads of a window are known for certain, although most of its counts were never looked at.
//!
//! A window is a list of minutes, each with a list of ads by count, descending. An ad that is not above some level in any
//! list has, over the whole window, at most the sum of `min(level - 1, head)` over the lists. So once the N-th best total
//! found is more than that, no unseen ad can displace it. This is Fagin's threshold algorithm (Fagin, Lotem, Naor: Optimal
//! aggregation algorithms for middleware, 2001) with one level for all lists instead of one depth, as in TPUT (Cao, Wang:
//! Efficient top-K query calculation in distributed networks, 2004): what any N ads have reached in a first, shallow look
//! tells how deep the second must go, so there is never a third.

/// The sorted lists of a window's minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// Counts below this are not in the lists.
    least: i64,
    /// The largest count of each minute that has any; where it is not in the list, what it can be at most.
    largest: Vec<i64>,
}

impl Heads {
    /// Of lists that hold all counts from `least` on: the largest listed count of each minute that has any count, `None` where
    /// none is listed.
    pub(super) fn new(least: i64, largest: impl IntoIterator<Item = Option<i64>>) -> Self {
        Heads { least, largest: largest.into_iter().map(|head| head.unwrap_or(least - 1)).collect() }
    }

    /// How many minutes have any count.
    pub(super) fn minutes(&self) -> i64 {
        i64::try_from(self.largest.len()).unwrap_or(i64::MAX)
    }

    /// What an ad that is nowhere at `level` or above can have in all.
    pub(super) fn most_unseen(&self, level: i64) -> i64 {
        self.largest.iter().map(|head| (level - 1).min(*head)).sum()
    }

    /// The largest level at which no unseen ad can have `total` or more; `None` when the lists do not go deep enough.
    pub(super) fn level_below(&self, total: i64) -> Option<i64> {
        let (mut proven, mut open) = (self.least, self.largest.iter().max()? + 2);
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
        let heads = Heads::new(32, [Some(100), Some(50), None]);
        assert_eq!(heads.most_unseen(32), 31 * 3);
        assert_eq!(heads.most_unseen(60), 59 + 50 + 31);
        assert_eq!(heads.level_below(31 * 3), None, "an unseen ad might have as many");
        assert_eq!(heads.level_below(31 * 3 + 1), Some(32));
        assert_eq!(heads.level_below(141), Some(60));
        assert_eq!(heads.level_below(1_000_000), Some(101), "above all heads: nobody need be looked at");
        assert_eq!(Heads::new(32, []).level_below(1), None);
    }

    proptest! {
        #[test]
        fn one_level_more_would_prove_less(
            least in 1..=32i64,
            heads in prop::collection::vec(prop::option::of(32..500i64), 1..60),
            total in 0..20_000i64,
        ) {
            let heads = Heads::new(least, heads);
            match heads.level_below(total) {
                None => prop_assert!(heads.most_unseen(least) >= total),
                Some(level) => {
                    prop_assert!(level >= least && heads.most_unseen(level) < total);
                    let top = *heads.largest.iter().max().unwrap();
                    prop_assert!(level > top || heads.most_unseen(level + 1) >= total);
                }
            }
        }
    }
}
