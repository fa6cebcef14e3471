//! The coordinator over HTTP, from outside: requests in, answers out, and the page in a real browser.

mod fixture;
mod metrics;
mod openapi;
mod page;
mod rest;
mod schema;

use super::{Access, Action, Refusal, router};
use crate::status::{Snapshot, StatusBoard};
use axum::{Router, body::Body, http::Request};
use tokio::sync::mpsc;
use weir_http::testing::{Answer, send};

/// The routes over a snapshot; every action is answered as `decide` says.
fn serve_snapshot(
    snapshot: Snapshot,
    decide: impl Fn(&str, Option<bool>) -> Result<(), Refusal> + Send + 'static,
) -> Router {
    serve_guarded(snapshot, Access::default(), decide)
}

/// The same, where not everybody may do everything.
fn serve_guarded(
    snapshot: Snapshot,
    access: Access,
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
    router(StatusBoard::new(snapshot), actions, access)
}

async fn post(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(Body::empty()).unwrap()).await
}
