//! `weir run`: a whole job in this process, from its newest checkpoint if there is one.

use crate::{
    control_runtime,
    data_dir::{self, JobDir},
    definition::DefinitionArguments,
    doors::PagesArguments,
    failure::Failure,
    processors,
    progress::{Progress, Style},
    results::last_window,
    runtime,
    savepoint::FromSavepointArguments,
    serving::Serving,
    signals::{EndSignals, Farewell, STOP_TIMEOUT},
    summary::Summary,
    text,
};
use clap::Args;
use std::{
    convert::Infallible,
    fs::Permissions,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Handle, sync::mpsc};
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest, committed},
    disk,
    env::{CrashPlan, Env},
    error::EngineError,
    graph::NodeRole,
};
use weir_jobs::{Job, duration};
use weir_local::{OneProcess, Settings, Submission};
use weir_operators::{
    Extensions,
    sink::{StoredSink, console::ConsoleOutput},
};

/// The default log filter: what the coordinator and the workers warn of, the run shows itself.
pub const USUAL_LOGS: &str = "warn,weir_coordinator=off,weir_worker=off";

/// Arguments of `weir run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    definition: DefinitionArguments,
    /// Where the job keeps its checkpoints and its lock on this machine
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
    /// Where to store checkpoints instead: a folder, or a URL with file://, s3:// or memory://
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// Start over: first remove the job's checkpoints and everything that it has written
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    from_savepoint: FromSavepointArguments,
    /// Number of workers in this process that share the job's subtasks; they exchange data over loopback
    #[arg(long, value_name = "N", default_value = "1")]
    workers: NonZeroUsize,
    /// Restart the job from its newest checkpoint after a failure, at most N times in a row without progress
    #[arg(long, value_name = "N", default_value_t = 0)]
    restarts: u32,
    /// How long a job that is asked to stop may take for its last checkpoint; after that it stops without one [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    stop_timeout: Option<Duration>,
    /// Also write the job's tables, and serve a page and an API for queries at this address until Ctrl-C
    #[arg(long, value_name = "HOST:PORT")]
    serve: Option<String>,
    #[command(flatten)]
    port: PagesArguments,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("write {}", duration::EXAMPLES))
}

/// Runs a job until its input ends or it is asked to stop.
pub fn run(arguments: &RunArguments, extensions: &Extensions) -> Result<(), Failure> {
    let job = match arguments.serve {
        Some(_) => arguments.definition.load_with_tables(extensions)?,
        None => arguments.definition.load_to_run(extensions)?,
    };
    let env = environment()?;
    let folder = JobDir::open(&arguments.data_dir, &job.graph.name)?;
    let lock = folder.lock(&env)?;
    let storage = arguments.storage.as_deref().or(job.checkpoint_storage.as_deref());
    let store = CheckpointStore::open(&data_dir::make_storage(storage, &arguments.data_dir)?, &job.graph.name)?;
    let (control, data) = (control_runtime()?, runtime()?);
    let serving = arguments
        .serve
        .as_ref()
        .map(|address| Serving::start(&job.graph, address, &arguments.port, &env))
        .transpose()?;
    // Nothing may be refused after this as if it had not begun.
    let start_over = start_over(arguments, &folder)?;
    let ended = control.block_on(async { EndSignals::catch() })?;
    let asked = Asked { arguments, extensions };
    let done = control.block_on(drive(asked, &job, start_over, store, env, data.handle().clone(), serving.as_ref()));
    // Threads that still write for a run that failed are not waited for: nothing that they write counts.
    data.shutdown_timeout(Duration::from_millis(100));
    let shown = done.and_then(|summary| show(arguments, &job, extensions, &summary).map_err(Failure::once_started));
    drop(lock);
    if let Some(serving) = serving {
        if shown.is_ok() {
            control.block_on(serve_on(&serving, ended));
        }
        serving.end();
    }
    control.shutdown_timeout(Duration::from_millis(100));
    shown
}

/// Waits, while queries are answered, until Ctrl-C: the one that has ended the job, if one has.
async fn serve_on(serving: &Serving, mut ended: EndSignals) {
    let told = async {
        if let Some(questions) = serving.suggestions().await {
            eprintln!("\n{questions}\n");
        }
        eprintln!("still serving at {}/ until Ctrl-C", serving.url());
    };
    tokio::select! {
        biased;
        () = ended.next() => return,
        () = told => {}
    }
    ended.next().await;
}

/// Time and chance of a real process. `WEIR_CRASH_AT=POINT[:VISIT]` ends the process at a named point, for tests.
pub fn environment() -> Result<Env, Failure> {
    let env = Env::from_entropy();
    match std::env::var("WEIR_CRASH_AT") {
        Ok(point) => Ok(env.with_crash_plan(CrashPlan::abort_at(&point)?)),
        Err(_) => Ok(env),
    }
}

