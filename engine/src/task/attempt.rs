//! Drives one attempt of a job: triggers checkpoints, collects their acknowledgements, writes manifests, commits.
//!
//! It knows neither where subtasks run nor who executes a commit: it hears [`Report`]s, gives [`SourceCommand`]s, and asks a
//! [`ControlPlane`]. So one process and a cluster are driven by the same code.
//!
//! The commit point is the creation of a checkpoint's manifest: it fails where there is one already, and numbers have no
//! gaps, so that of two processes that believe to own a job only one can continue.

mod pace;

use super::{
    checkpointing::Report,
    observer::Observer,
    recovery,
    savepoints::{Asked as AskedSavepoints, Reply, Savepoints},
    subtask::SourceCommand,
};
use crate::{
    checkpoint::{
        CheckpointStore, Manifest,
        manifest::{Results, format_version},
        pending::{Acknowledgement, PendingCheckpoint},
        pins,
        retire::{self, Completed},
    },
    env::{Env, Moment},
    error::{EngineError, ErrorKind, Result},
    graph::ExecutionGraph,
    ids::{Attempt, CheckpointId, SubtaskId},
    operator::{Committable, ShownResults, SweepScope},
};
use futures::future::BoxFuture;
use pace::Paces;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};

/// Checkpoints whose commit may be outstanding before the next one has to wait. Sources read on for as many intervals more;
/// what they read then would have to be kept by the sinks, without bound.
const MAX_UNCOMMITTED: usize = 32;

/// Checkpoints that are committed together at most, if so many wait: so that sources that are held go on before all of them are done.
const MAX_TOGETHER: usize = MAX_UNCOMMITTED / 2;

/// How long a failure is waited for of which so far only the echo is known.
const CAUSE_WAIT: Duration = Duration::from_secs(2);

/// Who keeps the record of a job and executes its commits: this process, or a cluster.
pub trait ControlPlane: Send + Sync {
    /// Takes down that a checkpoint is complete, durably. Nothing of it is committed before.
    ///
    /// # Errors
    /// When it cannot be taken down, or another owner has the job.
    fn completed<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<()>>;

