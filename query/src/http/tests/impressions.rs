//! A store whose job counts impressions beside the clicks: they are in every answer about clicks, and on the page.

use super::at;
use crate::store::tests::fixture::{Fixture, MARCH};
use serde_json::{Value, json};
use weir_http::testing::{Browser, get, start};
use weir_test_support::postgres_server::PostgresServer;

const FROM: i64 = MARCH / 1000;
const HOUR_MS: i64 = 3_600_000;
/// Heights of pictures, wide and narrow.
const PICTURE: (u32, u32) = (900, 1500);

/// As the sink of ad events keeps them.
fn ad_events() -> Value {
    let column = |name: &str| json!({ "name": name, "type": if name.ends_with("_id") { "text" } else { "big_int" } });
    let columns = ["click_minute", "filter_id", "ad_id", "count", "impressions", "revision"];
    let shape = json!({ "time": "click_minute", "times": ["click_minute"], "series": ["filter_id", "ad_id"],
        "values": ["count", "impressions"] });
    json!({ "table": "ad_counts", "key": ["click_minute", "filter_id", "ad_id"], "revision": "revision",
        "columns": columns.map(column),
        "retention": { "time": "click_minute", "sum": ["count", "impressions"], "minutes_ms": 1, "hours_ms": 2, "days_ms": 3 },
        "description": { "key": ["click_minute", "filter_id", "ad_id"], "window_ms": 60_000, "running": true, "shape": shape,
            "filters": [{ "id": "0000", "predicate": "true" }] } })
}

/// Clicks and impressions of an ad in a minute. The fourth is shown and never clicked, the fifth the other way round.
fn of(ad: i64, minute: i64) -> (i64, i64) {
    match ad {
        4 => (0, 9),
        5 => (1, 0),
        _ => (10 - ad + minute % 3, 100 * ad + minute),
    }
}

/// Fifteen minutes of five ads, and an hour of the first three before them that is kept as one sum.
async fn fill(fixture: &Fixture) {
    fixture.execute(&format!("UPDATE weir_sinks SET checkpoint = 7, staged_at_ms = {}", MARCH + 901_000)).await;
    let row = |(at, ad, count, impressions)| format!("({at}, '0000', 'ad{ad}', {count}, {impressions}, 0)");
    let minutes = (0..15).flat_map(|minute| (1..=5).map(move |ad| (minute, ad)));
    let minutes: Vec<String> = minutes
        .map(|(minute, ad)| {
            let (count, impressions) = of(ad, minute);
            row((MARCH + minute * 60_000, ad, count, impressions))
        })
        .collect();
    fixture.execute(&format!("INSERT INTO ad_counts VALUES {}", minutes.join(", "))).await;
    let hours: Vec<String> = (1..=3).map(|ad| row((MARCH - HOUR_MS, ad, 1000 * ad, 50_000))).collect();
    fixture.execute(&format!("INSERT INTO ad_counts_hours VALUES {}", hours.join(", "))).await;
}

/// What an ad has in the minutes from `from` to `to`, added up one by one.
fn sum(ad: i64, from: i64, to: i64) -> (i64, i64) {
    (from..to)
        .map(|minute| of(ad, minute))
        .fold((0, 0), |(clicks, shown), (more, views)| (clicks + more, shown + views))
}

