//! `weir list`, `status`, `cancel` and `stop`.

use super::{
    connection::{Connection, ConnectionArguments},
    list::render_cluster,
    render::{render_frame, render_json},
    status::render_job,
};
use crate::{failure::Failure, runtime, text};
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use std::{io::IsTerminal, time::Duration};
use weir_coordinator::status::{ClusterStatus, JobStatus};
use weir_engine::{env::Env, wire};
use weir_proto::v1::{Description, JobRequest, ListRequest, StopRequest};

/// How often a watched job is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How often a job that is waited for is looked at.
const WAIT_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `weir list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Arguments of `weir status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The job
    #[arg(value_name = "ID")]
    job: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Refresh once a second until the job is over
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Arguments of `weir cancel`.
#[derive(Debug, Args)]
pub struct CancelArguments {
    /// The job
    #[arg(value_name = "ID")]
    job: String,
    /// Return at once, without waiting for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Arguments of `weir stop`.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// The job
    #[arg(value_name = "ID")]
    job: String,
    /// Advance event time to its end first: all open windows fire, and the job is finished
    #[arg(long)]
    drain: bool,
    /// Return at once, without waiting for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Lists jobs and workers.
pub fn list(arguments: &ListArguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        let cluster: ClusterStatus = read(connection.call(async |client| client.list(ListRequest {}).await).await?)?;
        show(&cluster, arguments.json, render_cluster)
    })
}

/// Shows one job.
pub fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        let env = Env::default();
        loop {
            let job = look(&mut connection, &arguments.job).await?;
            let moves = arguments.watch && std::io::stdout().is_terminal();
            show(&job, arguments.json, |job| if moves { render_frame(&render_job(job)) } else { render_job(job) })?;
            if !arguments.watch || job.has_ended() {
                return Ok(());
            }
            env.sleep(WATCH_EVERY).await;
        }
    })
}

/// Ends a job at once.
pub fn cancel(arguments: &CancelArguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        let request = JobRequest { job: arguments.job.clone() };
        let asked: JobStatus = read(connection.call(async |client| client.cancel(request.clone()).await).await?)?;
        ended(&mut connection, asked, arguments.no_wait).await
    })
}

/// Ends a job with a last checkpoint.
pub fn stop(arguments: &StopArguments) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        let request = StopRequest { job: arguments.job.clone(), drain: arguments.drain };
        let asked: JobStatus = read(connection.call(async |client| client.stop(request.clone()).await).await?)?;
        ended(&mut connection, asked, arguments.no_wait).await
    })
}

/// Waits until a job is over, and says how.
async fn ended(connection: &mut Connection, asked: JobStatus, no_wait: bool) -> Result<(), Failure> {
    let env = Env::default();
    let mut job = asked;
    while !no_wait && !job.has_ended() {
        env.sleep(WAIT_EVERY).await;
        job = look(connection, &job.id).await?;
    }
    text::print(&format!("{}\n", job.state))?;
    match job.state.as_str() {
        "FAILED" => Err(Failure::failed(format!("job '{}' failed: {}", job.id, job.cause.unwrap_or_default()))),
        _ => Ok(()),
    }
}

async fn look(connection: &mut Connection, job: &str) -> Result<JobStatus, Failure> {
    let request = JobRequest { job: job.into() };
    read(connection.call(async |client| client.status(request.clone()).await).await?)
}

fn read<T: DeserializeOwned>(reply: Description) -> Result<T, Failure> {
    Ok(wire::from_json(&reply.json, "the coordinator's answer")?)
}

fn show<T: Serialize>(what: &T, json: bool, as_text: impl Fn(&T) -> String) -> Result<(), Failure> {
    if !json {
        return text::print(&as_text(what));
    }
    let json =
        render_json(what).map_err(|error| Failure::failed(format!("the answer cannot be written as JSON: {error}")))?;
    text::print(&json)
}
