//! Restoring a subtask from a checkpoint, at whatever parallelism it was taken.

use super::{
    TaskServices,
    chain::{Link, LinkBody},
};
use crate::{
    checkpoint::{
        Manifest,
        manifest::{FileRef, SubtaskState},
        state_file,
    },
    error::{EngineError, Result},
    graph::ExecutionGraph,
    ids::SubtaskId,
    key_group::range_of,
    operator::SplitState,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A checkpoint being read back. Keeps files that several subtasks need.
pub(crate) struct Restorer<'a> {
    services: &'a TaskServices,
    manifest: &'a Manifest,
    files: HashMap<String, Bytes>,
}

impl<'a> Restorer<'a> {
    pub(crate) fn new(services: &'a TaskServices, manifest: &'a Manifest) -> Self {
        Restorer { services, manifest, files: HashMap::new() }
    }

    /// How much there is to be read for these subtasks: each file once.
    pub(crate) fn bytes(&self, graph: &ExecutionGraph, subtasks: &BTreeSet<SubtaskId>) -> u64 {
        let mut files = BTreeMap::new();
        for id in subtasks {
            let task = &graph.tasks[id.task];
            let owned = range_of(id.index, graph.job.max_parallelism, task.parallelism);
            for position in 0..task.chain.len() {
                let former = self.subtasks(&graph.node(id.task, position).id).iter();
                let parts = former.flat_map(|former| &former.segments).flat_map(|segment| &segment.parts);
                let wanted = parts.filter(|part| part.key_groups.intersection(owned).is_some());
                files.extend(wanted.map(|part| (&part.file.path, part.file.bytes)));
            }
        }
        files.values().sum()
    }

    /// The splits of a source, of all subtasks that took the checkpoint.
    pub(crate) fn splits(&self, node: &str) -> Vec<SplitState> {
        self.subtasks(node).iter().flat_map(|subtask| subtask.splits.iter().cloned()).collect()
    }

    /// Gives a link its counters and its share of the state.
    pub(crate) async fn restore(&mut self, link: &mut Link) -> Result<()> {
        if link.subtask == 0 {
            link.counters.restore(&self.manifest.counters(&link.node));
        }
        for former in self.subtasks(&link.node) {
            let is_ours = former.key_groups.is_some_and(|owned| owned.intersection(link.key_groups).is_some());
            if !is_ours || former.segments.is_empty() {
                continue;
            }
            let LinkBody::Operator(operator) = &mut link.body else {
                return Err(EngineError::corrupt(format!(
                    "there is keyed state for '{}', which keeps none",
                    link.node
                )));
            };
            for segment in &former.segments {
                for part in &segment.parts {
                    let Some(shared) = part.key_groups.intersection(link.key_groups) else { continue };
                    let content = self.content(&part.file).await?;
                    for batch in state_file::read_part(part, content)? {
                        operator
                            .restore(&segment.id, &batch, shared)
                            .map_err(|error| error.context(format!("restoring '{}' of '{}'", segment.id, link.node)))?;
                    }
                    self.services.env.crash_point("restore.part")?;
                }
            }
            let mut ledger = link.ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            ledger.restore(&former.segments);
        }
        Ok(())
    }

    fn subtasks(&self, node: &str) -> &'a [SubtaskState] {
        self.manifest.operator(node).map_or(&[], |operator| &operator.subtasks)
    }

    async fn content(&mut self, file: &FileRef) -> Result<Bytes> {
        if let Some(content) = self.files.get(&file.path) {
            return Ok(content.clone());
        }
        let content = self.services.store.read_state(&self.services.env, file).await?;
        self.services.observer.has_restored(file.bytes);
        self.files.insert(file.path.clone(), content.clone());
        Ok(content)
    }
}
