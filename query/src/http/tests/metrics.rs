//! What Prometheus is told.

use super::{at, clicks};
use crate::store::{Store, tests::fixture::MARCH};
use weir_http::testing::get;

#[tokio::test]
async fn requests_and_the_store_are_measured() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH + 902_000);
    for path in ["/v1/ads/a/aggregated_count", "/v1/ads/b/aggregated_count", "/v1/filters?x", "/what", "/ever"] {
        get(&router, path).await;
    }
    let text = get(&router, "/metrics").await.text;
    for line in [
        "weir_query_requests_total{route=\"/v1/ads/{ad_id}/aggregated_count\",status=\"200\"} 2",
        "weir_query_requests_total{route=\"/v1/filters\",status=\"400\"} 1",
        "weir_query_requests_total{route=\"none\",status=\"404\"} 2",
        "weir_query_duration_seconds_count{route=\"/v1/ads/{ad_id}/aggregated_count\"} 2",
        "weir_store_up 1.0",
        "weir_store_freshness_seconds 0.75",
        "weir_store_newest_minute_seconds 1646352840.0",
        "weir_store_checkpoint 120.0",
        "weir_store_job_ended 0.0",
        "weir_store_corrections 2.0",
        "weir_reconciliation_differing{job=\"ad-click\"} 0.0",
        "weir_reconciliation_matching{job=\"ad-click\"} 812.0",
        "weir_reconciliation_made_at_seconds{job=\"ad-click\"} 1646352800.5",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no '{line}' in\n{text}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/store.sqlite", folder.path().display()), 1).unwrap();
    let text = get(&at(&store, MARCH), "/metrics").await.text;
    assert!(text.contains("weir_store_up 0.0\n") && !text.contains("weir_store_freshness"), "{text}");
}
