//! Restoring a subtask from a checkpoint, at whatever parallelism it was taken.

use super::chain::{Link, LinkBody};
use crate::{
    checkpoint::{
        CheckpointStore, Manifest,
        manifest::{FileRef, SubtaskState},
        state_file,
    },
    env::Env,
    error::{EngineError, Result},
    operator::SplitState,
};
use bytes::Bytes;
use std::collections::HashMap;

/// A checkpoint being read back. Keeps files that several subtasks need.
pub(crate) struct Restorer<'a> {
    store: &'a CheckpointStore,
    env: &'a Env,
    manifest: &'a Manifest,
    files: HashMap<String, Bytes>,
}

impl<'a> Restorer<'a> {
    pub(crate) fn new(store: &'a CheckpointStore, env: &'a Env, manifest: &'a Manifest) -> Self {
        Restorer { store, env, manifest, files: HashMap::new() }
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
                    self.env.crash_point("restore.part")?;
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
        let content = self.store.read_state(self.env, file).await?;
        self.files.insert(file.path.clone(), content.clone());
        Ok(content)
    }
}
