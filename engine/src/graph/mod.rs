//! The job graph (what the user wrote, checked), and the execution graph that it is expanded to.
//!
//! Both are plain data: a node is a kind and a configuration, so that a graph can be shown, stored and sent to another
//! process, where a [`Factory`](crate::operator::Factory) builds the operators.

mod definition;
mod execution_graph;
mod job_graph;

pub use definition::{DefinitionRecord, NodeRecord, Remembers};
pub use execution_graph::{ChainLink, ChainTarget, ExecutionGraph, OutputEdge, Task};
pub use job_graph::{CheckpointSettings, Edge, JobGraph, Node, NodeRole, Partitioner};
