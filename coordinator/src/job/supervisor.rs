//! Supervises one job from its submission to its end: waits for slots, runs attempts, decides after each what comes next.
//!
//! It holds nothing that the catalog does not, but for what spares work: another coordinator that takes over continues from there.

use super::{
    JobContext, Placement, Waiting,
    attempt::{AttemptEnd, Inherited, JobAttempt},
    patience::Patience,
    verdict::{Failure, FailureRecord, Verdict},
};
use crate::{
    metadata::{Job, JobStatus},
    scheduler,
    workers::Move,
};
use serde::Deserialize;
use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};
use weir_engine::{
    error::{EngineError, ErrorKind, Result},
    graph::{ExecutionGraph, JobGraph},
    ids::CheckpointId,
    task::StopSignal,
    wire::AttemptKey,
};

/// What a user has asked of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Nothing,
    Stop,
    Drain,
    Cancel,
}

/// Why a job waits no more for its slots.
enum Slots {
    Found(Placement),
    Asked(Asked),
}

/// Supervises one job.
pub struct Supervisor {
    context: JobContext,
    name: String,
    record: FailureRecord,
    patience: Patience,
    /// What sinks show was compared with the checkpoint that an attempt went on from, and the job has not waited since. The next one
    /// needs no comparison: only at a start, or while storage or a target is away, does somebody bring back an older state.
    results_fit: bool,
}

impl Supervisor {
    /// Of the job of that name.
    pub fn new(context: JobContext, name: &str) -> Self {
        let (record, patience) = (FailureRecord::default(), Patience::default());
        Supervisor { context, name: name.into(), record, patience, results_fit: false }
    }

