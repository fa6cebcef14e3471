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

/// Largest message of any service, either way: graphs, acknowledgements with many files, pieces of snapshots.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

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

/// The pause after a failed accept: what it lacks (a file descriptor, say) is not there again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections of a listener, for a gRPC server. Ends never; a failed accept is an item, and a pause follows it.
pub fn incoming(listener: Box<dyn Listener>) -> impl Stream<Item = io::Result<Accepted>> {
    futures::stream::unfold((listener, false), |(mut listener, failed)| async move {
        if failed {
            pause().await;
        }
        let accepted = listener.accept().await.map(Accepted);
        let failed = accepted.is_err();
        Some((accepted, (listener, failed)))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the engine's door to time is above this crate; a simulation drives this one, too"
)]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    struct OutOfDescriptors;

    #[async_trait::async_trait]
    impl Listener for OutOfDescriptors {
        async fn accept(&mut self) -> io::Result<BoxConnection> {
            Err(io::Error::other("no descriptors left"))
        }

        fn address(&self) -> String {
            "nowhere:1".into()
        }
    }

    #[tokio::test]
    async fn failed_accepts_do_not_keep_a_processor_busy() {
        let accepted = incoming(Box::new(OutOfDescriptors)).take(3).count();
        assert!(
            tokio::time::timeout(Duration::from_millis(50), accepted).await.is_err(),
            "two pauses lie between three"
        );
    }
}
