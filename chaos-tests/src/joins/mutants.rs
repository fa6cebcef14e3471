//! Joins built wrong on purpose. A mutant wraps the join that another factory builds; everything else is the real job.

use arrow::{array::AsArray, compute::filter_record_batch, datatypes::Int32Type, record_batch::RecordBatch};
use std::sync::Arc;
use weir_engine::{
    Result,
    element::{Barrier, Batch, WATERMARK_MIN},
    graph::Node,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
    state::Snapshot,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinMutant {
    /// A right row is matched with left rows further away than it is to be.
    MatchesPastTheBound,
    /// A right row is dropped as soon as event time has passed it.
    DropsRightRowsEarly,
    /// How left rows were answered is not known after a restore, so that they are answered again.
    AnswersTwiceAfterARestore,
    /// Left rows that wait are lost by a restore.
    ForgetsLeftRows,
    /// Right rows are lost by a restore.
    ForgetsRightRows,
    /// A barrier does not wait for that of the right input: rows of it that come before are taken for ones behind it.
    ForgetsTheRightBarrier,
    /// Rows of the left input that come between the barriers of the two are lost.
    LosesRowsBetweenBarriers,
    /// Rows of key groups of other subtasks are restored, too.
    RestoresForeignKeys,
    /// Late rows go in as long as it remembers what they need by chance.
    LateRowsPass,
    /// A row that is unmatched stays so when a late match comes.
    NeverWithdraws,
}

impl JoinMutant {
    /// All of them.
    pub const ALL: [JoinMutant; 10] = [
        JoinMutant::MatchesPastTheBound,
        JoinMutant::DropsRightRowsEarly,
        JoinMutant::AnswersTwiceAfterARestore,
        JoinMutant::ForgetsLeftRows,
        JoinMutant::ForgetsRightRows,
        JoinMutant::ForgetsTheRightBarrier,
        JoinMutant::LosesRowsBetweenBarriers,
        JoinMutant::RestoresForeignKeys,
        JoinMutant::LateRowsPass,
        JoinMutant::NeverWithdraws,
    ];
}

/// Builds the parts of another factory, joins and what stands before them wrong.
pub struct JoinMutants {
    inner: Arc<dyn Factory>,
    mutant: JoinMutant,
}

impl JoinMutants {
    /// Over a factory that is right.
    pub fn new(inner: Arc<dyn Factory>, mutant: JoinMutant) -> Arc<Self> {
        Arc::new(JoinMutants { inner, mutant })
    }

    fn mutated(&self, node: &Node) -> Node {
        let mut node = node.clone();
        let key = match self.mutant {
            JoinMutant::MatchesPastTheBound => "before_ms",
            JoinMutant::LateRowsPass if node.kind == "late_gate" => {
                node.config["rule"] = serde_json::json!({ "row": { "allowed_lateness_ms": i64::MAX } });
                return node;
            }
            _ => return node,
        };
        if let Some(bound) = node.config[key].as_i64().filter(|_| node.kind == "join") {
            node.config[key] = (bound + 1_000).into();
        }
        node
    }
}

impl Factory for JoinMutants {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        self.inner.source(node, context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        let inner = self.inner.operator(&self.mutated(node), context)?;
        if node.kind != "join" {
            return Ok(inner);
        }
        let time_column = node.config["right"]["time_column"].as_str().unwrap_or_default().to_owned();
        Ok(Box::new(MutantJoin { inner, mutant: self.mutant, time_column, watermark: WATERMARK_MIN, held: Vec::new() }))
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        self.inner.sink(node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        self.inner.committer(node, context)
    }
}

struct MutantJoin {
    inner: Box<dyn Operator>,
    mutant: JoinMutant,
    time_column: String,
    watermark: i64,
    /// What came last, as if the barrier of its input had been before it.
    held: Vec<(usize, Batch)>,
}

impl MutantJoin {
    /// Of right rows, those that event time has not passed.
    fn young(&self, batch: Batch) -> Result<Batch> {
        let times = batch.columns.column_by_name(&self.time_column);
        let times =
            times.map(|times| times.as_primitive::<arrow::datatypes::TimestampMillisecondType>().values().to_vec());
        let keep = times.unwrap_or_default().iter().map(|time| Some(*time >= self.watermark)).collect();
        batch.filter(&keep)
    }

    fn release(&mut self, out: &mut Collector) -> Result<()> {
        self.held.drain(..).try_for_each(|(input, batch)| self.inner.process(input, batch, out))
    }
}

impl Operator for MutantJoin {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let (side, other) = (0, 1);
        match self.mutant {
            JoinMutant::DropsRightRowsEarly if input == other => {
                let batch = self.young(batch)?;
                self.inner.process(input, batch, out)
            }
            // The last batch of an input is one that has come after its barrier and before the other's.
            JoinMutant::ForgetsTheRightBarrier if input == other => {
                self.release(out)?;
                self.held.push((input, batch));
                Ok(())
            }
            JoinMutant::LosesRowsBetweenBarriers if input == side => {
                self.release(out)?;
                self.held.push((input, batch));
                Ok(())
            }
            _ => self.inner.process(input, batch, out),
        }
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.release(out)?;
        self.watermark = watermark;
        self.inner.watermark(watermark, out)
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        if self.mutant == JoinMutant::LosesRowsBetweenBarriers {
            self.held.clear();
        }
        self.inner.prepare_snapshot(barrier, out)
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        self.inner.snapshot(checkpoint)
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let is_forgotten = match self.mutant {
            JoinMutant::AnswersTwiceAfterARestore => segment.starts_with("answers-"),
            JoinMutant::ForgetsLeftRows => segment.starts_with("left-"),
            JoinMutant::ForgetsRightRows => segment.starts_with("right-"),
            _ => false,
        };
        if is_forgotten {
            return Ok(());
        }
        match self.mutant {
            JoinMutant::RestoresForeignKeys => self.inner.restore(segment, rows, KeyGroupRange::all(u16::MAX)),
            JoinMutant::NeverWithdraws if segment.starts_with("answers-") => {
                // What was unmatched is taken for matched.
                let answers = rows.column(rows.num_columns() - 1).as_primitive::<Int32Type>();
                let keep = answers.iter().map(|answer| Some(answer != Some(-1))).collect();
                self.inner.restore(segment, &filter_record_batch(rows, &keep)?, key_groups)
            }
            _ => self.inner.restore(segment, rows, key_groups),
        }
    }
}
