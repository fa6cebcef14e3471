//! The coordinator over HTTP: REST with its OpenAPI document, metrics, and the page.
//!
//! Everything shown comes from the [`StatusBoard`]; everything asked for goes out as an [`Action`] and is decided elsewhere.
//! So nothing that comes in here can disturb a job, except by those actions, and those neither a foreign page can ask for (see
//! [`refuse_foreign`]) nor a caller without the secret can request.

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
use weir_http::{Demand, JsonLine, TrustedHosts, demand_secret, refuse_foreign};
use weir_proto::secret::{Keys, Right};

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/api/v1/openapi.json";

/// What the handlers share.
#[derive(Clone)]
struct Doors {
    board: StatusBoard,
    actions: mpsc::Sender<Action>,
}

/// Who may do what here.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Where browsers have to come by to ask for actions.
    pub hosts: TrustedHosts,
    /// What has to be shown: for an action the secret, for reading that or the token.
    pub keys: Keys,
    /// Whether something has to be shown for reading.
    pub protects_reads: bool,
}

/// All routes. Actions go out through `actions`; if the receiver is dropped, every action is answered with 503. The page's
/// own files are for everybody: it is where people are asked for the secret.
pub fn router(board: StatusBoard, actions: mpsc::Sender<Action>, access: Access) -> Router {
    let Access { hosts, keys, protects_reads } = access;
    let to_read = if protects_reads { keys.clone() } else { Keys::default() };
    let demanded = |keys: Keys, right| middleware::from_fn_with_state(Demand { keys, right }, demand_secret);
    let guarded = api::actions()
        .route_layer(demanded(keys, Right::Act))
        .route_layer(middleware::from_fn_with_state(hosts, refuse_foreign));
    let reading = api::reading().route_layer(demanded(to_read.clone(), Right::Read));
    let (api, document) = reading.merge(guarded).split_for_parts();
    let document = JsonLine(document);
    let metrics = Router::new().route("/metrics", get(metrics::metrics)).route_layer(demanded(to_read, Right::Read));
    let own =
        api.route(DOCUMENT, get(|| async { document })).merge(metrics).merge(weir_http::page::routes(&page::FILES));
    weir_http::complete(own, DOCUMENT).with_state(Doors { board, actions })
}
