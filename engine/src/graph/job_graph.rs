//! The job graph: operators and edges as the user wrote them, parallelism noted but not applied.

use crate::{
    element::Port,
    error::{EngineError, Result},
    hidden::redacted_json,
    key_group::DEFAULT_MAX_PARALLELISM,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fmt, time::Duration};

/// A checked job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    /// Name of the job: part of paths.
    pub name: String,
    /// What record ids are made from instead of the name: a replay gives the records of the job that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The operators, every producer before its consumers.
    pub nodes: Vec<Node>,
    /// The edges between them.
    pub edges: Vec<Edge>,
    /// Number of key groups.
    pub max_parallelism: u16,
    /// When checkpoints are taken and how many are kept.
    pub checkpoint: CheckpointSettings,
}

/// One operator of the graph.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Identity, unique in the job, the same in every version of it: state is found by it. Such as `dedup.unique`.
    pub id: String,
    /// Which operator: what the factory knows it by.
    pub kind: String,
    /// Source, operator or sink.
    pub role: NodeRole,
    /// Number of subtasks.
    pub parallelism: usize,
    /// The operator's own settings, opaque to the engine.
    pub config: serde_json::Value,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { id, kind, role, parallelism, config } = self;
        let config = redacted_json(config);
        let mut shown = f.debug_struct("Node");
        shown.field("id", id).field("kind", kind).field("role", role).field("parallelism", parallelism);
        shown.field("config", &config).finish()
    }
}

/// Which contract a node fulfils.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Rows come in.
    Source,
    /// Rows in, rows out.
    Operator,
    /// Rows go out.
    Sink,
}

/// A stream from one node to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Index of the producing node.
    pub from: usize,
    /// Which of its outputs.
    pub port: Port,
    /// Index of the consuming node.
    pub to: usize,
    /// Which subtask of the consumer a row goes to.
    pub partitioner: Partitioner,
    /// The columns that the consumer needs; `None`: all.
    pub columns: Option<Vec<String>>,
}

/// Which subtask of the consumer a row goes to. The single law: every row arrives exactly once (at every subtask for
/// `Broadcast`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// Subtask *i* to subtask *i*; both sides have the same parallelism. Such edges are chained where they can be.
    Forward,
    /// To the owner of the key group of the hash of these columns.
    Hash {
        /// The key columns, in order.
        key: Vec<String>,
    },
    /// To the subtasks in turn, a batch each.
    Rebalance,
    /// To every subtask.
    Broadcast,
}

/// When checkpoints are taken and how many are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSettings {
    /// From the start of one to the start of the next, in milliseconds. One runs at a time.
    pub interval_ms: u64,
    /// How many completed ones are kept.
    pub retain: usize,
}

impl CheckpointSettings {
    /// The interval.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        CheckpointSettings { interval_ms: 1000, retain: 3 }
    }
}

impl JobGraph {
    /// A graph without nodes.
    pub fn new(name: impl Into<String>) -> Self {
        JobGraph {
            name: name.into(),
            identity: None,
            nodes: Vec::new(),
            edges: Vec::new(),
            max_parallelism: DEFAULT_MAX_PARALLELISM,
            checkpoint: CheckpointSettings::default(),
        }
    }

    /// What record ids are made from.
    pub fn identity(&self) -> &str {
        self.identity.as_deref().unwrap_or(&self.name)
    }

    /// Adds a node and returns its index.
    pub fn add_node(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Adds an edge between two nodes.
    pub fn add_edge(&mut self, from: usize, port: Port, to: usize, partitioner: Partitioner) {
        self.edges.push(Edge { from, port, to, partitioner, columns: None });
    }

    /// Checks what the engine relies on. A definition's own mistakes are found long before, with better words.
    ///
    /// # Errors
    /// Naming the node or edge that breaks a rule.
    pub fn validate(&self) -> Result<()> {
        let refuse = |text: String| Err(EngineError::definition(format!("job '{}': {text}", self.name)));
        if self.max_parallelism == 0 {
            return refuse("max_parallelism must be at least 1".into());
        }
        if self.nodes.is_empty() {
            return refuse("it has no nodes: at least a source is needed".into());
        }
        let mut ids = HashSet::new();
        for node in &self.nodes {
            if !ids.insert(&node.id) {
                return refuse(format!("two nodes are called '{}'", node.id));
            }
            if node.parallelism == 0 || node.parallelism > usize::from(self.max_parallelism) {
                return refuse(format!(
                    "the parallelism of '{}' is {}; it must be between 1 and max_parallelism, {}",
                    node.id, node.parallelism, self.max_parallelism
                ));
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let inputs = self.edges.iter().filter(|edge| edge.to == index).count();
            if (node.role == NodeRole::Source) != (inputs == 0) {
                return refuse(format!("'{}' is a {:?} with {inputs} inputs", node.id, node.role));
            }
            if node.role == NodeRole::Sink && self.edges.iter().any(|edge| edge.from == index) {
                return refuse(format!("the sink '{}' has a consumer", node.id));
            }
        }
        for edge in &self.edges {
            let (Some(from), Some(to)) = (self.nodes.get(edge.from), self.nodes.get(edge.to)) else {
                return refuse(format!("an edge goes from {} to {}, which are not nodes", edge.from, edge.to));
            };
            if edge.from >= edge.to {
                return refuse(format!("'{}' stands behind its consumer '{}'", from.id, to.id));
            }
            if edge.partitioner == Partitioner::Forward && from.parallelism != to.parallelism {
                return refuse(format!(
                    "'{}' and '{}' are joined by a forward edge, but differ in parallelism",
                    from.id, to.id
                ));
            }
        }
        Ok(())
    }
}
