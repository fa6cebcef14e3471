//! Parts built wrong on purpose, each as an engine has had it wrong before: what the oracle does not notice here, it would not
//! notice anywhere.
//!
//! A mutant wraps the parts that another factory builds. Everything else is the real job.

use arrow::{
    array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch},
    buffer::Buffer,
    compute::not,
};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};
use weir_engine::{
    Result,
    element::{Barrier, Batch, Port},
    env::Env,
    graph::Node,
    ids::{Attempt, CheckpointId, Lineage},
    key_group::KeyGroupRange,
    operator::{
        Collector, CommitOutcome, Committable, Committer, CommitterContext, Factory, Lookup, Operator, OperatorContext,
        ShownResults, Sink, Source, SourceEvent, SplitState, SweepScope, ToCommit, Waits,
    },
    state::{Change, Snapshot},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A source begins at the beginning after a restore.
    SourceForgetsPositions,
    /// A source forgets how far the time of its splits had come.
    SourceForgetsWatermarks,
    /// A source's positions in a checkpoint are those of the one before.
    SourceSnapshotsBehind,
    /// Dead letters that were read and not sent are lost by a restore.
    SourceForgetsUndelivered,
    /// Dedup starts empty after a restore.
    DedupForgets,
    /// Counts start at nothing after a restore.
    AggregateForgetsCounts,
    /// Revisions start anew after a restore.
    AggregateForgetsRevisions,
    /// What was emitted is not known after a restore: top lists start anew.
    TopForgets,
    /// An aggregate of results does not hear that one was withdrawn.
    ResultsStayThoughWithdrawn,
    /// Rows that were held back for a file are lost by a restore.
    HoldForgets,
    /// Rows of key groups of other subtasks are restored, too.
    RestoresForeignKeys,
    /// State that has changed is left as an earlier checkpoint has it.
    SnapshotSaysUnchanged,
    /// What a lookup was answered is not known after a restore.
    LookupForgets,
    /// Late rows are counted as long as a window is open by chance.
    LateRowsPass,
    /// A checkpoint has the staged files of the one before.
    SinkStagesOneBehind,
    /// A sink keeps a batch back over the barrier.
    SinkKeepsABatchBack,
    /// What is staged becomes visible before the checkpoint is complete.
    SinkCommitsEarly,
    /// Record ids depend on the attempt, as random ones would.
    RecordIdsOfTheAttempt,
    /// A commit names its files anew each time.
    CommitsUnderFreshNames,
    /// A commit is done twice, under two names.
    CommitsTwice,
    /// After a restart it is believed that the commits before were done.
    SkipsRepeatedCommits,
    /// A checkpoint is taken for committed although one sink is not done with it: it is when the next one is committed.
    CommitsOneBehind,
    /// Of checkpoints that wait, only the newest is committed.
    CommitsTheNewestOnly,
    /// A source goes on a little before its positions after a restore.
    SourceRestoresBehind,
    /// Of rows with one key, a table keeps the one that came first.
    TableKeepsTheFirst,
    /// A table believes every fifth commit to be done.
    TableSkipsCommits,
    /// Who starts over leaves what was visible before.
    ResetRemovesNothing,
}

impl Mutant {
    /// All that a single process with sinks of files notices; the others need a table, or a user who starts over.
    pub const ALL: [Mutant; 23] = [
        Mutant::SourceForgetsPositions,
        Mutant::SourceForgetsWatermarks,
        Mutant::SourceSnapshotsBehind,
        Mutant::SourceForgetsUndelivered,
        Mutant::SourceRestoresBehind,
        Mutant::DedupForgets,
        Mutant::AggregateForgetsCounts,
        Mutant::AggregateForgetsRevisions,
        Mutant::TopForgets,
        Mutant::ResultsStayThoughWithdrawn,
        Mutant::HoldForgets,
        Mutant::RestoresForeignKeys,
        Mutant::SnapshotSaysUnchanged,
        Mutant::LateRowsPass,
        Mutant::SinkStagesOneBehind,
        Mutant::SinkKeepsABatchBack,
        Mutant::SinkCommitsEarly,
        Mutant::RecordIdsOfTheAttempt,
        Mutant::CommitsUnderFreshNames,
        Mutant::CommitsTwice,
        Mutant::SkipsRepeatedCommits,
        Mutant::CommitsOneBehind,
        Mutant::CommitsTheNewestOnly,
    ];

