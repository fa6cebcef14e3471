//! gRPC over the [door to the network](crate::net): clients that connect through it.

use crate::net::SharedNetwork;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Largest message of any service, either way: graphs, acknowledgements with many files, pieces of snapshots.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How long the other side may be silent during a call, where that is watched: it is asked for a sign of life in between.
const SILENT: Duration = Duration::from_secs(5);

/// Opens a gRPC channel to `host:port`.
///
/// # Errors
/// When the address is invalid, or nothing answers within `timeout`.
pub async fn connect(network: SharedNetwork, address: &str, timeout: Duration) -> Result<Channel, tonic::Status> {
    open(network, address, |endpoint| endpoint.connect_timeout(timeout)).await
}

/// The same, where a call may take long, and is to end when the other side is frozen: its machine still takes connections.
///
/// # Errors
/// As [`connect`].
pub async fn connect_watched(
    network: SharedNetwork,
    address: &str,
    timeout: Duration,
) -> Result<Channel, tonic::Status> {
    let watched = |endpoint: Endpoint| {
        endpoint.connect_timeout(timeout).http2_keep_alive_interval(SILENT).keep_alive_timeout(SILENT)
    };
    open(network, address, watched).await
}

async fn open(
    network: SharedNetwork,
    address: &str,
    set: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, tonic::Status> {
    let refused =
        |error: &dyn std::error::Error| tonic::Status::unavailable(format!("cannot reach {address}: {error}"));
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| tonic::Status::invalid_argument(format!("'{address}' is not HOST:PORT: {error}")))?;
    let dialled = address.to_string();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (network, address) = (network.clone(), dialled.clone());
        async move { network.connect(&address).await.map(TokioIo::new) }
    });
    set(endpoint).connect_with_connector(connector).await.map_err(|error| {
        // The transport's own text is "transport error"; the cause behind it says what happened.
        match std::error::Error::source(&error) {
            Some(cause) => refused(cause),
            None => refused(&error),
        }
    })
}
