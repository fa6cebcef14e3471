//! What the tests share: short commands, and a network inside the process that can be cut.

use crate::metadata::{Command, MemoryDisk, Metadata, MetadataSettings};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};
use tokio::{sync::mpsc, task::AbortHandle};
use weir_engine::{Result, env::Env};
use weir_proto::net::{BoxConnection, Listener, Network, SharedNetwork, TcpNetwork};

pub fn submit(job: &str) -> Command {
    Command::Submit {
        job: job.into(),
        graph: serde_json::json!({ "job": job }).into(),
        fingerprint: "a".into(),
        definition: format!("[job]\nname = \"{job}\"").into(),
        fresh: false,
        from_savepoint: None,
        at_ms: 1,
    }
}

/// Settings of a group of one.
pub fn alone() -> MetadataSettings {
    MetadataSettings::alone(1, "127.0.0.1:1")
}

/// A group of one on a disk in memory.
pub async fn open(disk: &MemoryDisk) -> Result<Metadata> {
    Metadata::open(alone(), disk.backend(), tcp(), Env::seeded(1)).await
}

pub fn tcp() -> SharedNetwork {
    Arc::new(TcpNetwork)
}

/// Names of all jobs that a catalog holds.
pub fn jobs(metadata: &Metadata) -> Vec<String> {
    metadata.catalog().jobs().map(|job| job.name.clone()).collect()
}

/// Pipes between tasks of one process, by address.
#[derive(Clone, Debug, Default)]
pub struct Pipes(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    listeners: BTreeMap<String, mpsc::UnboundedSender<BoxConnection>>,
    /// Open connections, with both their ends.
    open: Vec<([String; 2], AbortHandle)>,
    cut_off: BTreeSet<String>,
    /// Two that do not reach each other, and whoever else they reach.
    cut: Vec<[String; 2]>,
}

/// The network as one address has it.
#[derive(Debug)]
pub struct PipesOf {
    pipes: Pipes,
    own: String,
}

impl Pipes {
    pub fn of(&self, address: &str) -> SharedNetwork {
        Arc::new(PipesOf { pipes: self.clone(), own: address.into() })
    }

    /// Ends every connection to and from it, and lets none be opened.
    pub fn cut_off(&self, address: &str) {
        let mut plan = self.0.lock();
        plan.cut_off.insert(address.into());
        plan.end(|ends| ends.iter().any(|end| end == address));
    }

    /// Ends every connection between two, and lets none be opened.
    pub fn cut(&self, one: &str, other: &str) {
        let mut plan = self.0.lock();
        plan.cut.push([one.into(), other.into()]);
        plan.end(|ends| are(ends, one, other));
    }

    pub fn heal(&self) {
        let mut plan = self.0.lock();
        plan.cut_off.clear();
        plan.cut.clear();
    }
}

impl Plan {
    /// Ends the connections whose ends are meant.
    fn end(&mut self, are_meant: impl Fn(&[String; 2]) -> bool) {
        self.open.retain(|(ends, pump)| {
            let meant = are_meant(ends);
            if meant {
                pump.abort();
            }
            !meant
        });
    }
}

fn are(ends: &[String; 2], one: &str, other: &str) -> bool {
    ends == &[one, other] || ends == &[other, one]
}

#[async_trait]
impl Network for PipesOf {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        let mut plan = self.pipes.0.lock();
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody answers at {address}"));
        let is_cut = plan.cut.iter().any(|ends| are(ends, &self.own, address));
        if is_cut || plan.cut_off.contains(&self.own) || plan.cut_off.contains(address) {
            return Err(refused());
        }
        let ((here, mut near), (mut far, there)) = (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
        let listener = plan.listeners.get(address).ok_or_else(refused)?;
        listener.send(Box::new(there)).map_err(|_| refused())?;
        let pump = tokio::spawn(async move {
            // However it ends, both ends see it by being dropped.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        plan.open.push(([self.own.clone(), address.into()], pump.abort_handle()));
        Ok(Box::new(here))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (sender, connections) = mpsc::unbounded_channel();
        self.pipes.0.lock().listeners.insert(address.into(), sender);
        Ok(Box::new(PipeListener { address: address.into(), connections }))
    }
}

struct PipeListener {
    address: String,
    connections: mpsc::UnboundedReceiver<BoxConnection>,
}

#[async_trait]
impl Listener for PipeListener {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        self.connections.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}
