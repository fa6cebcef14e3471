//! A checkpoint in progress: which subtasks have acknowledged it. Pure.

use super::manifest::{OperatorState, SubtaskState};
use crate::{
    error::{EngineError, Result},
    graph::ExecutionGraph,
    ids::{CheckpointId, SubtaskId},
    operator::Committable,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one subtask has made durable for a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub subtask: SubtaskId,
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// State per node of its chain.
    pub operators: Vec<(String, SubtaskState)>,
    /// What its sinks staged.
    pub committables: Vec<Committable>,
}

/// Collects acknowledgements until every subtask has given one.
#[derive(Debug)]
pub struct PendingCheckpoint {
    checkpoint: CheckpointId,
    missing: Vec<SubtaskId>,
    operators: BTreeMap<String, Vec<SubtaskState>>,
    committables: Vec<Committable>,
}

/// All that the subtasks of a job acknowledged, in a fixed order.
#[derive(Debug)]
pub struct Acknowledged {
    /// One entry per node.
    pub operators: Vec<OperatorState>,
    /// By sink, in the order of subtasks.
    pub committables: Vec<Committable>,
}

impl PendingCheckpoint {
    /// Waits for every subtask of the graph.
    pub fn new(checkpoint: CheckpointId, graph: &ExecutionGraph) -> Self {
        let subtasks = |task: usize| (0..graph.tasks[task].parallelism).map(move |index| SubtaskId { task, index });
        PendingCheckpoint {
            checkpoint,
            missing: (0..graph.tasks.len()).flat_map(subtasks).collect(),
            operators: BTreeMap::new(),
            committables: Vec::new(),
        }
    }

    /// Which checkpoint.
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// Who has not acknowledged yet.
    pub fn missing(&self) -> &[SubtaskId] {
        &self.missing
    }

    /// A subtask acknowledged. `true`: it was the last.
    ///
    /// # Errors
    /// When it is of another checkpoint, or came twice.
    pub fn acknowledge(&mut self, acknowledgement: Acknowledgement) -> Result<bool> {
        let Acknowledgement { subtask, checkpoint, operators, committables } = acknowledgement;
        if checkpoint != self.checkpoint {
            return Err(EngineError::internal(format!(
                "subtask {subtask} acknowledged checkpoint {checkpoint} while {} is pending",
                self.checkpoint
            )));
        }
        let Some(position) = self.missing.iter().position(|missing| *missing == subtask) else {
            return Err(EngineError::internal(format!("subtask {subtask} acknowledged checkpoint {checkpoint} twice")));
        };
        self.missing.swap_remove(position);
        for (operator, state) in operators {
            self.operators.entry(operator).or_default().push(state);
        }
        self.committables.extend(committables);
        Ok(self.missing.is_empty())
    }

    /// What was acknowledged.
    pub fn into_acknowledged(mut self) -> Acknowledged {
        self.committables.sort_by_key(|committable| (committable.sink.clone(), committable.payload.to_string()));
        let operators = self.operators.into_iter().map(|(operator, mut subtasks)| {
            subtasks.sort_by_key(|state| state.subtask);
            OperatorState { operator, subtasks }
        });
        Acknowledged { operators: operators.collect(), committables: self.committables }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{JobGraph, Node, NodeRole};

    fn graph(parallelism: usize) -> ExecutionGraph {
        let mut job = JobGraph::new("job");
        let config = serde_json::Value::Null;
        job.add_node(Node { id: "source".into(), kind: "test".into(), role: NodeRole::Source, parallelism, config });
        ExecutionGraph::new(job).unwrap()
    }

    fn acknowledgement(index: usize, checkpoint: u64) -> Acknowledgement {
        Acknowledgement {
            subtask: SubtaskId { task: 0, index },
            checkpoint: CheckpointId(checkpoint),
            operators: vec![("source".into(), SubtaskState { subtask: index, ..SubtaskState::default() })],
            committables: vec![],
        }
    }

    #[test]
    fn it_is_complete_when_everybody_acknowledged_once() {
        let mut pending = PendingCheckpoint::new(CheckpointId(1), &graph(2));
        assert!(!pending.acknowledge(acknowledgement(1, 1)).unwrap());
        assert!(pending.acknowledge(acknowledgement(1, 1)).is_err(), "twice");
        assert!(pending.acknowledge(acknowledgement(0, 2)).is_err(), "another checkpoint's");
        assert!(pending.acknowledge(acknowledgement(0, 1)).unwrap());
        let subtasks = &pending.into_acknowledged().operators[0].subtasks;
        assert_eq!(subtasks.iter().map(|state| state.subtask).collect::<Vec<_>>(), [0, 1]);
    }
}
