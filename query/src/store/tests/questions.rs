//! What the store says about itself, and windows that the job has counted.

use super::fixture::{Fixture, MARCH, minutes};
use crate::store::{AdCount, Filter, MINUTE_MS, Source, StoreError};

fn ad(id: &str, count: i64) -> AdCount {
    AdCount { ad_id: id.into(), count }
}

async fn a_named_window_is_read_as_the_job_counted_it(fixture: &Fixture) {
    let rows =
        [(MARCH, "0000", "b".into(), 3, 0), (MARCH, "0000", "a".into(), 3, 0), (MARCH, "0000", "c".into(), 1, 0)];
    fixture.insert(MINUTE_MS, &rows).await;
    let (start, end) = (MARCH - 4 * MINUTE_MS, MARCH + MINUTE_MS);
    fixture
        .execute(&format!(
            "INSERT INTO top_ads VALUES ({end}, {start}, '0000', 1, 'a', 3, 0), ({end}, {start}, '0000', 2, 'b', 3, 0)"
        ))
        .await;

    let named = fixture.store.top_ads("0000", minutes(-4, 1), 2).await.unwrap();
    assert_eq!((named.ads, named.source), (vec![ad("a", 3), ad("b", 3)], Source::Precomputed));
    let more = fixture.store.top_ads("0000", minutes(-4, 1), 3).await.unwrap();
    assert_eq!((more.ads, more.source), (vec![ad("a", 3), ad("b", 3), ad("c", 1)], Source::AllCounts));
    let other_end = fixture.store.top_ads("0000", minutes(-3, 2), 2).await.unwrap();
    assert_eq!(other_end.source, Source::AllCounts);
    assert_eq!(fixture.store.top_ads("0000", minutes(-4, 1), 0).await.unwrap().ads, []);
}

async fn the_store_knows_its_filters_and_how_far_it_is(fixture: &Fixture) {
    let filter = |id: &str, predicate: &str| Filter { id: id.into(), predicate: predicate.into() };
    let filters = fixture.store.filters().await.unwrap();
    assert_eq!(filters, [filter("0000", "true"), filter("0012", "country = 'USA'")]);
    let unknown = fixture.store.ad_count("a", "0013", minutes(0, 1)).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no filter '0013'; there are: 0000, 0012");

    assert_eq!(fixture.store.freshness().await.unwrap().minutes_ms, None);
    let rows = [(MARCH, "0000", "a".into(), 2, 0), (MARCH + 7 * MINUTE_MS, "0012", "a".into(), 2, 3)];
    fixture.insert(MINUTE_MS, &rows).await;
    let freshness = fixture.store.freshness().await.unwrap();
    assert_eq!(freshness.minutes_ms, Some((MARCH, MARCH + 7 * MINUTE_MS)));
    assert_eq!(freshness.newest_end_ms(), Some(MARCH + 8 * MINUTE_MS));
    assert_eq!((freshness.job.as_str(), freshness.checkpoint, freshness.read_until_ms), ("ad-click", 7, 1000));
    assert_eq!(fixture.store.corrections().await.unwrap(), Some(1));
    fixture.execute("DROP INDEX ad_counts_index_2").await;
    assert_eq!(fixture.store.corrections().await.unwrap(), None);
}

async fn texts_from_outside_are_values(fixture: &Fixture) {
    for hostile in ["' OR 1=1 --", "$1", "\u{0}", "a\u{0}b", "🦀", "%", ""] {
        assert_eq!(fixture.store.ad_count(hostile, "0000", minutes(0, 1)).await.unwrap().clicks, 0, "{hostile:?}");
        let unknown = fixture.store.top_ads(hostile, minutes(0, 1), 1).await.unwrap_err();
        assert!(matches!(unknown, StoreError::UnknownFilter { .. }), "{unknown}");
    }
}

async fn lists_begin_where_the_index_of_the_job_does(fixture: &Fixture) {
    let rows: Vec<_> = (1..=20).map(|count| (MARCH, "0000", format!("ad{count:02}"), count, 0)).collect();
    fixture.insert(MINUTE_MS, &rows).await;
    let found = async || fixture.store.top_ads("0000", minutes(0, 1), 2).await.unwrap();
    let expected = vec![ad("ad20", 20), ad("ad19", 19)];
    let index = "CREATE INDEX of_a_job ON ad_counts (click_minute, filter_id, count) WHERE count";
    for (condition, source) in
        [(">= 8", Source::Lists), (">=19", Source::Lists), (">= 20", Source::AllCounts), ("> 8", Source::AllCounts)]
    {
        fixture.execute(&format!("{index} {condition}")).await;
        let top = found().await;
        assert_eq!((top.ads, top.source), (expected.clone(), source), "{condition}");
        fixture.execute("DROP INDEX of_a_job").await;
    }
    fixture.execute("DROP INDEX ad_counts_index_1").await;
    assert_eq!(found().await.source, Source::AllCounts);
}

/// How many there are.
pub(super) const QUESTIONS: usize = 4;

/// One of those above, by number.
pub(super) async fn ask(question: usize, fixture: &Fixture) {
    match question {
        0 => a_named_window_is_read_as_the_job_counted_it(fixture).await,
        1 => the_store_knows_its_filters_and_how_far_it_is(fixture).await,
        2 => lists_begin_where_the_index_of_the_job_does(fixture).await,
        _ => texts_from_outside_are_values(fixture).await,
    }
}

#[tokio::test]
async fn questions_on_sqlite() {
    for question in 0..QUESTIONS {
        let fixture = Fixture::sqlite().await;
        fixture.commit(7, 1000).await;
        ask(question, &fixture).await;
    }
}
