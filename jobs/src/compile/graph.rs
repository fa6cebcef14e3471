//! The plan → the engine's job graph: kinds and configurations that the operators' factory understands, edges with
//! partitioners, and a note on every node for people.

use weir_engine::graph::{CheckpointSettings, Edge, JobGraph, Node, NodeRole, Partitioner};
use weir_operators::schema::ColumnSchema;

use crate::job::NodeNote;
use crate::nodes::operator::{Configuration, Note, StepColumns};
use crate::nodes::planning::Step;
use crate::settings::JobSettings;

/// Makes the graph and the notes of its nodes.
pub(super) fn graph(
    job: &JobSettings,
    steps: &[Step],
    columns: &[StepColumns],
    parallelism: usize,
) -> (JobGraph, Vec<NodeNote>) {
    let mut graph = JobGraph::new(&job.name);
    graph.identity = job.identity.clone();
    graph.max_parallelism = job.max_parallelism;
    graph.checkpoint = CheckpointSettings {
        interval_ms: u64::try_from(job.checkpoint.interval.as_millis()).unwrap_or(u64::MAX),
        retain: job.checkpoint.retain,
    };
    let mut notes = Vec::with_capacity(steps.len());
    for (step, columns) in steps.iter().zip(columns) {
        let Configuration { role, kind, config } = step.operator.configuration(columns);
        let parallelism = if step.operator.is_single() { 1 } else { parallelism };
        let to = graph.add_node(Node { id: step.id.clone(), kind: kind.into(), role, parallelism, config });
        notes.push(note(step, columns, role));
        for input in &step.inputs {
            let partitioner = match &input.hash {
                None => Partitioner::Forward,
                Some(key) => Partitioner::Hash { key: key.clone() },
            };
            graph.edges.push(Edge {
                from: input.from,
                port: input.port,
                to,
                input: input.input,
                partitioner,
                columns: columns.carried.get(input.input).cloned().flatten(),
            });
        }
    }
    (graph, notes)
}

/// What a node does, in the words of the definition. The columns of partial results are the operators' own affair.
fn note(step: &Step, columns: &StepColumns, role: NodeRole) -> NodeNote {
    let Note { does, state } = step.operator.note(columns);
    let shown = columns.output.names().filter(|_| step.operator.shows_columns());
    let written = if role == NodeRole::Sink { columns.input.clone() } else { ColumnSchema::default() };
    NodeNote { does, state, columns: shown.map(str::to_owned).collect(), written }
}
