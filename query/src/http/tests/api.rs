//! The questions, their defaults, and how what makes no sense is refused.

use super::{at, clicks, router};
use crate::store::{Store, tests::fixture::MARCH};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::json;
use std::sync::Arc;
use weir_engine::env::Env;
use weir_http::testing::{check_headers, get, send};
use weir_proto::secret::Keys;

const FROM: i64 = MARCH / 1000;

#[tokio::test]
async fn clicks_on_an_ad_in_a_range_or_in_the_minute_that_runs() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH + 14 * 60_000 + 12_345);
    let to = FROM + 120;
    let answer = get(&router, &format!("/v1/ads/ad000003/aggregated_count?from={FROM}&to={to}&filter=0012")).await;
    let expected = json!({"ad_id": "ad000003", "count": 13 + 14, "filter": "0012", "from": FROM, "to": to});
    assert_eq!(answer.json(), expected);

    let running = get(&router, "/v1/ads/ad000003/aggregated_count").await.json();
    let (from, to) = (FROM + 14 * 60, FROM + 15 * 60);
    assert_eq!(running, json!({"ad_id": "ad000003", "count": 40, "filter": "0000", "from": from, "to": to}));
    assert_eq!(get(&router, "/v1/ads/nobody/aggregated_count").await.json()["count"], 0);
    let slash = get(&router, "/v1/ads/a%2Fb%20%F0%9F%A6%80/aggregated_count").await.json();
    assert_eq!((&slash["ad_id"], &slash["count"]), (&json!("a/b 🦀"), &json!(0)));

    let path = format!("/v1/ads/ad000003/counts_per_minute?from={}&to={}", FROM - 60, FROM + 120);
    assert_eq!(get(&router, &path).await.json()["counts"], json!([0, 40, 43]));
}

#[tokio::test]
async fn the_most_clicked_ads_of_a_window() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH + 14 * 60_000);
    let answer = get(&router, "/v1/ads/popular_ads?count=3").await.json();
    let (from, to) = (FROM + 14 * 60, FROM + 15 * 60);
    let expected = json!({"ad_ids": ["ad000001", "ad000002", "ad000003"], "counts": [120, 60, 40],
        "filter": "0000", "from": from, "to": to});
    assert_eq!(answer, expected);
    let answer = get(&router, &format!("/v1/ads/popular_ads?window=15&to={to}&filter=0012")).await.json();
    assert_eq!(answer["ad_ids"].as_array().unwrap().len(), 40);
    assert_eq!(answer["from"], FROM);
    let nothing = get(&router, "/v1/ads/popular_ads?to=60").await.json();
    assert_eq!(nothing["ad_ids"], json!([]));
}

#[tokio::test]
async fn filters_freshness_and_reconciliations() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH + 902_000);
    let filters =
        json!({"filters": [{"id": "0000", "predicate": "true"}, {"id": "0012", "predicate": "country = 'USA'"}]});
    assert_eq!(get(&router, "/v1/filters").await.json(), filters);
    let freshness = json!({"read_until": 1646352901.25, "behind_seconds": 0.75, "first_minute": FROM,
        "last_minute": FROM + 14 * 60, "now": 1646352902.0, "job": "ad-click", "checkpoint": 120, "ended": false});
    assert_eq!(get(&router, "/v1/freshness").await.json(), freshness);
    let found = json!({"reconciliations": [{"job": "ad-click", "made_at": 1646352800.5, "from": FROM, "to": FROM + 600,
        "matching": 812, "differing": 0}]});
    assert_eq!(get(&router, "/v1/reconciliations").await.json(), found);
    fixture.execute("UPDATE weir_sinks SET ended = 1").await;
    assert_eq!(get(&router, "/v1/freshness").await.json()["ended"], true);
    let ahead = at(&fixture.store, MARCH);
    assert_eq!(get(&ahead, "/v1/freshness").await.json()["behind_seconds"], 0.0);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH);
    for (path, status, text) in [
        ("/v1/ads/a/aggregated_count?from=61&to=120", 400, "the nearest are 60 and 120"),
        ("/v1/ads/a/aggregated_count?from=120&to=120", 400, "'from' must be before 'to'"),
        ("/v1/ads/a/aggregated_count?from=0", 400, "at most 5270400"),
        ("/v1/ads/a/counts_per_minute?from=0&to=86460", 400, "spans 1441 minutes; at most 1440"),
        ("/v1/ads/a/aggregated_count?filter=12", 400, "there is no filter '12'; there are: 0000, 0012"),
        ("/v1/ads/popular_ads?filter=12", 400, "there is no filter '12'"),
        ("/v1/ads/popular_ads?count=0", 400, "'count' is '0'; it must be a whole number from 1 to 1000"),
        ("/v1/ads/popular_ads?count=1001", 400, "from 1 to 1000"),
        ("/v1/ads/popular_ads?window=1441", 400, "from 1 to 1440"),
        (
            "/v1/ads/popular_ads?windows=5",
            400,
            "there is no parameter 'windows' here; there are: count, window, to, filter",
        ),
        ("/v1/filters?x=1", 400, "there is no parameter 'x' here"),
        ("/v1/ads/%FF/aggregated_count", 400, "the ad's id cannot be decoded"),
        ("/v1/ads", 404, "there is nothing at '/v1/ads'"),
        ("/v1/ads//aggregated_count", 404, "there is nothing at"),
    ] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.problem().detail.contains(text), "{path}: {}", answer.text);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let request = Request::builder().method(method).uri("/v1/filters").body(Body::empty()).unwrap();
        let answer = send(&router, request).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET,HEAD"));
        assert_eq!(answer.problem().detail, format!("'/v1/filters' does not support {method}"));
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/store.sqlite", folder.path().display()), 1).unwrap();
    let router = at(&store, MARCH);
    for path in ["/v1/freshness", "/v1/filters", "/v1/ads/a/aggregated_count", "/v1/ads/popular_ads"] {
        let answer = get(&router, path).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.problem().detail, "nothing has been committed yet: there is no database file");
    }
    assert_eq!(get(&router, "/healthz").await.text, "ok\n", "the process is well all the same");
}

#[tokio::test]
async fn every_answer_keeps_foreign_pages_out() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH);
    check_headers(&router, &["/", "/v1/filters", "/metrics", "/nothing", "/openapi.json"]).await;
}

#[tokio::test]
async fn with_a_secret_counts_are_for_whoever_has_it_or_the_token() {
    let fixture = clicks().await;
    let env = Env::simulated(1, Arc::new(|| MARCH + 14 * 60_000));
    let router =
        router(fixture.store.clone(), env, Keys { secret: "open sesame".into(), read_token: "let me see".into() });
    for path in ["/v1/freshness", "/v1/filters", "/v1/ads/popular_ads", "/metrics"] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        answer.problem();
        for (shown, status) in [
            ("Bearer open sesame", StatusCode::OK),
            ("Bearer let me see", StatusCode::OK),
            ("Bearer let me in", StatusCode::UNAUTHORIZED),
        ] {
            let request = Request::get(path).header("authorization", shown).body(Body::empty()).unwrap();
            assert_eq!(send(&router, request).await.status, status, "{path}");
        }
    }
    for path in ["/", "/page/secret.js", "/openapi.json", "/healthz"] {
        assert_eq!(get(&router, path).await.status, StatusCode::OK, "{path}");
    }
}
