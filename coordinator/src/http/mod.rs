//! The coordinator over HTTP: REST with its OpenAPI document, metrics, and the page.
//!
//! Everything shown comes from the [`StatusBoard`]; everything asked for goes out as an [`Action`] and is decided elsewhere.
//! So nothing that comes in here can disturb a job, except by those actions, and those a foreign page cannot ask for (see
//! [`refuse_foreign`]).

mod action;
mod api;
mod described;
mod metrics;
mod page;

#[cfg(test)]
mod tests;

pub use action::{Action, Refusal};

use crate::status::StatusBoard;
use axum::{Router, middleware, routing::get};
use tokio::sync::mpsc;
use weir_http::{JsonLine, TrustedHosts, refuse_foreign};

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/api/v1/openapi.json";

/// What the handlers share.
#[derive(Clone)]
struct Doors {
    board: StatusBoard,
    actions: mpsc::Sender<Action>,
}

/// All routes. What is asked for goes out through `actions`; whoever drops the receiver makes every action answer 503. Browsers
/// may ask for actions where they came by one of `hosts`.
pub fn router(board: StatusBoard, actions: mpsc::Sender<Action>, hosts: TrustedHosts) -> Router {
    let guarded = api::actions().route_layer(middleware::from_fn_with_state(hosts, refuse_foreign));
    let (api, document) = api::reading().merge(guarded).split_for_parts();
    let document = JsonLine(document);
    let own = api
        .route(DOCUMENT, get(|| async { document }))
        .route("/metrics", get(metrics::metrics))
        .merge(weir_http::page::routes(&page::FILES));
    weir_http::complete(own, DOCUMENT).with_state(Doors { board, actions })
}
