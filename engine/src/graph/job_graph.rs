//! The job graph: operators and edges as the user wrote them, parallelism noted but not applied.

use crate::{
    element::Port,
    error::{EngineError, Result},
    hidden::redacted_json,
    key_group::DEFAULT_MAX_PARALLELISM,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    time::Duration,
};

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
    /// Rows in, rows out, in their order, with what a service outside answers about them. Never fused with what is before it.
    Lookup,
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
    /// Which input of the consumer it feeds, from 0. Several edges may feed one, with rows of the same columns.
    #[serde(default, skip_serializing_if = "is_first")]
    pub input: usize,
    /// Which subtask of the consumer a row goes to.
    pub partitioner: Partitioner,
    /// The columns that the consumer needs; `None`: all.
    pub columns: Option<Vec<String>>,
}

/// Which subtask of the consumer a row goes to. The single law: every row arrives exactly once.
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
}

fn is_first(input: &usize) -> bool {
    *input == 0
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

    /// Adds an edge between two nodes, into the first input of the consumer.
    pub fn add_edge(&mut self, from: usize, port: Port, to: usize, partitioner: Partitioner) {
        self.add_edge_into(from, port, (to, 0), partitioner);
    }

    /// Adds an edge into an input of a node, by its number.
    pub fn add_edge_into(&mut self, from: usize, port: Port, (to, input): (usize, usize), partitioner: Partitioner) {
        self.edges.push(Edge { from, port, to, input, partitioner, columns: None });
    }

    /// The edges into a node, with their indices.
    pub fn edges_into(&self, node: usize) -> impl Iterator<Item = (usize, &Edge)> {
        self.edges.iter().enumerate().filter(move |(_, edge)| edge.to == node)
    }

    /// Number of inputs of a node. A source has none.
    pub fn inputs_of(&self, node: usize) -> usize {
        self.edges_into(node).map(|(_, edge)| edge.input.saturating_add(1)).max().unwrap_or(0)
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
            let edges = self.edges_into(index).count();
            if (node.role == NodeRole::Source) != (edges == 0) {
                return refuse(format!("'{}' is a {:?} with {edges} inputs", node.id, node.role));
            }
            if let Err(problem) = self.check_inputs(index) {
                return refuse(format!("'{}' {problem}", node.id));
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
                return refuse(format!("'{}' comes after its consumer '{}'", from.id, to.id));
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
    /// The inputs of a node are numbered without gaps, and the edges into one of them agree in how they spread rows.
    fn check_inputs(&self, node: usize) -> Result<(), String> {
        // A number that somebody made up must not be counted up to.
        let numbers: BTreeSet<usize> = self.edges_into(node).map(|(_, edge)| edge.input).collect();
        if let Some((missing, _)) = numbers.iter().enumerate().find(|(index, input)| index != *input) {
            return Err(format!("has no input {missing}, but one after it"));
        }
        if self.nodes[node].role == NodeRole::Sink && numbers.len() > 1 {
            return Err(format!("is a sink with {} inputs", numbers.len()));
        }
        let mut partitioners = BTreeMap::new();
        for (_, edge) in self.edges_into(node) {
            if *partitioners.entry(edge.input).or_insert(&edge.partitioner) != &edge.partitioner {
                return Err(format!("has edges into its input {} that spread rows differently", edge.input));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, role: NodeRole) -> Node {
        Node { id: id.into(), kind: "test".into(), role, parallelism: 1, config: serde_json::Value::Null }
    }

    fn by(key: &str) -> Partitioner {
        Partitioner::Hash { key: vec![key.into()] }
    }

    /// Two sources, the inputs of a join.
    fn join() -> JobGraph {
        let mut job = JobGraph::new("test");
        let left = job.add_node(node("left", NodeRole::Source));
        let right = job.add_node(node("right", NodeRole::Source));
        let join = job.add_node(node("join", NodeRole::Operator));
        let sink = job.add_node(node("sink", NodeRole::Sink));
        job.add_edge_into(left, Port::MAIN, (join, 0), by("l"));
        job.add_edge_into(right, Port::MAIN, (join, 1), by("r"));
        job.add_edge(join, Port::MAIN, sink, Partitioner::Forward);
        job
    }

    #[test]
    fn inputs_have_partitioners_of_their_own() {
        let mut job = join();
        job.validate().unwrap();
        assert_eq!((0..4).map(|node| job.inputs_of(node)).collect::<Vec<_>>(), [0, 0, 2, 1]);
        // A second edge into the same input must agree.
        job.add_edge_into(0, Port::named("late"), (2, 1), by("r"));
        job.validate().unwrap();
        job.add_edge_into(0, Port::named("other"), (2, 1), by("l"));
        let problem = job.validate().unwrap_err().message;
        assert!(problem.contains("'join' has edges into its input 1 that spread rows differently"), "{problem}");
    }

    #[test]
    fn inputs_are_numbered_without_gaps_and_sinks_have_one() {
        for (input, missing) in [(2, 1), (usize::MAX, 1)] {
            let mut job = join();
            job.edges[1].input = input;
            let problem = job.validate().unwrap_err().message;
            assert!(problem.contains(&format!("'join' has no input {missing}")), "{problem}");
        }
        let mut job = join();
        job.edges[0].input = 1;
        assert!(job.validate().unwrap_err().message.contains("'join' has no input 0"));
        let mut job = join();
        job.add_edge_into(2, Port::named("late"), (3, 1), Partitioner::Forward);
        assert!(job.validate().unwrap_err().message.contains("'sink' is a sink with 2 inputs"));
    }

    #[test]
    fn graphs_that_were_stored_before_there_were_several_inputs_read_as_they_were() {
        let edge = r#"{"from":0,"port":"dead_letters","to":1,"partitioner":{"hash":{"key":["k"]}},"columns":null}"#;
        let read: Edge = serde_json::from_str(edge).unwrap();
        assert_eq!((read.input, read.port), (0, Port::named("dead_letters")));
        assert_eq!(serde_json::to_string(&read).unwrap(), edge, "and are stored as they were");
        let second = Edge { input: 1, ..read };
        let stored = serde_json::to_string(&second).unwrap();
        assert_eq!(serde_json::from_str::<Edge>(&stored).unwrap(), second);
    }
}
