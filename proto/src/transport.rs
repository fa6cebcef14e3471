//! gRPC over the [door to the network](crate::net): clients that connect through it, servers that accept from it.

use crate::net::{BoxConnection, Listener, SharedNetwork};
use futures::Stream;
use hyper_util::rt::TokioIo;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Channel, Endpoint, server::Connected};

/// Opens a gRPC channel to `host:port`.
///
/// # Errors
/// When the address makes no sense, or nobody answers within `timeout`.
pub async fn connect(network: SharedNetwork, address: &str, timeout: Duration) -> Result<Channel, tonic::Status> {
    let refused =
        |error: &dyn std::error::Error| tonic::Status::unavailable(format!("cannot reach {address}: {error}"));
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| tonic::Status::invalid_argument(format!("'{address}' is not HOST:PORT: {error}")))?;
    let dialled = address.to_string();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (network, address) = (network.clone(), dialled.clone());
        async move { network.connect(&address).await.map(TokioIo::new) }
    });
    endpoint.connect_timeout(timeout).connect_with_connector(connector).await.map_err(|error| {
        // The transport's own text is "transport error"; the cause behind it says what happened.
        match std::error::Error::source(&error) {
            Some(cause) => refused(cause),
            None => refused(&error),
        }
    })
}

/// The connections of a listener, for a gRPC server. Ends never; a failed accept is an item.
pub fn incoming(listener: Box<dyn Listener>) -> impl Stream<Item = io::Result<Accepted>> {
    futures::stream::unfold(listener, |mut listener| async move {
        let accepted = listener.accept().await.map(Accepted);
        Some((accepted, listener))
    })
}

/// A connection that a gRPC server took.
pub struct Accepted(BoxConnection);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
