//! The counts that are left behind the filters beside the number of clicks on the ad in the same minute from outside Japan, repeated
//! ones included, where that is odd: told minute by minute and ad by ad, by looking at all of both.

use super::{CountKey, minute_of};
use crate::workload::Click;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked of the join of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowJoin {
    /// What becomes of those without a partner.
    pub kind: JoinKind,
    /// Whether the counts are its right side, and the clicks its left one.
    pub turned: bool,
    /// For how much longer than the counts the numbers of clicks are corrected.
    pub more_lateness_minutes: i64,
}

/// Which side keeps what has no partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JoinKind {
    /// Neither.
    Inner,
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// Both.
    Full,
}

impl JoinKind {
    /// All of them.
    pub const ALL: [JoinKind; 4] = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full];

    /// As a definition says it.
    pub fn written(self) -> &'static str {
        match self {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Right => "right",
            JoinKind::Full => "full",
        }
    }
}

impl WindowJoin {
    /// That of the random job of a seed: three of four have one, and four after each other one of the same kind.
    pub fn of_seed(seed: u64) -> Option<Self> {
        let kind = JoinKind::ALL[(seed / 4 % 4) as usize];
        let (turned, more_lateness_minutes) = (seed.is_multiple_of(3), [0, 3][(seed % 2) as usize]);
        (!seed.is_multiple_of(4)).then_some(WindowJoin { kind, turned, more_lateness_minutes })
    }
}

/// A minute, an ad, and the filter of the count; none: there is no count.
pub type JoinedKey = (i64, String, Option<String>);

/// A count, and how many clicks from abroad there are on its ad in its minute; one of them may be missing.
pub type Joined = (Option<i64>, Option<i64>);

/// Whether a click is from outside Japan.
pub(super) fn is_abroad(click: &Click) -> bool {
    click.country.as_deref() != Some("Japan")
}

/// What the join must hold, of these clicks from abroad.
pub(super) fn joined(
    join: WindowJoin,
    kept: &BTreeMap<CountKey, i64>,
    clicks: &[Click],
) -> BTreeMap<JoinedKey, Joined> {
    let of_counts = kept.keys().map(|(ad, minute, _)| (*minute, ad.clone()));
    let of_clicks = clicks.iter().map(|click| (minute_of(click), click.ad_id.clone()));
    let places: BTreeSet<(i64, String)> = of_counts.chain(of_clicks).collect();
    let (lone_counts, lone_clicks) = match (join.kind, join.turned) {
        (JoinKind::Inner, _) => (false, false),
        (JoinKind::Full, _) => (true, true),
        (JoinKind::Left, false) | (JoinKind::Right, true) => (true, false),
        (JoinKind::Left, true) | (JoinKind::Right, false) => (false, true),
    };
    let mut joined = BTreeMap::new();
    for (minute, ad) in places {
        let counts: Vec<(&String, i64)> = kept
            .iter()
            .filter(|((of_ad, of_minute, _), _)| (of_ad, *of_minute) == (&ad, minute))
            .map(|((_, _, filter), count)| (filter, *count))
            .collect();
        let number = clicks.iter().filter(|click| (&click.ad_id, minute_of(click)) == (&ad, minute)).count() as i64;
        let odd = (number % 2 == 1).then_some(number);
        if odd.is_some() || lone_counts {
            for (filter, count) in &counts {
                joined.insert((minute, ad.clone(), Some((*filter).clone())), (Some(*count), odd));
            }
        }
        if counts.is_empty() && odd.is_some() && lone_clicks {
            joined.insert((minute, ad, None), (None, odd));
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of ad1 there are a count under each of two filters and three clicks, of ad2 a count and two clicks, of ad3 one click.
    fn of_kind(kind: JoinKind, turned: bool) -> Vec<(String, Option<String>, Joined)> {
        let click = |ad: &str, second: i64| Click {
            ad_id: ad.into(),
            click_timestamp: 600_000 + second * 1_000,
            user_id: String::new(),
            ip: String::new(),
            country: None,
            event_id: None,
        };
        let count = |ad: &str, filter: &str, count| ((ad.to_owned(), 600_000, filter.to_owned()), count);
        let kept = BTreeMap::from([count("ad1", "all", 3), count("ad1", "usa", 2), count("ad2", "all", 2)]);
        let clicks =
            [click("ad1", 0), click("ad1", 59), click("ad1", 59), click("ad2", 1), click("ad2", 2), click("ad3", 9)];
        let join = WindowJoin { kind, turned, more_lateness_minutes: 0 };
        let joined = joined(join, &kept, &clicks).into_iter();
        let rows = joined.map(|((minute, ad, filter), values)| {
            assert_eq!(minute, 600_000);
            (ad, filter, values)
        });
        rows.collect()
    }

    #[test]
    fn joins_by_hand() {
        let row = |ad: &str, filter: Option<&str>, values| (ad.to_owned(), filter.map(str::to_owned), values);
        let [all, usa] = [("all", 3), ("usa", 2)].map(|(filter, n)| row("ad1", Some(filter), (Some(n), Some(3))));
        let (count, clicks) = (row("ad2", Some("all"), (Some(2), None)), row("ad3", None, (None, Some(1))));
        let inner = vec![all, usa];
        let with = |rows: &[&(String, Option<String>, Joined)]| {
            inner.iter().chain(rows.iter().copied()).cloned().collect::<Vec<_>>()
        };
        for turned in [false, true] {
            assert_eq!(of_kind(JoinKind::Inner, turned), inner);
            assert_eq!(of_kind(JoinKind::Full, turned), with(&[&count, &clicks]));
            let (of_counts, of_clicks) =
                if turned { (JoinKind::Right, JoinKind::Left) } else { (JoinKind::Left, JoinKind::Right) };
            assert_eq!(of_kind(of_counts, turned), with(&[&count]));
            assert_eq!(of_kind(of_clicks, turned), with(&[&clicks]));
        }
    }

    #[test]
    fn every_kind_is_drawn() {
        let drawn: Vec<WindowJoin> = (1..=100).filter_map(WindowJoin::of_seed).collect();
        assert_eq!(drawn.len(), 75);
        for kind in JoinKind::ALL {
            for turned in [false, true] {
                for minutes in [0, 3] {
                    let is = |join: &&WindowJoin| {
                        (join.kind, join.turned, join.more_lateness_minutes) == (kind, turned, minutes)
                    };
                    assert!(drawn.iter().any(|join| is(&join)), "{kind:?}, {turned}, {minutes}");
                }
            }
        }
    }
}
