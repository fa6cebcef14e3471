//! What a new attempt owes to the one before: its decided commits first, then its leftovers swept away.
//!
//! Invariant: nothing of a new attempt runs before every committable of the newest completed checkpoint is visible.

use crate::{
    checkpoint::{CheckpointStore, Manifest, manifest::FORMAT_VERSION, retire},
    env::Env,
    error::{EngineError, Result},
    graph::{JobGraph, NodeRole},
    ids::{Attempt, CheckpointId},
    operator::{CommitOutcome, Committable, Committer, Factory, SweepScope},
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};

/// The committers of a job's sinks, by node id.
pub type Committers = BTreeMap<String, Arc<dyn Committer>>;

/// Opens the committer of every sink of a job.
///
/// # Errors
/// When a sink's configuration does not fit or its target cannot be opened.
pub fn committers(graph: &JobGraph, factory: &dyn Factory, env: &Env) -> Result<Committers> {
    let sinks = graph.nodes.iter().filter(|node| node.role == NodeRole::Sink);
    sinks
        .map(|node| {
            let committer = factory.committer(node, &graph.name, env).map_err(|error| error.context(&node.id))?;
            Ok((node.id.clone(), committer))
        })
        .collect()
}

/// Whether a checkpoint can be continued by this graph.
///
/// # Errors
/// When it is another job's or another definition's, saying what can be done.
pub fn check(manifest: &Manifest, graph: &JobGraph, definition: &str) -> Result<()> {
    let refuse = |what: String| {
        Err(EngineError::definition(format!(
            "checkpoint {} of job '{}' {what}; use another --data-dir, or --fresh to forget it and start over",
            manifest.checkpoint, manifest.job
        )))
    };
    if manifest.format_version > FORMAT_VERSION {
        return refuse(format!("has format version {}", manifest.format_version));
    }
    if manifest.job != graph.name {
        return refuse(format!("cannot be continued by job '{}'", graph.name));
    }
    if manifest.max_parallelism != graph.max_parallelism {
        return refuse(format!(
            "has max_parallelism {}, the job now {}",
            manifest.max_parallelism, graph.max_parallelism
        ));
    }
    if manifest.definition != definition {
        return refuse("was taken by another version of the definition".into());
    }
    Ok(())
}

/// Makes a checkpoint's committables visible, in order, and marks that they are. Doing it again changes nothing.
///
/// # Errors
/// When a sink refuses.
pub async fn commit(
    store: &CheckpointStore,
    env: &Env,
    committers: &Committers,
    checkpoint: CheckpointId,
    committables: &[Committable],
) -> Result<()> {
    let mark = store.layout().committed(checkpoint);
    if store.exists(&mark).await? {
        return Ok(());
    }
    env.crash_point("commit.started")?;
    for committable in committables {
        let committer = committers.get(&committable.sink).ok_or_else(|| {
            EngineError::definition(format!(
                "checkpoint {checkpoint} holds results for the sink '{}', which the definition no longer has",
                committable.sink
            ))
        })?;
        let outcome = committer.commit(committable).await.map_err(|error| {
            error.context(format!("committing checkpoint {} of '{}'", committable.checkpoint, committable.sink))
        })?;
        if outcome == CommitOutcome::AlreadyDone {
            tracing::debug!(sink = committable.sink, %checkpoint, "was committed before");
        }
        env.crash_point("commit.one_done")?;
    }
    store.create(env, &mark, Bytes::new()).await?;
    env.crash_point("commit.marked")
}

/// Finishes what the newest checkpoint decided, and removes what dead attempts have left behind.
///
/// # Errors
/// When storage or a sink refuses.
pub async fn recover(
    store: &CheckpointStore,
    env: &Env,
    committers: &Committers,
    newest: Option<&Manifest>,
    attempt: Attempt,
    retain: usize,
) -> Result<()> {
    let keep: Vec<Committable> = newest.into_iter().flat_map(Manifest::to_commit).cloned().collect();
    if let Some(manifest) = newest {
        commit(store, env, committers, manifest.checkpoint, &keep).await?;
    }
    env.crash_point("recovery.committed")?;
    let scope = SweepScope { attempt, keep };
    for (sink, committer) in committers {
        let swept = committer.sweep(&scope).await.map_err(|error| error.context(format!("sweeping '{sink}'")))?;
        if swept > 0 {
            tracing::info!(sink, swept, "removed what dead attempts had staged");
        }
    }
    env.crash_point("recovery.swept")?;
    let removed = retire::retire(store, env, retain, attempt, true).await?;
    if removed > 0 {
        tracing::info!(removed, "removed state files of dead attempts");
    }
    env.crash_point("recovery.done")
}