    fn is_of_tables(self) -> bool {
        matches!(self, Mutant::TableKeepsTheFirst | Mutant::TableSkipsCommits)
    }
}

/// Builds the parts of another factory, one kind of them wrong.
pub struct MutantFactory {
    inner: Arc<dyn Factory>,
    mutant: Mutant,
}

impl MutantFactory {
    /// Over a factory that is right.
    pub fn new(inner: Arc<dyn Factory>, mutant: Mutant) -> Arc<Self> {
        Arc::new(MutantFactory { inner, mutant })
    }
}

impl MutantFactory {
    fn mutated(&self, node: &Node) -> Node {
        let mut node = node.clone();
        if self.mutant == Mutant::TableKeepsTheFirst && node.kind == "sql" {
            node.config["revision"] = serde_json::Value::Null;
        }
        node
    }
}

impl Factory for MutantFactory {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        let inner = self.inner.source(node, context)?;
        Ok(Box::new(MutantSource { inner, mutant: self.mutant, before: Vec::new() }))
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        let inner = self.inner.operator(node, context)?;
        Ok(Box::new(MutantOperator { inner, mutant: self.mutant, kind: node.kind.clone(), known: HashSet::new() }))
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        let committer = self.inner.committer(
            node,
            CommitterContext {
                job: context.job.clone(),
                sink: node.id.clone(),
                env: context.env.clone(),
                staging: context.staging.clone(),
                waits: Waits::default(),
            },
        )?;
        let (attempt, mutant) = (context.attempt, self.mutant);
        let inner = self.inner.sink(node, context)?;
        Ok(Box::new(MutantSink { inner, committer, mutant, attempt, behind: Arc::default(), kept: None }))
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        if self.mutant.is_of_tables() && node.kind != "sql" {
            return self.inner.committer(node, context);
        }
        let node = &self.mutated(node);
        let env = context.env.clone();
        let inner = self.inner.committer(node, context)?;
        let folder = PathBuf::from(node.config["path"].as_str().unwrap_or_default());
        let (commits, behind) = Default::default();
        Ok(Arc::new(MutantCommitter { inner, mutant: self.mutant, folder, env, commits, behind }))
    }
}

struct MutantSource {
    inner: Box<dyn Source>,
    mutant: Mutant,
    before: Vec<SplitState>,
}

impl Source for MutantSource {
    fn restore(&mut self, mut splits: Vec<SplitState>) -> BoxFuture<'_, Result<()>> {
        for split in &mut splits {
            match self.mutant {
                Mutant::SourceForgetsWatermarks => split.state["watermark"] = serde_json::json!({ "confirmed": null }),
                Mutant::SourceForgetsUndelivered => split.state["undelivered"] = serde_json::json!([]),
                Mutant::SourceRestoresBehind => {
                    if let Some(offset) = split.state["position"]["offset"].as_u64().filter(|offset| *offset > 0) {
                        split.state["position"]["offset"] = offset.saturating_sub(100).into();
                    }
                }
                _ => {}
            }
        }
        if self.mutant == Mutant::SourceForgetsPositions {
            splits.clear();
        }
        self.before = splits.clone();
        self.inner.restore(splits)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<SourceEvent>> {
        self.inner.next()
    }

    fn drain(&mut self) -> Result<Option<SourceEvent>> {
        self.inner.drain()
    }

    fn snapshot(&mut self) -> Result<Vec<SplitState>> {
        let now = self.inner.snapshot()?;
        let before = std::mem::replace(&mut self.before, now.clone());
        Ok(if self.mutant == Mutant::SourceSnapshotsBehind && !before.is_empty() { before } else { now })
    }
}

struct MutantOperator {
    inner: Box<dyn Operator>,
    mutant: Mutant,
    kind: String,
    known: HashSet<String>,
}

