//! `weir replay`: counts a range of the raw archive again, with the job's definition as it is now, in a job of its own, and
//! puts the results in the place of those in the store.
//!
//! Invariant: every step can be cut short and is done again by the same command: the job goes on from its checkpoint, the
//! replacement from the window that it had come to, and what the replay has made for itself is removed at the end, or by the
//! next replay.

use super::{Place, PlaceArguments, shown};
use crate::{
    control_runtime,
    data_dir::JobDir,
    definition,
    failure::Failure,
    one_process::{self, OneProcess, Submission},
    progress::{Progress, Style},
    run::environment,
    runtime,
    signals::EndSignals,
    text,
};
use clap::Args;
use serde::Serialize;
use std::{num::NonZeroUsize, time::Duration};
use tokio::{runtime::Handle, sync::mpsc};
use weir_engine::{checkpoint::CheckpointStore, env::Env, ids::Attempt};
use weir_jobs::{
    Job,
    recalculation::{Recalculation, ReplaySettings},
};
use weir_operators::source::files::EventTimeRange;
use weir_recalculation::{
    ground::Asked,
    records::{self, Plan, ReplayRecord},
    replacement::{Replacement, ShadowedTable, describe, remove_shadows, shadow_name},
};

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
pub fn replay(arguments: &ReplayArguments) -> Result<(), Failure> {
    let recalculation = arguments.place.definition.recalculation()?;
    let env = environment()?;
    let asked = Asked::parse(&arguments.range)?;
    let folder = JobDir::open(&arguments.place.data_dir, &format!("{}.replay", recalculation.job()))?;
    let _lock = folder.lock(&env)?;
    let (control, data) = (control_runtime()?, runtime()?);
    let done = control.block_on(drive(arguments, recalculation, asked, env, data.handle().clone()));
    data.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_millis(100));
    show(arguments, &done?)
}

