//! Commits, sweeps and resets of a job's sinks, asked for by the coordinator. They execute decisions that are final, so any
//! worker may, again and again.

use crate::{attempt_host::Outbound, config::WorkerComponents};
use weir_engine::{
    checkpoint::CheckpointStore,
    error::Result,
    graph::JobGraph,
    ids::{Attempt, CheckpointId},
    operator::{Committable, SweepScope, Waits},
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
    /// Remove everything.
    Reset(pb::Reset),
}

/// Executes a request and says how it went.
pub async fn serve(request: Request, components: WorkerComponents, outbound: Outbound) {
    let number = match &request {
        Request::Commit(commit) => commit.request,
        Request::Sweep(sweep) => sweep.request,
        Request::Reset(reset) => reset.request,
    };
    let done = caught("a sink's committer", execute(request, &components)).await;
    let (removed, failure) = match done {
        Ok(removed) => (removed, None),
        Err(error) => (0, Some((&error).into())),
    };
    let done = Kind::Done(pb::Done { request: number, failure, removed });
    // A coordinator that is gone asks another worker.
    let _ = outbound.send(pb::WorkerMessage { kind: Some(done) });
}

async fn execute(request: Request, components: &WorkerComponents) -> Result<u64> {
    match request {
        Request::Commit(commit) => {
            let (store, committers) = open(&commit.graph, &commit.storage, components)?;
            let committables: Vec<Committable> = wire::from_json(&commit.committables, "committables")?;
            let checkpoint = CheckpointId(commit.checkpoint);
            let attempt = Attempt(commit.manifest_attempt);
            recovery::commit(&store, &components.env, &committers, checkpoint, attempt, &committables).await?;
            Ok(0)
        }
        Request::Sweep(sweep) => {
            let (_, committers) = open(&sweep.graph, &sweep.storage, components)?;
            let keep: Vec<Committable> = wire::from_json(&sweep.keep, "committables")?;
            let attempt = AttemptKey::try_from(sweep.attempt)?.attempt;
            recovery::sweep(&committers, &SweepScope { attempt, keep }).await
        }
        Request::Reset(reset) => {
            let (_, committers) = open(&reset.graph, &reset.storage, components)?;
            let attempt = AttemptKey::try_from(reset.attempt)?.attempt;
            let mut removed = 0;
            for (sink, committer) in &committers {
                let reset = committer.reset(attempt).await;
                removed += reset.map_err(|error| error.context(format!("starting over, '{sink}'")))?;
            }
            Ok(removed)
        }
    }
}

fn open(graph: &[u8], storage: &str, components: &WorkerComponents) -> Result<(CheckpointStore, Committers)> {
    let graph: JobGraph = wire::from_json(graph, "a job graph")?;
    let store = (components.open_store)(storage, &graph.name)?;
    let waits = Waits::default();
    let committers = recovery::committers(&graph, components.factory.as_ref(), &store, &components.env, &waits)?;
    Ok((store, committers))
}
