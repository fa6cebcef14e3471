//! Drives a whole job in one process: what a coordinator does, with function calls for messages.
//!
//! The commit point is the creation of a checkpoint's manifest: it fails where there is one already, and numbers have no
//! gaps, so that of two processes that believe to own a job only one can go on.

use super::{
    checkpointing::{Report, TaskServices},
    deployment::{self, Deployment},
    observer::Observer,
    recovery::{self, Committers},
    subtask::SourceCommand,
};
use crate::{
    checkpoint::{
        CheckpointStore, Manifest,
        manifest::FORMAT_VERSION,
        pending::{Acknowledgement, PendingCheckpoint},
        retire,
    },
    env::{Env, Moment},
    error::{EngineError, Result},
    graph::{ExecutionGraph, JobGraph},
    ids::{Attempt, CheckpointId, SubtaskId},
    operator::{Committable, Factory},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};

/// Checkpoints whose commit may be outstanding before the next one has to wait.
const MAX_UNCOMMITTED: usize = 8;

/// How long a failure is waited for of which so far only the echo is known.
const CAUSE_WAIT: Duration = Duration::from_secs(2);

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
        }
    }
}

/// How a run ended, when it did not fail.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The last checkpoint, all of it committed.
    pub manifest: Manifest,
    /// Whether it had been finished before this run began.
    pub was_finished: bool,
}

/// Asks a run to stop with a last checkpoint and commit.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Sender<bool>);

impl Default for StopSignal {
    fn default() -> Self {
        StopSignal(watch::Sender::new(false))
    }
}

impl StopSignal {
    /// Asks to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    async fn stopped(&self) {
        let mut watching = self.0.subscribe();
        // The sender lives as long as self.
        let _ = watching.wait_for(|stop| *stop).await;
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
    let RunSettings { store, definition, channel_bytes, env, observer } = settings;
    let graph = ExecutionGraph::new(graph)?;
    let attempt = store.claim_attempt(&env).await?;
    observer.update(|run| run.attempt = Some(attempt));
    env.crash_point("attempt.claimed")?;
    let committers = recovery::committers(&graph.job, factory.as_ref(), &env)?;
    let newest = recovery::take_over(&store, &env, &committers, &graph.job, &definition, attempt).await?;
    recovery::sweep(&store, &env, &committers, newest.as_ref(), attempt, graph.job.checkpoint.retain).await?;
    observer.update(|run| run.restored = newest.as_ref().map(|manifest| manifest.checkpoint));
    if let Some(manifest) = newest.clone().filter(|manifest| manifest.last) {
        return Ok(RunOutcome { manifest, was_finished: true });
    }
    let (reports, from_subtasks) = mpsc::unbounded_channel();
    let services = TaskServices { env, store, attempt, observer, reports };
    let deployed = deployment::deploy(&graph, factory.as_ref(), &services, newest.as_ref(), channel_bytes).await?;
    services.env.crash_point("attempt.deployed")?;
    tracing::info!(job = graph.job.name, %attempt, subtasks = graph.subtasks(), "running");
    let runner = Runner::new(graph, definition, services, committers, newest, deployed);
    runner.drive(from_subtasks, stop).await
}

/// The coordinating side of a run.
struct Runner {
    graph: ExecutionGraph,
    definition: String,
    services: TaskServices,
    committers: Arc<Committers>,
    sources: HashMap<SubtaskId, mpsc::UnboundedSender<SourceCommand>>,
    subtasks: JoinSet<Result<()>>,
    reading: HashSet<SubtaskId>,
    stopping: bool,
    next: CheckpointId,
    next_due: Moment,
    pending: Option<InProgress>,
    /// Completed checkpoints that are being committed, oldest first.
    uncommitted: VecDeque<(CheckpointId, Vec<Committable>)>,
    committing: JoinSet<Result<CheckpointId>>,
    newest: Option<Manifest>,
    /// The last checkpoint of this run is complete; what is left is to commit it.
    ended: bool,
}

struct InProgress {
    checkpoint: PendingCheckpoint,
    triggered: Moment,
    last: bool,
}

