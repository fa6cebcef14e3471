//! The contract of a sink: two phases, with the checkpoint between them.

use crate::{
    checkpoint::manifest::Results,
    element::{Barrier, Batch},
    error::Result,
    ids::{Attempt, CheckpointId, Lineage},
};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where rows go out, in one subtask.
pub trait Sink: Send {
    /// Takes rows. Waits where the target is slower than the job (that is the back-pressure).
    ///
    /// # Errors
    /// When the target refuses: the attempt ends, and the next one resumes from the last checkpoint.
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>>;

    /// A barrier passed: everything since the previous one belongs to its checkpoint. Returns at once; the future, which runs
    /// beside further `write`s, resolves when all of it is durable, and still invisible.
    ///
    /// # Errors
    /// The future fails when it could not be made durable.
    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>>;
}

/// What a sink has made durable but not yet visible. Goes into the manifest; belongs to no subtask any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Committable {
    /// The sink's node id.
    pub sink: String,
    /// The checkpoint whose completion decides that it is committed.
    pub checkpoint: CheckpointId,
    /// What the committer needs, opaque to the engine.
    pub payload: serde_json::Value,
    /// The newest checkpoint before that has results for the sink (0: none has): they are visible before these become so. Noted
    /// with the manifest; nothing: it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<CheckpointId>,
    /// Whether there is something to do, and no results that become visible.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_without_results: bool,
}

impl Committable {
    /// What a sink has staged for a checkpoint.
    pub fn new(sink: impl Into<String>, checkpoint: CheckpointId, payload: serde_json::Value) -> Self {
        Committable { sink: sink.into(), checkpoint, payload, after: None, is_without_results: false }
    }

    /// The same, for something that shows no results, such as a mark that there will be no more of them.
    pub fn without_results(sink: impl Into<String>, checkpoint: CheckpointId, payload: serde_json::Value) -> Self {
        Committable { is_without_results: true, ..Committable::new(sink, checkpoint, payload) }
    }
}

/// What a sink has staged for one checkpoint, in all of its subtasks.
#[derive(Clone, Debug, PartialEq)]
pub struct ToCommit {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// At least one.
    pub committables: Vec<Committable>,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Visible now.
    Done,
    /// It was visible before: a commit is repeated after every failure.
    AlreadyDone,
}

/// A commit of one sink that made something visible, of one checkpoint or of several at once, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCommit {
    /// The sink's node id.
    pub sink: String,
    /// How long it took, waits for the target included.
    pub took: Duration,
    /// How many transactions it took; 0 where the target knows none.
    pub transactions: u64,
}

/// Makes staged results visible. Executes decisions that are final, so anyone may, at any time, again and again.
pub trait Committer: Send + Sync {
    /// Makes ready what the first commit needs, before anything of an attempt runs: a target that can never take the rows is
    /// told of here, not hours later.
    ///
    /// # Errors
    /// When the target refuses, or is not what the sink needs.
    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Makes visible what all subtasks of the sink have staged for one checkpoint; in one step, where the target knows such.
    /// `committables` are all of them, at least one, and come in the same order each time.
    ///
    /// Waits where the target is down, for as long as it is.
    ///
    /// # Errors
    /// When the target refuses, or what was staged is gone without being visible.
    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>>;

    /// Makes visible what was staged for the first of several checkpoints, which are in order; or for so many of the first as it can
    /// in one step that is cheaper than many, and is not too large. They may be visible already, all of them or the first ones.
    /// Returns for how many, at least one.
    ///
    /// # Errors
    /// As [`Committer::commit`].
    fn commit_together<'a>(&'a self, several: &'a [ToCommit]) -> BoxFuture<'a, Result<(usize, CommitOutcome)>> {
        async move {
            let Some(first) = several.first() else { return Ok((0, CommitOutcome::AlreadyDone)) };
            Ok((1, self.commit(first.checkpoint, &first.committables).await?))
        }
        .boxed()
    }

    /// How many transactions have made results of the sink visible, since this committer was opened; 0 where the target knows none.
    fn transactions(&self) -> u64 {
        0
    }

    /// Removes results that are past their retention. Called after each commit, when all up to `committed` is visible and
    /// marked as such, so that no commit of it is repeated. Does little each time, and mostly nothing.
    ///
    /// # Errors
    /// When the target refuses: then they stay until a later call.
    fn expire(&self, committed: CheckpointId) -> BoxFuture<'_, Result<u64>> {
        let _ = committed;
        std::future::ready(Ok(0)).boxed()
    }

    /// Compares what is staged, and not visible yet, with what was staged, before a process commits it that has not staged it: a disk
    /// may have lost something in a power cut.
    ///
    /// # Errors
    /// When it is damaged.
    fn verify<'a>(&'a self, committables: &'a [Committable]) -> BoxFuture<'a, Result<()>> {
        let _ = committables;
        std::future::ready(Ok(())).boxed()
    }

    /// Compares what is visible with the checkpoint that is resumed from: `newest` is the newest checkpoint of the lineage that has
    /// results for the sink, 0 if none has; `is_committed`, whether they have to be visible already.
    ///
    /// # Errors
    /// When there are results of later checkpoints, or it can be told that those of earlier ones are gone: what was restored,
    /// which results don't fit, and what to do.
    fn compare(&self, newest: CheckpointId, is_committed: bool) -> BoxFuture<'_, Result<()>> {
        let _ = (newest, is_committed);
        std::future::ready(Ok(())).boxed()
    }

    /// What is visible, for a start from a savepoint, which may be older. Asked when the target is [ready](Committer::prepare).
    ///
    /// # Errors
    /// When the target refuses.
    fn shown(&self) -> BoxFuture<'_, Result<ShownResults>> {
        std::future::ready(Ok(ShownResults::default())).boxed()
    }

    /// Removes what attempts before `scope.attempt` have staged and no checkpoint will commit.
    ///
    /// # Errors
    /// When the target refuses.
    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>>;

    /// Removes everything that this job's sink has made visible or staged in lineages before `lineage`: the user asked for a fresh
    /// start, which has begun that one. Where the target can tell, it refuses from now on what lineages before have staged. Done
    /// again, or too late, it removes nothing of that lineage and of later ones.
    ///
    /// # Errors
    /// When the target refuses, or a later lineage has it.
    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>>;
}

/// What a sweep may remove: leftovers of attempts older than `attempt` that are not in `keep`.
#[derive(Clone, Debug)]
pub struct SweepScope {
    /// The current attempt; its own files stay.
    pub attempt: Attempt,
    /// The sink's committables of completed checkpoints, committed or not.
    pub keep: Vec<Committable>,
    /// What the sinks must show at the start of a job: see [`Committer::compare`].
    pub results: Option<ExpectedResults>,
}

/// What a sink shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownResults {
    /// The newest checkpoint of the lineage that has results there, 0 if none has; nothing, where the target does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<CheckpointId>,
    /// Why results cannot come there a second time, and what to do; nothing, where they just are there twice then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrepeatable: Option<String>,
}

/// What sinks must show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectedResults {
    /// The newest checkpoint that has results for each.
    pub newest: Results,
    /// Whether they are committed. Before that is decided, sinks are only compared, and nothing is swept.
    pub is_committed: bool,
}
