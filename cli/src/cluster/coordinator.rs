//! `weir coordinator`: a coordinator's process.

use super::{
    ReadTokenArguments, SecretArguments, confinement::ConfinementArguments, connection::DEFAULT_COORDINATOR,
    coordinators::RESTORING, membership::MembershipArguments, open_store,
};
use crate::{
    data_dir, descriptors,
    doors::{OWN_MACHINE, is_of_this_machine, warn_if_open, warn_if_readable},
    failure::Failure,
    run, runtime, serve,
    signals::EndSignals,
    text,
    tls::{TlsArguments, Transport},
};
use clap::Args;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;
use weir_coordinator::{
    Admit, Coordinator, CoordinatorComponents, CoordinatorSettings, RestartPolicy,
    announce::Caller,
    metadata::{Metadata, open_file},
};
use weir_engine::{EngineError, ErrorKind, disk, env::Env, graph::JobGraph, hidden::holds_password, task::Observers};
use weir_http::TrustedHosts;
use weir_operators::{Extensions, confinement::Confinement};
use weir_proto::secret::Keys;

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
    /// Silence after which a worker is considered dead, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    heartbeat_timeout_ms: u64,
    /// Failures in a row without progress after which a job is FAILED
    #[arg(long, value_name = "N", default_value_t = RestartPolicy::default().most_failures)]
    restart_attempts: u32,
    #[command(flatten)]
    membership: MembershipArguments,
    #[command(flatten)]
    confinement: ConfinementArguments,
    #[command(flatten)]
    secret: SecretArguments,
    #[command(flatten)]
    read_token: ReadTokenArguments,
    #[command(flatten)]
    tls: TlsArguments,
}

/// So much must fit into the data dir before it is used again.
const PROBE_BYTES: usize = 64 << 10;

