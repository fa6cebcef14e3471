//! One attempt of a job: claimed, recovered, deployed, driven, cleaned up.

use super::{
    JobContext, Placement,
    control::ClusterControl,
    from_savepoint,
    takeover::{self, Found},
};
use crate::{
    metadata::{Command, Job, JobStatus},
    publish, scheduler,
    workers::AttemptEvent,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::mpsc;
use weir_engine::{
    checkpoint::{CheckpointStore, Claim, Manifest},
    element::Origin,
    error::{EngineError, ErrorKind, Result},
    graph::ExecutionGraph,
    ids::{Attempt, CheckpointId, Lineage},
    task::{
        Observer, Report, SourceCommand, StopSignal,
        attempt::{self, AttemptSettings, ControlPlane, RunOutcome, TakeOver},
        recovery,
    },
    wire::{self, AttemptKey},
};
use weir_proto::v1::{self as pb, coordinator_message::Kind};

/// How an attempt ended that was not canceled.
#[derive(Debug)]
pub struct AttemptEnd {
    /// What came of it.
    pub result: Result<RunOutcome>,
    /// Whether it lost a worker, which is not the job's fault.
    pub lost_worker: bool,
    /// Whether it completed a checkpoint of its own.
    pub made_progress: bool,
    /// Whether what sinks show is known to fit the checkpoint that it went on from.
    pub results_fit: bool,
}

/// A job's next attempt, whose number no other process can have, and the storage that it was claimed in.
#[derive(Debug)]
pub struct ClaimedAttempt {
    store: CheckpointStore,
    claim: Claim,
}

/// One attempt, claimed.
pub struct JobAttempt {
    context: JobContext,
    key: AttemptKey,
    graph: Arc<ExecutionGraph>,
    graph_json: bytes::Bytes,
    fingerprint: String,
    claim: Claim,
    /// Of the attempt's lineage.
    store: CheckpointStore,
    placement: Placement,
    events: mpsc::UnboundedReceiver<AttemptEvent>,
    observer: Arc<Observer>,
    /// Records that the attempt before failed on.
    suspect: Option<Origin>,
    lost_worker: bool,
    results_fit: bool,
    /// Where it goes on from, if it ran before this.
    found: Option<Undriven>,
}

/// What an attempt that runs already goes on from.
struct Undriven {
    newest: Option<Manifest>,
    early: Vec<Report>,
    takes_over: TakeOver,
}

/// What the attempts before it, of the same supervisor, have left to an attempt.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Records that the one before failed on, which are read one by one.
    pub suspect: Option<Origin>,
    /// Whether what sinks show was compared with the checkpoint gone on from, and nobody can have brought back an older state since.
    pub results_fit: bool,
}

impl JobAttempt {
    /// Claims the next attempt of a job. Nothing but the number is taken.
    ///
    /// # Errors
    /// When storage refuses, cannot be used for now, or has nothing of a job that has completed checkpoints.
    pub async fn claim(context: &JobContext, job: &Job) -> Result<ClaimedAttempt> {
        let components = &context.components;
        let store = (components.open_store)(&context.settings.storage, &job.name)?;
        // Above what the catalog knows, too: the storage may be another one.
        from_savepoint::bring_in(context, job, &store).await?;
        refuse_empty(context, job, &store).await?;
        let known = job.attempt.unwrap_or(Attempt(0));
        let claim = store.claim(&components.env, known, job.fresh_start_pending).await?;
        Ok(ClaimedAttempt { store, claim })
    }

    /// Begins a claimed attempt on a placement. `None`: the slots are not free any more.
    ///
    /// # Errors
    /// When the catalog refuses.
    pub async fn open(
        context: &JobContext,
        job: &Job,
        graph: Arc<ExecutionGraph>,
        placement: Placement,
        inherited: Inherited,
        claimed: ClaimedAttempt,
    ) -> Result<Option<Self>> {
        let (components, ClaimedAttempt { store, claim }) = (&context.components, claimed);
        let attempt = claim.attempt;
        let key = AttemptKey { job: job.name.clone(), attempt };
        let Some(events) = context.workers.open_attempt(&key, scheduler::slots_taken(&placement)) else {
            return Ok(None);
        };
        let claimed = JobAttempt {
            context: context.clone(),
            graph_json: wire::to_json(&graph.job)?,
            graph,
            fingerprint: job.fingerprint.clone(),
            claim,
            store: store.in_lineage(claim.lineage),
            placement,
            events,
            observer: components.observers.driver(attempt),
            suspect: inherited.suspect,
            lost_worker: false,
            results_fit: inherited.results_fit,
            found: None,
            key,
        };
        components.env.crash_point("attempt.claimed")?;
        let at_ms = components.env.wall_clock_ms();
        let started = Command::AttemptStarted { job: job.name.clone(), attempt, at_ms };
        context.metadata.propose(started).await?;
        context.live.update(&job.name, |live| live.placement = claimed.placement.clone());
        Ok(Some(claimed))
    }