    /// Until the job is over.
    ///
    /// # Errors
    /// When the catalog cannot be reached, or this coordinator is not the one to decide any more.
    pub async fn run(mut self) -> Result<()> {
        loop {
            let job = self.look(Job::clone)?;
            if job.status.is_terminal() {
                self.context.workers.forget_reserved(&self.name);
                self.context.live.update(&self.name, |live| {
                    *live = super::LiveJob { failure: live.failure.take(), ..super::LiveJob::default() };
                });
                return Ok(());
            }
            let graph = match parse(&job) {
                Ok(graph) => Arc::new(graph),
                Err(error) => {
                    self.after_a_coordinator_that_died(&job, "its coordinator was restarted").await?;
                    self.become_status(JobStatus::Failed, error.message).await?;
                    continue;
                }
            };
            match self.take_over(&job, &graph).await {
                Ok(Some(attempt)) => {
                    self.drive(attempt).await?;
                    continue;
                }
                Ok(None) => {}
                Err(error) if error.kind == ErrorKind::Unavailable && self.asked()? == Asked::Cancel => {
                    self.cancel_undecided(&job, &error).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            match self.wait_for_slots(&graph).await? {
                Slots::Asked(asked) => self.end_without_attempt(asked).await?,
                Slots::Found(placement) => self.run_attempt(&job, graph, placement).await?,
            }
        }
    }

    /// An attempt that runs although its driver is gone, if there is one. One that ran and does not any more has failed with its
    /// coordinator.
    async fn take_over(&self, job: &Job, graph: &Arc<ExecutionGraph>) -> Result<Option<JobAttempt>> {
        let mut cause = "its coordinator was restarted".to_string();
        for key in self.context.undriven([job]) {
            match JobAttempt::take_over(&self.context, job, graph.clone(), &key).await? {
                Ok(attempt) => {
                    self.context.workers.settled(&key);
                    return Ok(Some(attempt));
                }
                Err(why) => cause = format!("{cause}, and {key} was not taken over: {}", why.message),
            }
        }
        self.after_a_coordinator_that_died(job, &cause).await?;
        Ok(None)
    }

    /// Cancels a job while storage does not let it be said whether its attempt can be taken over. Workers end that one as soon as they
    /// say that it runs, for nobody drives it; what it had decided to commit is left to the next submission.
    async fn cancel_undecided(&self, job: &Job, why: &EngineError) -> Result<()> {
        tracing::warn!(job = self.name, %why, "canceled; if a checkpoint is not committed, the next submission commits it");
        self.become_status(JobStatus::Stopping, "canceled by a user").await?;
        for key in self.context.undriven([job]) {
            self.context.workers.close_attempt(&key);
            self.context.workers.settled(&key);
        }
        self.become_status(JobStatus::Canceled, "canceled by a user").await
    }

    /// A job whose attempt is no longer driven has failed with its coordinator.
    async fn after_a_coordinator_that_died(&self, job: &Job, cause: &str) -> Result<()> {
        use JobStatus::*;
        // Others wait for the slots until it is known what becomes of it.
        self.context.undriven([job]).iter().for_each(|key| self.context.workers.settled(key));
        match job.status {
            Scheduled | Restoring | Running | Stopping => {
                self.become_status(Failing, cause).await?;
                self.become_status(Restarting, cause).await
            }
            Failing => self.become_status(Restarting, cause).await,
            _ => Ok(()),
        }
    }

    async fn wait_for_slots(&self, graph: &ExecutionGraph) -> Result<Slots> {
        let (mut workers, mut catalog) = (self.context.workers.changes(), self.context.metadata.watch());
        let needed = scheduler::slots_needed(graph);
        let mut since_ms = None;
        loop {
            workers.mark_unchanged();
            catalog.mark_unchanged();
            if let Some(asked) = self.asked_to_end()? {
                return Ok(Slots::Asked(asked));
            }
            let free = self.context.workers.free(&self.name);
            let placement = scheduler::assign(graph, &free).filter(|_| !self.context.workers.expects_any());
            if let Some(placement) = placement {
                let waiting = self.patience.waiting();
                self.context.live.update(&self.name, |live| live.waiting = waiting);
                return Ok(Slots::Found(placement));
            }
            let there: usize = free.values().sum();
            let what = format!("needs {needed} slots, {there} free");
            self.waits_for(what, &mut since_ms);
            tokio::select! {
                biased;
                changed = workers.changed() => changed.map_err(gone)?,
                changed = catalog.changed() => changed.map_err(gone)?,
            }
        }
    }

    /// Shows what slots it waits for.
    fn waits_for(&self, what: String, since_ms: &mut Option<i64>) {
        let shown = self.context.live.of(&self.name).waiting;
        if shown.as_ref().is_none_or(|shown| shown.what != what) {
            tracing::info!(job = self.name, waiting = what, "waits for slots");
            let since_ms = *since_ms.get_or_insert_with(|| self.context.components.env.wall_clock_ms());
            self.context.live.update(&self.name, |live| live.waiting = Some(Waiting { what, since_ms }));
        }
    }

    async fn end_without_attempt(&self, asked: Asked) -> Result<()> {
        let cause = if asked == Asked::Stop { "stopped before it started" } else { "canceled by a user" };
        self.become_status(JobStatus::Canceled, cause).await
    }

    async fn run_attempt(&mut self, job: &Job, graph: Arc<ExecutionGraph>, placement: Placement) -> Result<()> {
        let claim = tokio::select! {
            biased;
            asked = self.watch_for_end() => return asked,
            claim = JobAttempt::claim(&self.context, job) => claim,
        };
        // Where storage is away nothing has begun, and nothing is taken down, however often it is tried.
        let claim = match claim {
            Err(error) if error.kind == ErrorKind::Unavailable => return self.try_again_later(&error).await,
            claim => claim,
        };
        let slots = scheduler::slots_taken(&placement);
        self.become_status(JobStatus::Scheduled, format!("slots: {slots:?}")).await?;
        let inherited = Inherited { suspect: self.record.suspect(), results_fit: self.results_fit };
        let opened = match claim {
            Ok(claim) => JobAttempt::open(&self.context, job, graph, placement, inherited, claim).await,
            Err(error) => Err(error),
        };
        let attempt = match opened {
            Ok(Some(attempt)) => attempt,
            Ok(None) => return self.failed(EngineError::io("the slots were taken by another job"), true).await,
            Err(error) => return self.failed(error, false).await,
        };
        self.drive(attempt).await
    }

    /// Runs an attempt to its end, and decides what comes next.
    async fn drive(&mut self, mut attempt: JobAttempt) -> Result<()> {
        let stop = StopSignal::default();
        let (key, graph) = (attempt.key().clone(), attempt.graph().clone());
        let end = tokio::select! {
            biased;
            asked = self.watch_for_cancel(&stop) => Err(asked?),
            never = self.watch_for_leaving(&key, &graph, &stop) => match never? {},
            end = attempt.run(stop.clone()) => Ok(end),
        };
        match end {
            Err(()) => {
                self.become_status(JobStatus::Stopping, "canceled by a user").await?;
                attempt.commit_decided().await;
                attempt.clear_away().await;
                self.become_status(JobStatus::Canceled, "canceled by a user").await
            }
            Ok(AttemptEnd { result: Ok(outcome), .. }) if !outcome.manifest.last && self.asked()? != Asked::Stop => {
                self.move_on(attempt, outcome.manifest.checkpoint).await
            }
            Ok(AttemptEnd { result: Ok(outcome), .. }) => {
                let checkpoint = outcome.manifest.checkpoint;
                let (status, cause) = match outcome.manifest.last {
                    true => (JobStatus::Finished, format!("all results are committed with checkpoint {checkpoint}")),
                    false => (
                        JobStatus::Canceled,
                        format!("stopped; submitted again it resumes from checkpoint {checkpoint}"),
                    ),
                };
                self.through_stopping(&cause).await?;
                attempt.clear_away().await;
                self.become_status(status, cause).await
            }
            Ok(AttemptEnd { result: Err(error), lost_worker, made_progress, results_fit }) => {
                // Who fences it may have gone on from another state.
                self.results_fit = results_fit && error.kind != ErrorKind::Fenced;
                if error.kind == ErrorKind::Crash {
                    return Err(error);
                }
                let attempt_number = attempt.key().attempt;
                tracing::warn!(job = self.name, attempt = %attempt_number, %error, "attempt failed");
                self.become_status(JobStatus::Failing, &error.message).await?;
                let (error, lost_worker) = match attempt.clear_away().await {
                    // Its peers may have reported it first.
                    Some(lost) if error.kind == ErrorKind::Disconnected => (lost, true),
                    _ => (error, lost_worker),
                };
                if made_progress {
                    self.patience.over();
                }
                let verdict = self.judge(&error, lost_worker, made_progress);
                // The coordinator that has replaced this one commits it.
                if matches!(verdict, Verdict::GiveUp(_)) && error.kind != ErrorKind::Fenced {
                    attempt.commit_decided().await;
                }
                // Its slots are free while the next one waits, and those that it was to move to.
                drop(attempt);
                self.context.workers.forget_reserved(&self.name);
                self.carry_out(verdict, error.message).await
            }
        }
    }

    /// Has the attempt stop with a last checkpoint when a worker that it runs on is leaving, as soon as there is room elsewhere.
    async fn watch_for_leaving(
        &self,
        key: &AttemptKey,
        graph: &ExecutionGraph,
        stop: &StopSignal,
    ) -> Result<Infallible> {
        let (mut workers, mut since_ms) = (self.context.workers.changes(), None);
        loop {
            workers.mark_unchanged();
            let place = |free: &_| scheduler::assign(graph, free).map(|placement| scheduler::slots_taken(&placement));
            match self.context.workers.reserve(key, place) {
                Move::NotNeeded => {}
                Move::Reserved(off) => {
                    tracing::info!(job = self.name, attempt = %key, off = told(&off), "stops with a last checkpoint, to move");
                    if since_ms.is_some() {
                        self.context.live.update(&self.name, |live| live.waiting = None);
                    }
                    stop.stop();
                    return std::future::pending().await;
                }
                Move::NoRoom(off, there) => {
                    let needed = scheduler::slots_needed(graph);
                    let what = format!("needs {needed} slots, {there} free, to move off {}", told(&off));
                    self.waits_for(what, &mut since_ms);
                }
            }
            workers.changed().await.map_err(gone)?;
        }
    }

    /// An attempt has stopped with a checkpoint, and its job has not: the next one goes on from that very checkpoint.
    async fn move_on(&mut self, mut attempt: JobAttempt, checkpoint: CheckpointId) -> Result<()> {
        let off = told(&self.context.workers.leaving_of(&attempt.workers()));
        // Said first: if this coordinator dies now, its successor does not take it for a failure.
        self.become_status(JobStatus::Restarting, format!("moved off {off}, with checkpoint {checkpoint}")).await?;
        self.results_fit = true;
        self.record.made_progress();
        self.patience.over();
        attempt.clear_away().await;
        Ok(())
    }

    /// What a user has asked that ends a job without an attempt. A stop asks for a last checkpoint, which takes one; not where
    /// nothing has ever begun.
    fn asked_to_end(&self) -> Result<Option<Asked>> {
        let (asked, has_begun) = (self.asked()?, self.look(|job| job.attempt.is_some())?);
        Ok(Some(asked).filter(|asked| *asked == Asked::Cancel || *asked == Asked::Stop && !has_begun))
    }

    /// Waits until the user wants something that ends the job without an attempt.
    async fn watch_for_end(&self) -> Result<()> {
        let mut catalog = self.context.metadata.watch();
        loop {
            catalog.mark_unchanged();
            if self.asked_to_end()?.is_some() {
                return Ok(());
            }
            catalog.changed().await.map_err(gone)?;
        }
    }

    /// Waits for what is away before an attempt has begun.
    async fn try_again_later(&mut self, error: &EngineError) -> Result<()> {
        match self.judge(error, false, false) {
            Verdict::Wait(wait) => self.wait_for(&error.message, wait).await,
            Verdict::Restart(wait) => self.pause(wait).await,
            Verdict::GiveUp(cause) => self.become_status(JobStatus::Failed, cause).await,
        }
    }

    /// Says what is waited for, and waits until it is tried again.
    async fn wait_for(&mut self, cause: &str, wait: Duration) -> Result<()> {
        self.results_fit = false;
        let waiting = self.patience.wait(&self.context.components.env, &self.name, cause);
        self.context.live.update(&self.name, |live| live.waiting = Some(waiting));
        self.pause(wait).await
    }

    /// Waits, unless a user wants the job to end.
    async fn pause(&self, wait: Duration) -> Result<()> {
        tokio::select! {
            biased;
            asked = self.watch_for_end() => asked,
            () = self.context.components.env.sleep(wait) => Ok(()),
        }
    }

    /// Waits until the user cancels the job; passes wishes to stop on.
    async fn watch_for_cancel(&self, stop: &StopSignal) -> Result<()> {
        let mut catalog = self.context.metadata.watch();
        loop {
            catalog.mark_unchanged();
            let asked = self.asked()?;
            match asked {
                Asked::Cancel => return Ok(()),
                Asked::Drain => stop.drain(),
                Asked::Stop => stop.stop(),
                Asked::Nothing => {}
            }
            if asked != Asked::Nothing && self.status()? == JobStatus::Running {
                self.become_status(JobStatus::Stopping, "requested by a user").await?;
            }
            catalog.changed().await.map_err(gone)?;
        }
    }

    /// The end of an attempt that was not stopped goes straight to FINISHED; others pass through STOPPING.
    async fn through_stopping(&self, cause: &str) -> Result<()> {
        let status = self.status()?;
        match status {
            JobStatus::Running if self.asked()? == Asked::Nothing => Ok(()),
            JobStatus::Running | JobStatus::Restoring => self.become_status(JobStatus::Stopping, cause).await,
            _ => Ok(()),
        }
    }

    /// An attempt that never ran.
    async fn failed(&mut self, error: EngineError, lost_worker: bool) -> Result<()> {
        if error.kind == ErrorKind::Crash {
            return Err(error);
        }
        self.become_status(JobStatus::Failing, &error.message).await?;
        let verdict = self.judge(&error, lost_worker, false);
        self.carry_out(verdict, error.message).await
    }

    fn judge(&mut self, error: &EngineError, lost_worker: bool, made_progress: bool) -> Verdict {
        self.context.live.update(&self.name, |live| live.failure = Some(error.clone()));
        let policy = self.context.settings.restart;
        self.record.judge(&policy, &Failure { error, lost_worker, made_progress })
    }

    async fn carry_out(&mut self, verdict: Verdict, cause: String) -> Result<()> {
        if let Verdict::GiveUp(cause) = verdict {
            return self.become_status(JobStatus::Failed, cause).await;
        }
        self.become_status(JobStatus::Restarting, cause.clone()).await?;
        match verdict {
            Verdict::Wait(wait) => self.wait_for(&cause, wait).await,
            Verdict::Restart(wait) => {
                // It is about something else now.
                self.patience.over();
                self.pause(wait).await
            }
            Verdict::GiveUp(_) => Ok(()),
        }
    }

    fn asked(&self) -> Result<Asked> {
        self.look(|job| match (job.cancel_requested, job.stop) {
            (true, _) => Asked::Cancel,
            (false, Some(stop)) if stop.drain => Asked::Drain,
            (false, Some(_)) => Asked::Stop,
            (false, None) => Asked::Nothing,
        })
    }

    fn status(&self) -> Result<JobStatus> {
        self.look(|job| job.status)
    }

    /// Looks at the job as the catalog has it now, without a copy of its graph.
    fn look<T>(&self, look: impl FnOnce(&Job) -> T) -> Result<T> {
        let catalog = self.context.metadata.catalog();
        let job = catalog.job(&self.name);
        job.map(look).ok_or_else(|| EngineError::internal(format!("job '{}' is no longer in the catalog", self.name)))
    }

    async fn become_status(&self, status: JobStatus, cause: impl Into<String>) -> Result<()> {
        let attempt = self.look(|job| job.attempt)?;
        self.context.become_status(&self.name, attempt, status, cause).await
    }
}

fn parse(job: &Job) -> Result<ExecutionGraph> {
    let graph = JobGraph::deserialize(&*job.graph)
        .map_err(|error| EngineError::definition(format!("the job graph cannot be read: {error}")))?;
    ExecutionGraph::new(graph)
}

/// Workers that are leaving, in a sentence.
fn told(leaving: &BTreeSet<String>) -> String {
    let names = leaving.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match leaving.len() {
        0 => "a worker that was leaving".into(),
        1 => format!("worker {names}, which is leaving"),
        _ => format!("workers {names}, which are leaving"),
    }
}

fn gone(_: tokio::sync::watch::error::RecvError) -> EngineError {
    EngineError::internal("what is watched is gone")
}

#[cfg(test)]
pub(super) mod tests;
