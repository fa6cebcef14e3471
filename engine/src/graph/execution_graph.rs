//! The execution graph: nodes fused into tasks, tasks expanded to subtasks.
//!
//! Rule of chaining: forward edges to a node of one input that are all outputs of one other node are fused; everything else
//! becomes channels. So a task is a tree of nodes with one head, and only the head may have several inputs. A lookup is always a
//! head: rows wait there, and what is before it must not.

use super::{Edge, JobGraph, Node, NodeRole, Partitioner};
use crate::{element::Port, error::Result, ids::SubtaskId};
use std::collections::BTreeSet;

/// A job graph cut into tasks.
#[derive(Clone, Debug)]
pub struct ExecutionGraph {
    /// The graph it was made from.
    pub job: JobGraph,
    /// The tasks, producers before consumers.
    pub tasks: Vec<Task>,
}

/// Nodes that run fused in one subtask.
#[derive(Clone, Debug)]
pub struct Task {
    /// The fused nodes; the first is the head, each comes after the one that feeds it.
    pub chain: Vec<ChainLink>,
    /// Number of subtasks.
    pub parallelism: usize,
    /// The edges into the head, as indices into the job graph's edges. None for a source.
    pub inputs: Vec<usize>,
    /// The edges that leave the task.
    pub outputs: Vec<OutputEdge>,
    /// The tasks whose sources its rows come from; itself where its head is a source.
    pub sources: BTreeSet<usize>,
}

/// A node in its place in a chain.
#[derive(Clone, Debug)]
pub struct ChainLink {
    /// Index of the node in the job graph.
    pub node: usize,
    /// Where each port's rows go.
    pub targets: Vec<(Port, ChainTarget)>,
}

/// Where rows go from a chain link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainTarget {
    /// Into another link of the same chain.
    Link(usize),
    /// Out of the task, into its output of that index.
    Output(usize),
}

/// An edge out of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputEdge {
    /// Index of the edge in the job graph.
    pub edge: usize,
    /// The task at its other end.
    pub to_task: usize,
}

impl ExecutionGraph {
    /// Fuses what can be fused.
    ///
    /// # Errors
    /// When the graph breaks a rule of [`JobGraph::validate`].
    pub fn new(job: JobGraph) -> Result<Self> {
        job.validate()?;
        let mut task_of = vec![0; job.nodes.len()];
        let mut tasks: Vec<Task> = Vec::new();
        for node in 0..job.nodes.len() {
            let incoming: Vec<usize> = job.edges_into(node).map(|(index, _)| index).collect();
            let is_lookup = job.nodes[node].role == NodeRole::Lookup;
            let fused = sole_producer(&job, &incoming).filter(|_| !is_lookup);
            let link = ChainLink { node, targets: Vec::new() };
            task_of[node] = match fused {
                Some(producer) => {
                    tasks[task_of[producer]].chain.push(link);
                    task_of[producer]
                }
                None => {
                    let sources = match job.nodes[node].role {
                        NodeRole::Source => BTreeSet::from([tasks.len()]),
                        _ => sources_of(&tasks, incoming.iter().map(|edge| task_of[job.edges[*edge].from])),
                    };
                    tasks.push(Task {
                        chain: vec![link],
                        parallelism: job.nodes[node].parallelism,
                        inputs: incoming,
                        outputs: Vec::new(),
                        sources,
                    });
                    tasks.len() - 1
                }
            };
        }
        for (index, edge) in job.edges.iter().enumerate() {
            connect(&mut tasks, &task_of, index, edge);
        }
        Ok(ExecutionGraph { job, tasks })
    }

    /// The node of a chain link.
    pub fn node(&self, task: usize, link: usize) -> &Node {
        &self.job.nodes[self.tasks[task].chain[link].node]
    }

    /// The task that an edge starts from.
    pub fn task_producing(&self, edge: usize) -> usize {
        let from = self.job.edges[edge].from;
        let holds = |task: &Task| task.chain.iter().any(|link| link.node == from);
        self.tasks.iter().position(holds).expect("every node is in a task")
    }

