//! `weir worker`: a worker's process.

use super::{
    SecretArguments, cache::CacheArguments, confinement::ConfinementArguments, connection::DEFAULT_COORDINATOR,
};
use crate::{
    control_runtime, doors,
    failure::Failure,
    processors, run, runtime,
    signals::{EndSignals, Farewell},
    tls::{TlsArguments, Transport},
};
use clap::{Args, ValueEnum};
use std::{sync::Arc, time::Duration};
use weir_engine::{env::Env, task::Observers};
use weir_operators::{Extensions, confinement::Confined};
use weir_worker::{Leave, WorkerComponents, WorkerSettings, network::Compression};

/// Arguments of `weir worker`.
#[derive(Debug, Args)]
pub struct WorkerArguments {
    /// The cluster's coordinators, separated by commas
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR, env = "WEIR_COORDINATOR", value_delimiter = ',')]
    coordinator: Vec<String>,
    /// Number of slots; each runs one subtask of every task [default: the number of processors]
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// Address for other workers; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// The host to advertise to other workers [default: the one that it listens on]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// How long subtasks run on while no coordinator leads, in milliseconds; nothing that they do is visible before one does
    #[arg(long, value_name = "MS", default_value_t = 600_000)]
    leaderless_timeout_ms: u64,
    /// Credit of each channel, in KiB: bounds the memory for data in flight
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    channel_kib: usize,
    /// How long jobs may take to move to other workers when this one is told to end (Ctrl-C or SIGTERM), as 60s or 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = run::parse_duration)]
    leave_timeout: Duration,
    /// How batches are compressed on the network
    #[arg(long, value_enum, default_value_t = CompressionArgument::None)]
    compression: CompressionArgument,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    confinement: ConfinementArguments,
    #[command(flatten)]
    secret: SecretArguments,
    #[command(flatten)]
    tls: TlsArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionArgument {
    /// Not at all
    None,
    /// LZ4
    Lz4,
}

/// What it says when it is told to end.
const LEAVING: Farewell<'static> = Farewell {
    begun: Some("leaving: jobs move to other workers; press Ctrl-C again to end at once (nothing is lost either way)"),
    undone: "not everything moved off this worker",
    instead: "ended without handing it over; jobs resume elsewhere from their last checkpoint",
};

/// Runs until it is ended: told to, it leaves.
pub fn worker(arguments: &WorkerArguments, extensions: &Extensions) -> Result<(), Failure> {
    let control = control_runtime()?;
    let data = runtime()?;
    let transport = arguments.tls.read()?;
    let done = control.block_on(async {
        let (mut signals, env, leave) = (EndSignals::catch()?, run::environment()?, Leave::default());
        let asked = async { leave.ask() };
        tokio::select! {
            biased;
            served = serve(arguments, extensions, &transport, env.clone(), data.handle().clone(), leave.clone()) => served,
            never = signals.stop_then_abort(asked, arguments.leave_timeout, &env, LEAVING) => match never {},
        }
    });
    data.shutdown_timeout(Duration::from_millis(200));
    control.shutdown_timeout(Duration::from_millis(200));
    done
}

async fn serve(
    arguments: &WorkerArguments,
    extensions: &Extensions,
    transport: &Transport,
    env: Env,
    data_runtime: tokio::runtime::Handle,
    leave: Leave,
) -> Result<(), Failure> {
    let secret = arguments.secret.read()?;
    let addresses = arguments.coordinator.iter().chain([&arguments.listen]).map(String::as_str);
    let confinement = arguments.confinement.read(addresses, &secret)?;
    let settings = WorkerSettings {
        worker: format!("w-{}-{:06x}", std::process::id(), env.nonce() & 0xff_ffff),
        coordinators: arguments.coordinator.iter().cloned().collect(),
        slots: arguments.slots.unwrap_or_else(processors).max(1),
        listen: arguments.listen.clone(),
        advertise: arguments.advertise.clone(),
        secret,
        leaderless_timeout: Duration::from_millis(arguments.leaderless_timeout_ms),
        reconnect_after: Duration::from_millis(200),
        channel_bytes: arguments.channel_kib.max(1) << 10,
        compression: match arguments.compression {
            CompressionArgument::None => Compression::None,
            CompressionArgument::Lz4 => Compression::Lz4,
        },
    };
    let components = WorkerComponents {
        factory: Arc::new(Confined::to(confinement).with(extensions.clone())),
        open_store: arguments.cache.open_store(),
        network: transport.network(),
        env: env.clone(),
        observers: Observers::default(),
        data_runtime,
        leave,
    };
    doors::warn_if_readable(&arguments.listen, transport);
    doors::warn_if_out_of_reach(&arguments.listen, &arguments.coordinator);
    tokio::select! {
        biased;
        ended = weir_worker::run(settings, components) => ended.map_err(|error| Failure::from(error).once_started()),
        () = transport.watch(&env) => Ok(()),
    }
}
