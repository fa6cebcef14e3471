//! The coordinator over HTTP, from outside: requests in, answers out, and the page in a real browser.

mod fixture;
mod metrics;
mod openapi;
mod page;
mod rest;
mod schema;

use super::{Action, Refusal, router};
use crate::status::{Snapshot, StatusBoard};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use tokio::sync::mpsc;
use tower::ServiceExt;

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

/// The routes over a snapshot; every action is answered as `decide` says.
fn serve_snapshot(
    snapshot: Snapshot,
    decide: impl Fn(&str, Option<bool>) -> Result<(), Refusal> + Send + 'static,
) -> Router {
    let (actions, mut asked) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(action) = asked.recv().await {
            let (answer, reply) = match action {
                Action::Cancel { job, reply } => (decide(&job, None), reply),
                Action::Stop { job, drain, reply } => (decide(&job, Some(drain)), reply),
            };
            let _ = reply.send(answer);
        }
    });
    router(StatusBoard::new(snapshot), actions)
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("a router does not fail");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 24).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(Body::empty()).unwrap()).await
}