impl Runner {
    fn new(
        graph: ExecutionGraph,
        definition: String,
        services: TaskServices,
        committers: Committers,
        newest: Option<Manifest>,
        deployed: Deployment,
    ) -> Self {
        let Deployment { subtasks, sources } = deployed;
        let mut running = JoinSet::new();
        for subtask in subtasks {
            running.spawn(subtask.run());
        }
        let next = newest.as_ref().map_or(CheckpointId(1), |manifest| manifest.checkpoint.next());
        Runner {
            reading: sources.keys().copied().collect(),
            next_due: services.env.now() + graph.job.checkpoint.interval(),
            graph,
            definition,
            services,
            committers: Arc::new(committers),
            sources,
            subtasks: running,
            stopping: false,
            next,
            pending: None,
            uncommitted: VecDeque::new(),
            committing: JoinSet::new(),
            newest,
            ended: false,
        }
    }

    async fn drive(mut self, mut reports: mpsc::UnboundedReceiver<Report>, stop: StopSignal) -> Result<RunOutcome> {
        loop {
            self.trigger_if_due()?;
            self.commit_next();
            if self.ended && self.uncommitted.is_empty() {
                break;
            }
            let due = self.next_due;
            let env = self.services.env.clone();
            let waits = self.pending.is_none() && !self.ended && self.uncommitted.len() < MAX_UNCOMMITTED;
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.on_report(report).await?,
                Some(ended) = self.subtasks.join_next() => self.on_subtask_end(ended).await?,
                Some(committed) = self.committing.join_next() => self.on_committed(committed)?,
                () = stop.stopped(), if !self.stopping && !self.ended => self.stopping = true,
                () = env.sleep_until(due), if waits => {}
            }
        }
        self.finish().await
    }

    /// Ends the streams: everything is committed.
    async fn finish(mut self) -> Result<RunOutcome> {
        self.services.env.crash_point("run.committed")?;
        for source in self.sources.values() {
            // A source that is gone has failed, and its end is found below.
            let _ = source.send(SourceCommand::Finish);
        }
        while let Some(ended) = self.subtasks.join_next().await {
            self.on_subtask_end(ended).await?;
        }
        let manifest = self.newest.ok_or_else(|| EngineError::internal("a run ended without a checkpoint"))?;
        Ok(RunOutcome { manifest, was_finished: false })
    }

    fn trigger_if_due(&mut self) -> Result<()> {
        let last = self.reading.is_empty() || self.stopping;
        let due = last || self.services.env.now() >= self.next_due;
        if !due || self.ended || self.pending.is_some() || self.uncommitted.len() >= MAX_UNCOMMITTED {
            return Ok(());
        }
        let (checkpoint, triggered) = (self.next, self.services.env.now());
        self.next_due = triggered + self.graph.job.checkpoint.interval();
        self.services.env.crash_point("checkpoint.triggered")?;
        for source in self.sources.values() {
            // A source that is gone has failed, which its own report says.
            let _ = source.send(SourceCommand::Checkpoint { checkpoint, last });
        }
        let pending = PendingCheckpoint::new(checkpoint, &self.graph);
        self.pending = Some(InProgress { checkpoint: pending, triggered, last });
        Ok(())
    }

    async fn on_report(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Acknowledged(acknowledgement) => self.on_acknowledged(acknowledgement).await,
            Report::Exhausted(subtask) => {
                self.reading.remove(&subtask);
                Ok(())
            }
            Report::Failed(subtask, error) => {
                tracing::debug!(%subtask, %error, "subtask failed");
                Err(self.root_cause(error).await)
            }
        }
    }

    /// The failure that began it. A subtask whose neighbour died first only reports the silence, and may be heard before the one
    /// that died: then the others are waited for, a moment.
    async fn root_cause(&mut self, reported: EngineError) -> EngineError {
        let mut cause = reported;
        let env = self.services.env.clone();
        let enough = env.now() + CAUSE_WAIT;
        while is_echo(&cause) {
            let ended = tokio::select! {
                Some(ended) = self.subtasks.join_next() => ended,
                Some(committed) = self.committing.join_next() => committed.map(|committed| committed.map(|_| ())),
                () = env.sleep_until(enough) => break,
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => cause = error,
                Err(panic) => cause = EngineError::internal(format!("a subtask panicked: {panic}")),
            }
        }
        cause
    }

    async fn on_subtask_end(&mut self, ended: Result<Result<()>, JoinError>) -> Result<()> {
        match ended {
            Ok(Ok(())) if self.ended => Ok(()),
            Ok(Ok(())) => Err(EngineError::internal("a subtask ended before the last checkpoint")),
            Ok(Err(error)) => Err(self.root_cause(error).await),
            Err(panic) => Err(EngineError::internal(format!("a subtask panicked: {panic}"))),
        }
    }

    async fn on_acknowledged(&mut self, acknowledgement: Acknowledgement) -> Result<()> {
        let Some(pending) = &mut self.pending else {
            return Err(EngineError::internal(format!(
                "subtask {} acknowledged checkpoint {}, which nobody waits for",
                acknowledgement.subtask, acknowledgement.checkpoint
            )));
        };
        if !pending.checkpoint.acknowledge(acknowledgement)? {
            return Ok(());
        }
        match self.pending.take() {
            Some(complete) => self.complete(complete).await,
            None => Ok(()),
        }
    }

    /// Everything is durable: write the manifest. From its creation on the checkpoint's results will become visible.
    async fn complete(&mut self, complete: InProgress) -> Result<()> {
        let InProgress { checkpoint, triggered, last } = complete;
        let id = checkpoint.checkpoint();
        let acknowledged = checkpoint.into_acknowledged();
        let TaskServices { env, store, attempt, observer, .. } = self.services.clone();
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            weir_version: env!("CARGO_PKG_VERSION").into(),
            job: self.graph.job.name.clone(),
            definition: self.definition.clone(),
            checkpoint: id,
            attempt,
            completed_at_ms: env.wall_clock_ms(),
            duration_ms: (env.now() - triggered).as_millis() as u64,
            last: last && self.reading.is_empty(),
            max_parallelism: self.graph.job.max_parallelism,
            operators: acknowledged.operators,
            committables: acknowledged.committables,
            uncommitted: self.uncommitted.iter().flat_map(|(_, committables)| committables.clone()).collect(),
        };
        env.crash_point("manifest.before")?;
        refuse_if_replaced(&store, attempt).await?;
        let bytes = manifest.to_bytes()?;
        if !store.create(&env, &store.layout().manifest(id), bytes.into()).await? {
            return Err(EngineError::fenced(format!(
                "checkpoint {id} was completed by another process: this one stops"
            )));
        }
        env.crash_point("manifest.created")?;
        // A successor that has come far may have forgotten its own checkpoint of this number, so that creating it proves nothing.
        refuse_if_replaced(&store, attempt).await?;
        tracing::debug!(checkpoint = %id, took_ms = manifest.duration_ms, last, "checkpoint complete");
        observer.completed(&manifest);
        self.uncommitted.push_back((id, manifest.committables.clone()));
        self.newest = Some(manifest);
        self.next = id.next();
        self.ended = last;
        Ok(())
    }

    /// Commits the oldest completed checkpoint, beside the processing; one at a time, so in order.
    fn commit_next(&mut self) {
        if !self.committing.is_empty() {
            return;
        }
        let Some((checkpoint, committables)) = self.uncommitted.front().cloned() else { return };
        let (services, committers) = (self.services.clone(), self.committers.clone());
        let retain = self.graph.job.checkpoint.retain;
        self.committing.spawn(async move {
            let TaskServices { env, store, attempt, .. } = services;
            recovery::commit(&store, &env, &committers, checkpoint, &committables).await?;
            retire::retire(&store, &env, retain, attempt, false).await?;
            Ok(checkpoint)
        });
    }

    fn on_committed(&mut self, committed: Result<Result<CheckpointId>, JoinError>) -> Result<()> {
        let committed = committed.map_err(|error| EngineError::internal(format!("committing failed: {error}")))??;
        self.uncommitted.pop_front();
        self.services.observer.update(|run| run.committed = Some(committed));
        Ok(())
    }
}

/// Whether an error only says that a neighbour is gone.
fn is_echo(error: &EngineError) -> bool {
    error.message.contains("the consumer of a channel is gone")
        || error.message.contains("closed without an end of input")
}

async fn refuse_if_replaced(store: &CheckpointStore, attempt: Attempt) -> Result<()> {
    match store.newest_attempt().await? {
        Some(newest) if newest > attempt => Err(EngineError::fenced(format!(
            "attempt {newest} has replaced attempt {attempt}: another process runs this job, this one stops"
        ))),
        _ => Ok(()),
    }
}