async fn drive(
    arguments: &ReplayArguments,
    recalculation: Recalculation,
    asked: Asked,
    env: Env,
    data_runtime: Handle,
) -> Result<ReplaySummary, Failure> {
    let started = env.now();
    let place = arguments.place.open(recalculation, arguments.from.as_deref()).await?;
    let (_, ground) = place.look(&env, arguments.quiet).await?;
    let chosen = ground.choose(asked)?;
    if chosen.widened && !arguments.quiet {
        eprintln!("the store keeps older counts by hour or day: replaying {}", shown(chosen.range));
    }
    let plan = Plan {
        job: place.recalculation.job().to_owned(),
        definition: fingerprint(&place, chosen.range)?,
        archive: place.archive.clone(),
        range: chosen.range,
    };
    records::prepare(&place.store).await?;
    let record = records::begin(&place.store, &plan, env.wall_clock_ms()).await?;
    for old in records::to_clean(&place.store, &plan.job).await? {
        clean(&place, &old, &env).await?;
    }
    let job = job(&place, &record)?;
    let archive_rows = count(arguments, &place, &job, env.clone(), data_runtime).await?;
    env.crash_point("replay.counted")?;
    replace(arguments, &place, &record, &env).await?;
    let record = records::find(&place.store, &plan.job, record.number).await?;
    env.crash_point("replay.cleaning")?;
    clean(&place, &record, &env).await?;
    Ok(ReplaySummary {
        job: plan.job,
        replay: record.number,
        archive: plan.archive,
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

/// The name of a replay's job: it keeps its checkpoints and commit marks apart.
fn job_name(job: &str, number: i64) -> String {
    format!("{job}.replay-{number}")
}

fn settings<'a>(place: &'a Place, name: &'a str, range: EventTimeRange) -> ReplaySettings<'a> {
    ReplaySettings { name, archive: &place.archive, range, store: Some(&place.store_url) }
}

/// What the counts follow from, whatever the replay's number.
fn fingerprint(place: &Place, range: EventTimeRange) -> Result<String, Failure> {
    let neutral = place.recalculation.replay(&settings(place, "replay", range), &str::to_owned)?;
    Ok(definition::fingerprint(&neutral.graph))
}

fn job(place: &Place, record: &ReplayRecord) -> Result<Job, Failure> {
    let name = job_name(&record.plan.job, record.number);
    let shadow = |table: &str| shadow_name(table, record.number);
    Ok(place.recalculation.replay(&settings(place, &name, record.plan.range), &shadow)?)
}

fn shadowed(place: &Place, number: i64) -> Vec<ShadowedTable> {
    let shadowed = |table: &weir_jobs::recalculation::StoreTable| ShadowedTable {
        table: table.clone(),
        shadow: shadow_name(&table.table, number),
    };
    place.tables.iter().map(shadowed).collect()
}

/// Runs the replay's job to its end; gives how many rows it has read.
async fn count(
    arguments: &ReplayArguments,
    place: &Place,
    job: &Job,
    env: Env,
    data_runtime: Handle,
) -> Result<u64, Failure> {
    let store = CheckpointStore::open(&place.checkpoints, &job.graph.name)?;
    let before = store.newest().await?;
    let signals = EndSignals::catch()?;
    let settings = one_process::Settings {
        graph: job.graph.clone(),
        store,
        env: env.clone(),
        workers: NonZeroUsize::MIN,
        restarts: 0,
        data_runtime,
    };
    let process = OneProcess::start(settings).await?;
    let stopper = process.stopper();
    let (notices, told) = mpsc::unbounded_channel();
    let style = Style::fitting(arguments.quiet, false);
    let progress = Progress::new(&job.graph, style, process.observers(), told, env.clone());
    let submission = Submission { fingerprint: definition::fingerprint(&job.graph), start_over: None, notices };
    let outcome = tokio::select! {
        ended = process.run(submission, before.as_ref()) => ended?,
        never = progress.show() => match never {},
        never = signals.stop_then_abort(stopper.stop(), &env, arguments.quiet) => match never {},
    };
    if !outcome.manifest.last {
        return Err(Failure::failed("stopped before everything was counted again; the same command goes on from here"));
    }
    let sources = outcome.manifest.operators.iter().filter(|operator| operator.operator.starts_with("source."));
    let subtasks = sources.flat_map(|operator| &operator.subtasks);
    Ok(subtasks.filter_map(|subtask| subtask.counters.get("events_in")).sum())
}

/// Puts the new counts in the place of the old ones.
async fn replace(arguments: &ReplayArguments, place: &Place, record: &ReplayRecord, env: &Env) -> Result<(), Failure> {
    let tables = shadowed(place, record.number);
    describe(&place.store, &record.plan.job, &tables).await?;
    let bar = indicatif::ProgressBar::hidden();
    if Style::fitting(arguments.quiet, false) == Style::Bar {
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }
    let EventTimeRange { from_ms, to_ms } = record.plan.range;
    let template = indicatif::ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}");
    bar.set_style(template.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()));
    bar.set_length(to_ms.abs_diff(from_ms));
    bar.set_message("replacing windows");
    let mut replacement = Replacement::new(&place.store, env, tables, record.clone()).await?;
    replacement.run(|done_ms| bar.set_position(done_ms.abs_diff(from_ms))).await?;
    bar.finish_and_clear();
    Ok(())
}

/// Removes what a replay has made for itself.
async fn clean(place: &Place, record: &ReplayRecord, env: &Env) -> Result<(), Failure> {
    let name = job_name(&record.plan.job, record.number);
    let shadows: Vec<String> = place.tables.iter().map(|table| shadow_name(&table.table, record.number)).collect();
    let checkpoints = CheckpointStore::open(&place.checkpoints, &name)?;
    // Whoever still runs it finds itself replaced before anything of it goes.
    let claim = checkpoints.claim(env, Attempt(0), true).await?;
    remove_shadows(&place.store, &name, &shadows).await?;
    checkpoints.in_lineage(claim.lineage).remove_left_behind().await?;
    records::cleaned(&place.store, record).await?;
    Ok(())
}

fn show(arguments: &ReplayArguments, summary: &ReplaySummary) -> Result<(), Failure> {
    if arguments.json {
        let line = serde_json::to_string(summary)
            .map_err(|error| Failure::failed(format!("the summary cannot be written as JSON: {error}")))?;
        text::print(&format!("{line}\n"));
        return Ok(());
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
    text::print(&format!("replay {} of {}\n{}", summary.replay, summary.job, text::pairs(&rows)));
    Ok(())
}
