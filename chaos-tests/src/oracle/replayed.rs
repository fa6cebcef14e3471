//! What must be in the tables of a job while its minutes are counted again, and after that.
//!
//! A minute is as it was, or as it should be: all ads under all filters, one of the two. A list of the most clicked ads is one of
//! these, too; or it is not there at all, if a range that was counted again holds some of its minutes and not the others, for
//! then nobody has counted all of them at once.

use super::{CountKey, Expected, RankKey, Rules};
use std::{collections::BTreeMap, fmt::Debug};

/// Counts and lists as a table shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Clicks per ad, minute and filter.
    pub counts: BTreeMap<CountKey, i64>,
    /// Ad and clicks by place.
    pub lists: BTreeMap<RankKey, (String, i64)>,
}

/// Rank, ad and clicks.
type Place<'a> = (i64, &'a str, i64);

/// Minutes from the first to the second, in milliseconds, which is out.
pub type Span = (i64, i64);

impl Shown {
    /// What is right.
    pub fn right(expected: &Expected) -> Self {
        Shown { counts: expected.counts.clone(), lists: expected.top_ads.clone() }
    }

    /// Counts of each minute.
    fn minutes(&self) -> BTreeMap<i64, Vec<(&CountKey, i64)>> {
        let mut minutes: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        self.counts.iter().for_each(|(key, count)| minutes.entry(key.1).or_default().push((key, *count)));
        minutes
    }

    /// The lists, by their end and filter.
    fn by_list(&self) -> BTreeMap<(i64, &str), Vec<Place<'_>>> {
        let mut lists: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for ((end, filter, rank), (ad, count)) in &self.lists {
            lists.entry((*end, filter.as_str())).or_default().push((*rank, ad.as_str(), *count));
        }
        lists
    }
}

/// What is wrong with a table while the minutes of a span are counted again. `before` is how it was when that began.
pub fn wrong_meanwhile(now: &Shown, before: &Shown, right: &Shown, span: Span, rules: &Rules) -> Vec<String> {
    let mut wrong = Vec::new();
    let (minutes_now, minutes_before, minutes_right) = (now.minutes(), before.minutes(), right.minutes());
    for minute in (span.0..span.1).step_by(super::MINUTE_MS as usize) {
        let [now, before, right] = [&minutes_now, &minutes_before, &minutes_right].map(|all| all.get(&minute));
        if now != before && now != right {
            wrong.push(told("minute", &minute, now, right));
        }
    }
    let (lists_now, lists_before, lists_right) = (now.by_list(), before.by_list(), right.by_list());
    for list in lists_now.keys() {
        let [now, before, right] = [&lists_now, &lists_before, &lists_right].map(|all| all.get(list));
        let begin = list.0 - rules.top_minutes * super::MINUTE_MS;
        // Beyond the span the job itself may still change lists.
        if list.0 <= span.1 && begin < span.1 && list.0 > span.0 && now != before && now != right {
            wrong.push(told("list", list, now, right));
        }
    }
    wrong
}

/// What is wrong with a table right after the minutes of a span were counted again; `spans` are that and those of others at the
/// same time.
pub fn wrong_after(now: &Shown, right: &Shown, span: Span, spans: &[Span], rules: &Rules) -> Vec<String> {
    let mut wrong = Vec::new();
    let (minutes_now, minutes_right) = (now.minutes(), right.minutes());
    for minute in (span.0..span.1).step_by(super::MINUTE_MS as usize) {
        let (now, right) = (minutes_now.get(&minute), minutes_right.get(&minute));
        if now != right {
            wrong.push(told("minute", &minute, now, right));
        }
    }
    wrong.extend(wrong_lists(now, right, spans, rules, |end| end > span.0 && end <= span.1));
    wrong
}

/// What is wrong with the lists of a table of which these spans were counted again at some time.
pub fn wrong_lists(now: &Shown, right: &Shown, spans: &[Span], rules: &Rules, of: impl Fn(i64) -> bool) -> Vec<String> {
    let (lists_now, lists_right) = (now.by_list(), right.by_list());
    let is_cut = |end: i64| {
        let begin = end - rules.top_minutes * super::MINUTE_MS;
        let cuts = |at: i64| begin < at && at < end;
        spans.iter().any(|span| cuts(span.0) || cuts(span.1))
    };
    let lists = lists_now.keys().chain(lists_right.keys()).filter(|list| of(list.0));
    let lists: std::collections::BTreeSet<_> = lists.collect();
    let is_wrong = |list: &&&(i64, &str)| match lists_now.get(**list) {
        None => !is_cut(list.0),
        now => now != lists_right.get(**list),
    };
    let wrong = lists.iter().filter(is_wrong);
    wrong.map(|list| told("list", list, lists_now.get(*list), lists_right.get(*list))).collect()
}

fn told<T: Debug>(what: &str, which: &impl Debug, now: Option<&T>, right: Option<&T>) -> String {
    format!("{what} {which:?} is {now:?}, and should be {right:?}")
}