/// The mark of a start-over, if there is to be one. A start-over that was cut short is begun again by the next run, whether
/// that one is asked to or not, or results without their checkpoints would be taken for its own.
fn start_over(arguments: &RunArguments, folder: &JobDir) -> Result<Option<PathBuf>, Failure> {
    let mark = folder.starting_over();
    if arguments.fresh {
        disk::make_file(&mark)
            .and_then(|()| std::fs::set_permissions(&mark, Permissions::from_mode(0o600)))
            .map_err(|error| Failure::failed(format!("cannot write '{}': {error}", mark.display())))?;
    }
    Ok(mark.exists().then_some(mark))
}

/// How a job is to be run, and with what beside that which is compiled in.
struct Asked<'a> {
    arguments: &'a RunArguments,
    extensions: &'a Extensions,
}

async fn drive(
    Asked { arguments, extensions }: Asked<'_>,
    job: &Job,
    start_over: Option<PathBuf>,
    store: CheckpointStore,
    env: Env,
    data_runtime: Handle,
    serving: Option<&Serving>,
) -> Result<Summary, Failure> {
    let mut signals = EndSignals::catch()?;
    let (before, was_visible) = signals.or_abort(look(&store, start_over.is_some())).await?;
    tracing::info!(job = job.graph.name, processors = processors(), storage = store.url(), "starting");
    let started = env.now();
    let settings = Settings {
        workers: arguments.workers,
        restarts: arguments.restarts,
        data_runtime: Some(data_runtime),
        ..Settings::new(job.graph.clone(), store, env.clone(), Arc::new(extensions.clone()))
    };
    let process = OneProcess::start(settings).await?;
    let (observers, stopper, nobody_reads) = (process.observers(), process.stopper(), process.stopper());
    let prints_rows = sinks(job, extensions).any(|sink| sink.shown().is_none());
    let style = Style::fitting(arguments.quiet, prints_rows);
    let (notices, told) = mpsc::unbounded_channel();
    if let Some(serving) = serving {
        serving.suggest_later(notices.clone());
    }
    let progress = Progress::new(&job.graph, extensions, style, observers.clone(), told, process.waits(), env.clone());
    let submission = Submission {
        fingerprint: job.definition.clone(),
        start_over: start_over.is_some(),
        from_savepoint: arguments.from_savepoint.read()?,
        on_started_over: start_over.map(|mark| Box::new(move || remove(&mark)) as _),
        notices,
    };
    let patience = arguments.stop_timeout.unwrap_or(STOP_TIMEOUT);
    let outcome = tokio::select! {
        ended = process.run(submission) => ended?,
        never = progress.show() => match never {},
        never = stop_when_nobody_reads(nobody_reads.stop()) => match never {},
        never = signals.stop_then_abort(stopper.stop(), patience, &env, Farewell::of_job(arguments.quiet)) => match never {},
    };
    let elapsed = env.now() - started;
    Ok(Summary::new(&job.graph, extensions, &outcome, before.as_ref(), was_visible, &observers, elapsed))
}

/// Ends the job, as it can be resumed, when what it prints has no reader any more (`weir run JOB | head`).
async fn stop_when_nobody_reads(stop: impl Future<Output = ()>) -> Infallible {
    ConsoleOutput::standard().closed().await;
    stop.await;
    std::future::pending().await
}

fn sinks(job: &Job, extensions: &Extensions) -> impl Iterator<Item = Box<dyn StoredSink>> {
    let sinks = job.graph.nodes.iter().filter(|node| node.role == NodeRole::Sink);
    sinks.filter_map(|node| extensions.stored_sink(node).ok())
}

/// The checkpoint that a run begins with, and whether its results had all been committed.
async fn look(store: &CheckpointStore, is_forgotten: bool) -> Result<(Option<Manifest>, bool), EngineError> {
    // Nothing that is discarded is resumed from.
    let before = if is_forgotten { None } else { store.newest().await? };
    let was_visible = match &before {
        Some(manifest) => {
            let store = store.clone().in_lineage(manifest.lineage);
            committed::is_marked(&store, manifest.checkpoint, manifest.attempt).await?
        }
        None => false,
    };
    Ok((before, was_visible))
}

fn remove(mark: &Path) -> Result<(), EngineError> {
    disk::remove_file(mark).map_err(|error| EngineError::io(format!("cannot remove '{}': {error}", mark.display())))
}

fn show(arguments: &RunArguments, job: &Job, extensions: &Extensions, summary: &Summary) -> Result<(), Failure> {
    if ConsoleOutput::standard().is_closed() {
        return Ok(());
    }
    let summary = Summary { last_results: last_window::last_results(job)?, ..summary.clone() };
    let shown = if arguments.json {
        let line = serde_json::to_string(&summary)
            .map_err(|error| Failure::failed(format!("the summary cannot be written as JSON: {error}")))?;
        line + "\n"
    } else {
        summary.as_text()
    };
    // Rows that another program reads have standard output to themselves.
    match sinks(job, extensions).any(|sink| sink.owns_standard_output()) {
        true => {
            eprint!("{shown}");
            Ok(())
        }
        false => text::print(&shown),
    }
}
