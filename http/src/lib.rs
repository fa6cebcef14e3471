//! What Weir's ports have in common: how many connections they take ([`Limits`]) and whom they let in, how they serve and end, how
//! they say no, their headers, metrics and pages.
//!
//! A port has routes of its own, and [`complete`] gives it the rest. What it shows it decides itself: this room knows neither
//! jobs nor clicks.

mod guard;
mod headers;
mod json_line;
mod limits;
pub mod metrics;
pub mod page;
mod problem;
mod secret;
mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use guard::{REQUEST_HEADER, TrustedHosts, refuse_foreign};
pub use json_line::JsonLine;
pub use limits::{Asking, Limited, LimitedListener, Limits, Visitor};
pub use problem::{PROBLEM_JSON, Problem};
pub use secret::{Demand, demand_secret};
pub use server::serve;

use axum::{
    Router,
    http::{Method, Uri},
    middleware,
    routing::get,
};

/// Gives a port what each has: `/healthz`, a problem for whatever it does not have, and headers that keep foreign pages out.
/// `document` is the path of its OpenAPI document, where those who are lost are sent.
pub fn complete<S: Clone + Send + Sync + 'static>(router: Router<S>, document: &'static str) -> Router<S> {
    let not_found = move |uri: Uri| async move {
        Problem::not_found(format!("there is nothing at '{}'; see {document}", uri.path()))
    };
    router
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::map_response(headers::add))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(format!("'{}' does not support {method}", uri.path()))
}