    /// Makes the committables of completed checkpoints, whose manifests `attempt` wrote, visible and marks that they are. Doing it
    /// again changes nothing. Checkpoints are in order; there may be committables of others before them.
    ///
    /// # Errors
    /// When a sink or storage refuses.
    fn commit(
        &self,
        checkpoints: Vec<CheckpointId>,
        attempt: Attempt,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<()>>;

    /// Removes what dead attempts have staged in the job's sinks.
    ///
    /// # Errors
    /// When a sink refuses.
    fn sweep(&self, scope: SweepScope) -> BoxFuture<'static, Result<()>>;

    /// What the job's sinks show, by sink.
    ///
    /// # Errors
    /// When a sink refuses, or it is another job's.
    fn shown(&self) -> BoxFuture<'static, Result<BTreeMap<String, ShownResults>>>;

    /// Whether somebody says that the attempt waits for a storage or for a sink's target, which nobody is to be blamed for.
    fn waits(&self) -> bool {
        false
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

/// What a run has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// To continue.
    Nothing,
    /// To stop with a last checkpoint and commit.
    Stop,
    /// To let event time go to its end first, as if the input had ended.
    Drain,
}

/// Asks a run to stop with a last checkpoint and commit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Sender<Asked>);

impl Default for StopSignal {
    fn default() -> Self {
        StopSignal(watch::Sender::new(Asked::Nothing))
    }
}

impl StopSignal {
    /// Asks to stop: the job can resume later.
    pub fn stop(&self) {
        self.ask(Asked::Stop);
    }

    /// Asks to end the job as if its input had ended: all windows fire.
    pub fn drain(&self) {
        self.ask(Asked::Drain);
    }

    fn ask(&self, what: Asked) {
        self.0.send_if_modified(|asked| {
            let more = what > *asked;
            *asked = what.max(*asked);
            more
        });
    }

    fn asked(&self) -> Asked {
        *self.0.borrow()
    }

    /// Waits until it is asked for an end, of one kind or the other.
    pub async fn asked_to_stop(&self) {
        self.asked_for_more_than(Asked::Nothing).await;
    }

    async fn asked_for_more_than(&self, known: Asked) -> Asked {
        let mut watching = self.0.subscribe();
        // The sender lives as long as self.
        watching.wait_for(|asked| *asked > known).await.map_or(known, |asked| *asked)
    }
}

/// What drives an attempt, and with which means.
pub struct AttemptSettings {
    /// The graph.
    pub graph: Arc<ExecutionGraph>,
    /// Fingerprint of the definition.
    pub definition: String,
    /// Where checkpoints lie.
    pub store: CheckpointStore,
    /// Time, chance and planned crashes.
    pub env: Env,
    /// The attempt's number, claimed.
    pub attempt: Attempt,
    /// Shows what happens.
    pub observer: Arc<Observer>,
    /// What the attempt was restored from.
    pub restored: Option<Manifest>,
    /// The record, and the commits.
    pub control: Arc<dyn ControlPlane>,
    /// Tells every source something; one that is gone has failed, which its own report says.
    pub sources: Box<dyn Fn(SourceCommand) + Send + Sync>,
    /// How long a checkpoint may take before the attempt is given up.
    pub checkpoint_timeout: Duration,
    /// The savepoints that the job is asked for.
    pub savepoints: Savepoints,
    /// Of an attempt whose subtasks run already: their driver is gone, and this one goes on for it.
    pub takes_over: Option<TakeOver>,
}

/// What is known of a driver that is gone. Its attempt's newest checkpoint is what [`AttemptSettings::restored`] says; of all later
/// ones at most the next had been triggered, at some sources or at all.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver {
    /// Whether the newest checkpoint was triggered as the last one: what is left is to commit it.
    pub newest_was_last: bool,
    /// Whether the checkpoint after the newest was triggered as the last one, if some source has heard of it. Barriers of one checkpoint
    /// must agree on that.
    pub next: Option<bool>,
}

/// Drives an attempt whose subtasks run, until its input ends or it is asked to stop.
///
/// # Errors
/// Whatever ends the attempt: its root cause, not an echo of it.
pub async fn drive(
    settings: AttemptSettings,
    reports: mpsc::UnboundedReceiver<Report>,
    stop: StopSignal,
) -> Result<RunOutcome> {
    let completed = Completed::list(&settings.store, settings.graph.job.checkpoint.retain).await?;
    let mut driver = Driver::new(settings, completed);
    driver.take_over().await?;
    driver.drive(reports, stop).await
}

struct Driver {
    settings: AttemptSettings,
    /// Subtasks that have not ended.
    running: BTreeSet<SubtaskId>,
    /// Sources and lookups that have more.
    reading: BTreeSet<SubtaskId>,
    asked: Asked,
    next: CheckpointId,
    next_due: Moment,
    pending: Option<InProgress>,
    /// Completed checkpoints that are being committed, oldest first.
    uncommitted: VecDeque<(CheckpointId, Vec<Committable>)>,
    committing: JoinSet<Result<CheckpointId>>,
    newest: Option<Manifest>,
    /// All that are there.
    completed: Completed,
    /// Whoever wants a checkpoint as a savepoint, in order. Each gets one of its own, which it may release when it wants.
    wanted: VecDeque<Reply>,
    /// Completed checkpoints that are to be savepoints once they are committed, and who waits for them.
    promised: Vec<(CheckpointId, Reply)>,
    /// Sources read nothing: commits are too far behind.
    held: bool,
    /// The last checkpoint of this run is complete; what is left is to commit it.
    ended: bool,
    paces: Paces,
}

struct InProgress {
    checkpoint: PendingCheckpoint,
    triggered: Moment,
    /// When it will have taken too long.
    enough: Moment,
    /// When it is looked at why it takes so long: sources cannot read on for ever meanwhile.
    look: Moment,
    /// It takes so long because a storage is away.
    waits: bool,
    last: bool,
    /// Who wants it as a savepoint.
    wanted: Option<Reply>,
}

impl Driver {
    fn new(settings: AttemptSettings, completed: Completed) -> Self {
        let newest = settings.restored.clone();
        let next = newest.as_ref().map_or(CheckpointId(1), |manifest| manifest.checkpoint.next());
        let exhaustible: BTreeSet<usize> = settings.graph.exhaustible_tasks().collect();
        let running: BTreeSet<SubtaskId> = settings.graph.subtask_ids().collect();
        Driver {
            reading: running.iter().filter(|id| exhaustible.contains(&id.task)).copied().collect(),
            running,
            next_due: settings.env.now() + settings.graph.job.checkpoint.interval(),
            settings,
            asked: Asked::Nothing,
            next,
            pending: None,
            uncommitted: VecDeque::new(),
            committing: JoinSet::new(),
            newest,
            completed,
            wanted: VecDeque::new(),
            promised: Vec::new(),
            held: false,
            ended: false,
            paces: Paces::default(),
        }
    }

