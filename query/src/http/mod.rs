//! The store over HTTP: the query API with its OpenAPI document, metrics, and the page.
//!
//! Everything is read; nothing that comes in here changes anything.

mod answers;
mod api;
mod headers;
mod json_line;
mod metrics;
mod page;
mod parameters;
mod problem;
mod server;

#[cfg(test)]
mod tests;

pub use problem::Problem;
pub use server::serve;

use crate::store::Store;
use axum::{
    Router,
    extract::State,
    http::{Method, Uri},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::Metrics;
use std::sync::Arc;
use weir_engine::env::Env;

/// What the handlers share.
#[derive(Clone, Debug)]
struct Service {
    store: Store,
    env: Env,
    metrics: Arc<Metrics>,
}

/// All routes over a store.
pub fn router(store: Store, env: Env) -> Router {
    let service = Service { store, env, metrics: Arc::new(Metrics::new()) };
    let (api, document) = api::routes().split_for_parts();
    let document = axum::Json(document);
    api.route("/openapi.json", get(|| async { document }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(scrape))
        .merge(page::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::map_response(headers::add_headers))
        .layer(middleware::from_fn_with_state(service.clone(), metrics::measure))
        .with_state(service)
}

async fn scrape(State(service): State<Service>) -> Response {
    metrics::scrape(&service).await
}

async fn not_found(uri: Uri) -> Response {
    let detail = format!("there is nothing at '{}'; what there is, /openapi.json says", uri.path());
    Problem::not_found(detail).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    Problem::method_not_allowed(format!("'{}' does not take {method}", uri.path())).into_response()
}
