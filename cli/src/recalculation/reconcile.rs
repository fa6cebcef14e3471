//! `weir reconcile`: compares what is in the store with a recount of the raw archive, once or again and again.

use super::{PlaceArguments, metrics::Metrics, shown, tell};
use crate::{failure::Failure, run::environment, runtime, signals, text};
use clap::Args;
use std::time::Duration;
use weir_engine::env::Env;
use weir_jobs::duration;
use weir_operators::{Extensions, moment, source::files::EventTimeRange};
use weir_recalculation::{
    ground::Asked,
    reconcile::{Comparison, Difference, Report, reconcile as compare},
    records,
};

/// Differences in the table for people.
const SHOWN: usize = 20;

/// Arguments of `weir reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// The raw archive: a folder or a URL [default: where the definition's own sink writes it]
    #[arg(long, value_name = "URL")]
    archive: Option<String>,
    /// Only windows of this range, as in 2022-03-04T00:00:00Z..2022-03-04T06:00:00Z, or in seconds since 1970; either end may be
    /// left out [default: all that is in the archive and final]
    #[arg(long, value_name = "FROM..TO", default_value = "..")]
    range: String,
    /// Repeat with this pause in between, until Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,
    /// With --every: serve the last result as Prometheus metrics at this address, under /metrics
    #[arg(long, value_name = "ADDR", requires = "every")]
    listen: Option<String>,
    /// Print the report as one JSON object, with all differences
    #[arg(long)]
    json: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).filter(|span| !span.is_zero()).ok_or_else(|| format!("write {}", duration::EXAMPLES))
}

/// Compares. Differences are a failure of their own, so that a script can tell them from a comparison that was not made.
pub fn reconcile(arguments: &ReconcileArguments, extensions: &Extensions) -> Result<(), Failure> {
    let env = environment()?;
    let asked = Asked::parse(&arguments.range)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        match arguments.every {
            None => verdict(&once(arguments, extensions, asked, &env).await?),
            Some(pause) => again_and_again(arguments, extensions, asked, pause, &env).await,
        }
    });
    done.map_err(|failure| match failure {
        Failure::Failed(message) => Failure::NotCompared(message),
        other => other,
    })
}

fn verdict(report: &Report) -> Result<(), Failure> {
    match report.differing {
        0 => Ok(()),
        1 => Err(Failure::Differs("one count differs between the store and the archive".into())),
        many => {
            Err(Failure::Differs(format!("{} counts differ between the store and the archive", text::number(many))))
        }
    }
}

async fn once(
    arguments: &ReconcileArguments,
    extensions: &Extensions,
    asked: Asked,
    env: &Env,
) -> Result<Report, Failure> {
    let started = env.now();
    let recalculation = arguments.place.definition.recalculation(extensions)?;
    let place = arguments.place.open(recalculation, arguments.archive.as_deref(), env).await?;
    let (parts, ground) = place.look(env, tell(arguments.json)).await?;
    let comparison = Comparison {
        job: place.recalculation.job(),
        tables: &place.tables,
        archive: &place.archive,
        parts: &parts,
        range: ground.choose(asked)?.range,
        most_differences: if arguments.json { usize::MAX } else { SHOWN },
    };
    let report = compare(&place.store, &comparison).await?;
    records::prepare(&place.store).await?;
    records::reconciled(&place.store, &report, env.wall_clock_ms()).await?;
    show(arguments, &report, env.now() - started)?;
    Ok(report)
}

/// Compares until it is asked to end. What cannot be compared now may be the next time.
async fn again_and_again(
    arguments: &ReconcileArguments,
    extensions: &Extensions,
    asked: Asked,
    pause: Duration,
    env: &Env,
) -> Result<(), Failure> {
    let metrics = Metrics::default();
    if let Some(address) = &arguments.listen {
        let address = metrics.serve(address, env).await?;
        eprintln!("metrics at http://{address}/metrics");
    }
    let compare = async {
        loop {
            match once(arguments, extensions, asked, env).await {
                Ok(report) => metrics.compared(&report, env.wall_clock_ms()),
                // Neither the definition nor the arguments change by themselves.
                Err(failure @ (Failure::Mistakes(_) | Failure::Refused(_))) if metrics.is_first() => {
                    return Err(failure);
                }
                Err(failure) => {
                    metrics.failed();
                    failure.show();
                }
            }
            env.sleep(pause).await;
        }
    };
    tokio::select! {
        ended = compare => ended,
        ended = signals::ended() => ended,
    }
}

fn show(arguments: &ReconcileArguments, report: &Report, took: Duration) -> Result<(), Failure> {
    if arguments.json {
        let line = serde_json::to_string(report)
            .map_err(|error| Failure::failed(format!("the report cannot be written as JSON: {error}")))?;
        return text::print(&format!("{line}\n"));
    }
    let range = EventTimeRange { from_ms: report.from_ms, to_ms: report.to_ms };
    let mut rows = vec![
        ("windows".to_owned(), shown(range)),
        ("matching".to_owned(), text::number(report.matching)),
        ("differing".to_owned(), text::number(report.differing)),
        ("archive rows".to_owned(), text::number(report.archive_rows)),
        ("duplicates".to_owned(), text::number(report.duplicates)),
        ("compared".to_owned(), report.tables.join(", ")),
        ("archive".to_owned(), report.archive.clone()),
        ("took".to_owned(), text::span(took)),
    ];
    if !report.not_compared.is_empty() {
        rows.insert(6, ("not compared".to_owned(), report.not_compared.join(", ")));
    }
    if report.misplaced > 0 {
        rows.insert(5, ("in a wrong folder".to_owned(), text::number(report.misplaced)));
    }
    text::print(&format!("{} and its archive\n{}", report.job, text::pairs(&rows)))?;
    if !report.differences.is_empty() {
        text::print(&differences(report))?;
    }
    Ok(())
}

fn differences(report: &Report) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["start", "filter", "key", "store", "archive"]);
    let count = |count: Option<i64>| count.map_or_else(|| "none".to_owned(), |count| count.to_string());
    for Difference { start_ms, filter, key, store, archive, .. } in &report.differences {
        let filter = filter.clone().unwrap_or_default();
        table.add_row([moment::show(*start_ms), filter, key.join(", "), count(*store), count(*archive)]);
    }
    let first = if report.differences.len() as u64 == report.differing {
        String::new()
    } else {
        format!(", the first {} of {}", report.differences.len(), text::number(report.differing))
    };
    let lines: String = table.lines().map(|line| format!(" {}\n", line.trim_end())).collect();
    format!("\ndifferences{first}\n{lines}")
}
