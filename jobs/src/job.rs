//! A job that passed all checks.

use weir_engine::graph::{JobGraph, Node, NodeRole};
use weir_operators::{Extensions, schema::ColumnSchema};

use crate::diagnose::Diagnostic;

/// What is decided outside of the definition.
#[derive(Debug, Clone, Default)]
pub struct CompileOptions {
    /// Number of subtasks of every node, whatever the definition says.
    pub parallelism: Option<usize>,
    /// Number of subtasks when neither this nor the definition says one; none: 1.
    pub default_parallelism: Option<usize>,
    /// Turn the sinks on that write into tables, whatever their `enabled` says: the tables are going to be read.
    pub enable_tables: bool,
    /// The job runs in this process, which must have the secrets that the definition refers to.
    pub runs_here: bool,
    /// Operators, sources and sinks of other crates, which the definition may name.
    pub extensions: Extensions,
}

/// A checked job: the graph that the engine runs, and what a person wants to know about it.
#[derive(Debug, Clone)]
pub struct Job {
    /// The graph.
    pub graph: JobGraph,
    /// What its checkpoints record of the definition: see [`DefinitionRecord`](weir_engine::graph::DefinitionRecord).
    pub definition: String,
    /// Where checkpoints go, when the definition says so: a folder or a URL.
    pub checkpoint_storage: Option<String>,
    /// For every node of the graph, in its order: what it does.
    pub notes: Vec<NodeNote>,
    /// What is probably not meant, though the job can run.
    pub warnings: Vec<Diagnostic>,
}

/// What a node of the graph does, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeNote {
    /// In few words, such as `where country = 'USA'`.
    pub does: String,
    /// What it remembers between records; none: nothing.
    pub state: Option<String>,
    /// The columns that it emits, in order; none for sinks.
    pub columns: Vec<String>,
    /// The columns that a sink writes; none for others.
    pub written: ColumnSchema,
}

impl Job {
    /// A sink by its name in the definition, and the columns that it writes; none: there is no such sink, or it is not enabled.
    pub fn sink(&self, name: &str) -> Option<(&Node, &ColumnSchema)> {
        self.sinks().find(|(node, _)| node.id.strip_prefix("sink.") == Some(name))
    }

    /// All sinks, and the columns that each writes.
    pub fn sinks(&self) -> impl Iterator<Item = (&Node, &ColumnSchema)> {
        let nodes = self.graph.nodes.iter().zip(&self.notes);
        nodes.filter(|(node, _)| node.role == NodeRole::Sink).map(|(node, note)| (node, &note.written))
    }
}