    /// Goes on where a driver ended: records and commits the newest checkpoint, which that one may not have done, and triggers the
    /// next, if it has done so at some sources. Both are idempotent, and no barrier stays behind that others wait for.
    async fn take_over(&mut self) -> Result<()> {
        let Some(TakeOver { newest_was_last, next }) = self.settings.takes_over else { return Ok(()) };
        if let Some(newest) = &self.newest {
            self.settings.control.completed(newest).await?;
            self.uncommitted.push_back((newest.checkpoint, newest.to_commit().cloned().collect()));
        }
        if newest_was_last {
            self.ended = true;
            return Ok(());
        }
        (self.settings.sources)(SourceCommand::GoOn);
        next.map_or(Ok(()), |last| self.trigger(last))
    }

    async fn drive(mut self, mut reports: mpsc::UnboundedReceiver<Report>, stop: StopSignal) -> Result<RunOutcome> {
        // Heeded before anything else: a predecessor may have drained the sources.
        let asked = stop.asked();
        if asked > self.asked && !self.ended {
            self.on_asked(asked);
        }
        loop {
            self.trigger_if_due()?;
            self.commit_next();
            self.hold_sources();
            self.tell_paces();
            if self.ended && self.uncommitted.is_empty() {
                break;
            }
            let due = self.next_timer();
            let (env, savepoints) = (self.settings.env.clone(), self.settings.savepoints.clone());
            tokio::select! {
                biased;
                report = reports.recv() => {
                    let report = report.ok_or_else(|| EngineError::internal("nobody reports any more"))?;
                    self.on_report(report, &mut reports).await?;
                }
                Some(committed) = self.committing.join_next() => self.on_committed(committed)?,
                asked = stop.asked_for_more_than(self.asked), if !self.ended => self.on_asked(asked),
                asked = savepoints.next(), if !self.ended => self.on_asked_for_savepoints(asked),
                () = env.sleep_until(due.unwrap_or(self.next_due)), if due.is_some() => self.check_time()?,
            }
        }
        self.finish(reports).await
    }

    /// Ends the streams: everything is committed.
    async fn finish(mut self, mut reports: mpsc::UnboundedReceiver<Report>) -> Result<RunOutcome> {
        self.settings.env.crash_point("run.committed")?;
        (self.settings.sources)(SourceCommand::Finish);
        while !self.running.is_empty() {
            let report = reports.recv().await.ok_or_else(|| EngineError::internal("nobody reports any more"))?;
            self.on_report(report, &mut reports).await?;
        }
        let manifest = self.newest.ok_or_else(|| EngineError::internal("a run ended without a checkpoint"))?;
        Ok(RunOutcome { manifest, was_finished: false })
    }

    fn on_asked(&mut self, asked: Asked) {
        self.asked = asked;
        if asked == Asked::Drain {
            (self.settings.sources)(SourceCommand::Drain);
        }
    }

    fn on_asked_for_savepoints(&mut self, asked: AskedSavepoints) {
        self.wanted.extend(asked.wanted);
        asked.released.into_iter().for_each(|checkpoint| self.completed.unpin(checkpoint));
    }

    /// The moment to wake up at, if any: a checkpoint is due, or has taken too long, or sources are to hear of each other.
    fn next_timer(&self) -> Option<Moment> {
        let of_checkpoints = match &self.pending {
            Some(pending) => Some(pending.enough.min(pending.look)),
            None if self.ended || self.is_draining() => None,
            None if self.uncommitted.len() < MAX_UNCOMMITTED => Some(self.next_due),
            None => (!self.held).then(|| self.hold_due()),
        };
        of_checkpoints.into_iter().chain(self.paces.due(self.settings.env.now())).min()
    }

    /// Tells sources where the slowest of their subtasks are.
    fn tell_paces(&mut self) {
        for command in self.paces.tell(self.settings.env.now()) {
            (self.settings.sources)(command);
        }
    }

