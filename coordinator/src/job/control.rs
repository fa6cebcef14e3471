//! The control plane of an attempt's driver in a cluster: decisions go into the replicated catalog, commits to any worker.

use super::JobContext;
use crate::metadata::{CheckpointStats, Command};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use weir_engine::{
    checkpoint::{Manifest, layout::Layout},
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId},
    operator::{Committable, ShownResults, SweepScope, Wait},
    task::attempt::ControlPlane,
    wire::{self, AttemptKey},
};
use weir_proto::v1::{self as pb, coordinator_message::Kind};

/// Of one attempt.
#[derive(Clone)]
pub struct ClusterControl {
    context: JobContext,
    key: AttemptKey,
    /// The job graph, as JSON.
    graph: bytes::Bytes,
    /// Of the attempt's lineage.
    layout: Layout,
    /// The worker that has done the last requests, and how many in a row.
    stays: Arc<Mutex<Option<(String, u32)>>>,
}

/// So many requests in a row go to one worker: it has connections open, and producers that nobody has fenced since. Then it is
/// another one's turn.
const STAYS: u32 = 7;

impl ClusterControl {
    /// For an attempt of the job with this graph.
    pub fn new(context: JobContext, key: AttemptKey, graph: bytes::Bytes, layout: Layout) -> Self {
        ClusterControl { context, key, graph, layout, stays: Arc::default() }
    }

    async fn record(&self, manifest: &Manifest) -> Result<()> {
        let catalog = self.context.metadata.catalog();
        let known = catalog.job(&self.key.job).and_then(|job| job.checkpoint);
        if known.is_some_and(|known| known >= manifest.checkpoint) {
            return Ok(());
        }
        let stats = CheckpointStats {
            bytes: written(manifest, &self.layout),
            duration_ms: manifest.duration_ms,
            completed_at_ms: manifest.completed_at_ms,
            last: manifest.last,
        };
        let (job, attempt, checkpoint) = (self.key.job.clone(), self.key.attempt, manifest.checkpoint);
        self.context.metadata.propose(Command::CheckpointCompleted { job, attempt, checkpoint, stats }).await?;
        Ok(())
    }

    /// Has a worker do something. One that is stuck, and yet lives, must not hold the job up for good: within the time that the commit of
    /// so many checkpoints may take, it gets on, or a sink says that it waits for its target.
    async fn request(&self, checkpoints: usize, order: impl Fn(u64) -> Kind) -> Result<pb::Done> {
        let (env, settings) = (&self.context.components.env, &self.context.settings);
        let limit = settings.commit_timeout.saturating_mul(u32::try_from(checkpoints).unwrap_or(u32::MAX));
        let last = self.stays.lock().take().filter(|(_, many)| *many < STAYS);
        let first = last.as_ref().map(|(worker, _)| worker.clone());
        let (workers, job) = (&self.context.workers, self.key.job.as_str());
        let mut requested = std::pin::pin!(workers.request(job, first, settings.commit_patience, order));
        let mut steps = self.steps();
        loop {
            tokio::select! {
                biased;
                done = &mut requested => {
                    let (worker, done) = done?;
                    let many = last.filter(|(before, _)| *before == worker).map_or(0, |(_, many)| many);
                    *self.stays.lock() = Some((worker, many + 1));
                    return Ok(done);
                }
                () = env.sleep(limit) => {
                    let before = std::mem::replace(&mut steps, self.steps());
                    if steps == before && !self.a_sink_waits() {
                        return Err(EngineError::io(format!("no worker has finished a commit of {} within {limit:?}", self.key)));
                    }
                }
            }
        }
    }

    /// How far commits of the job are on all workers: another number after a while means that they get on.
    fn steps(&self) -> u64 {
        let views = self.context.workers.views();
        let committing = views.iter().flat_map(|view| &view.heartbeat.committing);
        committing.filter(|of| of.job == self.key.job).map(|of| of.steps).sum()
    }

