//! What joins should give, from the files alone: every pair of rows is looked at.

use super::results::Counted;
use super::workload::{Row, Workload};
use super::{COUNTED_MS, DELAY_MS, LATENESS_MS};
use crate::oracle::Pair;
use std::collections::{BTreeMap, BTreeSet};

/// What should be there in the end, each sorted.
pub(super) struct Expected {
    pub(super) matched: Vec<Pair>,
    pub(super) unmatched: Vec<Pair>,
    /// The names of late rows.
    pub(super) late_orders: Vec<String>,
    pub(super) late_clicks: Vec<String>,
}

/// Rows in time, and the names of the others: a row is late if the newest row before it in its file, less the delay, is newer by
/// more than the lateness.
fn parted(files: &[Vec<Row>]) -> (Vec<&Row>, Vec<String>) {
    let (mut kept, mut late) = (Vec::new(), Vec::new());
    for file in files {
        for (number, row) in file.iter().enumerate() {
            let newest = file[..number].iter().map(|row| row.at).max();
            match newest.is_some_and(|newest| newest - DELAY_MS - row.at > LATENESS_MS) {
                true => late.push(row.name.clone()),
                false => kept.push(row),
            }
        }
    }
    late.sort();
    (kept, late)
}

pub(super) fn recount(workload: &Workload, (before, after): (i64, i64), matching: &str) -> Expected {
    let (orders, late_orders) = parted(&workload.orders);
    let (clicks, late_clicks) = parted(&workload.clicks);
    let (mut matched, mut unmatched) = (Vec::new(), Vec::new());
    for order in orders {
        let is_whose = |click: &&&Row| order.user.is_some() && click.user == order.user && click.shop == order.shop;
        let is_near = |click: &&&Row| (order.at - before..=order.at + after).contains(&click.at);
        let mut fitting: Vec<&Row> = clicks.iter().filter(is_whose).filter(is_near).copied().collect();
        fitting.sort_by_key(|click| (click.at, click.name.clone()));
        let chosen = match (matching, fitting.as_slice()) {
            (_, []) => {
                unmatched.push((order.name.clone(), order.at, None));
                &[]
            }
            ("last", [.., last]) => std::slice::from_ref(last),
            ("first", [first, ..]) => std::slice::from_ref(first),
            (_, all) => all,
        };
        matched.extend(chosen.iter().map(|click| (order.name.clone(), order.at, Some((click.name.clone(), click.at)))));
    }
    matched.sort();
    unmatched.sort();
    Expected { matched, unmatched, late_orders, late_clicks }
}

/// How many matches each name of orders has in each window, by the times of the orders, and of how many clicks.
pub(super) fn counts(matched: &[Pair]) -> Vec<Counted> {
    let mut windows: BTreeMap<(String, i64), Vec<&str>> = BTreeMap::new();
    for (order, at, click) in matched {
        let clicks = windows.entry((order.clone(), at - at.rem_euclid(COUNTED_MS))).or_default();
        clicks.extend(click.iter().map(|(name, _)| name.as_str()));
    }
    let count = |((order, start), clicks): ((String, i64), Vec<&str>)| {
        let different = clicks.iter().collect::<BTreeSet<_>>().len() as i64;
        (order, start, [clicks.len() as i64, different])
    };
    windows.into_iter().map(count).collect()
}