    /// A checkpoint that takes too long ends the attempt, unless that is because of a storage that is away.
    fn check_time(&mut self) -> Result<()> {
        let (now, interval) = (self.settings.env.now(), self.settings.graph.job.checkpoint.interval());
        let Some(pending) = self.pending.as_mut().filter(|pending| now >= pending.enough.min(pending.look)) else {
            return Ok(());
        };
        pending.waits = self.settings.control.waits();
        pending.look = now + interval;
        if now < pending.enough {
            return Ok(());
        }
        if pending.waits {
            pending.enough = now + self.settings.checkpoint_timeout;
            return Ok(());
        }
        let missing: Vec<String> = pending.checkpoint.missing().iter().map(SubtaskId::to_string).collect();
        Err(EngineError::io(format!(
            "checkpoint {} was not acknowledged within {:?} by subtasks {}",
            pending.checkpoint.checkpoint(),
            self.settings.checkpoint_timeout,
            missing.join(", ")
        )))
    }

    fn trigger_if_due(&mut self) -> Result<()> {
        let last = self.reading.is_empty() || self.asked == Asked::Stop;
        // Whoever has gone while others had theirs made.
        self.wanted.retain(|reply| !reply.is_closed());
        let due = last || !self.wanted.is_empty() || self.settings.env.now() >= self.next_due;
        if !due
            || self.is_draining()
            || self.ended
            || self.pending.is_some()
            || self.uncommitted.len() >= MAX_UNCOMMITTED
        {
            return Ok(());
        }
        self.trigger(last)
    }

    /// Until all sources are drained, no checkpoint is triggered: they are at the end of event time then, and not of their input, and
    /// whoever resumed from there would count what is left of it in windows that have fired. The next checkpoint is the last one.
    fn is_draining(&self) -> bool {
        self.asked == Asked::Drain && !self.reading.is_empty()
    }

    fn trigger(&mut self, last: bool) -> Result<()> {
        let (checkpoint, triggered) = (self.next, self.settings.env.now());
        self.next_due = triggered + self.settings.graph.job.checkpoint.interval();
        self.settings.env.crash_point("checkpoint.triggered")?;
        (self.settings.sources)(SourceCommand::Checkpoint { checkpoint, last });
        self.pending = Some(InProgress {
            checkpoint: PendingCheckpoint::new(checkpoint, &self.settings.graph),
            triggered,
            enough: triggered + self.settings.checkpoint_timeout,
            look: self.hold_due(),
            waits: false,
            last,
            wanted: self.wanted.pop_front(),
        });
        Ok(())
    }

    /// When sources are paused, should commits be outstanding until then, or the checkpoint wait for storage.
    fn hold_due(&self) -> Moment {
        self.next_due + self.settings.graph.job.checkpoint.interval() * MAX_UNCOMMITTED as u32
    }

    /// Pauses sources while too many commits are outstanding or a checkpoint waits for storage, and resumes them afterwards: what they
    /// read meanwhile would be kept by sinks, without bound.
    fn hold_sources(&mut self) {
        let is_full = self.uncommitted.len() >= MAX_UNCOMMITTED;
        let is_stuck = self.pending.as_ref().is_some_and(|pending| pending.waits);
        let (held, attempt) = (self.held, self.settings.attempt);
        if (is_full || is_stuck) && !held && !self.ended && self.settings.env.now() >= self.hold_due() {
            let uncommitted = self.uncommitted.len();
            tracing::warn!(%attempt, uncommitted, "sources wait until checkpoints are written and committed again");
            self.held = true;
            (self.settings.sources)(SourceCommand::Hold);
        } else if held && !is_full && !is_stuck {
            tracing::info!(%attempt, "commits have caught up: sources continue");
            self.held = false;
            (self.settings.sources)(SourceCommand::GoOn);
        }
    }

    async fn on_report(&mut self, report: Report, reports: &mut mpsc::UnboundedReceiver<Report>) -> Result<()> {
        match report {
            Report::Acknowledged(acknowledgement) => self.on_acknowledged(acknowledgement).await,
            Report::Exhausted(subtask) => {
                self.reading.remove(&subtask);
                self.paces.ended(subtask);
                Ok(())
            }
            Report::Paced(subtask, event_time) => {
                if self.reading.contains(&subtask) {
                    self.paces.reported(subtask, event_time);
                }
                Ok(())
            }
            Report::Finished(subtask) if self.ended => {
                self.running.remove(&subtask);
                Ok(())
            }
            Report::Finished(subtask) => {
                Err(EngineError::internal(format!("subtask {subtask} ended before the last checkpoint")))
            }
            Report::Failed(subtask, error) => {
                tracing::debug!(?subtask, %error, "failed");
                Err(self.root_cause(error, reports).await)
            }
        }
    }

