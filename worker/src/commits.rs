//! Commits, sweeps and resets of a job's sinks, requested by the coordinator. They execute decisions that are final, so any
//! worker may, again and again.

use crate::{attempt_host::Outbound, config::WorkerComponents, turns::Turns};
use parking_lot::{Mutex, MutexGuard};
use std::{future::Future, sync::Arc};
use weir_engine::{
    checkpoint::CheckpointStore,
    error::{EngineError, Result},
    graph::JobGraph,
    ids::{Attempt, CheckpointId, Lineage},
    operator::{Committable, SinkCommit, SweepScope, Waits},
    panics::caught,
    task::recovery::{self, Committers},
    wire::{self, AttemptKey},
};
use weir_proto::v1::{self as pb, worker_message::Kind};

/// One request of the coordinator.
#[derive(Debug)]
pub enum Request {
    /// Make committables visible.
    Commit(pb::Commit),
    /// Remove what dead attempts have staged.
    Sweep(pb::Sweep),
    /// Say what sinks show.
    Look(pb::Look),
    /// Remove everything.
    Reset(pb::Reset),
}

/// The committers that this worker has opened, kept for the next request, so as not to reconnect to a database for every
/// commit. Cheap to clone.
#[derive(Clone)]
pub struct Commits {
    components: WorkerComponents,
    turns: Turns,
    /// The one used last is last.
    opened: Arc<Mutex<Vec<Arc<Opened>>>>,
}

/// So many jobs' committers are kept that are not in use.
const KEPT: usize = 8;

/// The committers of a job.
struct Opened {
    /// The job's graph, as JSON, its storage, and the lineage: what they were opened from.
    graph: bytes::Bytes,
    storage: String,
    lineage: Lineage,
    job: String,
    store: CheckpointStore,
    committers: Committers,
    waits: Waits,
}

impl Commits {
    /// Of a worker with these means.
    pub fn new(components: WorkerComponents) -> Self {
        Commits { components, turns: Turns::default(), opened: Arc::default() }
    }

    /// Executes a request in its turn, which is the one in which requests came, and says how it went.
    pub fn serve(&self, request: Request, outbound: Outbound) -> impl Future<Output = ()> + Send + use<> {
        let (number, attempt) = match &request {
            Request::Commit(commit) => (commit.request, &commit.attempt),
            Request::Sweep(sweep) => (sweep.request, &sweep.attempt),
            Request::Look(look) => (look.request, &look.attempt),
            Request::Reset(reset) => (reset.request, &reset.attempt),
        };
        let (commits, env) = (self.clone(), self.components.env.clone());
        let job = attempt.as_ref().map_or(String::new(), |attempt| attempt.job.clone());
        let turn = self.turns.begin(&env, &job, number, &outbound);
        async move {
            let ended = || Err(EngineError::unavailable("it was ended, because nobody waits for it"));
            let work = caught("a sink's committer", commits.execute(request));
            let done = match turn.take(&env, work).await.unwrap_or_else(ended) {
                Ok(done) => pb::Done { request: number, ..done },
                Err(error) => {
                    commits.forget(&job);
                    pb::Done { request: number, failure: Some((&error).into()), ..pb::Done::default() }
                }
            };
            let done = Kind::Done(done);
            // A coordinator that is gone asks another worker.
            let _ = outbound.send(pb::WorkerMessage { kind: Some(done) });
        }
    }

    /// The coordinator at the other end waits for a request no more.
    pub fn withdraw(&self, request: u64, outbound: &Outbound) {
        self.turns.withdraw(&self.components.env, request, outbound);
    }

    /// The link to a coordinator is gone: whoever leads may ask another worker.
    pub fn left(&self, outbound: &Outbound) {
        self.turns.left(&self.components.env, outbound);
    }

    /// How far the commits of jobs are here.
    pub fn committing(&self) -> Vec<pb::CommitProgress> {
        let of_job = |opened: &Arc<Opened>| pb::CommitProgress { job: opened.job.clone(), steps: opened.waits.steps() };
        self.lock().iter().map(of_job).filter(|of| of.steps > 0).collect()
    }

    /// The sinks that wait for their targets here.
    pub fn waiting(&self) -> Vec<pb::WaitingSink> {
        let of_job = |opened: &Arc<Opened>| {
            let job = opened.job.clone();
            opened.waits.now().into_iter().map(move |(sink, wait)| pb::WaitingSink {
                job: job.clone(),
                sink,
                since_ms: wait.since_ms,
                cause: wait.cause,
            })
        };
        self.lock().iter().flat_map(of_job).collect()
    }

    /// Rows that targets have refused, as far as it was found here.
    pub fn rejected(&self) -> Vec<pb::RejectedRows> {
        let of_job = |opened: &Arc<Opened>| {
            let (job, lineage) = (opened.job.clone(), opened.lineage.0);
            opened.waits.rejected().into_iter().map(move |(sink, rows)| pb::RejectedRows {
                job: job.clone(),
                sink,
                lineage,
                rows,
            })
        };
        self.lock().iter().flat_map(of_job).collect()
    }

