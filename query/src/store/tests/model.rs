//! Exact in every case: random stores, skewed, uniform and tied, against sums in memory.

use super::fixture::{Fixture, MARCH, Row, minutes};
use crate::store::{AdCount, DAY_MS, HOUR_MS, MINUTE_MS, Range, Source, StoreError};
use proptest::{prelude::*, test_runner::TestRunner};
use std::collections::{BTreeMap, BTreeSet};

/// How clicks are spread over ads.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// The r-th ad has a share of about 1/r.
    Skewed,
    /// All have about the same.
    Uniform,
    /// Few different counts, so that most totals are equal.
    Tied,
    /// All below what is listed.
    Small,
}

#[derive(Clone, Debug)]
struct Case {
    spread: Spread,
    ads: usize,
    minutes: i64,
    dice: Vec<u16>,
    questions: Vec<(i64, i64, usize)>,
}

fn case() -> impl Strategy<Value = Case> {
    let spread = prop_oneof![Just(Spread::Skewed), Just(Spread::Uniform), Just(Spread::Tied), Just(Spread::Small)];
    let question = (-2..20i64, 1..20i64, prop_oneof![1..5usize, 5..60usize]);
    (spread, 1..40usize, 1..15i64, prop::collection::vec(any::<u16>(), 64), prop::collection::vec(question, 1..6))
        .prop_map(|(spread, ads, minutes, dice, questions)| Case { spread, ads, minutes, dice, questions })
}

impl Case {
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for minute in 0..self.minutes {
            for ad in 0..self.ads {
                let die = i64::from(self.dice[(minute as usize * 31 + ad * 7) % self.dice.len()]);
                // Ranks move a little from minute to minute, and some minutes are quiet.
                let rank = 1 + (ad as i64 + die % 3) % self.ads as i64;
                let quiet = if die % 5 == 0 { 4 } else { 1 };
                let count = match self.spread {
                    Spread::Skewed => 1 + 900 / rank / quiet + die % 4,
                    Spread::Uniform => 30 + die % 20,
                    Spread::Tied => [1, 32, 33][die as usize % 3],
                    Spread::Small => 1 + die % 30,
                };
                if die % 7 != 0 {
                    rows.push((MARCH + minute * MINUTE_MS, "0000", format!("ad{ad:03}"), count, 0));
                }
                // Another filter's counts are nobody else's business.
                rows.push((MARCH + minute * MINUTE_MS, "0012", format!("ad{ad:03}"), die % 50 + 1, 0));
            }
        }
        rows
    }
}

fn naive(rows: &[(i64, Row)], filter: &str, range: Range) -> Vec<AdCount> {
    let mut totals = BTreeMap::<&str, i64>::new();
    for (_, (at, of, ad, count, _)) in rows {
        if *of == filter && (range.from_ms()..range.to_ms()).contains(at) {
            *totals.entry(ad).or_default() += count;
        }
    }
    let mut ads: Vec<AdCount> = totals.into_iter().map(|(ad, count)| AdCount { ad_id: ad.into(), count }).collect();
    ads.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.ad_id.cmp(&other.ad_id)));
    ads
}

async fn check(fixture: &Fixture, case: &Case) -> BTreeSet<String> {
    for table in ["ad_counts", "ad_counts_hours", "ad_counts_days", "top_ads"] {
        fixture.execute(&format!("DELETE FROM {table}")).await;
    }
    let rows = case.rows();
    fixture.insert(MINUTE_MS, &rows).await;
    let rows: Vec<(i64, Row)> = rows.into_iter().map(|row| (MINUTE_MS, row)).collect();
    let mut sources = BTreeSet::new();
    for (from, width, n) in &case.questions {
        let range = minutes(*from, from + width);
        for filter in ["0000", "0012"] {
            let expected = naive(&rows, filter, range);
            let found = fixture.store.top_ads(filter, range, *n).await.unwrap();
            assert_eq!(found.ads, expected[..expected.len().min(*n)], "{range:?} {filter} {n} {:?}", found.source);
            sources.insert(format!("{:?}", found.source));
            let ad = expected.first().map_or("nobody", |ad| &ad.ad_id);
            let count = fixture.store.ad_count(ad, filter, range).await.unwrap().clicks;
            assert_eq!(count, expected.first().map_or(0, |ad| ad.count));
            let minutes = fixture.store.minute_counts(ad, filter, range).await.unwrap().clicks;
            assert_eq!(minutes.len() as i64, *width);
            assert_eq!(minutes.iter().sum::<i64>(), count);
        }
    }
    sources
}

