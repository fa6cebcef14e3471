//! Which subtask runs in which slot. Pure.
//!
//! A slot takes one subtask of every task: subtask *i* of each goes to slot *i*, so that forward edges stay within a worker
//! and a job needs as many slots as its widest task has subtasks.

use std::collections::BTreeMap;
use weir_engine::{graph::ExecutionGraph, ids::SubtaskId};

/// Slots that a job needs.
pub fn slots_needed(graph: &ExecutionGraph) -> usize {
    graph.tasks.iter().map(|task| task.parallelism).max().unwrap_or(0)
}

/// Places a job's subtasks on workers with free slots, spread evenly: each slot goes to the worker that has got the fewest of
/// this job so far; of those to the one with the most that are free, then to the first by name. `None`: there are too few.
pub fn assign(graph: &ExecutionGraph, free: &BTreeMap<String, usize>) -> Option<BTreeMap<SubtaskId, String>> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let mut worker_of_slot = Vec::with_capacity(slots_needed(graph));
    for _ in 0..slots_needed(graph) {
        let got = |worker: &str| taken.get(worker).copied().unwrap_or(0);
        let with_room = free.iter().filter(|(worker, free)| got(worker) < **free);
        let (worker, _) = with_room.min_by_key(|(worker, free)| (got(worker), std::cmp::Reverse(**free)))?;
        *taken.entry(worker).or_default() += 1;
        worker_of_slot.push(worker.clone());
    }
    Some(graph.subtask_ids().map(|id| (id, worker_of_slot[id.index].clone())).collect())
}

/// Slots that a placement takes on each worker.
pub fn slots_taken(placement: &BTreeMap<SubtaskId, String>) -> BTreeMap<String, usize> {
    let mut slots: BTreeMap<String, std::collections::BTreeSet<usize>> = BTreeMap::new();
    for (id, worker) in placement {
        slots.entry(worker.clone()).or_default().insert(id.index);
    }
    slots.into_iter().map(|(worker, indices)| (worker, indices.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::{
        element::Port,
        graph::{JobGraph, Node, NodeRole, Partitioner},
    };

    fn graph(parallelism: usize) -> ExecutionGraph {
        let mut job = JobGraph::new("job");
        let node = |id: &str, role, parallelism| Node {
            id: id.into(),
            kind: "test".into(),
            role,
            parallelism,
            config: serde_json::Value::Null,
        };
        let source = job.add_node(node("source", NodeRole::Source, parallelism));
        let count = job.add_node(node("count", NodeRole::Operator, parallelism));
        let top = job.add_node(node("top", NodeRole::Sink, 1));
        job.add_edge(source, Port::MAIN, count, Partitioner::Hash { key: vec!["k".into()] });
        job.add_edge(count, Port::MAIN, top, Partitioner::Hash { key: Vec::new() });
        ExecutionGraph::new(job).unwrap()
    }

    fn free(slots: &[(&str, usize)]) -> BTreeMap<String, usize> {
        slots.iter().map(|(worker, slots)| ((*worker).to_string(), *slots)).collect()
    }

    #[test]
    fn slots_are_spread_and_hold_one_subtask_of_each_task() {
        let placement = assign(&graph(4), &free(&[("a", 4), ("b", 2), ("c", 3)])).unwrap();
        assert_eq!(slots_taken(&placement), BTreeMap::from([("a".into(), 2), ("b".into(), 1), ("c".into(), 1)]));
        for index in 0..4 {
            let of_task = |task| &placement[&SubtaskId { task, index }];
            assert_eq!(of_task(0), of_task(1), "subtask {index} of both tasks shares a slot");
        }
        assert_eq!(placement.len(), 9);
    }

    #[test]
    fn too_few_slots_place_nothing() {
        assert!(assign(&graph(4), &free(&[("a", 2), ("b", 1)])).is_none());
        assert!(assign(&graph(1), &free(&[])).is_none());
        assert!(assign(&graph(3), &free(&[("a", 2), ("b", 1)])).is_some());
    }
}
