//! Restoring a subtask from a checkpoint, at whatever parallelism it was taken.
//!
//! A file is in memory while its rows are applied, batch by batch, and no longer: restoring takes little more than the state
//! that comes of it. What takes a processor is done where it holds nothing up, so that subtasks are restored side by side.

use super::chain::{Link, LinkBody};
use crate::{
    checkpoint::{CheckpointStore, Manifest, manifest::SubtaskState, recent_files::RecentFiles, state_file},
    env::Env,
    error::{EngineError, Result},
    operator::SplitState,
};

/// A checkpoint being read back.
#[derive(Clone, Copy)]
pub(crate) struct Restorer<'a> {
    store: &'a CheckpointStore,
    env: &'a Env,
    manifest: &'a Manifest,
}

impl<'a> Restorer<'a> {
    pub(crate) fn new(store: &'a CheckpointStore, env: &'a Env, manifest: &'a Manifest) -> Self {
        Restorer { store, env, manifest }
    }

    /// The splits of a source, of all subtasks that took the checkpoint.
    pub(crate) fn splits(&self, node: &str) -> Vec<SplitState> {
        self.subtasks(node).iter().flat_map(|subtask| subtask.splits.iter().cloned()).collect()
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
                let mut ledger = link.ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                ledger.restore(&former.segments);
            }
        }
        Ok(())
    }

    async fn restore_segments(&self, link: &mut Link, former: &SubtaskState) -> Result<()> {
        let LinkBody::Operator(mut operator) = std::mem::replace(&mut link.body, LinkBody::Source) else {
            return Err(EngineError::corrupt(format!("there is keyed state for '{}', which keeps none", link.node)));
        };
        let mut recent = RecentFiles::new(self.store, self.env);
        for segment in &former.segments {
            for part in &segment.parts {
                let Some(shared) = part.key_groups.intersection(link.key_groups) else { continue };
                let content = recent.content(&part.file).await?;
                let (part, id, node) = (part.clone(), segment.id.clone(), link.node.clone());
                let applying = self.env.run_blocking(move || {
                    for batch in state_file::read_part(&part, content)? {
                        let restored = operator.restore(&id, &batch?, shared);
                        restored.map_err(|error| error.context(format!("restoring '{id}' of '{node}'")))?;
                    }
                    Ok(operator)
                });
                operator = applying.await?;
                self.env.crash_point("restore.part")?;
            }
        }
        link.body = LinkBody::Operator(operator);
        Ok(())
    }

    fn subtasks(&self, node: &str) -> &'a [SubtaskState] {
        self.manifest.operator(node).map_or(&[], |operator| &operator.subtasks)
    }
}
