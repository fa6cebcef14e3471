//! The simulated network behind the door that all of Weir goes through.
//!
//! A process that is frozen neither sends nor receives; its system takes what others send to it. A process that ends has its
//! connections closed by its system, one after another in the order in which they were opened: in the order in which tasks
//! happen to be dropped no run would be like another.

use super::power::Process;
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};
use weir_proto::net::{BoxConnection, Listener, Network};

/// The network as one process has it. Cheap to clone.
#[derive(Clone)]
pub struct SimulatedNetwork {
    process: Process,
    open: Arc<Mutex<Open>>,
}

/// The open connections of a process, in order.
#[derive(Default)]
struct Open {
    opened: u64,
    streams: BTreeMap<u64, TcpStream>,
    /// Given up by a process that was frozen; closed with the next thing that it does.
    given_up: Vec<u64>,
}

struct SimulatedListener {
    listener: TcpListener,
    network: SimulatedNetwork,
}

/// A connection that stands still once its process has ended.
struct SimulatedConnection {
    number: u64,
    network: SimulatedNetwork,
}

impl SimulatedNetwork {
    /// For a process.
    pub fn new(process: Process) -> Self {
        SimulatedNetwork { process, open: Arc::default() }
    }

    /// Closes all connections, as the system does for a process that has ended.
    pub fn close(&self) {
        loop {
            // Outside of the lock: closing a connection says something to the network.
            let Some((_, stream)) = self.open().streams.pop_first() else { return };
            drop(stream);
        }
    }

    fn close_given_up(&self) {
        loop {
            let (number, stream) = {
                let mut open = self.open();
                let Some(number) = open.given_up.pop() else { return };
                (number, open.streams.remove(&number))
            };
            self.process.tell(format_args!("connection {number} is closed"));
            drop(stream);
        }
    }

    fn add(&self, stream: TcpStream) -> BoxConnection {
        let mut open = self.open();
        open.opened += 1;
        let number = open.opened;
        self.process.tell(format_args!("connection {number}: {:?} to {:?}", stream.local_addr(), stream.peer_addr()));
        open.streams.insert(number, stream);
        Box::new(SimulatedConnection { number, network: self.clone() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedNetwork({})", self.process.host())
    }
}

#[async_trait]
impl Network for SimulatedNetwork {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        self.process.runs().await;
        let stream = TcpStream::connect(address).await;
        self.process.runs().await;
        Ok(self.add(stream?))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.process.runs().await;
        let listener = TcpListener::bind(address).await?;
        Ok(Box::new(SimulatedListener { listener, network: self.clone() }))
    }
}

#[async_trait]
impl Listener for SimulatedListener {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        self.network.process.runs().await;
        let accepted = self.listener.accept().await;
        self.network.process.runs().await;
        let (stream, _) = accepted?;
        Ok(self.network.add(stream))
    }

    fn address(&self) -> String {
        self.listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    }
}

impl SimulatedConnection {
    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        ready!(self.network.process.poll_runs(context));
        self.network.close_given_up();
        match self.network.open().streams.get_mut(&self.number) {
            Some(stream) => poll(Pin::new(stream), context),
            None => Poll::Pending,
        }
    }
}

impl Drop for SimulatedConnection {
    fn drop(&mut self) {
        if self.network.process.has_ended() {
            return;
        }
        self.network.open().given_up.push(self.number);
        if !self.network.process.is_frozen() {
            self.network.close_given_up();
        }
    }
}

impl AsyncRead for SimulatedConnection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for SimulatedConnection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll(context, |stream, context| stream.poll_write(context, bytes));
        if let Poll::Ready(written) = &written {
            self.network.process.tell(format_args!("connection {} takes {written:?}", self.number));
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, |stream, context| stream.poll_shutdown(context))
    }
}