    /// Takes over an attempt that runs, and whose driver is gone. `Err` in the result: why it cannot be; then what is left of it is
    /// canceled.
    ///
    /// # Errors
    /// When storage is away, or has nothing of the job: then nothing is decided.
    pub async fn take_over(
        context: &JobContext,
        job: &Job,
        graph: Arc<ExecutionGraph>,
        key: &AttemptKey,
    ) -> Result<Result<JobAttempt>> {
        let components = &context.components;
        let enough = components.env.now() + context.settings.heartbeat_timeout;
        let found = match takeover::look_for(context, key, &graph, enough).await {
            Ok(Ok(found)) => found,
            Ok(Err(why)) => {
                context.workers.close_attempt(key);
                return Ok(Err(why));
            }
            Err(error) => {
                // It keeps its slots, and is looked at again. Others need not wait for that: they may have all other slots.
                context.workers.settled(key);
                return Err(error);
            }
        };
        let Found { placement, events, early, store, newest, takes_over } = found;
        context.live.update(&job.name, |live| live.placement = placement.clone());
        let lineage = store.layout().lineage();
        Ok(Ok(JobAttempt {
            context: context.clone(),
            graph_json: wire::to_json(&graph.job)?,
            graph,
            fingerprint: job.fingerprint.clone(),
            claim: Claim { attempt: key.attempt, lineage, starts_over: false },
            store,
            placement,
            events,
            observer: components.observers.driver(key.attempt),
            suspect: None,
            lost_worker: false,
            results_fit: true,
            found: Some(Undriven { newest, early, takes_over }),
            key: key.clone(),
        }))
    }

    /// Which one.
    pub fn key(&self) -> &AttemptKey {
        &self.key
    }

    /// What it runs.
    pub fn graph(&self) -> &Arc<ExecutionGraph> {
        &self.graph
    }

    /// Runs it until it ends, whether well or not. It must be [cleared away](JobAttempt::clear_away) then.
    pub async fn run(&mut self, stop: StopSignal) -> AttemptEnd {
        let result = self.try_run(stop).await;
        let made_progress = self.observer.status().checkpoints > 0;
        AttemptEnd { result, lost_worker: self.lost_worker, made_progress, results_fit: self.results_fit }
    }

    async fn try_run(&mut self, stop: StopSignal) -> Result<RunOutcome> {
        if let Some(found) = self.found.take() {
            return self.go_on(found, stop).await;
        }
        let env = self.context.components.env.clone();
        self.become_status(JobStatus::Restoring, format!("attempt {}", self.key.attempt)).await?;
        let control = Arc::new(self.control());
        // Before sinks are emptied for a start-over that was interrupted.
        self.check_storage().await?;
        self.start_afresh_if_asked(&control).await?;
        from_savepoint::start(&self.context, &self.key, &self.store, &self.graph.job, &control).await?;
        let (graph, attempt, definition) = (self.graph.clone(), self.key.attempt, self.fingerprint.as_str());
        let (store, control_plane, is_compared) = (&self.store, control.as_ref(), !self.results_fit);
        let restored =
            recovery::recover(store, &env, control_plane, &graph.job, definition, attempt, is_compared).await?;
        self.results_fit = true;
        self.observer.begins(attempt, restored.as_ref());
        if let Some(manifest) = restored.clone().filter(|manifest| manifest.last) {
            return Ok(RunOutcome { manifest, was_finished: true });
        }
        self.graph = from_savepoint::with_identity(&self.graph, restored.as_ref())?;
        self.graph_json = wire::to_json(&self.graph.job)?;
        self.deploy(restored.as_ref()).await?;
        env.crash_point("attempt.deployed")?;
        // One without state was only taken to reserve its number.
        let begun = restored.as_ref().filter(|found| !found.is_beginning());
        let from = begun.map_or("the beginning".into(), |found| format!("checkpoint {}", found.checkpoint));
        self.become_status(JobStatus::Running, format!("attempt {attempt} runs from {from}")).await?;
        self.context.live.update(&self.key.job, |live| {
            if live.waiting.take().is_some() {
                tracing::info!(attempt = %self.key, "resumes after waiting");
            }
        });
        self.each_worker(|key| Kind::Start(key.into()));
        let settings = self.drivers_settings(restored, None);
        self.drive(settings, Vec::new(), stop).await
    }