impl MutantOperator {
    fn forgets(&self, segment: &str) -> bool {
        match self.mutant {
            Mutant::DedupForgets => self.kind == "dedup",
            Mutant::AggregateForgetsCounts => self.kind == "global_aggregate" && segment.starts_with("slice-"),
            Mutant::AggregateForgetsRevisions => self.kind == "global_aggregate" && segment.starts_with("corrections-"),
            Mutant::TopForgets => self.kind == "global_top",
            Mutant::HoldForgets => self.kind == "hold",
            Mutant::LookupForgets => self.kind == "lookup" && segment.starts_with("answers-"),
            _ => false,
        }
    }
}

impl Operator for MutantOperator {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        if self.mutant == Mutant::ResultsStayThoughWithdrawn && self.kind == "result_aggregate" {
            let withdrawn =
                batch.columns.column_by_name("withdrawn").and_then(|column| column.as_boolean_opt()).cloned();
            let batch = withdrawn.map_or(Ok(batch.clone()), |withdrawn| batch.filter(&not(&withdrawn)?))?;
            return self.inner.process(input, batch, out);
        }
        if self.mutant != Mutant::LateRowsPass || self.kind != "late_gate" {
            return self.inner.process(input, batch, out);
        }
        let mut inside = Collector::default();
        self.inner.process(input, batch, &mut inside)?;
        inside.drain().into_iter().for_each(|(_, batch)| out.emit(Port::MAIN, batch));
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.inner.watermark(watermark, out)
    }

    fn lookup(&mut self) -> Option<&mut dyn Lookup> {
        self.inner.lookup()
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.inner.prepare_snapshot(barrier, out)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        let mut snapshot = self.inner.snapshot(checkpoint)?;
        for segment in &mut snapshot.segments {
            let first = self.known.insert(segment.id.clone());
            if self.mutant == Mutant::SnapshotSaysUnchanged && !first {
                segment.change = Change::Unchanged;
            }
        }
        Ok(snapshot)
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if self.forgets(segment) {
            return Ok(());
        }
        self.known.insert(segment.into());
        match self.mutant {
            Mutant::RestoresForeignKeys => self.inner.restore(segment, rows, KeyGroupRange::all(u16::MAX)),
            _ => self.inner.restore(segment, rows, key_groups),
        }
    }
}

struct MutantSink {
    inner: Box<dyn Sink>,
    committer: Arc<dyn Committer>,
    mutant: Mutant,
    attempt: Attempt,
    behind: Arc<parking_lot::Mutex<Vec<Committable>>>,
    kept: Option<Batch>,
}

impl Sink for MutantSink {
    fn write(&mut self, mut batch: Batch) -> BoxFuture<'_, Result<()>> {
        match self.mutant {
            Mutant::RecordIdsOfTheAttempt => batch.columns = with_other_ids(&batch.columns, self.attempt),
            Mutant::SinkKeepsABatchBack => match self.kept.replace(batch) {
                Some(earlier) => batch = earlier,
                None => return async { Ok(()) }.boxed(),
            },
            _ => {}
        }
        self.inner.write(batch)
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let staging = self.inner.stage(barrier);
        let (mutant, behind, committer) = (self.mutant, self.behind.clone(), self.committer.clone());
        async move {
            let mut staged = staging.await?;
            match mutant {
                Mutant::SinkStagesOneBehind => {
                    let mut behind = behind.lock();
                    std::mem::swap(&mut *behind, &mut staged);
                }
                Mutant::SinkCommitsEarly => {
                    committer.commit(barrier.checkpoint, &staged).await?;
                }
                _ => {}
            }
            Ok(staged)
        }
        .boxed()
    }
}

/// The same rows with ids that differ from attempt to attempt.
fn with_other_ids(rows: &RecordBatch, attempt: Attempt) -> RecordBatch {
    let Some((at, _)) = rows.schema_ref().column_with_name("record_id") else { return rows.clone() };
    let Some(ids) = rows.column(at).as_fixed_size_binary_opt() else { return rows.clone() };
    let bytes: Vec<u8> = (0..ids.len())
        .flat_map(|row| {
            let mut id = ids.value(row).to_vec();
            id[0] ^= attempt.0 as u8;
            id
        })
        .collect();
    let mut columns = rows.columns().to_vec();
    if let Ok(other) = FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None) {
        columns[at] = Arc::new(other);
    }
    RecordBatch::try_new(rows.schema(), columns).unwrap_or_else(|_| rows.clone())
}

