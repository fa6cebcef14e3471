//! `weir coordinator`: a coordinator's process.

use super::{SecretArguments, confinement::ConfinementArguments, connection::DEFAULT_COORDINATOR, open_store};
use crate::{data_dir, descriptors, doors::warn_if_open, failure::Failure, run, runtime, text};
use clap::Args;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use weir_coordinator::{
    Admit, Coordinator, CoordinatorComponents, CoordinatorSettings, RestartPolicy,
    metadata::{Metadata, MetadataSettings, open_file},
};
use weir_engine::{EngineError, ErrorKind, disk, task::Observers};
use weir_http::TrustedHosts;
use weir_operators::{Extensions, confinement::Confinement};
use weir_proto::net::{Network, SharedNetwork, TcpNetwork};

/// Arguments of `weir coordinator`.
#[derive(Debug, Args)]
pub struct CoordinatorArguments {
    /// Where the coordinator stores its decisions
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
    /// Where checkpoints go: a folder that all workers reach, or a URL with file:// or s3:// [default: in the data dir]
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// Address for workers and users
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR)]
    listen: String,
    /// Address of the page, REST and metrics
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7071")]
    http: String,
    /// A host name of the page besides the one in --http, for instance behind a proxy; jobs can be stopped there only under
    /// a known name, an address or localhost
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,
    /// Require the secret for reading pages, REST and metrics, too
    #[arg(long)]
    protect_reads: bool,
    /// The number of this coordinator among its peers
    #[arg(long, value_name = "N", default_value_t = 1)]
    node_id: u64,
    /// All coordinators of the cluster, this one too, as `1=HOST:PORT,2=HOST:PORT,…` [default: this one alone]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    peers: Vec<String>,
    /// Silence after which a worker is considered dead, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    heartbeat_timeout_ms: u64,
    /// Failures in a row without progress after which a job is FAILED
    #[arg(long, value_name = "N", default_value_t = RestartPolicy::default().most_failures)]
    restart_attempts: u32,
    #[command(flatten)]
    confinement: ConfinementArguments,
    #[command(flatten)]
    secret: SecretArguments,
}

/// So much must fit into the data dir before it is used again.
const PROBE_BYTES: usize = 64 << 10;

/// The longest wait for a data dir that is full or read-only.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Runs until it is ended. When its data dir cannot be written any more for now, everything of it ends, and it begins again from
/// what is on the disk, as after a crash: as soon as the disk can be written.
pub fn coordinator(arguments: &CoordinatorArguments, extensions: &Extensions) -> Result<(), Failure> {
    let mut doors = Doors { listen: arguments.listen.clone(), http: arguments.http.clone(), waits: 0, opened: false };
    loop {
        let runtime = runtime()?;
        let served = runtime.block_on(async {
            tokio::select! {
                biased;
                ended = crate::signals::ended() => Err(ended),
                served = serve(arguments, extensions, &mut doors) => served.map_err(Err),
            }
        });
        // What it was doing for others ends with it, connections too.
        runtime.shutdown_timeout(Duration::from_millis(200));
        match served {
            Err(ended) => return ended,
            Ok(Err(error)) if doors.opened && error.kind == ErrorKind::Unavailable => {
                if doors.waits == 0 {
                    let folder = arguments.data_dir.display();
                    tracing::warn!(%error, "the coordinator waits for its data dir '{folder}', and resumes by itself");
                }
                doors.waits += 1;
            }
            Ok(served) => return Ok(served?),
        }
    }
}

/// Where a coordinator is reached, which stays when it begins again.
struct Doors {
    listen: String,
    http: String,
    /// How often it waited, one time after another.
    waits: u32,
    /// Whether it has served.
    opened: bool,
}

impl Doors {
    fn wait(&self) -> Duration {
        match self.waits {
            0 => Duration::ZERO,
            waits => Duration::from_millis(500).saturating_mul(1 << (waits - 1).min(10)).min(LONGEST_WAIT),
        }
    }
}