/// The longest wait for a data dir that is full or read-only.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long it may take at its end to have another coordinator lead.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Runs until it is ended. When its data dir cannot be written any more for now, everything of it ends, and it begins again from
/// what is on the disk, as after a crash: as soon as the disk can be written.
pub fn coordinator(arguments: &CoordinatorArguments, extensions: &Extensions) -> Result<(), Failure> {
    let transport = arguments.tls.read()?;
    let mut doors = Doors { listen: arguments.listen.clone(), http: arguments.http.clone(), waits: 0, opened: false };
    loop {
        let runtime = runtime()?;
        let served = runtime.block_on(async {
            let (signals, end) = (EndSignals::catch().map_err(Err)?, Notify::new());
            tokio::select! {
                biased;
                () = told_to_end(signals, &end) => Err(Ok(())),
                served = open(arguments, extensions, &transport, &mut doors, &end) => served.map_err(Err),
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

/// Has the coordinator end at the first signal, and waits until that takes too long, or for the second.
async fn told_to_end(mut signals: EndSignals, end: &Notify) {
    signals.next().await;
    end.notify_one();
    let env = Env::default();
    tokio::select! {
        () = signals.next() => {}
        () = env.sleep(HAND_OVER) => {}
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
    /// Where it is reached, for people.
    fn told(&self, transport: &Transport) -> String {
        let own = [&self.listen, &self.http].into_iter().all(|address| is_of_this_machine(address));
        let from =
            if own { format!("{OWN_MACHINE}; --listen and --http choose other addresses\n") } else { String::new() };
        format!("listening on {}, page at {}://{}/\n{from}", self.listen, transport.scheme(), self.http)
    }

    fn wait(&self) -> Duration {
        match self.waits {
            0 => Duration::ZERO,
            waits => Duration::from_millis(500).saturating_mul(1 << (waits - 1).min(10)).min(LONGEST_WAIT),
        }
    }
}

/// Serves for as long as it can, or until it is to end. What the data dir refuses is an error of its own.
async fn open(
    arguments: &CoordinatorArguments,
    extensions: &Extensions,
    transport: &Transport,
    doors: &mut Doors,
    end: &Notify,
) -> Result<Result<(), EngineError>, Failure> {
    let env = run::environment()?;
    env.sleep(doors.wait()).await;
    if doors.opened {
        // Before a port is open: no client finds a coordinator that cannot decide anything.
        if let Err(error) = check_written(&arguments.data_dir) {
            return Ok(Err(error));
        }
    }
    let Keys { secret, read_token } = keys(arguments)?;
    disk::make_private_folder(&arguments.data_dir).map_err(|error| {
        Failure::failed(format!("cannot create the folder '{}': {error}", arguments.data_dir.display()))
    })?;
    let network = transport.network();
    let listener = network.listen(&doors.listen).await;
    let listener = listener.map_err(|error| Failure::failed(format!("cannot listen on {}: {error}", doors.listen)))?;
    let http = transport.pages(serve::listen(&doors.http).await?);
    (doors.listen, doors.http) = (listener.address(), http.address());
    if !doors.opened {
        let remedy = "give all processes the same --secret-file, or bind the port to a loopback address";
        let can = "whoever reaches it can run, stop and cancel jobs, and join as a worker";
        // Whoever has a certificate is let in at the one, anybody at the other.
        warn_if_open(&doors.listen, !secret.is_empty() || transport.is_encrypted(), can, remedy);
        warn_if_open(&doors.http, !secret.is_empty(), "whoever reaches it can see, stop and cancel all jobs", remedy);
        [&doors.listen, &doors.http].into_iter().for_each(|address| warn_if_readable(address, transport));
    }
    let confinement = arguments.confinement.read([listener.address().as_str()], &secret)?;
    let file = arguments.data_dir.join("coordinator.redb");
    let restoring = arguments.data_dir.join(RESTORING);
    if restoring.exists() && !file.exists() {
        return Err(Failure::refused(format!(
            "a restore into '{}' was not finished: run `weir coordinators restore` again, or remove '{}' to begin an empty cluster",
            arguments.data_dir.display(),
            restoring.display()
        )));
    }
    let storage = data_dir::make_storage(arguments.storage.as_deref(), &arguments.data_dir)?;
    let caller =
        Caller { network: network.clone(), secret: secret.clone(), env: env.clone(), storage: storage.clone() };
    let metadata = arguments.membership.settings(&file, &listener.address(), &caller).await?;
    let node = metadata.node_id;
    let disk = open_file(&file)?;
    let metadata = match Metadata::open(metadata, disk, network.clone(), env.clone()).await {
        Ok(metadata) => Arc::new(metadata),
        Err(error) => return Ok(Err(error)),
    };
    let heartbeat_timeout = Duration::from_millis(arguments.heartbeat_timeout_ms.max(300));
    let admit = admit(confinement, extensions, &storage);
    let settings = CoordinatorSettings {
        storage,
        secret,
        // Who sets a token for reading wants that it is needed.
        protects_reads: arguments.protect_reads || !read_token.is_empty(),
        read_token,
        heartbeat_interval: heartbeat_timeout / 6,
        heartbeat_timeout,
        restart: RestartPolicy { most_failures: arguments.restart_attempts, ..RestartPolicy::default() },
        admit,
        descriptors: descriptors::raise(),
        trusted_hosts: trusted_hosts(arguments),
        ..CoordinatorSettings::default()
    };
    let watched = env.clone();
    let components = CoordinatorComponents { open_store: open_store(), network, env, observers: Observers::default() };
    if doors.opened {
        tracing::info!("the coordinator serves again");
    } else {
        text::print(&doors.told(transport))?;
    }
    (doors.opened, doors.waits) = (true, 0);
    let coordinator = Coordinator::new(settings, components, metadata.clone(), node);
    let ended = tokio::select! {
        biased;
        () = end.notified() => None,
        ended = coordinator.run(listener, Some(http)) => Some(ended),
        () = transport.watch(&watched) => Some(Ok(())),
    };
    if ended.is_none() {
        metadata.hand_over().await;
    }
    // Its file is to be closed when it is opened again.
    if let Err(error) = metadata.shutdown().await {
        tracing::debug!(%error, "the metadata was not shut down cleanly");
    }
    Ok(ended.unwrap_or(Ok(())))
}

/// What coordinators decide stays in their data dirs and in backups, in clear.
fn refuse_passwords(graph: &JobGraph) -> Result<(), EngineError> {
    match graph.nodes.iter().find(|node| holds_password(&node.config)) {
        None => Ok(()),
        Some(node) => Err(EngineError::definition(format!(
            "'{}' has a password in a URL, which the coordinators would keep in clear: write {} in its place, and have it where the \
             workers run",
            node.id,
            weir_engine::secrets::EXAMPLES
        ))),
    }
}

/// What lets users in.
fn keys(arguments: &CoordinatorArguments) -> Result<Keys, Failure> {
    let keys = arguments.read_token.beside(arguments.secret.read()?)?;
    let lacks_secret = |flag: &str| Err(Failure::refused(format!("{flag} needs a secret: pass a --secret-file")));
    match &keys {
        Keys { secret, .. } if !secret.is_empty() => Ok(keys),
        Keys { read_token, .. } if !read_token.is_empty() => lacks_secret("a read-only token"),
        _ if arguments.protect_reads => lacks_secret("--protect-reads"),
        _ => Ok(keys),
    }
}

/// What is confined: what jobs name, and savepoints elsewhere than in the cluster's own storage.
fn admit(confinement: Confinement, extensions: &Extensions, storage: &str) -> Admit {
    let (of_places, extensions) = (confinement.clone(), extensions.clone());
    let own = format!("{}/", storage.trim_end_matches('/'));
    let check = move |graph: &JobGraph| {
        confinement.check_submitted(graph, &extensions)?;
        refuse_passwords(graph)
    };
    Admit::by(check).and_places(move |url| {
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