struct MutantCommitter {
    inner: Arc<dyn Committer>,
    mutant: Mutant,
    folder: PathBuf,
    env: Env,
    commits: std::sync::atomic::AtomicU64,
    /// What it has said it has committed.
    behind: parking_lot::Mutex<Option<ToCommit>>,
}

impl MutantCommitter {
    async fn commit_one(&self, checkpoint: CheckpointId, committable: &Committable) -> Result<CommitOutcome> {
        let path = committable.payload["path"].as_str().unwrap_or_default().to_owned();
        let fresh = format!("again-{:x}-{path}", self.env.nonce());
        match self.mutant {
            Mutant::SkipsRepeatedCommits => {
                let commits = self.commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let attempt = committable.payload["staged"].as_str().and_then(|staged| staged.split('/').nth(2));
                if commits == 0 && attempt != Some("1") {
                    return Ok(CommitOutcome::AlreadyDone);
                }
                self.inner.commit(checkpoint, std::slice::from_ref(committable)).await
            }
            Mutant::CommitsUnderFreshNames => {
                let mut renamed = committable.clone();
                renamed.payload["path"] = fresh.into();
                self.inner.commit(checkpoint, &[renamed]).await
            }
            Mutant::CommitsTwice => {
                let outcome = self.inner.commit(checkpoint, std::slice::from_ref(committable)).await?;
                if outcome == CommitOutcome::AlreadyDone && !path.is_empty() {
                    std::fs::copy(self.folder.join(&path), self.folder.join(fresh))?;
                }
                Ok(outcome)
            }
            _ => self.inner.commit(checkpoint, std::slice::from_ref(committable)).await,
        }
    }
}

impl Committer for MutantCommitter {
    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        async move {
            // A table takes a checkpoint as a whole.
            if self.mutant == Mutant::TableKeepsTheFirst {
                return self.inner.commit(checkpoint, committables).await;
            }
            if self.mutant == Mutant::TableSkipsCommits {
                return match checkpoint.0.is_multiple_of(5) {
                    true => Ok(CommitOutcome::AlreadyDone),
                    false => self.inner.commit(checkpoint, committables).await,
                };
            }
            if self.mutant == Mutant::CommitsOneBehind {
                let now = ToCommit { checkpoint, committables: committables.to_vec() };
                let before = self.behind.lock().replace(now);
                if let Some(before) = before {
                    self.inner.commit(before.checkpoint, &before.committables).await?;
                }
                return Ok(CommitOutcome::Done);
            }
            let mut outcome = CommitOutcome::AlreadyDone;
            for committable in committables {
                if self.commit_one(checkpoint, committable).await? == CommitOutcome::Done {
                    outcome = CommitOutcome::Done;
                }
            }
            Ok(outcome)
        }
        .boxed()
    }

    fn commit_together<'a>(&'a self, several: &'a [ToCommit]) -> BoxFuture<'a, Result<(usize, CommitOutcome)>> {
        async move {
            let is_newest_only = self.mutant == Mutant::CommitsTheNewestOnly;
            if is_newest_only {
                // It is slow, so that checkpoints wait.
                self.env.sleep(Duration::from_millis(30)).await;
            }
            let (many, one) = match (several.first(), several.last()) {
                (_, Some(newest)) if is_newest_only => (several.len(), newest),
                (Some(first), _) => (1, first),
                _ => return Ok((0, CommitOutcome::AlreadyDone)),
            };
            Ok((many, self.commit(one.checkpoint, &one.committables).await?))
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        self.inner.sweep(scope)
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.prepare()
    }

    fn verify<'a>(&'a self, committables: &'a [Committable]) -> BoxFuture<'a, Result<()>> {
        self.inner.verify(committables)
    }

    fn compare(&self, newest: CheckpointId, is_committed: bool) -> BoxFuture<'_, Result<()>> {
        self.inner.compare(newest, is_committed)
    }

    fn shown(&self) -> BoxFuture<'_, Result<ShownResults>> {
        self.inner.shown()
    }

    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        if self.mutant == Mutant::ResetRemovesNothing {
            return std::future::ready(Ok(0)).boxed();
        }
        self.inner.reset(lineage)
    }
}
