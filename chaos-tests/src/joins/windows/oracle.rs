//! What joins of counts should give, from the files alone: every order and every click is looked at.

use super::super::workload::{Row, Workload};
use super::super::{DELAY_MS, LATENESS_MS};
use super::{Counted, FEW, WINDOW_MS};
use std::collections::BTreeSet;

fn window_of(row: &Row) -> i64 {
    row.at - row.at.rem_euclid(WINDOW_MS)
}

/// The rows that are counted: those whose window is not over for longer than the lateness, by the newest row before in the same file, less
/// the delay.
fn on_time(files: &[Vec<Row>]) -> Vec<&Row> {
    let counted = |file: &'_ Vec<Row>, number: usize| {
        let newest = file[..number].iter().map(|row| row.at).max();
        newest.is_none_or(|newest| newest - DELAY_MS < window_of(&file[number]) + WINDOW_MS + LATENESS_MS)
    };
    let of_file = |file| -> Vec<&Row> {
        let file: &Vec<Row> = file;
        (0..file.len()).filter(|number| counted(file, *number)).map(|number| &file[number]).collect()
    };
    files.iter().flat_map(of_file).collect()
}

/// All results of a join of that type, sorted; each click's name has a count of its own, or not.
pub(super) fn recount(workload: &Workload, each: bool, kind: &str) -> Vec<Counted> {
    let (orders, clicks) = (on_time(&workload.orders), on_time(&workload.clicks));
    let mut places: BTreeSet<(i64, Option<u8>, u8)> = BTreeSet::new();
    places.extend(orders.iter().chain(&clicks).map(|row| (window_of(row), row.user, row.shop)));
    let mut results = Vec::new();
    for (start, user, shop) in places {
        let is_here = |row: &&&Row| (window_of(row), row.user, row.shop) == (start, user, shop);
        let ordered = orders.iter().filter(is_here).count() as i64;
        let ordered = (1..=FEW).contains(&ordered).then_some(ordered);
        let names: Vec<Option<String>> =
            clicks.iter().filter(is_here).map(|row| each.then(|| row.name.clone())).collect();
        let mut clicked: Vec<(Option<String>, i64)> = Vec::new();
        for name in names.iter().collect::<BTreeSet<_>>() {
            clicked.push((name.clone(), names.iter().filter(|other| *other == name).count() as i64));
        }
        let whose = user.map(|user| format!("u{user}"));
        let mut result = |click: Option<String>, orders: Option<i64>, clicks: Option<i64>| {
            results.push(((start, whose.clone(), Some(i64::from(shop)), click), [orders, clicks]));
        };
        // Nobody knows whether two users without a name are one.
        let together = user.is_some() && ordered.is_some() && !clicked.is_empty();
        if together {
            clicked.iter().for_each(|(name, n)| result(name.clone(), ordered, Some(*n)));
            continue;
        }
        if ordered.is_some() && matches!(kind, "left" | "full") {
            result(None, ordered, None);
        }
        if matches!(kind, "right" | "full") {
            clicked.iter().for_each(|(name, n)| result(name.clone(), None, Some(*n)));
        }
    }
    results.sort();
    results
}