/// Whatever is asked of whatever store, the answer is that of the model; and both ways of finding it are taken.
pub(super) fn answers_are_exact(runtime: &tokio::runtime::Runtime, fixture: &Fixture, cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let sources = std::cell::RefCell::new(BTreeSet::new());
    runner
        .run(&case(), |case| {
            sources.borrow_mut().extend(runtime.block_on(check(fixture, &case)));
            Ok(())
        })
        .unwrap();
    let expected = BTreeSet::from([format!("{:?}", Source::Lists), format!("{:?}", Source::AllCounts)]);
    assert_eq!(sources.into_inner(), expected);
}

#[test]
fn answers_are_exact_on_sqlite() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::sqlite());
    runtime.block_on(fixture.commit(1, 0));
    answers_are_exact(&runtime, &fixture, 96);
}

/// Minutes of the first day are kept as one day, those of the second as hours, the rest as minutes.
pub(super) async fn rolled_up_ranges(fixture: &Fixture) {
    let mut rows: Vec<(i64, Row)> = Vec::new();
    for minute in 0..3 * 24 * 60 {
        let at = MARCH + minute * MINUTE_MS;
        let width = [DAY_MS, HOUR_MS, MINUTE_MS][(minute / 1440) as usize];
        if minute % 40 == 0 {
            rows.push((width, (at, "0000", format!("ad{}", minute % 3), 1 + minute % 50, 0)));
        }
    }
    for width in [DAY_MS, HOUR_MS, MINUTE_MS] {
        let mut sums = BTreeMap::<(i64, String), i64>::new();
        for (_, (at, _, ad, count, _)) in rows.iter().filter(|(of, _)| *of == width) {
            *sums.entry((at - at.rem_euclid(width), ad.clone())).or_default() += count;
        }
        let sums: Vec<Row> = sums.into_iter().map(|((at, ad), count)| (at, "0000", ad, count, 0)).collect();
        fixture.insert(width, &sums).await;
    }
    let (day, hour) = (1440, 60);
    for (from, to) in [
        (0, 3 * day),
        (0, day),
        (day, day + hour),
        (day + 5 * hour, 2 * day + 7),
        (2 * day + 3, 2 * day + 500),
        (-3 * day, 9 * day),
    ] {
        let expected = naive(&rows, "0000", minutes(from, to));
        for ad in &expected {
            assert_eq!(fixture.store.ad_count(&ad.ad_id, "0000", minutes(from, to)).await.unwrap().clicks, ad.count);
        }
        assert_eq!(fixture.store.top_ads("0000", minutes(from, to), 2).await.unwrap().ads, expected[..2]);
    }
    let cut = |minute: i64, unit_ms| StoreError::Cut { at_ms: MARCH + minute * MINUTE_MS, unit_ms };
    for (from, to, error) in [
        (hour, 2 * day, cut(hour, DAY_MS)),
        (0, day - hour, cut(day - hour, DAY_MS)),
        (day + 7, 3 * day, cut(day + 7, HOUR_MS)),
        (day, day + 61, cut(day + 61, HOUR_MS)),
    ] {
        assert_eq!(fixture.store.ad_count("ad0", "0000", minutes(from, to)).await, Err(error.clone()));
        assert_eq!(fixture.store.top_ads("0000", minutes(from, to), 3).await, Err(error));
    }
    let text = cut(day + 61, HOUR_MS).to_string();
    let (before, after) = (MARCH / 1000 + (day + 60) * 60, MARCH / 1000 + (day + 120) * 60);
    assert!(text.ends_with(&format!("the nearest boundaries are {before} and {after}")), "{text}");
    let until_ms = MARCH + 2 * DAY_MS;
    let minutes_of = fixture.store.minute_counts("ad0", "0000", minutes(day + hour, 2 * day + 9)).await;
    assert_eq!(minutes_of, Err(StoreError::RolledUp { until_ms }));
}

#[tokio::test]
async fn ranges_span_minutes_hours_and_days_on_sqlite() {
    let fixture = Fixture::sqlite().await;
    fixture.commit(1, 0).await;
    rolled_up_ranges(&fixture).await;
}
