//! The network between the workers of one process: loopback, or none if there is only one worker.

use crate::one_process::FOREVER;
use async_trait::async_trait;
use std::{io, num::NonZeroUsize, sync::Arc};
use weir_engine::error::EngineError;
use weir_proto::net::{BoxConnection, Listener, Network, SharedNetwork, TcpNetwork};
use weir_worker::{
    WorkerComponents, WorkerSettings,
    network::{DataPlane, NetworkSettings},
};

/// The network for so many workers.
pub fn network(workers: NonZeroUsize) -> SharedNetwork {
    if workers.get() == 1 { Arc::new(NoPeers) } else { Arc::new(TcpNetwork) }
}

/// Starts a worker's data plane. A peer in the same process may be silent for as long as it likes.
pub async fn data_plane(
    settings: &WorkerSettings,
    components: &WorkerComponents,
) -> Result<Arc<DataPlane>, EngineError> {
    let network = NetworkSettings {
        channel_bytes: settings.channel_bytes,
        compression: settings.compression,
        keepalive_timeout: FOREVER,
        ..NetworkSettings::new(&settings.worker, &settings.listen)
    };
    let (env, runtime) = (components.env.clone(), components.data_runtime.clone());
    DataPlane::start(components.network.clone(), env, network, runtime).await.map(Arc::new)
}

/// A network without other members: no port is opened.
#[derive(Debug)]
struct NoPeers;

#[async_trait]
impl Network for NoPeers {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{address}: one worker is alone in this process")))
    }

    async fn listen(&self, _address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(NoPeers))
    }
}

#[async_trait]
impl Listener for NoPeers {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        std::future::pending().await
    }

    fn address(&self) -> String {
        "this process".into()
    }
}