    /// Whether some worker says so, or the driver itself. Sources that wait hold no commit up.
    fn a_sink_waits(&self) -> bool {
        let views = self.context.workers.views();
        let mut waiting = views.iter().filter(|view| !view.lost).flat_map(|view| &view.heartbeat.waiting);
        waiting.any(|wait| wait.job == self.key.job && !Wait::is_of_source(&wait.sink))
            || self.context.live.of(&self.key.job).waits.now().keys().any(|node| !Wait::is_of_source(node))
    }

    /// Removes everything that the sinks of a graph of this job have written before the attempt's lineage. Returns how much.
    ///
    /// # Errors
    /// When a sink refuses.
    pub async fn reset(&self, graph: bytes::Bytes) -> Result<u64> {
        let reset = |request| {
            Kind::Reset(pb::Reset {
                request,
                attempt: Some((&self.key).into()),
                graph: graph.clone(),
                storage: self.context.settings.storage.clone(),
                lineage: self.layout.lineage().0,
            })
        };
        self.request(1, reset).await.map(|done| done.removed)
    }
}

impl ControlPlane for ClusterControl {
    fn completed<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<()>> {
        self.record(manifest).boxed()
    }

    fn commit(
        &self,
        checkpoints: Vec<CheckpointId>,
        attempt: Attempt,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<()>> {
        let control = self.clone();
        async move {
            let Some(checkpoint) = checkpoints.last().copied() else { return Ok(()) };
            let many = committables.iter().map(|one| one.checkpoint).collect::<BTreeSet<_>>().len().max(1);
            let checkpoints: Vec<u64> = checkpoints.iter().map(|checkpoint| checkpoint.0).collect();
            let committables = wire::to_json(&committables)?;
            let commit = |request| {
                Kind::Commit(pb::Commit {
                    request,
                    attempt: Some((&control.key).into()),
                    graph: control.graph.clone(),
                    storage: control.context.settings.storage.clone(),
                    checkpoints: checkpoints.clone(),
                    manifest_attempt: attempt.0,
                    lineage: control.layout.lineage().0,
                    committables: committables.clone(),
                })
            };
            let done = control.request(many, commit).await?;
            control.context.live.commits().add(&control.key.job, &done.commits);
            control.context.components.env.crash_point("commit.executed")?;
            let (job, attempt) = (control.key.job.clone(), control.key.attempt);
            control.context.metadata.propose(Command::Committed { job, attempt, checkpoint }).await?;
            Ok(())
        }
        .boxed()
    }

    fn sweep(&self, scope: SweepScope) -> BoxFuture<'static, Result<()>> {
        let control = self.clone();
        async move {
            let keep = wire::to_json(&scope.keep)?;
            let results = scope.results.as_ref().map(wire::to_json).transpose()?.unwrap_or_default();
            let sweep = |request| {
                Kind::Sweep(pb::Sweep {
                    request,
                    attempt: Some((&control.key).into()),
                    graph: control.graph.clone(),
                    keep: keep.clone(),
                    results: results.clone(),
                    lineage: control.layout.lineage().0,
                    storage: control.context.settings.storage.clone(),
                })
            };
            control.request(1, sweep).await?;
            Ok(())
        }
        .boxed()
    }

    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>> {
        let control = self.clone();
        async move {
            let look = |request| {
                Kind::Look(pb::Look {
                    request,
                    attempt: Some((&control.key).into()),
                    graph: control.graph.clone(),
                    storage: control.context.settings.storage.clone(),
                    lineage: control.layout.lineage().0,
                })
            };
            wire::from_json(&control.request(1, look).await?.shown, "what sinks show")
        }
        .boxed()
    }

    fn waits(&self) -> bool {
        self.a_sink_waits()
    }
}

/// Bytes of the state files that a checkpoint wrote itself.
fn written(manifest: &Manifest, layout: &Layout) -> u64 {
    let folder = format!("{}/", layout.state_of(manifest.attempt, manifest.checkpoint));
    let own: BTreeSet<_> = manifest.files().filter(|file| file.path.starts_with(&folder)).collect();
    own.iter().map(|file| file.bytes).sum()
}
