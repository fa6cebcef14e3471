//! What each output should hold, counted from the events.

use super::{Event, Held, MINUTE};
use std::collections::BTreeMap;

/// Counts by window and ad.
type Counts = BTreeMap<(i64, Option<u8>), i64>;

/// How many events there are of each ad in each window; windows begin each minute, and are that long.
fn counts(events: &[Event], minutes: i64) -> Counts {
    let mut counts = Counts::new();
    for (at, ad, _) in events {
        let last = at - at.rem_euclid(MINUTE);
        for back in 0..minutes {
            *counts.entry((last - back * MINUTE, *ad)).or_default() += 1;
        }
    }
    counts
}

fn name(ad: Option<u8>) -> Option<String> {
    ad.map(|ad| format!("ad{ad}"))
}

/// The counts of two sides beside each other, as the sides' rows are kept or not without a partner. Nobody is the partner of what has
/// no ad.
fn joined(clicks: &Counts, views: &Counts, keep_left: bool, keep_right: bool) -> Vec<Held> {
    let partner = |of: &Counts, key: &(i64, Option<u8>)| of.get(key).copied().filter(|_| key.1.is_some());
    let mut joined = Vec::new();
    for (key, n) in clicks {
        let other = partner(views, key);
        if other.is_some() || keep_left {
            joined.push((key.0, name(key.1), vec![Some(*n), other]));
        }
    }
    for (key, n) in views {
        if partner(clicks, key).is_none() && keep_right {
            joined.push((key.0, name(key.1), vec![None, Some(*n)]));
        }
    }
    joined.sort();
    joined
}

/// What each output should hold.
pub(super) fn recount(clicked: &[Event], seen: &[Event]) -> BTreeMap<&'static str, Vec<Held>> {
    let (clicks, views) = (counts(clicked, 1), counts(seen, 1));
    let left = joined(&clicks, &views, true, false);
    let mut by_page = Vec::new();
    for ((start, ad), n) in &views {
        let pages = (0..3).filter_map(|page| {
            let is_it = |event: &&Event| event.0 - event.0.rem_euclid(MINUTE) == *start && event.1 == *ad;
            let clicks = clicked.iter().filter(is_it).filter(|event| event.2 == page).count() as i64;
            (clicks > 0 && ad.is_some()).then_some(vec![Some(*n), Some(i64::from(page)), Some(clicks)])
        });
        let pages: Vec<_> = pages.collect();
        let pages = if pages.is_empty() { vec![vec![Some(*n), None, None]] } else { pages };
        by_page.extend(pages.into_iter().map(|values| (*start, name(*ad), values)));
    }
    by_page.sort();
    let of_minute = |start: i64| clicks.iter().filter(|((minute, _), _)| *minute == start).map(|(_, n)| n).sum::<i64>();
    let share =
        |((start, ad), n): (&(i64, Option<u8>), &i64)| (*start, name(*ad), vec![Some(*n), Some(of_minute(*start))]);
    let mut shares: Vec<Held> = clicks.iter().map(share).collect();
    shares.sort();
    let percent = |(_, ad, values): &Held| match (ad, values.as_slice()) {
        (Some(_), [Some(clicks), Some(views)]) if clicks * 2 > *views => Some(clicks * 100 / views),
        _ => None,
    };
    let good = left.iter().filter_map(|held| {
        let percent = percent(held)?;
        Some((held.0, held.1.clone(), [held.2.clone(), vec![Some(percent)]].concat()))
    });
    let again = left.iter().map(|held| (held.0, held.1.clone(), vec![percent(held), held.2[0]]));
    let mut fives: BTreeMap<(i64, Option<String>), [Option<i64>; 3]> = BTreeMap::new();
    for (start, ad, values) in &left {
        let five = fives.entry((start - start.rem_euclid(5 * MINUTE), ad.clone())).or_default();
        for (sum, value) in five.iter_mut().zip([values[0], values[1], Some(1)]) {
            *sum = match (*sum, value) {
                (Some(sum), Some(value)) => Some(sum + value),
                (sum, value) => sum.or(value),
            };
        }
    }
    let mut top = Vec::new();
    let mut starts: Vec<i64> = fives.keys().map(|key| key.0).collect();
    starts.dedup();
    for start in starts {
        let mut ads: Vec<_> = fives.iter().filter(|(key, _)| key.0 == start).collect();
        // The most clicks first; of as many the smallest ad, one without a name last.
        ads.sort_by_key(|((_, ad), values)| (std::cmp::Reverse(values[0]), ad.is_none(), ad.clone()));
        let ranked = ads.into_iter().take(2).zip(1..);
        top.extend(ranked.map(|(((_, ad), values), rank)| (start, ad.clone(), vec![values[0], Some(rank)])));
    }
    top.sort();
    BTreeMap::from([
        ("inner", joined(&clicks, &views, false, false)),
        ("right", joined(&clicks, &views, false, true)),
        ("full", joined(&clicks, &views, true, true)),
        ("by_page", by_page),
        ("shares", shares),
        ("good", good.collect()),
        ("again", again.collect()),
        ("fives", fives.into_iter().map(|((start, ad), values)| (start, ad, values.to_vec())).collect()),
        ("top", top),
        ("hopping", joined(&counts(clicked, 2), &counts(seen, 2), true, false)),
        ("left", left),
    ])
}
