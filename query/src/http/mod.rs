//! The store over HTTP: the query API with its OpenAPI document, metrics, and the pages.
//!
//! Everything is read; nothing that comes in here changes anything.

mod answers;
mod api;
mod described;
mod metrics;
mod page;
mod parameters;
mod tables;

#[cfg(test)]
mod tests;

use crate::store::{Store, StoreError};
use axum::{Router, extract::State, middleware, response::Response, routing::get};
use metrics::Metrics;
use std::sync::Arc;
use weir_engine::env::Env;
use weir_http::{Demand, JsonLine, Problem, demand_secret};
use weir_proto::secret::{Keys, Right};

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/openapi.json";

/// What the handlers share.
#[derive(Clone, Debug)]
struct Service {
    store: Store,
    env: Env,
    metrics: Arc<Metrics>,
}

/// All routes over a store. What is in it needs one of `keys`, where there is any; the page's own files are for everybody.
pub fn router(store: Store, env: Env, keys: Keys) -> Router {
    let service = Service { store, env, metrics: Arc::new(Metrics::new()) };
    let (api, document) = api::routes().split_for_parts();
    let document = JsonLine(document);
    let own = api
        .route("/metrics", get(scrape))
        .route_layer(middleware::from_fn_with_state(Demand { keys, right: Right::Read }, demand_secret))
        .route(DOCUMENT, get(|| async { document }))
        .route("/", get(page::front))
        .merge(weir_http::page::routes(&page::FILES));
    weir_http::complete(own, DOCUMENT)
        .layer(middleware::from_fn_with_state(service.clone(), metrics::measure))
        .with_state(service)
}

async fn scrape(State(service): State<Service>) -> Response {
    metrics::scrape(&service).await
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NothingYet(_)
            | StoreError::SeveralTables { .. }
            | StoreError::Unavailable(_)
            | StoreError::Address(_) => {
                tracing::debug!(%error, "no answer from the store");
                Problem::unavailable(error.to_string())
            }
            StoreError::UnknownFilter { .. }
            | StoreError::Cut { .. }
            | StoreError::RolledUp { .. }
            | StoreError::Question(_)
            | StoreError::TooLong { .. } => Problem::bad_request(error.to_string()),
            StoreError::UnknownTable { .. } | StoreError::NoCounts(_) => Problem::not_found(error.to_string()),
        }
    }
}
