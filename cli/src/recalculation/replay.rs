//! `weir replay`: counts a range of the raw archive again, with the job's definition as it is now, in a job of its own, and
//! replaces those in the store.

use super::{PlaceArguments, shown, tell};
use crate::{
    control_runtime,
    data_dir::JobDir,
    definition,
    failure::Failure,
    progress::{Progress, Style},
    run::environment,
    runtime,
    signals::{EndSignals, Farewell, STOP_TIMEOUT},
    text,
};
use clap::Args;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::mpsc};
use weir_engine::env::Env;
use weir_jobs::{Job, recalculation::Recalculation};
use weir_local::{OneProcess, Settings, Submission};
use weir_operators::{Extensions, source::files::EventTimeRange};
use weir_recalculation::{ground::Asked, place::Place, replay::Replay};

/// Arguments of `weir replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// The raw archive: a folder or a URL [default: where the definition's own sink writes it]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Only windows of this range, as in 2022-03-04T00:00:00Z..2022-03-04T06:00:00Z, or in seconds since 1970; either end may be
    /// left out [default: all that is in the archive and final]
    #[arg(long, value_name = "FROM..TO", default_value = "..")]
    range: String,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What a replay has done.
#[derive(Debug, Serialize)]
struct ReplaySummary {
    job: String,
    /// Its number among the replays of the job, as in `weir_replays`.
    replay: i64,
    archive: String,
    from_ms: i64,
    to_ms: i64,
    /// Whether whole hours or days made the range larger than what was asked for.
    widened: bool,
    tables: Vec<String>,
    /// Rows of the archive that were counted again.
    archive_rows: u64,
    replaced_rows: i64,
    new_rows: i64,
    seconds: f64,
}

/// Counts again and replaces.
pub fn replay(arguments: &ReplayArguments, extensions: &Extensions) -> Result<(), Failure> {
    let recalculation = arguments.place.definition.recalculation(extensions)?;
    let env = environment()?;
    let asked = Asked::parse(&arguments.range)?;
    let folder = JobDir::open(&arguments.place.data_dir, &format!("{}.replay", recalculation.job()))?;
    let _lock = folder.lock(&env)?;
    let (control, data) = (control_runtime()?, runtime()?);
    let done = control.block_on(drive(arguments, extensions, recalculation, asked, env, data.handle().clone()));
    data.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_millis(100));
    show(arguments, &done?)
}

async fn drive(
    arguments: &ReplayArguments,
    extensions: &Extensions,
    recalculation: Recalculation,
    asked: Asked,
    env: Env,
    data_runtime: Handle,
) -> Result<ReplaySummary, Failure> {
    let started = env.now();
    let place = arguments.place.open(recalculation, arguments.from.as_deref(), &env).await?;
    let (_, ground) = place.look(&env, tell(arguments.quiet)).await?;
    let chosen = ground.choose(asked)?;
    if chosen.widened && !arguments.quiet {
        eprintln!("the store keeps older counts by hour or day: replaying {}", shown(chosen.range));
    }
    let replay = Replay::begin(&place, &env, chosen, definition::fingerprint).await?;
    let done = carry_out(arguments, extensions, &place, &replay, env.clone(), data_runtime).await;
    let archive_rows = done.map_err(Failure::once_started)?;
    let record = replay.finish().await.map_err(Failure::from).map_err(Failure::once_started)?;
    Ok(ReplaySummary {
        job: record.plan.job,
        replay: record.number,
        archive: record.plan.archive,
        from_ms: chosen.range.from_ms,
        to_ms: chosen.range.to_ms,
        widened: chosen.widened,
        tables: place.tables.iter().map(|table| table.table.clone()).collect(),
        archive_rows,
        replaced_rows: record.replaced_rows,
        new_rows: record.new_rows,
        seconds: (env.now() - started).as_secs_f64(),
    })
}