    /// Drives what runs already.
    async fn go_on(&mut self, found: Undriven, stop: StopSignal) -> Result<RunOutcome> {
        let Undriven { newest, early, takes_over } = found;
        let from = newest.as_ref().map_or("the beginning".into(), |newest| format!("checkpoint {}", newest.checkpoint));
        tracing::info!(attempt = %self.key, from, "taken over: its subtasks run on");
        self.observer.begins(self.key.attempt, newest.as_ref());
        let settings = self.drivers_settings(newest, Some(takes_over));
        self.drive(settings, early, stop).await
    }

    fn drivers_settings(&self, restored: Option<Manifest>, takes_over: Option<TakeOver>) -> AttemptSettings {
        AttemptSettings {
            graph: self.graph.clone(),
            definition: self.fingerprint.clone(),
            store: self.store.clone().patient(&self.context.components.env, self.observer.waits()),
            env: self.context.components.env.clone(),
            attempt: self.key.attempt,
            observer: self.observer.clone(),
            restored,
            control: Arc::new(self.control()),
            sources: self.commander(),
            checkpoint_timeout: self.context.settings.checkpoint_timeout,
            savepoints: self.context.live.savepoints(&self.key.job),
            takes_over,
        }
    }

    /// What the catalog knows to be complete must exist: resuming from less would count again what has been counted.
    async fn check_storage(&self) -> Result<()> {
        let started_over = self.claim.starts_over.then_some(self.claim.lineage);
        let Some(known) = known_complete(&self.context, &self.key.job, started_over) else { return Ok(()) };
        let there = self.store.newest().await?.map(|manifest| manifest.checkpoint);
        if there >= Some(known) {
            return Ok(());
        }
        Err(lacks(&self.context.settings.storage, &self.key.job, known, there))
    }

    /// Discards what the job was before, when its user wants that. Its claimed attempt fences any that still runs it, and has started a
    /// lineage that no other attempt writes to. One that was interrupted elsewhere is finished.
    async fn start_afresh_if_asked(&self, control: &ClusterControl) -> Result<()> {
        let catalog = self.context.metadata.catalog();
        let Some(job) = catalog.job(&self.key.job) else { return Ok(()) };
        if !job.fresh_start_pending && !recovery::starts_over(&self.store, self.claim).await? {
            return Ok(());
        }
        let objects = self.store.remove_left_behind().await?;
        let mut outputs = 0;
        // The definition may have had other sinks then.
        for graph in job.forgotten_graphs.iter().chain([&job.graph]) {
            outputs += control.reset(wire::to_json(graph)?).await?;
        }
        tracing::info!(attempt = %self.key, objects, outputs, "started over");
        if !job.fresh_start_pending {
            return Ok(());
        }
        let (job, attempt) = (self.key.job.clone(), self.key.attempt);
        self.context.metadata.propose(Command::FreshStartDone { job, attempt }).await?;
        Ok(())
    }

    /// Has every worker build and restore its subtasks, and waits until all stand: for as long as state comes back, however much of it
    /// there is, or somebody says what is waited for.
    async fn deploy(&mut self, restored: Option<&Manifest>) -> Result<()> {
        let deploy = self.deployment(restored.map(|manifest| manifest.checkpoint))?;
        let mut waited_for = self.workers();
        for worker in &waited_for {
            if !self.context.workers.order(worker, Kind::Deploy(deploy.clone())) {
                self.lost_worker = true;
                return Err(EngineError::io(format!("worker {worker} was lost before it could be given its subtasks")));
            }
        }
        let env = self.context.components.env.clone();
        let limit = self.context.settings.deploy_timeout;
        let (mut enough, mut restored_bytes) = (env.now() + limit, self.restored_bytes());
        while !waited_for.is_empty() {
            let event = tokio::select! {
                biased;
                event = self.events.recv() => event,
                () = env.sleep_until(enough) => {
                    let before = std::mem::replace(&mut restored_bytes, self.restored_bytes());
                    if restored_bytes == before && !self.control().waits() {
                        return Err(EngineError::io(format!("workers {waited_for:?} were not ready within {limit:?}")));
                    }
                    enough = env.now() + limit;
                    continue;
                }
            };
            match event {
                Some(AttemptEvent::Deployed(worker, result)) => {
                    // Which of several; where there is one, everything is about it.
                    let is_alone = self.workers().len() == 1;
                    result.map_err(|error| if is_alone { error } else { error.context(format!("worker {worker}")) })?;
                    waited_for.remove(&worker);
                }
                Some(AttemptEvent::Lost(worker, cause)) if self.workers().contains(&worker) => {
                    self.lost_worker = true;
                    return Err(EngineError::io(format!("worker {worker} was lost: {cause}")));
                }
                Some(_) => {}
                None => return Err(EngineError::internal("an attempt's events ended")),
            }
        }
        Ok(())
    }

