//! The coordinator over HTTP: REST with its OpenAPI document, metrics, and the page.
//!
//! Everything shown comes from the [`StatusBoard`]; everything asked for goes out as an [`Action`] and is decided elsewhere.
//! So nothing that comes in here can disturb a job, except by those actions, and those a foreign page cannot ask for (see
//! [`guard`]).

mod action;
mod api;
mod guard;
mod metrics;
mod page;
mod problem;
mod server;

#[cfg(test)]
mod tests;

pub use action::{Action, Refusal};
pub use problem::Problem;
pub use server::serve;

use crate::status::StatusBoard;
use axum::{
    Router,
    http::{Method, Uri},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc;

/// What the handlers share.
#[derive(Clone)]
struct Doors {
    board: StatusBoard,
    actions: mpsc::Sender<Action>,
}

/// All routes. What is asked for goes out through `actions`; whoever drops the receiver makes every action answer 503.
pub fn router(board: StatusBoard, actions: mpsc::Sender<Action>) -> Router {
    let (api, document) = api::routes().split_for_parts();
    let document = axum::Json(document);
    api.route("/api/v1/openapi.json", get(|| async { document }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics::metrics))
        .merge(page::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(guard::refuse_foreign_posts))
        .layer(middleware::map_response(guard::add_headers))
        .with_state(Doors { board, actions })
}

async fn not_found(uri: Uri) -> Response {
    let detail = format!("there is nothing at '{}'; what there is, /api/v1/openapi.json says", uri.path());
    Problem::not_found(detail).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    Problem::method_not_allowed(format!("'{}' does not take {method}", uri.path())).into_response()
}
