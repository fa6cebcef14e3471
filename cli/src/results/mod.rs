//! `weir results`: what is true now of what a sink has written, and what becomes true, without another program.
//!
//! Reading order: this file (the command), `truth` (of several revisions the one that holds), `show` (a table, or JSON lines), and
//! [`last_window`] (what a run shows at its end).

pub mod last_window;
mod show;
mod truth;

use crate::{definition::DefinitionArguments, failure::Failure, runtime, signals};
use clap::Args;
use show::Style;
use std::time::Duration;
use truth::Truth;
use weir_engine::env::Env;
use weir_jobs::Job;
use weir_operators::{
    Extensions,
    sink::read_back::{ReadBack, ReadBackOf, shown_schema},
};

/// How often it is looked for what has come.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Arguments of `weir results`.
#[derive(Debug, Args)]
pub struct ResultsArguments {
    #[command(flatten)]
    definition: DefinitionArguments,
    /// The sink, by its name in the definition
    #[arg(value_name = "SINK")]
    sink: String,
    /// Go on until Ctrl-C, and print what is committed as it comes, withdrawn results too
    #[arg(long, short)]
    follow: bool,
    /// Print a JSON object a row, with all columns
    #[arg(long)]
    json: bool,
    /// Print at most N rows, those of the newest windows
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

/// Reads a sink's results back and prints them.
pub fn results(arguments: &ResultsArguments, extensions: &Extensions) -> Result<(), Failure> {
    if !arguments.definition.file().exists() {
        return Err(Failure::refused(format!(
            "there is no file '{}'. Results are found by the definition: of a job on a cluster, too, give the file that was submitted, \
             with its --set, where its outputs can be reached",
            arguments.definition.file().display()
        )));
    }
    let job = arguments.definition.load_to_look(extensions)?;
    runtime()?.block_on(async {
        let read = read(arguments, extensions, &job);
        if !arguments.follow {
            return read.await;
        }
        // Who follows ends it by Ctrl-C: that is no failure.
        tokio::select! {
            biased;
            ended = signals::ended() => ended,
            read = read => read,
        }
    })
}

async fn read(arguments: &ResultsArguments, extensions: &Extensions, job: &Job) -> Result<(), Failure> {
    let env = Env::default();
    let Some((node, columns)) = job.sink(&arguments.sink) else { return Err(unknown(&arguments.sink, job)) };
    let of = ReadBackOf { job: &job.graph.name, sink: &node.id, columns, env: &env };
    let Some(mut source) = extensions.stored_sink(node)?.read_back(&of)? else {
        return Err(Failure::refused(format!(
            "`{}` keeps no results that could be read back: {} takes them away. `weir results` reads files, tables and topics",
            arguments.sink, node.kind
        )));
    };
    let mut truth = Truth::new(shown_schema(columns), source.identity(), source.is_whole())?;
    let style = if arguments.json { Style::Json } else { Style::Table };
    let found = truth.begin(&source.next().await?)?;
    let (all, shown) = (found.num_rows(), arguments.limit.unwrap_or(usize::MAX));
    let found = found.slice(0, all.min(shown));
    if all == 0 && !arguments.follow {
        eprintln!("no results yet");
    }
    if all > 0 && !show::print(&found, style, false)? {
        return Ok(());
    }
    if all > shown {
        eprintln!("{} of {}", crate::text::number(shown as u64), crate::text::count_of(all as u64, "row"));
    }
    if arguments.follow {
        follow(source.as_mut(), &mut truth, style, &env).await?;
    }
    Ok(())
}

/// Prints what comes, until nobody reads it any more.
async fn follow(source: &mut dyn ReadBack, truth: &mut Truth, style: Style, env: &Env) -> Result<(), Failure> {
    loop {
        env.sleep(LOOK_EVERY).await;
        let news = truth.news(&source.next().await?)?;
        if news.num_rows() > 0 && !show::print(&news, style, true)? {
            return Ok(());
        }
    }
}

fn unknown(sink: &str, job: &Job) -> Failure {
    let mut names: Vec<&str> = job.sinks().filter_map(|(node, _)| node.id.strip_prefix("sink.")).collect();
    names.sort_unstable();
    Failure::refused(format!("the job '{}' has no sink `{sink}`; it has {}", job.graph.name, names.join(", ")))
}
