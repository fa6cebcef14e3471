//! Joins of counts built wrong on purpose. A mutant wraps the join that another factory builds; everything else is the real job.

use arrow::{
    array::{AsArray, BooleanArray},
    compute::{filter_record_batch, not},
    datatypes::Int32Type,
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch},
    graph::Node,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
    state::Snapshot,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowJoinMutant {
    /// A row that is withdrawn stays, with all that it is a part of.
    KeepsAPairPastAWithdrawal,
    /// A row that is corrected stays as it was.
    KeepsAPairPastACorrection,
    /// That a row was withdrawn is not known after a restore, so that the one before it holds.
    ForgetsAWithdrawnRow,
    /// What was put out is not known after a restore, so that it is put out again.
    MatchesTwiceAfterARestore,
    /// The rows of the left are lost by a restore.
    ForgetsLeftRows,
    /// The rows of the right are lost by a restore.
    ForgetsRightRows,
    /// Rows of the left that wait behind its barrier for that of the right are lost.
    LosesRowsThatWaitForABarrier,
    /// Rows of key groups of other subtasks are restored, too.
    RestoresForeignKeys,
    /// A window is dropped when it is over, whatever corrects it.
    DropsWindowsEarly,
    /// A row without a match is no result.
    LosesRowsWithoutAMatch,
    /// One result is put out for each row, as if there were one on the other side.
    TakesBothSidesForSingle,
}

impl WindowJoinMutant {
    /// All of them.
    pub const ALL: [WindowJoinMutant; 11] = [
        WindowJoinMutant::KeepsAPairPastAWithdrawal,
        WindowJoinMutant::KeepsAPairPastACorrection,
        WindowJoinMutant::ForgetsAWithdrawnRow,
        WindowJoinMutant::MatchesTwiceAfterARestore,
        WindowJoinMutant::ForgetsLeftRows,
        WindowJoinMutant::ForgetsRightRows,
        WindowJoinMutant::LosesRowsThatWaitForABarrier,
        WindowJoinMutant::RestoresForeignKeys,
        WindowJoinMutant::DropsWindowsEarly,
        WindowJoinMutant::LosesRowsWithoutAMatch,
        WindowJoinMutant::TakesBothSidesForSingle,
    ];

    /// Whether it is right as long as nothing is restored.
    pub fn is_of_restores(self) -> bool {
        matches!(
            self,
            WindowJoinMutant::ForgetsAWithdrawnRow
                | WindowJoinMutant::MatchesTwiceAfterARestore
                | WindowJoinMutant::ForgetsLeftRows
                | WindowJoinMutant::ForgetsRightRows
                | WindowJoinMutant::RestoresForeignKeys
        )
    }
}

/// Builds the parts of another factory, joins of counts wrong.
pub struct WindowJoinMutants {
    inner: Arc<dyn Factory>,
    mutant: WindowJoinMutant,
}

impl WindowJoinMutants {
    /// Over a factory that is right.
    pub fn new(inner: Arc<dyn Factory>, mutant: WindowJoinMutant) -> Arc<Self> {
        Arc::new(WindowJoinMutants { inner, mutant })
    }

    fn mutated(&self, node: &Node) -> Node {
        let mut node = node.clone();
        match self.mutant {
            WindowJoinMutant::DropsWindowsEarly => node.config["allowed_lateness_ms"] = 0.into(),
            WindowJoinMutant::LosesRowsWithoutAMatch => node.config["type"] = "inner".into(),
            WindowJoinMutant::TakesBothSidesForSingle => node.config["right"]["is_single"] = true.into(),
            _ => {}
        }
        node
    }
}

impl Factory for WindowJoinMutants {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        self.inner.source(node, context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        if node.kind != "window_join" {
            return self.inner.operator(node, context);
        }
        let inner = self.inner.operator(&self.mutated(node), context)?;
        Ok(Box::new(MutantJoin { inner, mutant: self.mutant, is_behind_barrier: false }))
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        self.inner.sink(node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        self.inner.committer(node, context)
    }
}

const LEFT: usize = 0;

struct MutantJoin {
    inner: Box<dyn Operator>,
    mutant: WindowJoinMutant,
    /// Whether a barrier was the last that came, so that what the left brings next is taken for what has waited behind it.
    is_behind_barrier: bool,
}

/// Rows that are not withdrawn.
fn holding(rows: &RecordBatch) -> Result<BooleanArray> {
    let withdrawn = rows.column_by_name("withdrawn").and_then(|column| column.as_boolean_opt());
    Ok(not(withdrawn.ok_or_else(|| EngineError::internal("rows that are no results"))?)?)
}

/// Rows that correct none.
fn first(rows: &RecordBatch) -> Result<BooleanArray> {
    let revisions = rows.column_by_name("revision").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let revisions = revisions.ok_or_else(|| EngineError::internal("rows that are no results"))?;
    Ok(revisions.iter().map(|revision| Some(revision == Some(0))).collect())
}

impl Operator for MutantJoin {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let batch = match self.mutant {
            WindowJoinMutant::KeepsAPairPastAWithdrawal => batch.filter(&holding(&batch.columns)?)?,
            WindowJoinMutant::KeepsAPairPastACorrection => batch.filter(&first(&batch.columns)?)?,
            WindowJoinMutant::LosesRowsThatWaitForABarrier if input == LEFT && self.is_behind_barrier => {
                self.is_behind_barrier = false;
                return Ok(());
            }
            _ => batch,
        };
        self.inner.process(input, batch, out)
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.inner.watermark(watermark, out)
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.is_behind_barrier = true;
        self.inner.prepare_snapshot(barrier, out)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        self.inner.snapshot(checkpoint)
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let is_forgotten = match self.mutant {
            WindowJoinMutant::MatchesTwiceAfterARestore => segment.starts_with("given-"),
            WindowJoinMutant::ForgetsLeftRows => segment.starts_with("left-"),
            WindowJoinMutant::ForgetsRightRows => segment.starts_with("right-"),
            _ => false,
        };
        if is_forgotten {
            return Ok(());
        }
        match self.mutant {
            WindowJoinMutant::RestoresForeignKeys => self.inner.restore(segment, rows, KeyGroupRange::all(u16::MAX)),
            WindowJoinMutant::ForgetsAWithdrawnRow if !segment.starts_with("given-") => {
                self.inner.restore(segment, &filter_record_batch(rows, &holding(rows)?)?, key_groups)
            }
            _ => self.inner.restore(segment, rows, key_groups),
        }
    }
}
