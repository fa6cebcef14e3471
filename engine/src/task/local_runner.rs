//! Runs a whole job by itself, from its newest checkpoint, until its input ends or it is asked to stop: for the tests of the
//! engine, its operators and the oracle, which look at a job without a control plane above it.
//!
//! Users' jobs are run by a coordinator and its workers, `weir run` included.

use super::{
    attempt::{self, AttemptSettings, ControlPlane, RunOutcome, StopSignal},
    checkpointing::TaskServices,
    deployment,
    observer::Observer,
    recovery::{self, LocalControl},
};
use crate::{
    checkpoint::CheckpointStore,
    env::Env,
    error::Result,
    graph::{ExecutionGraph, JobGraph},
    ids::Attempt,
    operator::Factory,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How long a checkpoint may take before the attempt is given up.
pub const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(600);

/// Settings and surroundings of a run.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Where checkpoints lie.
    pub store: CheckpointStore,
    /// Fingerprint of the definition: a checkpoint of another one is refused.
    pub definition: String,
    /// Credit of each channel, in bytes.
    pub channel_bytes: usize,
    /// Time, chance and planned crashes.
    pub env: Env,
    /// Shows what happens.
    pub observer: Arc<Observer>,
    /// Whether to forget what was before.
    pub start_over: bool,
}

impl RunSettings {
    /// The usual ones.
    pub fn new(store: CheckpointStore, definition: impl Into<String>, env: Env) -> Self {
        RunSettings {
            store,
            definition: definition.into(),
            channel_bytes: 1 << 20,
            env,
            observer: Arc::new(Observer::default()),
            start_over: false,
        }
    }
}

/// Runs a job until its input ends or it is asked to stop, from its newest checkpoint if there is one.
///
/// # Errors
/// Whatever ends the attempt. Started again it goes on from the last completed checkpoint.
pub async fn run(
    graph: JobGraph,
    factory: Arc<dyn Factory>,
    settings: RunSettings,
    stop: StopSignal,
) -> Result<RunOutcome> {
    let RunSettings { store, definition, channel_bytes, env, observer, start_over } = settings;
    let graph = Arc::new(ExecutionGraph::new(graph)?);
    let claim = store.claim(&env, Attempt(0), start_over).await?;
    let (attempt, store) = (claim.attempt, store.in_lineage(claim.lineage));
    env.crash_point("attempt.claimed")?;
    let committers = recovery::committers(&graph.job, factory.as_ref(), &store, &env, observer.waits())?;
    if recovery::starts_over(&store, claim).await? {
        store.remove_left_behind().await?;
        recovery::reset(&committers, claim.lineage).await?;
    }
    let control: Arc<dyn ControlPlane> =
        Arc::new(LocalControl { store: store.clone(), env: env.clone(), committers: Arc::new(committers), attempt });
    let newest = recovery::recover(&store, &env, control.as_ref(), &graph.job, &definition, attempt, true).await?;
    observer.begins(attempt, newest.as_ref());
    if let Some(manifest) = newest.clone().filter(|manifest| manifest.last) {
        return Ok(RunOutcome { manifest, was_finished: true });
    }
    let (reports, from_subtasks) = mpsc::unbounded_channel();
    let services = TaskServices {
        env: env.clone(),
        store: store.clone(),
        attempt,
        observer: observer.clone(),
        suspect: None,
        reports,
    };
    let all = graph.subtask_ids().collect();
    let wiring = deployment::Wiring::new(&graph, &all, channel_bytes);
    let deployed =
        deployment::deploy(&graph, factory.as_ref(), &services, newest.as_ref(), wiring.channels, &all).await?;
    env.crash_point("attempt.deployed")?;
    tracing::info!(job = graph.job.name, %attempt, subtasks = graph.subtasks(), "running");
    let running = deployed.start(&tokio::runtime::Handle::current());
    let sources = running.sources();
    let settings = AttemptSettings {
        graph,
        definition,
        store,
        env,
        attempt,
        observer,
        restored: newest,
        control,
        sources: Box::new(move |command| sources.command(command)),
        checkpoint_timeout: CHECKPOINT_TIMEOUT,
    };
    attempt::drive(settings, from_subtasks, stop).await
}