/// What a replay that has begun does: it counts, and replaces. Gives how many rows it has read.
async fn carry_out(
    arguments: &ReplayArguments,
    extensions: &Extensions,
    place: &Place,
    replay: &Replay<'_>,
    env: Env,
    data_runtime: Handle,
) -> Result<u64, Failure> {
    let mut signals = EndSignals::catch()?;
    let archive_rows = count(arguments, extensions, place, &replay.job()?, env, data_runtime, &mut signals).await?;
    // Cut short, it is done again by the same command.
    signals.or_abort(replace(arguments, replay)).await?;
    Ok(archive_rows)
}

/// Runs the replay's job to its end; gives how many rows it has read.
async fn count(
    arguments: &ReplayArguments,
    extensions: &Extensions,
    place: &Place,
    job: &Job,
    env: Env,
    data_runtime: Handle,
    signals: &mut EndSignals,
) -> Result<u64, Failure> {
    let store = place.checkpoints(&job.graph.name)?;
    let settings = Settings::new(job.graph.clone(), store, env.clone(), Arc::new(extensions.clone()));
    let settings = Settings { data_runtime: Some(data_runtime), ..settings };
    let process = OneProcess::start(settings).await?;
    let stopper = process.stopper();
    let (notices, told) = mpsc::unbounded_channel();
    let style = Style::fitting(arguments.quiet, false);
    let progress =
        Progress::new(&job.graph, extensions, style, process.observers(), told, process.waits(), env.clone());
    let submission = Submission { notices, ..Submission::new(&job.definition) };
    let outcome = tokio::select! {
        ended = process.run(submission) => ended?,
        never = progress.show() => match never {},
        never = signals.stop_then_abort(stopper.stop(), STOP_TIMEOUT, &env, Farewell::of_job(arguments.quiet)) => match never {},
    };
    if !outcome.manifest.last {
        return Err(Failure::failed("stopped before everything was recounted; the same command resumes from here"));
    }
    let sources = outcome.manifest.operators.iter().filter(|operator| operator.operator.starts_with("source."));
    let subtasks = sources.flat_map(|operator| &operator.subtasks);
    Ok(subtasks.filter_map(|subtask| subtask.counters.get("events_in")).sum())
}

/// Replaces the old counts with the new ones.
async fn replace(arguments: &ReplayArguments, replay: &Replay<'_>) -> Result<(), Failure> {
    let bar = indicatif::ProgressBar::hidden();
    if Style::fitting(arguments.quiet, false) == Style::Bar {
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }
    let EventTimeRange { from_ms, to_ms } = replay.record().plan.range;
    let template = indicatif::ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}");
    bar.set_style(template.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()));
    bar.set_length(to_ms.abs_diff(from_ms));
    bar.set_message("replacing windows");
    replay.replace(|done_ms| bar.set_position(done_ms.abs_diff(from_ms))).await?;
    bar.finish_and_clear();
    Ok(())
}

fn show(arguments: &ReplayArguments, summary: &ReplaySummary) -> Result<(), Failure> {
    if arguments.json {
        let line = serde_json::to_string(summary)
            .map_err(|error| Failure::failed(format!("the summary cannot be written as JSON: {error}")))?;
        return text::print(&format!("{line}\n"));
    }
    let range = EventTimeRange { from_ms: summary.from_ms, to_ms: summary.to_ms };
    let rows = [
        ("windows".to_owned(), shown(range)),
        ("archive rows".to_owned(), text::number(summary.archive_rows)),
        ("rows before".to_owned(), text::number(summary.replaced_rows.unsigned_abs())),
        ("rows now".to_owned(), text::number(summary.new_rows.unsigned_abs())),
        ("tables".to_owned(), summary.tables.join(", ")),
        ("archive".to_owned(), summary.archive.clone()),
        ("took".to_owned(), text::span(Duration::from_secs_f64(summary.seconds))),
    ];
    text::print(&format!("replay {} of {}\n{}", summary.replay, summary.job, text::pairs(&rows)))
}
