//! `weir coordinator`: a coordinator's process.

use super::{SecretArguments, connection::DEFAULT_COORDINATOR, open_store, warn_of_open_door};
use crate::{data_dir, failure::Failure, run, runtime, text};
use clap::Args;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use weir_coordinator::{
    Coordinator, CoordinatorComponents, CoordinatorSettings, RestartPolicy,
    metadata::{Metadata, MetadataSettings, open_file},
};
use weir_engine::task::Observers;
use weir_http::TrustedHosts;
use weir_proto::net::{Network, SharedNetwork, TcpNetwork};

/// Arguments of `weir coordinator`.
#[derive(Debug, Args)]
pub struct CoordinatorArguments {
    /// Where the coordinator keeps what it has decided
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
    /// Where checkpoints go: a folder that all workers reach, or a URL with file:// or s3:// [default: in the data dir]
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// Where workers and users reach it
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR)]
    listen: String,
    /// Where its page, REST and metrics are
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7071")]
    http: String,
    /// A name by which browsers come to its page, where that is not the one in --http, as behind a proxy; only those who come by
    /// a known name, an address or localhost may stop jobs there
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// The number of this coordinator among its peers
    #[arg(long, value_name = "N", default_value_t = 1)]
    node_id: u64,
    /// All coordinators of the cluster, this one too, as `1=HOST:PORT,2=HOST:PORT,…` [default: this one alone]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    peers: Vec<String>,
    /// Silence after which a worker is taken for dead, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    heartbeat_timeout_ms: u64,
    /// Failures one after another, without progress between them, after which a job is given up
    #[arg(long, value_name = "N", default_value_t = RestartPolicy::default().most_failures)]
    restart_attempts: u32,
    #[command(flatten)]
    secret: SecretArguments,
}

/// Runs until it is ended.
pub fn coordinator(arguments: &CoordinatorArguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        tokio::select! {
            biased;
            ended = crate::signals::ended() => ended,
            served = serve(arguments) => served,
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    done
}

async fn serve(arguments: &CoordinatorArguments) -> Result<(), Failure> {
    let env = run::environment()?;
    let secret = arguments.secret.read()?;
    warn_of_open_door(&arguments.listen, &secret);
    weir_engine::disk::make_folder(&arguments.data_dir).map_err(|error| {
        Failure::failed(format!("cannot make the folder '{}': {error}", arguments.data_dir.display()))
    })?;
    let network: SharedNetwork = Arc::new(TcpNetwork);
    let listen = |address: String| async move {
        let listening = TcpNetwork.listen(&address).await;
        listening.map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
    };
    let (listener, http) = (listen(arguments.listen.clone()).await?, listen(arguments.http.clone()).await?);
    let peers = peers(arguments, &listener.address())?;
    let metadata = MetadataSettings { secret: secret.clone(), ..MetadataSettings::new(arguments.node_id, peers) };
    let disk = open_file(&arguments.data_dir.join("coordinator.redb"))?;
    let metadata = Metadata::open(metadata, disk, network.clone(), env.clone()).await?;
    let heartbeat_timeout = Duration::from_millis(arguments.heartbeat_timeout_ms.max(300));
    let settings = CoordinatorSettings {
        storage: data_dir::storage_url(arguments.storage.as_deref(), &arguments.data_dir)?,
        secret,
        heartbeat_interval: heartbeat_timeout / 6,
        heartbeat_timeout,
        restart: RestartPolicy { most_failures: arguments.restart_attempts, ..RestartPolicy::default() },
        trusted_hosts: trusted_hosts(arguments),
        ..CoordinatorSettings::default()
    };
    let components = CoordinatorComponents { open_store: open_store(), network, env, observers: Observers::default() };
    text::print(&format!("listening on {}, page at http://{}/\n", listener.address(), http.address()));
    let coordinator = Coordinator::new(settings, components, Arc::new(metadata), arguments.node_id);
    Ok(coordinator.run(listener, Some(http)).await?)
}

/// Whoever chose the address to listen on knows the name in it.
fn trusted_hosts(arguments: &CoordinatorArguments) -> TrustedHosts {
    let own = arguments.http.rsplit_once(':').map_or(arguments.http.as_str(), |(host, _)| host);
    TrustedHosts::new(arguments.allowed_host.iter().cloned().chain([own.to_string()]))
}

fn peers(arguments: &CoordinatorArguments, own: &str) -> Result<BTreeMap<u64, String>, Failure> {
    if arguments.peers.is_empty() {
        return Ok(BTreeMap::from([(arguments.node_id, own.to_string())]));
    }
    let parse = |peer: &String| {
        let parts =
            peer.split_once('=').and_then(|(id, address)| Some((id.trim().parse().ok()?, address.trim().into())));
        parts.ok_or_else(|| Failure::refused(format!("--peers: '{peer}' is not N=HOST:PORT")))
    };
    arguments.peers.iter().map(parse).collect()
}
