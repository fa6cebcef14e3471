//! The path of every object in the checkpoint store. The only copy of these rules.
//!
//! ```text
//! jobs/<job>/attempts/<attempt>.json                      who claimed which attempt
//! jobs/<job>/checkpoints/<n>/manifest.json                what checkpoint n consists of
//! jobs/<job>/checkpoints/<n>/committed                    every committable of n is visible; of whose manifest
//! jobs/<job>/state/<attempt>/<n>/<operator>-<k>.parquet   what subtask k of an operator wrote for checkpoint n
//! jobs/<job>/state/<attempt>/<n>/<operator>-<k>-merged.parquet   what it merged of earlier ones after n
//! jobs/<job>/staged/<attempt>/<sink>/<name>               rows that a sink staged and a commit will take away
//! ```

use crate::ids::{Attempt, CheckpointId};
use object_store::path::Path;

/// Width of numbers in paths, so that names sort as numbers do.
const DIGITS: usize = 10;

/// Paths of one job's objects.
#[derive(Clone, Debug)]
pub struct Layout {
    job: Path,
}

impl Layout {
    /// For a job, below `root`.
    pub fn new(root: &Path, job: &str) -> Self {
        Layout { job: root.clone().join("jobs").join(job) }
    }

    /// Everything of the job.
    pub fn job(&self) -> &Path {
        &self.job
    }

    /// All claims of attempts.
    pub fn attempts(&self) -> Path {
        self.job.clone().join("attempts")
    }

    /// The claim of an attempt.
    pub fn attempt(&self, attempt: Attempt) -> Path {
        self.attempts().join(format!("{attempt:0DIGITS$}.json", attempt = attempt.0))
    }

    /// All checkpoints.
    pub fn checkpoints(&self) -> Path {
        self.job.clone().join("checkpoints")
    }

    /// The manifest of a checkpoint.
    pub fn manifest(&self, checkpoint: CheckpointId) -> Path {
        self.checkpoints().join(number(checkpoint)).join("manifest.json")
    }

    /// The mark that all of a checkpoint's committables are visible.
    pub fn committed(&self, checkpoint: CheckpointId) -> Path {
        self.checkpoints().join(number(checkpoint)).join("committed")
    }

    /// All state files.
    pub fn state(&self) -> Path {
        self.job.clone().join("state")
    }

    /// All state files that an attempt wrote for a checkpoint.
    pub fn state_of(&self, attempt: Attempt, checkpoint: CheckpointId) -> Path {
        self.state().join(format!("{:0DIGITS$}", attempt.0)).join(number(checkpoint))
    }

    /// The state file of one subtask of one operator.
    pub fn state_file(&self, attempt: Attempt, checkpoint: CheckpointId, operator: &str, subtask: usize) -> Path {
        self.state_of(attempt, checkpoint).join(format!("{operator}-{subtask}.parquet"))
    }

    /// What one subtask of one operator has merged after a checkpoint.
    pub fn merged_file(&self, attempt: Attempt, checkpoint: CheckpointId, operator: &str, subtask: usize) -> Path {
        self.state_of(attempt, checkpoint).join(format!("{operator}-{subtask}-merged.parquet"))
    }

    /// Everything that sinks have staged.
    pub fn staging(&self) -> Path {
        self.job.clone().join("staged")
    }

    /// What a sink staged under a name in an attempt.
    pub fn staged(&self, attempt: Attempt, sink: &str, name: &str) -> Path {
        self.staging().join(format!("{:0DIGITS$}", attempt.0)).join(sink).join(name)
    }

    /// The attempt and the sink that a path below [`Layout::staging`] belongs to.
    pub fn staged_by(&self, path: &Path) -> Option<(Attempt, String)> {
        let mut parts = path.prefix_match(&self.staging())?;
        let attempt = parts.next()?.as_ref().parse().ok().map(Attempt)?;
        Some((attempt, parts.next()?.as_ref().to_string()))
    }

    /// The checkpoint that a path below [`Layout::checkpoints`] belongs to.
    pub fn checkpoint_of(&self, path: &Path) -> Option<CheckpointId> {
        let mut parts = path.prefix_match(&self.checkpoints())?;
        parts.next()?.as_ref().parse().ok().map(CheckpointId)
    }

    /// The attempt that a path below [`Layout::attempts`] claims.
    pub fn attempt_of(&self, path: &Path) -> Option<Attempt> {
        let mut parts = path.prefix_match(&self.attempts())?;
        parts.next()?.as_ref().strip_suffix(".json")?.parse().ok().map(Attempt)
    }

    /// The attempt that wrote a path below [`Layout::state`].
    pub fn writer_of(&self, path: &Path) -> Option<Attempt> {
        let mut parts = path.prefix_match(&self.state())?;
        parts.next()?.as_ref().parse().ok().map(Attempt)
    }
}

fn number(checkpoint: CheckpointId) -> String {
    format!("{:0DIGITS$}", checkpoint.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_they_are_and_can_be_read_back() {
        let layout = Layout::new(&Path::from("root"), "ad-click");
        let manifest = layout.manifest(CheckpointId(12));
        assert_eq!(manifest.as_ref(), "root/jobs/ad-click/checkpoints/0000000012/manifest.json");
        assert_eq!(layout.checkpoint_of(&manifest), Some(CheckpointId(12)));
        let state = layout.state_file(Attempt(3), CheckpointId(12), "dedup.unique", 1);
        assert_eq!(state.as_ref(), "root/jobs/ad-click/state/0000000003/0000000012/dedup.unique-1.parquet");
        assert_eq!(layout.writer_of(&state), Some(Attempt(3)));
        assert_eq!(layout.attempt_of(&layout.attempt(Attempt(3))), Some(Attempt(3)));
        assert_eq!(layout.checkpoint_of(&state), None);
        let staged = layout.staged(Attempt(3), "sink.store", "0-12-0.arrow");
        assert_eq!(staged.as_ref(), "root/jobs/ad-click/staged/0000000003/sink.store/0-12-0.arrow");
        assert_eq!(layout.staged_by(&staged), Some((Attempt(3), "sink.store".into())));
        assert_eq!(layout.staged_by(&state), None);
    }
}
