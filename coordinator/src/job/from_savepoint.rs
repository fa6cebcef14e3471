//! A job that is to go on from a savepoint: brought into its storage before an attempt is claimed, and made what it goes on from by
//! that attempt. Until the catalog says that it is done, the next attempt does it again, which changes nothing.

use super::{JobContext, control::ClusterControl};
use crate::metadata::{Command, FromSavepoint, Job, SavepointMode};
use std::sync::Arc;
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest, Savepoint, savepoint},
    error::{EngineError, Result},
    graph::{ExecutionGraph, JobGraph},
    task::{recovery, rewind},
    wire::AttemptKey,
};

/// Brings what a job is to go on from into its storage, where it is not there.
///
/// # Errors
/// When it cannot go on from it, or a storage refuses.
pub(super) async fn bring_in(context: &JobContext, job: &Job, own: &CheckpointStore) -> Result<()> {
    let Some(FromSavepoint { url, mode }) = &job.from_savepoint else { return Ok(()) };
    if *mode == SavepointMode::Fork && savepoint::is_forked(own, &job.fingerprint).await? {
        return Ok(());
    }
    let (env, found) = (&context.components.env, Savepoint::find(url, own, &job.name).await?);
    match mode {
        SavepointMode::Fork => found.fork(own, env, &job.fingerprint).await,
        SavepointMode::Resume | SavepointMode::Rewind => found.import(own, env).await,
    }
}

/// Makes it the checkpoint that the job goes on from.
///
/// # Errors
/// When it does not fit the definition or the sinks, or storage or a sink refuses.
pub(super) async fn start(
    context: &JobContext,
    key: &AttemptKey,
    store: &CheckpointStore,
    graph: &JobGraph,
    control: &ClusterControl,
) -> Result<()> {
    let catalog = context.metadata.catalog();
    let Some(job) = catalog.job(&key.job) else { return Ok(()) };
    let Some(FromSavepoint { url, mode }) = &job.from_savepoint else { return Ok(()) };
    if *mode != SavepointMode::Fork {
        let env = &context.components.env;
        let found = Savepoint::find(url, store, &key.job).await?;
        found.check(store).await?;
        found.bring_files(store, env).await?;
        let (manifest, accepts) = (&found.manifest, *mode == SavepointMode::Rewind);
        let definition = (graph, job.fingerprint.as_str());
        let repeated = rewind::start_from(manifest, accepts, store, env, control, definition, key.attempt).await?;
        if !repeated.is_empty() {
            let (checkpoint, repeated) = (manifest.checkpoint, savepoint::tell(&repeated));
            tracing::warn!(attempt = %key, %checkpoint, "gone back to a savepoint; results come a second time ({repeated})");
        }
    }
    context.components.env.crash_point("savepoint.restored")?;
    let restored = Command::SavepointRestored { job: key.job.clone(), attempt: key.attempt };
    context.metadata.propose(restored).await.map(drop)
}

/// The graph as it runs: record ids stay what they were in the checkpoint that it goes on from.
///
/// # Errors
/// When the graph cannot be run, which was found out before.
pub(super) fn with_identity(graph: &Arc<ExecutionGraph>, restored: Option<&Manifest>) -> Result<Arc<ExecutionGraph>> {
    let identity = recovery::identity(restored, &graph.job);
    if identity == graph.job.identity {
        return Ok(Arc::clone(graph));
    }
    ExecutionGraph::new(JobGraph { identity, ..graph.job.clone() }).map(Arc::new)
}

/// Judges a submission at once, as far as storage tells: what sinks show is found out when the job starts. Returns what its user
/// should know.
///
/// # Errors
/// When the job cannot go on from the savepoint, or a storage refuses.
pub async fn judge(
    context: &JobContext,
    graph: &JobGraph,
    fingerprint: &str,
    FromSavepoint { url, mode }: &FromSavepoint,
) -> Result<Vec<String>> {
    let own = (context.components.open_store)(&context.settings.storage, &graph.name)?;
    let found = Savepoint::find(url, &own, &graph.name).await?;
    if *mode == SavepointMode::Fork {
        found.check_fork(fingerprint)?;
        return match own.newest_attempt().await? {
            None => Ok(Vec::new()),
            Some(_) => Err(EngineError::definition(format!(
                "job '{}' has checkpoints in '{}' already, and a fork begins with none: give it another name (--set job.name=…)",
                graph.name,
                own.url()
            ))),
        };
    }
    found.check(&own).await?;
    recovery::check(&found.manifest, graph, fingerprint)?;
    let Some(newest) = own.newest().await? else { return Ok(Vec::new()) };
    let repeated = savepoint::repeated(&found.manifest, &newest.results);
    match (repeated.is_empty(), mode) {
        (true, _) => Ok(Vec::new()),
        (false, SavepointMode::Rewind) => Ok(vec![format!(
            "going back to checkpoint {}; results come a second time ({})",
            found.manifest.checkpoint,
            savepoint::tell(&repeated)
        )]),
        (false, _) => Err(savepoint::refuse(&found.manifest, &repeated)),
    }
}
