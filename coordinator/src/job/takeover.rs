//! Finding out whether an attempt still runs whose driver is gone: after a change of leaders, or a short absence of the only
//! coordinator. Workers let subtasks run until their lease ends, and say what runs.
//!
//! An attempt is taken over whole or not at all: each of its subtasks runs on a worker that is there, none has failed, no later
//! attempt was claimed, and the newest checkpoint is its own. Else it is ended, and the job goes on with another one, which tells of
//! whatever is wrong with the storage. While storage is away, or another one is in its place, it stays as it is, on its slots.

use super::{
    JobContext, Placement,
    attempt::{known_complete, lacks},
};
use crate::{scheduler, workers::AttemptEvent};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;
use weir_engine::{
    checkpoint::{CheckpointStore, Manifest},
    env::Moment,
    error::{EngineError, ErrorKind, Result},
    graph::ExecutionGraph,
    ids::{CheckpointId, SubtaskId},
    task::{Report, attempt::TakeOver},
    wire::AttemptKey,
};
use weir_proto::v1::coordinator_message::Kind;

/// An attempt that runs, and what its next driver goes on from.
#[derive(Debug)]
pub struct Found {
    /// The worker of each subtask.
    pub placement: Placement,
    /// Its events from now on.
    pub events: mpsc::UnboundedReceiver<AttemptEvent>,
    /// Those that came while its workers were asked.
    pub early: Vec<Report>,
    /// Storage, in the attempt's lineage.
    pub store: CheckpointStore,
    /// Its newest checkpoint; none, if it has not completed one.
    pub newest: Option<Manifest>,
    /// What its last driver had begun.
    pub takes_over: TakeOver,
}

/// What workers have answered so far.
#[derive(Debug, Default)]
struct Answers {
    /// Workers that were asked.
    asked: BTreeSet<String>,
    placement: Placement,
    /// Checkpoints that sources were told of, and whether any of them as the last one.
    triggered: BTreeMap<CheckpointId, bool>,
    early: Vec<Report>,
}

impl Answers {
    /// Takes an event down.
    ///
    /// # Errors
    /// What rules a takeover out.
    fn add(&mut self, event: AttemptEvent) -> Result<()> {
        match event {
            AttemptEvent::Hosted(worker, subtasks, triggered) => {
                for id in subtasks {
                    if let Some(other) = self.placement.insert(id, worker.clone()).filter(|other| *other != worker) {
                        return Err(EngineError::internal(format!("subtask {id} runs on {other} and on {worker}")));
                    }
                }
                if let Some((checkpoint, last)) = triggered {
                    *self.triggered.entry(checkpoint).or_default() |= last;
                }
            }
            AttemptEvent::Lost(worker, _) => {
                // It may come back with what it runs.
                self.asked.remove(&worker);
                self.placement.retain(|_, at| *at != worker);
            }
            AttemptEvent::Report(Report::Failed(_, error)) => return Err(error),
            AttemptEvent::Report(report) => self.early.push(report),
            AttemptEvent::Deployed(..) => {}
            AttemptEvent::Canceled(worker) => {
                return Err(EngineError::io(format!("worker {worker} has ended it")));
            }
        }
        Ok(())
    }
}

/// Looks for an attempt on the workers, until `enough`. Once all of it is found, it has its slots. `Err` in the result: why it cannot
/// be taken over.
///
/// # Errors
/// When storage is away, or has nothing of the job: then nothing is decided.
pub async fn look_for(
    context: &JobContext,
    key: &AttemptKey,
    graph: &ExecutionGraph,
    enough: Moment,
) -> Result<Result<Found>> {
    let mut events = context.workers.listen(key);
    let answers = match ask_workers(context, key, graph, enough, &mut events).await {
        Ok(answers) => answers,
        Err(error) => return Ok(Err(error)),
    };
    context.workers.hold_slots(key, scheduler::slots_taken(&answers.placement));
    let (store, newest) = match find_newest(context, key).await {
        Ok(found) => found,
        Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Crash) => return Err(error),
        // Another look would end in the same way.
        Err(error) => return Ok(Err(error)),
    };
    let next = newest.as_ref().map_or(CheckpointId(1), |newest| newest.checkpoint.next());
    let triggered = |checkpoint: &CheckpointId| answers.triggered.get(checkpoint).copied();
    let takes_over = TakeOver {
        newest_was_last: newest.as_ref().and_then(|newest| triggered(&newest.checkpoint)).unwrap_or(false),
        next: triggered(&next),
    };
    let Answers { placement, early, .. } = answers;
    Ok(Ok(Found { placement, events, early, store, newest, takes_over }))
}

/// The storage, in an attempt's lineage, and the newest checkpoint there, which is the attempt's own.
///
/// # Errors
/// When it is none to go on from, or storage is away, damaged or refuses.
async fn find_newest(context: &JobContext, key: &AttemptKey) -> Result<(CheckpointStore, Option<Manifest>)> {
    let store = (context.components.open_store)(&context.settings.storage, &key.job)?.current().await?;
    if let Some(later) = store.attempt_after(key.attempt).await? {
        return Err(EngineError::fenced(format!("attempt {later} has replaced it")));
    }
    let newest = store.newest().await?;
    let there = newest.as_ref().map(|newest| newest.checkpoint);
    if let Some(known) = known_complete(context, &key.job, Some(store.layout().lineage()))
        && there < Some(known)
    {
        return Err(lacks(&context.settings.storage, &key.job, known, there));
    }
    if newest.as_ref().is_some_and(|newest| newest.attempt != key.attempt || newest.last) {
        return Err(EngineError::fenced("its newest checkpoint is none to go on from"));
    }
    Ok((store, newest))
}

/// Asks each worker that is there, and each that comes, until all subtasks are found.
async fn ask_workers(
    context: &JobContext,
    key: &AttemptKey,
    graph: &ExecutionGraph,
    enough: Moment,
    events: &mut mpsc::UnboundedReceiver<AttemptEvent>,
) -> Result<Answers> {
    let all: BTreeSet<SubtaskId> = graph.subtask_ids().collect();
    let (mut answers, mut workers) = (Answers::default(), context.workers.changes());
    loop {
        workers.mark_unchanged();
        for view in context.workers.views().into_iter().filter(|view| !view.lost) {
            if answers.asked.insert(view.worker.clone()) {
                // One that is lost now is heard of as an event.
                context.workers.order(&view.worker, Kind::Describe(key.into()));
            }
        }
        if all.iter().all(|id| answers.placement.contains_key(id)) {
            return Ok(answers);
        }
        tokio::select! {
            biased;
            event = events.recv() => {
                answers.add(event.ok_or_else(|| EngineError::internal("an attempt's events ended"))?)?;
            }
            changed = workers.changed() => changed.map_err(|_| EngineError::internal("what is watched is gone"))?,
            () = context.components.env.sleep_until(enough) => {
                let (there, all) = (answers.placement.len(), all.len());
                return Err(EngineError::io(format!("{there} of its {all} subtasks still run")));
            }
        }
    }
}