    /// The failure that began it. A subtask whose neighbour died first only reports the silence, and may be heard before the one
    /// that died: then the others are waited for, a moment.
    async fn root_cause(&self, reported: EngineError, reports: &mut mpsc::UnboundedReceiver<Report>) -> EngineError {
        let mut cause = reported;
        let env = self.settings.env.clone();
        let enough = env.now() + CAUSE_WAIT;
        while cause.kind == ErrorKind::Disconnected {
            tokio::select! {
                biased;
                report = reports.recv() => match report {
                    Some(Report::Failed(_, error)) => cause = error,
                    Some(_) => {}
                    None => break,
                },
                () = env.sleep_until(enough) => break,
            }
        }
        cause
    }

    /// Whether it was taken down before: what a predecessor has heard is said to its successor once more.
    fn is_old_news(&self, acknowledgement: &Acknowledgement) -> bool {
        let is_awaited = self.pending.as_ref().is_some_and(|InProgress { checkpoint: pending, .. }| {
            acknowledgement.checkpoint >= pending.checkpoint() && pending.missing().contains(&acknowledgement.subtask)
        });
        self.settings.takes_over.is_some() && acknowledgement.checkpoint <= self.next && !is_awaited
    }

    async fn on_acknowledged(&mut self, acknowledgement: Acknowledgement) -> Result<()> {
        if self.is_old_news(&acknowledgement) {
            return Ok(());
        }
        let Some(pending) = &mut self.pending else {
            return Err(EngineError::internal(format!(
                "subtask {} acknowledged checkpoint {}, which is not pending",
                acknowledgement.subtask, acknowledgement.checkpoint
            )));
        };
        if !pending.checkpoint.acknowledge(acknowledgement)? {
            return Ok(());
        }
        match self.pending.take() {
            Some(complete) => self.complete_in_time(complete).await,
            None => Ok(()),
        }
    }

    /// A manifest that storage or the record takes no notice of in time is given up with the attempt, unless it is known that the
    /// storage is away. It may appear later: so may that of a frozen process, and the next attempt takes its number or adopts it.
    async fn complete_in_time(&mut self, mut complete: InProgress) -> Result<()> {
        let wanted = complete.wanted.take();
        let (env, limit, last) = (self.settings.env.clone(), self.settings.checkpoint_timeout, complete.last);
        let id = complete.checkpoint.checkpoint();
        let hold_due = self.hold_due().max(env.now());
        let (mut held, mut enough) = (self.held, env.now() + limit);
        let manifest = {
            let mut completed = pin!(self.complete(complete));
            loop {
                tokio::select! {
                    biased;
                    done = &mut completed => break done?,
                    () = env.sleep_until(hold_due), if !held => {
                        tracing::warn!(attempt = %self.settings.attempt, "sources wait until the checkpoint is written");
                        held = true;
                        (self.settings.sources)(SourceCommand::Hold);
                    }
                    () = env.sleep_until(enough) => {
                        if !self.settings.control.waits() {
                            let problem = format!("checkpoint {id} was acknowledged, but not recorded within {limit:?}");
                            return Err(EngineError::unavailable(problem));
                        }
                        enough = env.now() + limit;
                    }
                }
            }
        };
        self.held = held;
        self.settings.observer.completed(&manifest);
        self.uncommitted.push_back((id, manifest.committables.clone()));
        self.completed.add(&manifest);
        if let Some(reply) = wanted {
            self.completed.pin(id);
            self.promised.push((id, reply));
        }
        self.newest = Some(manifest);
        self.next = id.next();
        self.ended = last;
        Ok(())
    }

