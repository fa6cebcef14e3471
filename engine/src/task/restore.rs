//! Restoring a subtask from a checkpoint, at whatever parallelism it was taken.
//!
//! A file is in memory while its rows are applied, batch by batch, and no longer: restoring takes little more than the state
//! that comes of it. What takes a processor is done where it holds nothing up, so that subtasks are restored side by side.

use super::{
    TaskServices,
    chain::{Link, LinkBody},
};
use crate::{
    checkpoint::{
        Manifest,
        manifest::{FilePart, SubtaskState},
        recent_files::RecentFiles,
        split_files, state_file,
    },
    error::{EngineError, Result},
    graph::ExecutionGraph,
    ids::SubtaskId,
    key_group::range_of,
    operator::SplitState,
};
use std::collections::BTreeSet;

/// A checkpoint being read back.
#[derive(Clone, Copy)]
pub(crate) struct Restorer<'a> {
    services: &'a TaskServices,
    manifest: &'a Manifest,
}

impl<'a> Restorer<'a> {
    pub(crate) fn new(services: &'a TaskServices, manifest: &'a Manifest) -> Self {
        Restorer { services, manifest }
    }

    /// How much there is to be read for these subtasks.
    pub(crate) fn bytes(&self, graph: &ExecutionGraph, subtasks: &BTreeSet<SubtaskId>) -> u64 {
        let mut bytes = 0;
        for id in subtasks {
            let task = &graph.tasks[id.task];
            let owned = range_of(id.index, graph.job.max_parallelism, task.parallelism);
            for position in 0..task.chain.len() {
                let former = self.subtasks(&graph.node(id.task, position).id).iter();
                let parts = former.flat_map(|former| &former.segments).flat_map(|segment| &segment.parts);
                let wanted = parts.filter(|part| part.key_groups.intersection(owned).is_some());
                bytes += wanted.map(FilePart::size).sum::<u64>();
            }
        }
        bytes
    }

    /// The splits of a source, of all subtasks that took the checkpoint.
    pub(crate) async fn splits(&self, node: &str) -> Result<Vec<SplitState>> {
        let mut splits = Vec::new();
        for subtask in self.subtasks(node) {
            splits.extend(split_files::read(&self.services.store, &self.services.env, subtask).await?);
        }
        Ok(splits)
    }

    /// Gives a link its counters and its share of the state.
    pub(crate) async fn restore(&self, link: &mut Link) -> Result<()> {
        if link.subtask == 0 {
            link.counters.restore(&self.manifest.counters(&link.node));
        }
        for former in self.subtasks(&link.node) {
            let is_ours = former.key_groups.is_some_and(|owned| owned.intersection(link.key_groups).is_some());
            if is_ours && !former.segments.is_empty() {
                self.restore_segments(link, former).await?;
                let mut ledger = link.ledger.lock();
                ledger.restore(&former.segments);
            }
        }
        Ok(())
    }

    async fn restore_segments(&self, link: &mut Link, former: &SubtaskState) -> Result<()> {
        let LinkBody::Operator(mut operator) = std::mem::replace(&mut link.body, LinkBody::Source) else {
            return Err(EngineError::corrupt(format!("there is keyed state for '{}', which keeps none", link.node)));
        };
        let mut recent = RecentFiles::new(&self.services.store, &self.services.env);
        for segment in &former.segments {
            for part in &segment.parts {
                let Some(shared) = part.key_groups.intersection(link.key_groups) else { continue };
                let content = recent.content(&part.file).await?;
                let bytes = part.size();
                let (part, id, node) = (part.clone(), segment.id.clone(), link.node.clone());
                let applying = self.services.env.run_blocking(move || {
                    for batch in state_file::read_part(&part, content)? {
                        let restored = operator.restore(&id, &batch?, shared);
                        restored.map_err(|error| error.context(format!("restoring '{id}' of '{node}'")))?;
                    }
                    Ok(operator)
                });
                operator = applying.await?;
                self.services.observer.has_restored(bytes);
                self.services.env.crash_point("restore.part")?;
            }
        }
        link.body = LinkBody::Operator(operator);
        Ok(())
    }

    fn subtasks(&self, node: &str) -> &'a [SubtaskState] {
        self.manifest.operator(node).map_or(&[], |operator| &operator.subtasks)
    }
}