    /// The edges into a task, in groups of those that have a source in common: what comes over them knows of the same rows.
    /// A group for each of [`Task::inputs`], numbered from 0.
    pub fn groups_of_inputs(&self, task: usize) -> Vec<usize> {
        let inputs = &self.tasks[task].inputs;
        let sources = |edge: usize| &self.tasks[self.task_producing(edge)].sources;
        // Groups of edges, each with all of its sources; an edge joins those that it shares one with.
        let mut groups: Vec<(BTreeSet<usize>, Vec<usize>)> = Vec::new();
        for (position, edge) in inputs.iter().enumerate() {
            let own = sources(*edge);
            let (shared, mut others): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|(sources, _)| !sources.is_disjoint(own));
            let mut joined = (own.clone(), vec![position]);
            for (sources, positions) in shared {
                joined.0.extend(sources);
                joined.1.extend(positions);
            }
            others.push(joined);
            groups = others;
        }
        let group_of = |position| groups.iter().position(|(_, positions)| positions.contains(&position));
        (0..inputs.len()).map(|position| group_of(position).unwrap_or_default()).collect()
    }

    /// Tasks that are heard of when they have no more rows: those of sources, and lookups, which still have some when their inputs
    /// have none.
    pub fn exhaustible_tasks(&self) -> impl Iterator<Item = usize> + '_ {
        let is_one = |task: &usize| matches!(self.node(*task, 0).role, NodeRole::Source | NodeRole::Lookup);
        (0..self.tasks.len()).filter(is_one)
    }

    /// Every subtask, in order.
    pub fn subtask_ids(&self) -> impl Iterator<Item = SubtaskId> + '_ {
        let of_task = |(task, definition): (usize, &Task)| {
            (0..definition.parallelism).map(move |index| SubtaskId { task, index }).collect::<Vec<_>>()
        };
        self.tasks.iter().enumerate().flat_map(of_task)
    }

    /// Number of subtasks in all.
    pub fn subtasks(&self) -> usize {
        self.tasks.iter().map(|task| task.parallelism).sum()
    }
}

fn sources_of(tasks: &[Task], producers: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    producers.flat_map(|task| tasks[task].sources.iter().copied()).collect()
}

/// The node that all of these edges come from, if they come from one, go forward and feed one input.
fn sole_producer(job: &JobGraph, incoming: &[usize]) -> Option<usize> {
    let from = job.edges[*incoming.first()?].from;
    let is_its = |edge: &Edge| edge.from == from && edge.input == 0 && edge.partitioner == Partitioner::Forward;
    incoming.iter().all(|edge| is_its(&job.edges[*edge])).then_some(from)
}

