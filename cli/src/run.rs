//! `weir run`: a whole job in this process, from its newest checkpoint if there is one.

use crate::{
    data_dir::{self, JobDir},
    definition::{self, DefinitionArguments},
    failure::Failure,
    processors,
    progress::{Progress, Style},
    results, runtime,
    signals::EndSignals,
    summary::Summary,
    text,
};
use clap::Args;
use std::{path::PathBuf, sync::Arc, time::Duration};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    operator::Waits,
    task::{self, RunSettings, StopSignal, recovery},
};
use weir_jobs::Job;
use weir_operators::Registry;

/// Arguments of `weir run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    definition: DefinitionArguments,
    /// Where the job keeps its checkpoints and its lock on this machine
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
    /// Where checkpoints go instead: a folder, or a URL with file://, s3:// or memory://
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// Start over: first remove the job's checkpoints and everything that it has written
    #[arg(long)]
    fresh: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Runs a job until its input ends or it is asked to stop.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let job = arguments.definition.load()?;
    let env = environment()?;
    let folder = JobDir::open(&arguments.data_dir, &job.graph.name)?;
    let _lock = folder.lock(&env)?;
    let storage = arguments.storage.as_deref().or(job.checkpoint_storage.as_deref());
    let store = CheckpointStore::open(&data_dir::storage_url(storage, &arguments.data_dir)?, &job.graph.name)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        if arguments.fresh || folder.starting_over().exists() {
            start_over(&job, &folder, &store, &env).await?;
        }
        drive(arguments, &job, store, env).await
    });
    // Threads that still write for a run that failed are not waited for: nothing that they write counts.
    runtime.shutdown_timeout(Duration::from_millis(100));
    let summary = done?;
    show(arguments, &job, &summary)
}

/// Time and chance of a real process. `WEIR_CRASH_AT=POINT[:VISIT]` ends the process at a named point, for tests.
pub fn environment() -> Result<Env, Failure> {
    let env = Env::from_entropy();
    match std::env::var("WEIR_CRASH_AT") {
        Ok(point) => Ok(env.with_crash_plan(CrashPlan::abort_at(&point)?)),
        Err(_) => Ok(env),
    }
}

/// Forgets the job: its checkpoints, then what its sinks have written. A start-over that was cut short is begun again by the
/// next run, whether that one is asked to or not, or results without their checkpoints would be taken for its own.
async fn start_over(job: &Job, folder: &JobDir, store: &CheckpointStore, env: &Env) -> Result<(), Failure> {
    let mark = folder.starting_over();
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write '{}': {error}", mark.display()));
    let committers = recovery::committers(&job.graph, &Registry, store, env, &Waits::default())?;
    std::fs::write(&mark, "").map_err(failed)?;
    // Whoever else runs the job finds itself replaced before anything of it goes.
    let attempt = store.claim_attempt(env).await?;
    let objects = store.remove_job().await?;
    let mut files = 0;
    for (sink, committer) in &committers {
        let removed = committer.reset(attempt).await;
        files += removed.map_err(|error| error.context(format!("starting over, '{sink}'")))?;
    }
    tracing::info!(objects, files, "started over");
    std::fs::remove_file(&mark).map_err(failed)
}

async fn drive(arguments: &RunArguments, job: &Job, store: CheckpointStore, env: Env) -> Result<Summary, Failure> {
    let before = store.newest().await?;
    let was_visible = match &before {
        Some(manifest) => store.exists(&store.layout().committed(manifest.checkpoint)).await?,
        None => false,
    };
    let settings = RunSettings::new(store, definition::fingerprint(&job.graph), env.clone());
    let observer = settings.observer.clone();
    let prints_rows = job.graph.nodes.iter().any(|node| node.kind == "console");
    let style = Style::fitting(arguments.quiet, prints_rows);
    let progress = Progress::new(&job.graph, style, observer.clone(), env.clone());
    let stop = StopSignal::default();
    let signals = EndSignals::catch()?;
    tracing::info!(job = job.graph.name, processors = processors(), storage = settings.store.url(), "starting");
    let started = env.now();
    // The run has its own task, so that it is not on the thread that draws.
    let run = tokio::spawn(task::run(job.graph.clone(), Arc::new(Registry), settings, stop.clone()));
    let outcome = tokio::select! {
        ended = run => ended.map_err(|error| Failure::failed(format!("a bug in weir: the run panicked: {error}")))?,
        never = progress.show() => match never {},
        never = signals.stop_then_abort(stop, arguments.quiet) => match never {},
    };
    let elapsed = env.now() - started;
    Ok(Summary::new(&job.graph, &outcome?, before.as_ref(), was_visible, &observer, elapsed))
}

fn show(arguments: &RunArguments, job: &Job, summary: &Summary) -> Result<(), Failure> {
    let summary = Summary { last_results: results::last_results(&job.graph)?, ..summary.clone() };
    if arguments.json {
        let line = serde_json::to_string(&summary)
            .map_err(|error| Failure::failed(format!("the summary cannot be written as JSON: {error}")))?;
        text::print(&format!("{line}\n"));
    } else {
        text::print(&summary.as_text());
    }
    Ok(())
}
