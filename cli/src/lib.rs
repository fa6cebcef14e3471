//! `weir`: exactly-once dataflow, one binary; and a library for programs that are `weir` with operators, sources and sinks of their
//! own ([`main_with`], and [`operator`], [`source`], [`sink`], [`settings`], [`testing`] for what they are made of).
//!
//! Reading order: this file (what can be asked for), one file a command ([`run`], [`explain`], [`serve`], [`results`],
//! [`generate`], [`checkpoint`], [`certs`], [`completions`], those of a [`cluster`], and [`recalculation`] for `replay` and `reconcile`), then what they share: [`data_dir`] (where a job keeps its things, and whose it is), [`doors`], [`tls`] and [`descriptors`] (the ports), [`failure`] (what
//! goes wrong, and the exit code it becomes), [`progress`] and [`summary`] (what a run shows).
//!
//! Invariant: standard output carries results only, so that it can be piped; progress, logs and complaints go to standard
//! error. Where a sink's rows are JSON lines there, nothing else is: the summary goes to standard error, too.

mod api;
mod certs;
mod checkpoint;
mod cluster;
mod completions;
mod data_dir;
mod definition;
mod descriptors;
mod doors;
mod explain;
mod failure;
mod generate;
mod logs;
mod progress;
mod recalculation;
mod results;
mod run;
mod savepoint;
mod serve;
mod serving;
mod signals;
mod summary;
mod text;
mod tls;

pub use api::{EngineError, Result, operator, settings, sink, source, testing};
pub use arrow;
pub use weir_operators::Extensions;

use clap::{CommandFactory, Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Exactly-once dataflow: counts streams of events in event-time windows, and resumes after a crash.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed (reconcile: something differs), 2 wrong definition or arguments, \
                  3 replaced by another process, 4 not compared, \
                  130 aborted by a second Ctrl-C, or stopped without a last checkpoint."
)]
struct Arguments {
    #[command(flatten)]
    logs: logs::LogArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a job in this process, from its newest checkpoint if there is one
    Run(run::RunArguments),
    /// Check a job definition and show the graph it compiles to
    Explain(explain::ExplainArguments),
    /// Answer queries from a store that a job writes, and serve pages with its tables
    Serve(serve::ServeArguments),
    /// Print the results of a sink that hold now, from its files, table or topic
    Results(results::ResultsArguments),
    /// Write a reproducible stream of clicks
    Generate(generate::GenerateArguments),
    /// Recount the raw archive and replace the counts in the store
    Replay(recalculation::replay::ReplayArguments),
    /// Recount the raw archive and compare it with the store
    Reconcile(recalculation::reconcile::ReconcileArguments),
    /// List, inspect and export checkpoints
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Make certificates to try TLS with: a CA, and one certificate for all processes
    Certs(certs::CertsArguments),
    /// Run a coordinator of a cluster: it keeps jobs, places them on workers, completes their checkpoints
    Coordinator(cluster::coordinator::CoordinatorArguments),
    /// Change who the coordinators of a cluster are
    #[command(subcommand)]
    Coordinators(cluster::coordinators::CoordinatorsCommand),
    /// Run a worker of a cluster
    Worker(cluster::worker::WorkerArguments),
    /// Submit a job to a cluster and print its id
    Submit(cluster::submit::SubmitArguments),
    /// List the jobs and workers of a cluster
    List(cluster::jobs::ListArguments),
    /// Show one job of a cluster
    Status(cluster::jobs::StatusArguments),
    /// Cancel a job at once; what is committed stays
    Cancel(cluster::jobs::CancelArguments),
    /// Stop a job with a last checkpoint and commit
    Stop(cluster::jobs::StopArguments),
    /// Take a checkpoint of a job at once and keep it, to start jobs from
    Savepoint(cluster::savepoint::SavepointArguments),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArguments),
}

/// The program `weir`.
pub fn main() -> ExitCode {
    main_with(Extensions::new())
}

/// The program `weir` with operators, sources and sinks of its own:
///
/// ```no_run
/// # use weir::{Extensions, settings::{ColumnSchema, KeyPath, Mistake, Reader}, operator::*};
/// # #[derive(Debug, serde::Serialize, serde::Deserialize)] struct Pauses;
/// # impl OperatorSettings for Pauses {
/// #     const KIND: &'static str = "pauses";
/// #     fn read(_: &Reader<'_>) -> Self { Pauses }
/// #     fn columns(&self, _: &OperatorGiven<'_>, _: &KeyPath, _: &mut Vec<Mistake>) -> Option<ColumnSchema> { None }
/// #     fn note(&self) -> String { String::new() }
/// #     fn build(&self, _: &OperatorInput, _: &OperatorContext) -> weir::Result<Box<dyn Operator>> {
/// #         Err(weir::EngineError::definition("see jobs/examples/own_operator for one that does something"))
/// #     }
/// # }
/// fn main() -> std::process::ExitCode {
///     weir::main_with(Extensions::new().operator::<Pauses>())
/// }
/// ```
pub fn main_with(extensions: Extensions) -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = extensions.check() {
        let failure = Failure::from(error);
        failure.show();
        return failure.exit_code();
    }
    descriptors::raise();
    let usual_logs = match &arguments.command {
        Command::Run(_) => run::USUAL_LOGS,
        _ => logs::USUAL,
    };
    let done = arguments.logs.start(usual_logs).and_then(|()| match arguments.command {
        Command::Run(arguments) => run::run(&arguments, &extensions),
        Command::Explain(arguments) => explain::explain(&arguments, &extensions),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Results(arguments) => results::results(&arguments, &extensions),
        Command::Generate(arguments) => generate::generate(&arguments),
        Command::Replay(arguments) => recalculation::replay::replay(&arguments, &extensions),
        Command::Reconcile(arguments) => recalculation::reconcile::reconcile(&arguments, &extensions),
        Command::Checkpoint(command) => checkpoint::checkpoint(&command),
        Command::Certs(arguments) => certs::certs(&arguments),
        Command::Coordinator(arguments) => cluster::coordinator::coordinator(&arguments, &extensions),
        Command::Coordinators(command) => cluster::coordinators::coordinators(&command),
        Command::Worker(arguments) => cluster::worker::worker(&arguments, &extensions),
        Command::Submit(arguments) => cluster::submit::submit(&arguments, &extensions),
        Command::List(arguments) => cluster::jobs::list(&arguments),
        Command::Status(arguments) => cluster::jobs::status(&arguments),
        Command::Cancel(arguments) => cluster::jobs::cancel(&arguments),
        Command::Stop(arguments) => cluster::jobs::stop(&arguments),
        Command::Savepoint(arguments) => cluster::savepoint::savepoint(&arguments),
        Command::Completions(arguments) => completions::completions(&arguments, Arguments::command()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show();
            failure.exit_code()
        }
    }
}

/// A runtime as wide as the machine.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors())
        .thread_name("weir")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

/// A runtime for those who decide, so that none of them waits behind a batch.
fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("weir-control")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

/// Processors of this machine.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