    /// Everything is durable: write the manifest. From its creation on the checkpoint's results will become visible.
    async fn complete(&self, complete: InProgress) -> Result<Manifest> {
        let InProgress { checkpoint, triggered, last, .. } = complete;
        let id = checkpoint.checkpoint();
        let acknowledged = checkpoint.into_acknowledged();
        let AttemptSettings { env, store, attempt, graph, definition, control, .. } = &self.settings;
        let identity = recovery::identity(self.newest.as_ref(), &graph.job);
        let mut manifest = Manifest {
            format_version: format_version(identity.as_deref()),
            weir_version: env!("CARGO_PKG_VERSION").into(),
            job: graph.job.name.clone(),
            identity,
            definition: definition.clone(),
            lineage: store.layout().lineage(),
            checkpoint: id,
            attempt: *attempt,
            completed_at_ms: env.wall_clock_ms(),
            duration_ms: (env.now() - triggered).as_millis() as u64,
            last: last && self.reading.is_empty(),
            max_parallelism: graph.job.max_parallelism,
            operators: acknowledged.operators,
            committables: acknowledged.committables,
            uncommitted: self.uncommitted.iter().flat_map(|(_, committables)| committables.clone()).collect(),
            results: Results::new(),
        };
        match &self.newest {
            Some(before) => manifest.note_results(&before.results),
            None => manifest.note_results(&recovery::no_results(&graph.job)),
        }
        env.crash_point("manifest.before")?;
        refuse_if_replaced(store, *attempt).await?;
        let bytes = manifest.to_bytes()?;
        if !store.create(env, &store.layout().manifest(id), bytes.into()).await? {
            // Its predecessor may have done so last thing, of the same acknowledgements.
            let there = if self.settings.takes_over.is_some() { Some(store.manifest(id).await?) } else { None };
            match there {
                Some(there) if there.attempt == *attempt => manifest = there,
                _ => {
                    return Err(EngineError::fenced(format!(
                        "checkpoint {id} was completed by another process: this one stops"
                    )));
                }
            }
        }
        env.crash_point("manifest.created")?;
        // A successor that has come far may have retired its own checkpoint of this number, so that creating it proves nothing.
        refuse_if_replaced(store, *attempt).await?;
        control.completed(&manifest).await?;
        env.crash_point("manifest.recorded")?;
        tracing::debug!(checkpoint = %id, took_ms = manifest.duration_ms, last, "checkpoint complete");
        Ok(manifest)
    }

    /// Commits the oldest completed checkpoint, and with it those that wait behind it, and retires what is outdated then, beside the
    /// processing; one commit at a time, so in order.
    fn commit_next(&mut self) {
        if !self.committing.is_empty() {
            return;
        }
        let together = self.uncommitted.iter().take(MAX_TOGETHER);
        let checkpoints: Vec<CheckpointId> = together.clone().map(|(checkpoint, _)| *checkpoint).collect();
        let committables = together.flat_map(|(_, committables)| committables.clone()).collect();
        let Some(newest) = checkpoints.last().copied() else { return };
        let (control, store, env) =
            (self.settings.control.clone(), self.settings.store.clone(), self.settings.env.clone());
        let (outdated, attempt) = (self.completed.take_outdated(newest), self.settings.attempt);
        let promised = self.promised.iter().map(|(promised, _)| *promised);
        let savepoints: Vec<CheckpointId> = promised.filter(|promised| checkpoints.contains(promised)).collect();
        self.committing.spawn(async move {
            control.commit(checkpoints, attempt, committables).await?;
            for savepoint in savepoints {
                pins::pin(&store, &env, savepoint).await?;
            }
            if !outdated.checkpoints.is_empty() {
                // A process that was replaced leaves what is outdated to its successor, which may be reading it just now.
                refuse_if_replaced(&store, attempt).await?;
                retire::remove(&store, &env, &outdated).await?;
            }
            Ok(newest)
        });
    }

    /// All up to a checkpoint are committed.
    fn on_committed(&mut self, committed: Result<Result<CheckpointId>, JoinError>) -> Result<()> {
        let committed = committed.map_err(|error| EngineError::internal(format!("committing failed: {error}")))??;
        self.uncommitted.retain(|(checkpoint, _)| *checkpoint > committed);
        for (savepoint, reply) in self.promised.extract_if(.., |(promised, _)| *promised <= committed) {
            // Whoever has asked may be gone.
            let _ = reply.send(savepoint);
        }
        self.settings.observer.update(|run| run.committed = Some(committed));
        Ok(())
    }
}

pub(super) async fn refuse_if_replaced(store: &CheckpointStore, attempt: Attempt) -> Result<()> {
    match store.attempt_after(attempt).await? {
        Some(newest) => Err(EngineError::fenced(format!(
            "attempt {newest} has replaced attempt {attempt}: another process runs this job, this one stops"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
