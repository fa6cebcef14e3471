//! `weir savepoint`: has a job's checkpoint taken at once and kept, and releases it.

use super::connection::{Connection, ConnectionArguments};
use crate::{data_dir::storage_url, failure::Failure, run, runtime, text};
use clap::Args;
use serde_json::json;
use std::{path::Path, time::Duration};
use weir_engine::env::Env;
use weir_jobs::duration;
use weir_proto::v1::{DeleteSavepointRequest, SavepointReply, SavepointRequest};

/// How long a savepoint may take, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The pause after coordinators have not answered.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Arguments of `weir savepoint`.
#[derive(Debug, Args)]
pub struct SavepointArguments {
    /// The job
    #[arg(value_name = "ID")]
    job: String,
    /// Copy it, with everything that it needs, to a folder or a URL that the coordinator reaches [default: it is kept in the storage
    /// of the job]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Release a savepoint, by its URL or its number, instead: it is removed like other checkpoints
    #[arg(long, value_name = "SAVEPOINT", conflicts_with_all = ["to", "timeout"])]
    delete: Option<String>,
    /// How long it may take; after that nobody waits for it [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = run::parse_duration)]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Has a savepoint made or released, and prints its URL, alone.
pub fn savepoint(arguments: &SavepointArguments) -> Result<(), Failure> {
    let shown = runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        match &arguments.delete {
            Some(savepoint) => delete(arguments, &mut connection, savepoint).await,
            None => take(arguments, &mut connection).await,
        }
    })?;
    text::print(&shown)
}

async fn take(arguments: &SavepointArguments, connection: &mut Connection) -> Result<String, Failure> {
    let env = Env::from_entropy();
    let to = arguments.to.as_deref().map(|to| storage_url(Some(to), Path::new(""))).transpose()?;
    let request = SavepointRequest {
        job: arguments.job.clone(),
        to: to.unwrap_or_default(),
        request: format!("{:016x}", env.nonce()),
    };
    let timeout = arguments.timeout.unwrap_or(TIMEOUT);
    let enough = env.now() + timeout;
    let made = loop {
        let away = match connection.call(async |client| client.savepoint(request.clone()).await).await {
            Ok(reply) if !reply.pending => break reply,
            Ok(_) => None,
            // Another coordinator may lead soon; the savepoint that the one before has made is an ordinary checkpoint then.
            Err(failure @ Failure::Failed(_)) if connection.is_away() => Some(failure),
            Err(failure) => return Err(failure),
        };
        if env.now() >= enough {
            let why = || {
                format!(
                    "no savepoint of job '{}' within {}: it may still be taken",
                    arguments.job,
                    duration::show(timeout)
                )
            };
            return Err(away.unwrap_or_else(|| Failure::failed(why())));
        }
        if away.is_some() {
            env.sleep(TRY_AGAIN).await;
        }
    };
    Ok(match arguments.json {
        true => format!("{}\n", as_json(&arguments.job, &made)),
        false => format!("{}\n", made.url),
    })
}

fn as_json(job: &str, made: &SavepointReply) -> serde_json::Value {
    json!({
        "job": job,
        "url": made.url,
        "checkpoint": made.checkpoint,
        "completed_at_ms": made.completed_at_ms,
        "files": made.files,
        "bytes": made.bytes,
    })
}

async fn delete(
    arguments: &SavepointArguments,
    connection: &mut Connection,
    savepoint: &str,
) -> Result<String, Failure> {
    let request = DeleteSavepointRequest { job: arguments.job.clone(), savepoint: savepoint.to_owned() };
    let released = connection.call(async |client| client.delete_savepoint(request.clone()).await).await?;
    Ok(match arguments.json {
        true => format!("{}\n", json!({ "job": arguments.job, "checkpoint": released.checkpoint })),
        false => format!("checkpoint {} of {} is no savepoint any more\n", released.checkpoint, arguments.job),
    })
}