    /// How much state is back on workers that have not all of theirs: another number after a while means that they get on.
    fn restored_bytes(&self) -> u64 {
        publish::restoring(&self.context.workers.views()).get(&self.key).map_or(0, |so_far| so_far.restored_bytes)
    }

    fn deployment(&self, checkpoint: Option<CheckpointId>) -> Result<pb::Deploy> {
        use rand::RngExt;
        let mut placements = Vec::new();
        for worker in self.workers() {
            let data_address = self.context.workers.data_address(&worker).unwrap_or_default();
            let here = self.placement.iter().filter(|(_, at)| **at == worker);
            let subtasks = here.map(|(id, _)| (*id).into()).collect();
            placements.push(pb::Placement { worker, data_address, subtasks });
        }
        let purpose = format!("token of {} {}", self.key, self.context.components.env.nonce());
        let token: [u8; 32] = self.context.components.env.rng(&purpose).random();
        Ok(pb::Deploy {
            attempt: Some((&self.key).into()),
            graph: self.graph_json.clone(),
            storage: self.context.settings.storage.clone(),
            checkpoint: checkpoint.map_or(0, |checkpoint| checkpoint.0),
            placements,
            token: token.to_vec().into(),
            suspect: self.suspect.as_ref().map(Into::into),
            lineage: self.claim.lineage.0,
        })
    }

    async fn drive(&mut self, settings: AttemptSettings, early: Vec<Report>, stop: StopSignal) -> Result<RunOutcome> {
        self.context.live.update(&self.key.job, |live| live.waits = self.observer.waits().clone());
        let (reports, from_subtasks) = mpsc::unbounded_channel();
        for report in early {
            // The receiver is here.
            let _ = reports.send(report);
        }
        let mut driving = std::pin::pin!(attempt::drive(settings, from_subtasks, stop));
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(AttemptEvent::Report(report)) => {
                        // The driver that does not listen any more has an answer, below.
                        let _ = reports.send(report);
                    }
                    Some(AttemptEvent::Lost(worker, cause)) => {
                        if let Some((id, _)) = self.placement.iter().find(|(_, at)| **at == worker) {
                            self.lost_worker = true;
                            let _ = reports.send(Report::Failed(*id, EngineError::io(format!("worker {worker} was lost: {cause}"))));
                        }
                    }
                    Some(_) => {}
                    None => return Err(EngineError::internal("an attempt's events ended")),
                },
                outcome = &mut driving => return outcome,
            }
        }
    }

    /// Makes visible what completed checkpoints have decided, before the job ends: it might never be done later. A failure is
    /// reported, and left to the next submission of the job; so is a target that has to be waited for.
    pub async fn commit_decided(&self) {
        let env = self.context.components.env.clone();
        let moment = self.context.settings.cancel_timeout;
        let enough = async {
            for _ in 0..10 {
                env.sleep(moment).await;
                if self.control().waits() {
                    return;
                }
            }
        };
        let committing = async {
            // One that this job cannot resume from is not its to commit; nor one that is older than what the sinks show, for which
            // a start was refused.
            let (graph, control, attempt) = (&self.graph.job, self.control(), self.key.attempt);
            recovery::commit_newest(&self.store, &control, graph, &self.fingerprint, attempt, true).await
        };
        let done = tokio::select! {
            biased;
            done = committing => done,
            () = enough => Err(EngineError::io("no worker did it in time")),
        };
        if let Err(error) = done {
            tracing::warn!(attempt = %self.key, %error, "the last checkpoint is not committed; the next submission commits it");
        }
    }

    /// Ends what workers still run of it, and waits until it is gone or they are. Its slots are free when this is dropped. A worker that does not
    /// answer in time is not waited for: whatever it still does carries a stale attempt.
    ///
    /// Returns the worker that turned out to be lost, if one did: its end may be known to those who talked with it before it
    /// is known here.
    pub async fn clear_away(&mut self) -> Option<EngineError> {
        let mut waited_for = self.workers();
        waited_for.retain(|worker| self.context.workers.order(worker, Kind::Cancel((&self.key).into())));
        let gone = self.workers().into_iter().find(|worker| !waited_for.contains(worker));
        let mut lost = gone.map(|worker| EngineError::io(format!("worker {worker} was lost")));
        let env = self.context.components.env.clone();
        let enough = env.now() + self.context.settings.cancel_timeout;
        while !waited_for.is_empty() {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(AttemptEvent::Canceled(worker)) => { waited_for.remove(&worker); }
                    Some(AttemptEvent::Lost(worker, cause)) => {
                        if waited_for.remove(&worker) {
                            lost = Some(EngineError::io(format!("worker {worker} was lost: {cause}")));
                        }
                    }
                    Some(_) => {}
                    None => break,
                },
                () = env.sleep_until(enough) => {
                    tracing::warn!(attempt = %self.key, workers = ?waited_for, "did not confirm in time that the attempt has ended");
                    break;
                }
            }
        }
        self.context.live.update(&self.key.job, |live| live.placement.clear());
        lost
    }

    /// Records and commits for this attempt.
    fn control(&self) -> ClusterControl {
        let (context, key) = (self.context.clone(), self.key.clone());
        ClusterControl::new(context, key, self.graph_json.clone(), self.store.layout().clone())
    }

    /// Those that it runs on.
    pub fn workers(&self) -> BTreeSet<String> {
        self.placement.values().cloned().collect()
    }

    fn each_worker(&self, order: impl Fn(&AttemptKey) -> Kind) {
        for worker in self.workers() {
            // One that is lost is heard of as an event.
            self.context.workers.order(&worker, order(&self.key));
        }
    }

    /// Commands the sources, and those lookups that hear it, on whatever workers they are.
    fn commander(&self) -> Box<dyn Fn(SourceCommand) + Send + Sync> {
        let commanded: BTreeSet<usize> = self.graph.exhaustible_tasks().collect();
        let with_them = self.placement.iter().filter(|(id, _)| commanded.contains(&id.task));
        let targets: BTreeSet<String> = with_them.map(|(_, worker)| worker.clone()).collect();
        let (workers, key) = (self.context.workers.clone(), self.key.clone());
        Box::new(move |command| {
            for worker in &targets {
                workers.order(worker, wire::command_to_wire(&key, command));
            }
        })
    }

    async fn become_status(&self, status: JobStatus, cause: String) -> Result<()> {
        self.context.become_status(&self.key.job, Some(self.key.attempt), status, cause).await
    }
}

