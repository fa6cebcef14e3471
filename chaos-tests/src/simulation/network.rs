//! The simulated network behind the door that all of Weir goes through.

use super::power::Process;
use async_trait::async_trait;
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_proto::net::{BoxConnection, Listener, Network};

/// The network as one process has it.
#[derive(Clone)]
pub struct SimulatedNetwork(Process);

struct SimulatedListener {
    listener: turmoil::net::TcpListener,
    process: Process,
}

/// A connection that stands still once its process has ended; the system closes it when it clears the process away.
struct SimulatedConnection {
    stream: turmoil::net::TcpStream,
    process: Process,
}

impl SimulatedNetwork {
    /// For a process.
    pub fn new(process: Process) -> Self {
        SimulatedNetwork(process)
    }
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedNetwork({})", self.0.host())
    }
}

#[async_trait]
impl Network for SimulatedNetwork {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        self.0.alive().await;
        let stream = turmoil::net::TcpStream::connect(address).await?;
        Ok(Box::new(SimulatedConnection { stream, process: self.0.clone() }))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.alive().await;
        let listener = turmoil::net::TcpListener::bind(address).await?;
        Ok(Box::new(SimulatedListener { listener, process: self.0.clone() }))
    }
}

#[async_trait]
impl Listener for SimulatedListener {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        self.process.alive().await;
        let (stream, _) = self.listener.accept().await?;
        Ok(Box::new(SimulatedConnection { stream, process: self.process.clone() }))
    }

    fn address(&self) -> String {
        self.listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    }
}

impl AsyncRead for SimulatedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.process.has_ended() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for SimulatedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.process.has_ended() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.process.has_ended() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
