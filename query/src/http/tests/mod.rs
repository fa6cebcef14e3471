//! The query service over HTTP, from outside: requests in, answers out, the page in a real browser, and a fuzzer.

mod api;
mod impressions;
mod metrics;
mod openapi;
mod page;
mod schemathesis;
mod tables;

use super::router;
use crate::store::{
    Store,
    tests::fixture::{Fixture, MARCH},
};
use axum::Router;
use std::sync::Arc;
use weir_engine::env::Env;
use weir_proto::secret::Keys;

/// The routes over a store, at a moment on the wall clock.
fn at(store: &Store, now_ms: i64) -> Router {
    router(store.clone(), Env::simulated(1, Arc::new(move || now_ms)), Keys::default())
}

/// Clicks of a quarter of an hour from [`MARCH`] on: the r-th of 40 ads has about 120/r a minute, the last minute has a
/// running count, and the second one a correction. Filter `0012` matches a third.
async fn clicks() -> Fixture {
    let fixture = Fixture::sqlite().await;
    fixture.commit(120, MARCH + 901_250).await;
    let mut rows = Vec::new();
    for minute in 0..15 {
        for ad in 1..=40 {
            let at = MARCH + minute * 60_000;
            let count = 120 / ad + (minute * ad) % 7;
            let revision = match minute {
                14 => i64::from(i32::MIN) + 120,
                1 => i64::from(ad == 3),
                _ => 0,
            };
            rows.push((at, "0000", format!("ad{ad:06}"), count, revision));
            if count > 2 {
                rows.push((at, "0012", format!("ad{ad:06}"), count / 3, revision));
            }
        }
    }
    fixture.insert(60_000, &rows).await;
    fixture
        .execute(
            "CREATE TABLE weir_reconciliations (job TEXT NOT NULL, made_at_ms BIGINT NOT NULL, archive TEXT NOT NULL, \
             from_ms BIGINT NOT NULL, to_ms BIGINT NOT NULL, matching BIGINT NOT NULL, differing BIGINT NOT NULL, \
             PRIMARY KEY (job, made_at_ms))",
        )
        .await;
    for (made_at, differing) in [(MARCH + 500_000, 3), (MARCH + 800_500, 0)] {
        let row = format!("('ad-click', {made_at}, 'out/raw', {MARCH}, {}, 812, {differing})", MARCH + 600_000);
        fixture.execute(&format!("INSERT INTO weir_reconciliations VALUES {row}")).await;
    }
    fixture
}