    /// What is to be answered, but for the number of the request.
    async fn execute(&self, request: Request) -> Result<pb::Done> {
        let removed = |removed| pb::Done { removed, ..pb::Done::default() };
        match request {
            Request::Commit(commit) => {
                let opened = self.open(&commit.graph, &commit.storage, commit.lineage)?;
                let committables: Vec<Committable> = wire::from_json(&commit.committables, "committables")?;
                let checkpoints: Vec<CheckpointId> = commit.checkpoints.into_iter().map(CheckpointId).collect();
                let attempt = Attempt(commit.manifest_attempt);
                let (store, env) = (&opened.store, &self.components.env);
                let is_inherited = AttemptKey::try_from(commit.attempt)?.attempt != attempt;
                let committers = &opened.committers;
                let done = recovery::commit(store, env, committers, &checkpoints, attempt, &committables, is_inherited);
                Ok(pb::Done { commits: done.await?.into_iter().map(told).collect(), ..pb::Done::default() })
            }
            Request::Sweep(sweep) => {
                let opened = self.open(&sweep.graph, &sweep.storage, sweep.lineage)?;
                let keep: Vec<Committable> = wire::from_json(&sweep.keep, "committables")?;
                let attempt = AttemptKey::try_from(sweep.attempt)?.attempt;
                let results = match sweep.results.is_empty() {
                    true => None,
                    false => Some(wire::from_json(&sweep.results, "results")?),
                };
                recovery::sweep(&opened.committers, &SweepScope { attempt, keep, results }).await.map(removed)
            }
            Request::Look(look) => {
                let opened = self.open(&look.graph, &look.storage, look.lineage)?;
                let shown = wire::to_json(&recovery::shown(&opened.committers).await?)?;
                Ok(pb::Done { shown, ..pb::Done::default() })
            }
            Request::Reset(reset) => {
                let opened = self.open(&reset.graph, &reset.storage, reset.lineage)?;
                recovery::reset(&opened.committers, Lineage(reset.lineage)).await.map(removed)
            }
        }
    }

    fn open(&self, graph: &bytes::Bytes, storage: &str, lineage: u64) -> Result<Arc<Opened>> {
        let lineage = Lineage(lineage);
        let is_it =
            |opened: &Arc<Opened>| opened.graph == *graph && opened.storage == storage && opened.lineage == lineage;
        let mut all = self.lock();
        if let Some(at) = all.iter().position(is_it) {
            let found = all.remove(at);
            all.push(Arc::clone(&found));
            return Ok(found);
        }
        let (components, waits) = (&self.components, self.components.observers.waits());
        let job: JobGraph = wire::from_json(graph, "a job graph")?;
        let store = (components.open_store)(storage, &job.name)?.in_lineage(lineage).patient(&components.env, &waits);
        let committers = recovery::committers(&job, components.factory.as_ref(), &store, &components.env, &waits)?;
        let (graph, storage) = (graph.clone(), storage.to_owned());
        let opened = Arc::new(Opened { graph, storage, lineage, job: job.name, store, committers, waits });
        // Who is in use stays: what waits there, and how far it is, is asked for.
        let idle: Vec<usize> = (0..all.len()).filter(|at| Arc::strong_count(&all[*at]) == 1).collect();
        if let Some(oldest) = idle.first().filter(|_| idle.len() >= KEPT) {
            all.remove(*oldest);
        }
        all.push(Arc::clone(&opened));
        Ok(opened)
    }

    /// What a job's committers were opened from may be another thing by now. Those stay that are in use, as by the request whose turn is
    /// next: what waits there, and how far it is, is asked for.
    fn forget(&self, job: &str) {
        self.lock().retain(|opened| opened.job != job || Arc::strong_count(opened) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Opened>>> {
        self.opened.lock()
    }
}

fn told(SinkCommit { sink, took, transactions }: SinkCommit) -> pb::SinkCommit {
    pb::SinkCommit { sink, took_us: took.as_micros() as u64, transactions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{Refuses, components};

    #[tokio::test]
    async fn committers_that_are_in_use_are_not_forgotten() {
        let commits = Commits::new(components(Refuses));
        let graph = |job: &str| wire::to_json(&JobGraph::new(job)).unwrap();
        let opened = commits.open(&graph("job"), "memory:///", 1).unwrap();
        drop(commits.open(&graph("other"), "memory:///", 1).unwrap());
        commits.forget("job");
        assert_eq!(commits.lock().len(), 2);
        let again = commits.open(&graph("job"), "memory:///", 1).unwrap();
        assert!(Arc::ptr_eq(&opened, &again), "what waits there can be told");
        drop((opened, again));
        commits.forget("job");
        let left: Vec<String> = commits.lock().iter().map(|opened| opened.job.clone()).collect();
        assert_eq!(left, ["other"]);
    }
}