async fn check(fixture: &Fixture) {
    let router = at(&fixture.store, MARCH + 15 * 60_000);
    let asked = |ad: i64, from: i64, to: i64| {
        format!("/v1/ads/ad{ad}/aggregated_count?from={}&to={}", FROM + from * 60, FROM + to * 60)
    };
    for (ad, from, to) in [(1, 0, 15), (3, 2, 4), (2, 7, 8)] {
        let (count, shown) = sum(ad, from, to);
        let answer = get(&router, &asked(ad, from, to)).await.json();
        let expected = json!({ "ad_id": format!("ad{ad}"), "count": count, "impressions": shown,
            "ctr": count as f64 / shown as f64, "filter": "0000", "from": FROM + from * 60, "to": FROM + to * 60 });
        assert_eq!(answer, expected);
    }
    let never_shown = get(&router, &asked(5, 0, 15)).await.json();
    assert_eq!((&never_shown["count"], &never_shown["impressions"]), (&json!(15), &json!(0)));
    assert!(never_shown.get("ctr").is_none(), "{never_shown}");
    let nobody = get(&router, &asked(77, 0, 15)).await.json();
    assert_eq!((&nobody["count"], &nobody["impressions"]), (&json!(0), &json!(0)));
    // Sums of an hour and minutes in one range.
    let (count, shown) = sum(2, 0, 15);
    let both = get(&router, &asked(2, -60, 15)).await.json();
    assert_eq!((&both["count"], &both["impressions"]), (&json!(2000 + count), &json!(50_000 + shown)));

    let top = get(&router, &format!("/v1/ads/popular_ads?count=5&window=15&to={}", FROM + 900)).await.json();
    assert_eq!(top["ad_ids"], json!(["ad1", "ad2", "ad3", "ad5"]));
    let totals = [1, 2, 3, 5].map(|ad| sum(ad, 0, 15));
    assert_eq!(top["counts"], json!(totals.map(|(clicks, _)| clicks)));
    assert_eq!(top["impressions"], json!(totals.map(|(_, shown)| shown)));
    let rate = |(clicks, shown): (i64, i64)| (shown > 0).then(|| clicks as f64 / shown as f64);
    assert_eq!(top["ctrs"], json!(totals.map(rate)));
    let none = get(&router, "/v1/ads/popular_ads?to=60").await.json();
    assert_eq!((&none["impressions"], &none["ctrs"]), (&json!([]), &json!([])));

    let minutes = format!("/v1/ads/ad3/counts_per_minute?from={FROM}&to={}", FROM + 180);
    let minutes = get(&router, &minutes).await.json();
    assert_eq!(minutes["counts"], json!([of(3, 0).0, of(3, 1).0, of(3, 2).0]));
    assert_eq!(minutes["impressions"], json!([of(3, 0).1, of(3, 1).1, of(3, 2).1]));
}

#[tokio::test]
async fn answers_have_impressions_and_click_through_rates() {
    let fixture = Fixture::with_table(ad_events()).await;
    fill(&fixture).await;
    check(&fixture).await;
}

#[tokio::test]
async fn answers_have_them_on_postgres() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let fixture = Fixture::with_table_in(&server, ad_events()).await;
    fill(&fixture).await;
    check(&fixture).await;
}

#[tokio::test]
async fn a_store_of_clicks_alone_says_nothing_of_impressions() {
    let fixture = super::clicks().await;
    let router = at(&fixture.store, MARCH + 902_000);
    for path in ["/v1/ads/ad000001/aggregated_count", "/v1/ads/popular_ads", "/v1/ads/ad000001/counts_per_minute"] {
        let answer = get(&router, path).await.json();
        let names: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert!(!names.iter().any(|name| name.starts_with("impr") || name.starts_with("ctr")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_them() {
    let Some(browser) = Browser::find() else { return };
    let fixture = Fixture::with_table(ad_events()).await;
    fill(&fixture).await;
    let server = start(at(&fixture.store, MARCH + 842_000)).await;
    let page = browser.show(&server, "#window=15&span=15").await;
    page.is_quiet();
    let (clicks, shown) = sum(1, 0, 15);
    let rate = format!("{:.2}%", clicks as f64 * 100.0 / shown as f64);
    page.has(&["Impressions", "CTR", "1,605", &rate]);
    assert_eq!(shown, 1605);
    page.has(&[&format!("1,605 impressions, click-through rate {rate}.")]);
    browser.picture(&server, "#window=15&span=15", "impressions", PICTURE).await;
}