/// Serves for as long as it can. What the data dir refuses is an error of its own.
async fn serve(
    arguments: &CoordinatorArguments,
    extensions: &Extensions,
    doors: &mut Doors,
) -> Result<Result<(), EngineError>, Failure> {
    let env = run::environment()?;
    env.sleep(doors.wait()).await;
    if doors.opened {
        // Before a port is open: no client finds a coordinator that cannot decide anything.
        if let Err(error) = check_written(&arguments.data_dir) {
            return Ok(Err(error));
        }
    }
    let secret = arguments.secret.read()?;
    if arguments.protect_reads && secret.is_empty() {
        return Err(Failure::refused("--protect-reads needs a secret: pass a --secret-file"));
    }
    disk::make_private_folder(&arguments.data_dir).map_err(|error| {
        Failure::failed(format!("cannot create the folder '{}': {error}", arguments.data_dir.display()))
    })?;
    let network: SharedNetwork = Arc::new(TcpNetwork);
    let listen = |address: String| async move {
        let listening = TcpNetwork.listen(&address).await;
        listening.map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
    };
    let (listener, http) = (listen(doors.listen.clone()).await?, listen(doors.http.clone()).await?);
    (doors.listen, doors.http) = (listener.address(), http.address());
    if !doors.opened {
        let remedy = "give all processes the same --secret-file, or bind the port to a loopback address";
        let can = "whoever reaches it can run, stop and cancel jobs, and join as a worker";
        warn_if_open(&doors.listen, &secret, can, remedy);
        warn_if_open(&doors.http, &secret, "whoever reaches it can see, stop and cancel all jobs", remedy);
    }
    let confinement = arguments.confinement.read([listener.address().as_str()], &secret)?;
    let peers = peers(arguments, &listener.address())?;
    let metadata = MetadataSettings { secret: secret.clone(), ..MetadataSettings::new(arguments.node_id, peers) };
    let disk = open_file(&arguments.data_dir.join("coordinator.redb"))?;
    let metadata = match Metadata::open(metadata, disk, network.clone(), env.clone()).await {
        Ok(metadata) => Arc::new(metadata),
        Err(error) => return Ok(Err(error)),
    };
    let heartbeat_timeout = Duration::from_millis(arguments.heartbeat_timeout_ms.max(300));
    let storage = data_dir::make_storage(arguments.storage.as_deref(), &arguments.data_dir)?;
    let admit = admit(confinement, extensions, &storage);
    let settings = CoordinatorSettings {
        storage,
        secret,
        heartbeat_interval: heartbeat_timeout / 6,
        heartbeat_timeout,
        restart: RestartPolicy { most_failures: arguments.restart_attempts, ..RestartPolicy::default() },
        admit,
        descriptors: descriptors::raise(),
        trusted_hosts: trusted_hosts(arguments),
        protects_reads: arguments.protect_reads,
        ..CoordinatorSettings::default()
    };
    let components = CoordinatorComponents { open_store: open_store(), network, env, observers: Observers::default() };
    if doors.opened {
        tracing::info!("the coordinator serves again");
    } else {
        text::print(&format!("listening on {}, page at http://{}/\n", doors.listen, doors.http));
    }
    (doors.opened, doors.waits) = (true, 0);
    let coordinator = Coordinator::new(settings, components, metadata.clone(), arguments.node_id);
    let ended = coordinator.run(listener, Some(http)).await;
    // Its file is to be closed when it is opened again.
    if let Err(error) = metadata.shutdown().await {
        tracing::debug!(%error, "the metadata was not shut down cleanly");
    }
    Ok(ended)
}

/// What is confined: what jobs name, and savepoints elsewhere than in the cluster's own storage.
fn admit(confinement: Confinement, extensions: &Extensions, storage: &str) -> Admit {
    let (of_places, extensions) = (confinement.clone(), extensions.clone());
    let own = format!("{}/", storage.trim_end_matches('/'));
    Admit::by(move |graph| confinement.check_submitted(graph, &extensions)).and_places(move |url| {
        if url.starts_with(&own) && !url.contains("..") { Ok(()) } else { of_places.check_url(url) }
    })
}

/// Whether something can be written in a folder, and lasts.
fn check_written(folder: &Path) -> Result<(), EngineError> {
    let path = folder.join(".written");
    let problem =
        |error: std::io::Error| EngineError::caused_by(&error, format!("cannot write '{}': {error}", path.display()));
    let written = std::fs::write(&path, [0; PROBE_BYTES]).and_then(|()| std::fs::File::open(&path)?.sync_all());
    let removed = std::fs::remove_file(&path);
    written.and(removed).map_err(problem)
}

/// The name in the address to listen on is trusted.
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
