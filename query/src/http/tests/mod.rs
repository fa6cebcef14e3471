//! The query service over HTTP, from outside: requests in, answers out, the page in a real browser, and a fuzzer.

mod api;
mod metrics;
mod openapi;
mod page;
mod schemathesis;

use super::{router, serve};
use crate::store::{
    Store,
    tests::fixture::{Fixture, MARCH},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::oneshot};
use tower::ServiceExt;
use weir_engine::env::Env;

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON: {error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The routes over a store, at a moment on the wall clock.
fn at(store: &Store, now_ms: i64) -> Router {
    router(store.clone(), Env::simulated(1, Arc::new(move || now_ms)))
}

async fn send(router: &Router, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.expect("a router does not fail");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 24).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path).await
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

/// A server on loopback, ended when it is dropped.
struct Server {
    address: String,
    _stop: oneshot::Sender<()>,
}

async fn start(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(listener, router, Env::default(), async {
        let _ = stopped.await;
    }));
    Server { address, _stop: stop }
}
