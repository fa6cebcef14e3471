//! Authentication at the port of workers, users and other coordinators, and time-outs for those who don't authenticate.

use futures::Stream;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{Request, Status, service::Interceptor, transport::server::Connected};
use weir_http::{Limited, LimitedListener, Visitor};
use weir_proto::secret::{ClusterSecret, DemandSecret, Keys, Right};

/// Refuses calls without the cluster's secret before anything of their messages is read. A caller with the secret is no stranger at
/// the port any more.
#[derive(Clone, Debug)]
pub struct LetIn(DemandSecret);

impl LetIn {
    /// With this secret.
    pub fn with(secret: &ClusterSecret) -> Self {
        LetIn(secret.demanded())
    }

    /// With the secret, or for what only reads with the token.
    pub fn users(keys: &Keys) -> Self {
        LetIn(keys.demanded())
    }
}

/// Calls that only show something. All others, and those to come, need the secret.
const READING: [&str; 2] = ["/weir.v1.Client/List", "/weir.v1.Client/Status"];

/// Notes of a call what it does, for [`LetIn`].
pub fn note_right<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let right = if READING.contains(&request.uri().path()) { Right::Read } else { Right::Act };
    request.extensions_mut().insert(right);
    request
}

impl Interceptor for LetIn {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let request = self.0.call(request)?;
        if let Some(visitor) = request.extensions().get::<Visitor>() {
            visitor.let_in();
        }
        Ok(request)
    }
}

/// The connections of a listener, for a gRPC server. Ends never.
pub fn incoming(listener: LimitedListener) -> impl Stream<Item = io::Result<Accepted>> {
    futures::stream::unfold(listener, |mut listener| async move {
        let accepted = listener.accept().await;
        Some((Ok(Accepted(accepted)), listener))
    })
}

/// A connection that a gRPC server took.
pub struct Accepted(Limited);

impl Connected for Accepted {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.0.visitor()
    }
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
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
    use crate::metadata::{MemoryDisk, Metadata, MetadataSettings};
    use std::{sync::Arc, time::Duration};
    use tokio::{io::AsyncReadExt, net::TcpStream};
    use weir_engine::env::Env;
    use weir_http::Limits;
    use weir_proto::{
        net::{Network, TcpNetwork},
        transport,
        v1::{RaftMessage, raft_client::RaftClient},
    };

    async fn is_open(stream: &mut TcpStream) -> bool {
        let mut bytes = [0; 1024];
        loop {
            match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut bytes)).await {
                Err(_) => return true,
                // What the server says first.
                Ok(Ok(1..)) => {}
                Ok(_) => return false,
            }
        }
    }

    /// Callers who show the secret stay and new ones come through, while more strangers than there is room for hold connections.
    #[tokio::test]
    async fn strangers_hold_nothing() {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let secret = ClusterSecret::from("open sesame");
        let settings = MetadataSettings { secret: secret.clone(), ..MetadataSettings::alone(1, &address) };
        let network: weir_proto::net::SharedNetwork = Arc::new(TcpNetwork);
        let disk = MemoryDisk::new().backend();
        let metadata = Metadata::open(settings, disk, network.clone(), Env::default()).await.unwrap();
        let limits =
            Limits { connections: 6, introduction: Duration::from_secs(2), ..Limits::of_callers(24, Duration::ZERO) };
        let listener = LimitedListener::new(listener, limits, Env::default());
        let server = tonic::transport::Server::builder().add_service(metadata.raft_service());
        tokio::spawn(server.serve_with_incoming(incoming(listener)));

        let call = async |secret: &ClusterSecret| {
            let channel = transport::connect(network.clone(), &address, Duration::from_secs(5)).await.unwrap();
            let mut client = RaftClient::with_interceptor(channel, secret.shown());
            let answer = client.vote(RaftMessage::default()).await.unwrap_err().code();
            (client, answer)
        };
        // It makes no sense what it says, but it was let in to say it.
        let (mut friend, answer) = call(&secret).await;
        assert_ne!(answer, tonic::Code::PermissionDenied);
        let mut silent = Vec::new();
        for _ in 0..30 {
            silent.push(TcpStream::connect(&address).await.unwrap());
        }
        assert!(!is_open(&mut silent[0]).await, "the oldest stranger has gone");
        assert_eq!(call(&ClusterSecret::default()).await.1, tonic::Code::PermissionDenied);
        let (_other, answer) = call(&secret).await;
        assert_ne!(answer, tonic::Code::PermissionDenied);
        assert_ne!(friend.vote(RaftMessage::default()).await.unwrap_err().code(), tonic::Code::Unavailable);
        tokio::time::timeout(Duration::from_secs(10), async { while is_open(silent.last_mut().unwrap()).await {} })
            .await
            .expect("strangers go after their time");
    }
}