fn connect(tasks: &mut [Task], task_of: &[usize], index: usize, edge: &Edge) {
    let (from, to) = (task_of[edge.from], task_of[edge.to]);
    let link_of = |task: &Task, node: usize| {
        task.chain.iter().position(|link| link.node == node).expect("task_of names the task that holds the node")
    };
    let target = if from == to {
        ChainTarget::Link(link_of(&tasks[to], edge.to))
    } else {
        tasks[from].outputs.push(OutputEdge { edge: index, to_task: to });
        ChainTarget::Output(tasks[from].outputs.len() - 1)
    };
    let link = link_of(&tasks[from], edge.from);
    tasks[from].chain[link].targets.push((edge.port, target));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, role: NodeRole, parallelism: usize) -> Node {
        Node { id: id.into(), kind: "test".into(), role, parallelism, config: serde_json::Value::Null }
    }

    /// source -> map -> (raw sink), map -> hash -> count -> (sink), count -> hash -> top(1)
    fn job() -> JobGraph {
        let mut job = JobGraph::new("test");
        let source = job.add_node(node("source", NodeRole::Source, 2));
        let map = job.add_node(node("map", NodeRole::Operator, 2));
        let raw = job.add_node(node("raw", NodeRole::Sink, 2));
        let count = job.add_node(node("count", NodeRole::Operator, 2));
        let sink = job.add_node(node("sink", NodeRole::Sink, 2));
        let top = job.add_node(node("top", NodeRole::Sink, 1));
        job.add_edge(source, Port::MAIN, map, Partitioner::Forward);
        job.add_edge(map, Port::MAIN, raw, Partitioner::Forward);
        job.add_edge(map, Port::MAIN, count, Partitioner::Hash { key: vec!["k".into()] });
        job.add_edge(count, Port::MAIN, sink, Partitioner::Forward);
        job.add_edge(count, Port::MAIN, top, Partitioner::Hash { key: Vec::new() });
        job
    }

    #[test]
    fn forward_edges_are_fused_and_others_become_outputs() {
        let graph = ExecutionGraph::new(job()).unwrap();
        let chains: Vec<Vec<&str>> = (0..graph.tasks.len())
            .map(|task| (0..graph.tasks[task].chain.len()).map(|link| graph.node(task, link).id.as_str()).collect())
            .collect();
        assert_eq!(chains, [vec!["source", "map", "raw"], vec!["count", "sink"], vec!["top"]]);
        assert_eq!(
            graph.tasks[0].chain[1].targets,
            [(Port::MAIN, ChainTarget::Link(2)), (Port::MAIN, ChainTarget::Output(0))]
        );
        assert_eq!(graph.tasks[1].outputs, [OutputEdge { edge: 4, to_task: 2 }]);
        assert_eq!(graph.tasks[1].inputs, [2]);
        assert_eq!(graph.exhaustible_tasks().collect::<Vec<_>>(), [0]);
        assert_eq!(graph.subtasks(), 5);
    }

    #[test]
    fn a_lookup_begins_a_chain_and_is_heard_of_when_it_has_no_more() {
        let mut job = JobGraph::new("test");
        let source = job.add_node(node("source", NodeRole::Source, 2));
        let lookup = job.add_node(node("lookup", NodeRole::Lookup, 2));
        let sink = job.add_node(node("sink", NodeRole::Sink, 2));
        job.add_edge(source, Port::MAIN, lookup, Partitioner::Forward);
        job.add_edge(lookup, Port::MAIN, sink, Partitioner::Forward);
        let graph = ExecutionGraph::new(job).unwrap();
        let heads: Vec<&str> = (0..graph.tasks.len()).map(|task| graph.node(task, 0).id.as_str()).collect();
        assert_eq!(heads, ["source", "lookup"]);
        assert_eq!(graph.tasks[1].chain.len(), 2, "what is behind it is fused with it");
        assert_eq!(graph.exhaustible_tasks().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn two_outputs_of_one_node_are_fused_with_who_reads_both() {
        let mut job = job();
        job.add_edge(3, Port::named("running"), 4, Partitioner::Forward);
        let graph = ExecutionGraph::new(job.clone()).unwrap();
        assert_eq!(graph.tasks.len(), 3);
        let both = [(Port::MAIN, ChainTarget::Link(1)), (Port::MAIN, ChainTarget::Output(0))];
        assert_eq!(graph.tasks[1].chain[0].targets[..2], both);
        assert_eq!(graph.tasks[1].chain[0].targets[2], (Port::named("running"), ChainTarget::Link(1)));
        // Of two nodes: channels, which a gate aligns.
        job.add_edge(1, Port::named("late"), 4, Partitioner::Forward);
        assert_eq!(ExecutionGraph::new(job).unwrap().tasks.len(), 4);
    }

    /// a, b -> join -> sink, where what `b` says goes through a node behind an exchange; and a node that reads `a` twice.
    #[test]
    fn a_node_of_several_inputs_begins_a_chain() {
        let mut job = JobGraph::new("test");
        let a = job.add_node(node("a", NodeRole::Source, 2));
        let b = job.add_node(node("b", NodeRole::Source, 2));
        let relay = job.add_node(node("relay", NodeRole::Operator, 2));
        let join = job.add_node(node("join", NodeRole::Operator, 2));
        let sink = job.add_node(node("sink", NodeRole::Sink, 2));
        let twice = job.add_node(node("twice", NodeRole::Operator, 2));
        let hash = |key: &str| Partitioner::Hash { key: vec![key.into()] };
        job.add_edge(b, Port::MAIN, relay, hash("r"));
        job.add_edge_into(a, Port::MAIN, (join, 0), Partitioner::Forward);
        job.add_edge_into(relay, Port::MAIN, (join, 1), Partitioner::Forward);
        job.add_edge(join, Port::MAIN, sink, Partitioner::Forward);
        job.add_edge_into(a, Port::MAIN, (twice, 0), Partitioner::Forward);
        job.add_edge_into(a, Port::named("late"), (twice, 1), Partitioner::Forward);
        let graph = ExecutionGraph::new(job).unwrap();
        let heads: Vec<&str> = (0..graph.tasks.len()).map(|task| graph.node(task, 0).id.as_str()).collect();
        assert_eq!(heads, ["a", "b", "relay", "join", "twice"]);
        assert_eq!(graph.tasks[3].chain.len(), 2, "the sink is fused with the join");
        assert_eq!((&graph.tasks[3].inputs, &graph.tasks[4].inputs), (&vec![1, 2], &vec![4, 5]));
        let sources: Vec<Vec<usize>> = graph.tasks.iter().map(|task| task.sources.iter().copied().collect()).collect();
        assert_eq!(sources, [vec![0], vec![1], vec![1], vec![0, 1], vec![0]]);
        assert_eq!(graph.groups_of_inputs(3), [0, 1], "what the inputs of the join know has nothing in common");
        assert_eq!(graph.groups_of_inputs(4), [0, 0]);
    }

    #[test]
    fn inputs_that_share_a_source_with_a_third_are_of_one_group() {
        let mut job = JobGraph::new("test");
        let [a, b, c] = ["a", "b", "c"].map(|id| job.add_node(node(id, NodeRole::Source, 1)));
        let both = job.add_node(node("both", NodeRole::Operator, 1));
        let all = job.add_node(node("all", NodeRole::Sink, 1));
        let one = || Partitioner::Hash { key: Vec::new() };
        job.add_edge(a, Port::MAIN, both, one());
        job.add_edge(b, Port::MAIN, both, one());
        for from in [a, c, b, both] {
            job.add_edge(from, Port::MAIN, all, one());
        }
        let graph = ExecutionGraph::new(job).unwrap();
        let groups = graph.groups_of_inputs(4);
        assert!(groups[0] == groups[2] && groups[2] == groups[3] && groups[1] != groups[0], "{groups:?}");
    }

    #[test]
    fn broken_graphs_are_refused() {
        let mut forward = job();
        forward.nodes[5].parallelism = 2;
        forward.nodes[3].parallelism = 1;
        assert!(ExecutionGraph::new(forward).unwrap_err().message.contains("differ in parallelism"));
        assert!(ExecutionGraph::new(JobGraph::new("empty")).unwrap_err().message.contains("no nodes"));
        let mut twice = job();
        twice.nodes[1].id = "source".into();
        assert!(ExecutionGraph::new(twice).unwrap_err().message.contains("two nodes are called 'source'"));
    }
}