/// Not even a claim is written where there is nothing of a job that has completed checkpoints: it would pass for the job's storage
/// from then on. (Where a job has claimed anything, a claim stays.)
async fn refuse_empty(context: &JobContext, job: &Job, store: &CheckpointStore) -> Result<()> {
    let Some(known) = known_complete(context, &job.name, None) else { return Ok(()) };
    match store.newest_attempt().await? {
        Some(_) => Ok(()),
        None => Err(lacks(&context.settings.storage, &job.name, known, None)),
    }
}

/// The newest checkpoint that the catalog knows to be complete, which must be in the storage. `started_over`: the lineage there, if it
/// was begun by a start-over.
pub(super) fn known_complete(context: &JobContext, job: &str, started_over: Option<Lineage>) -> Option<CheckpointId> {
    let catalog = context.metadata.catalog();
    let newest = catalog.job(job)?.checkpoints.back()?;
    // Else the catalog is older than the storage, as after it was restored from a backup: the job was started over since.
    started_over.is_none_or(|lineage| lineage.0 <= newest.attempt.0).then_some(newest.checkpoint)
}

/// What a storage is refused with that lacks what is complete. Where it has none at all, waiting can heal it.
pub(super) fn lacks(storage: &str, job: &str, known: CheckpointId, there: Option<CheckpointId>) -> EngineError {
    let (kind, there) = match there {
        Some(there) => (ErrorKind::Corrupt, format!("only checkpoint {there}")),
        // A folder with nothing in it is where something is mounted, mostly.
        None if storage.starts_with("file:") => (ErrorKind::Unavailable, "none (is it mounted?)".into()),
        None => (ErrorKind::Unavailable, "none".into()),
    };
    EngineError::of(
        kind,
        format!(
            "checkpoint {known} of job '{job}' is complete, but the storage '{storage}' has {there}: give the coordinator the storage \
             that has it, or submit the job with --fresh to discard it and start over"
        ),
    )
}

impl Drop for JobAttempt {
    /// A coordinator that leads no more drops what it drove, without a word to workers: they hear it from its successor.
    fn drop(&mut self) {
        self.context.workers.close_attempt(&self.key);
    }
}
