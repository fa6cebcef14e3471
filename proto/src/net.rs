//! Access to the network: real TCP, or a simulated one, behind the same two traits.

use async_trait::async_trait;
use std::{fmt, io, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways, in order, until one side closes or the network does.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Any connection.
pub type BoxConnection = Box<dyn Connection>;

/// Any network.
pub type SharedNetwork = Arc<dyn Network>;

/// Opens connections, and waits for them. Addresses are `host:port`.
#[async_trait]
pub trait Network: Send + Sync + fmt::Debug {
    /// Connects to a listener.
    ///
    /// # Errors
    /// When nothing listens there or the way is cut.
    async fn connect(&self, address: &str) -> io::Result<BoxConnection>;

    /// Listens; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not this machine's.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
}

/// Takes connections.
#[async_trait]
pub trait Listener: Send {
    /// The next connection.
    ///
    /// # Errors
    /// When the machine refuses (no descriptors left, say); the listener stays usable.
    async fn accept(&mut self) -> io::Result<BoxConnection>;

    /// Where it listens, with the port that it got.
    fn address(&self) -> String;
}

/// TCP of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

#[async_trait]
impl Network for TcpNetwork {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(tokio::net::TcpListener::bind(address).await?))
    }
}

#[async_trait]
impl Listener for tokio::net::TcpListener {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        let (stream, _) = tokio::net::TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    fn address(&self) -> String {
        self.local_addr().map_or_else(|_| "an unknown address".into(), |address| address.to_string())
    }
}
