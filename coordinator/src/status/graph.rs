//! The graph of a job as it is shown: each operator with what it does now, and the streams between them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use weir_engine::graph::{ExecutionGraph, Node, NodeRole, Partitioner};

/// The operators of a job and the streams between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphView {
    /// The operators, every producer before its consumers.
    pub operators: Vec<OperatorView>,
    /// The streams.
    pub edges: Vec<EdgeView>,
}

/// An operator, summed over its subtasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperatorView {
    /// Identity, unique in the job.
    #[schema(example = "dedup.unique")]
    pub id: String,
    /// What it is built from.
    #[schema(example = "dedup")]
    pub kind: String,
    /// `source`, `operator` or `sink`.
    #[schema(example = "operator")]
    pub role: String,
    /// Index of the task that it runs in: operators of one task are fused.
    pub task: usize,
    /// Number of its subtasks.
    pub parallelism: usize,
    /// Records taken in since the attempt began; by a source, records read.
    pub records_in: u64,
    /// Records given out since the attempt began; by a sink, none.
    pub records_out: u64,
    /// Records taken in a second, over the last ten.
    pub records_in_per_second: f64,
    /// Records given out a second, over the last ten.
    pub records_out_per_second: f64,
    /// Share of time that its subtasks wait for a downstream subtask, from 0 to 1: of the one that waits most.
    pub backpressure: f64,
    /// Share of time that its subtasks process, from 0 to 1: of the busiest.
    pub busy: f64,
    /// Its watermark, in event time: the lowest of its subtasks. Absent before the first one, `i64::MAX` when its input has
    /// ended.
    pub watermark_ms: Option<i64>,
    /// What it counts besides, such as `duplicates`.
    pub counters: BTreeMap<String, u64>,
    /// Of a source that knows, by split (a Kafka partition, say): how much has not been read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lags: BTreeMap<String, LagView>,
    /// Of a sink: what it has committed, since this coordinator began; absent before its first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<CommitsView>,
}

/// Commits of a sink that made results visible, and how long they took, waits for the target included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CommitsView {
    /// How many: one for each checkpoint with results for the sink.
    pub commits: u64,
    /// In how many transactions of the target; 0 where it knows none, as folders of files do.
    pub transactions: u64,
    /// Transactions a second, over the last ten.
    pub transactions_per_second: f64,
    /// How long all of them took together, in microseconds.
    pub duration_us: u64,
    /// How long the newest one took.
    pub last_us: u64,
    /// The median of the newest hundred.
    pub median_us: u64,
    /// The longest of the newest hundred.
    pub longest_us: u64,
}

/// How much of a split has not been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LagView {
    /// Records that there are, and have not been read.
    pub records: u64,
    /// How long ago the newest record was written that has been read, in milliseconds; 0 where all have been.
    pub behind_ms: u64,
}

/// A stream from one operator to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EdgeView {
    /// Id of the operator that it comes from.
    #[schema(example = "map.valid")]
    pub from: String,
    /// Which output of it: `main`, `late` or `dead_letters`.
    #[schema(example = "main")]
    pub port: String,
    /// Id of the operator that it goes to.
    #[schema(example = "dedup.unique")]
    pub to: String,
    /// `forward` or `hash`.
    #[schema(example = "hash")]
    pub partitioner: String,
    /// The key columns of `hash`; else empty.
    pub key: Vec<String>,
}

impl GraphView {
    /// The view of a graph in which nothing has happened yet: all numbers are 0.
    pub fn new(graph: &ExecutionGraph) -> Self {
        let job = &graph.job;
        let task_of = |node: usize| {
            let holds = |task: &weir_engine::graph::Task| task.chain.iter().any(|link| link.node == node);
            graph.tasks.iter().position(holds).expect("every node is in a task")
        };
        let id_of = |node: usize| job.nodes.get(node).map_or_else(String::new, |node: &Node| node.id.clone());
        GraphView {
            operators: job
                .nodes
                .iter()
                .enumerate()
                .map(|(index, node)| OperatorView {
                    id: node.id.clone(),
                    kind: node.kind.clone(),
                    role: role_name(node.role).into(),
                    task: task_of(index),
                    parallelism: node.parallelism,
                    ..OperatorView::default()
                })
                .collect(),
            edges: job
                .edges
                .iter()
                .map(|edge| {
                    let (partitioner, key) = partitioner_name(&edge.partitioner);
                    EdgeView {
                        from: id_of(edge.from),
                        port: edge.port.name().into(),
                        to: id_of(edge.to),
                        partitioner: partitioner.into(),
                        key: key.to_vec(),
                    }
                })
                .collect(),
        }
    }
}

fn role_name(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Source => "source",
        NodeRole::Operator => "operator",
        NodeRole::Lookup => "lookup",
        NodeRole::Sink => "sink",
    }
}

fn partitioner_name(partitioner: &Partitioner) -> (&'static str, &[String]) {
    match partitioner {
        Partitioner::Forward => ("forward", &[]),
        Partitioner::Hash { key } => ("hash", key),
    }
}
