//! The path of every object in the checkpoint store, relative to the storage. The only copy of these rules.
//!
//! ```text
//! jobs/<job>/attempts/<attempt>.json                      who claimed which attempt, and of which lineage it is
//! jobs/<job>/checkpoints/<lineage>/<n>.json               the manifest: what checkpoint n of a lineage consists of
//! jobs/<job>/checkpoints/<lineage>/<n>.committed          every committable of n is visible; of whose manifest
//! jobs/<job>/checkpoints/<lineage>/<n>.pinned             n is a savepoint: it stays until its user removes it
//! jobs/<job>/state/<attempt>/<n>/<operator>-<k>.parquet   what subtask k of an operator wrote for checkpoint n
//! jobs/<job>/state/<attempt>/<n>/<operator>-<k>-merged.parquet   what it merged of earlier ones after n
//! jobs/<job>/state/<attempt>/<n>/<source>-<k>-splits-<i>.json     positions of splits that have stayed the same, up to n
//! jobs/<job>/staged/<attempt>/<sink>/<name>               rows that a sink staged and a commit will take away
//! ```
//!
//! Invariant: everything written for a job has, in its name, the lineage or the attempt that it belongs to. An attempt is of one
//! lineage, and none is of an earlier one than the attempts before it. So what an attempt from before a start-over still writes,
//! however late it lands, has no name of the lineage that began then.
//!
//! Jobs that started before there were lineages continue in the nameless one: `checkpoints/<n>/manifest.json` and
//! `checkpoints/<n>/committed`.

use crate::ids::{Attempt, CheckpointId, Lineage};
use object_store::path::Path;

/// Width of numbers in paths, so that names sort as numbers do.
const DIGITS: usize = 10;

const MANIFEST: &str = ".json";
const COMMITTED: &str = ".committed";
const PINNED: &str = ".pinned";
const NAMELESS_MANIFEST: &str = "manifest.json";
const NAMELESS_COMMITTED: &str = "committed";
const NAMELESS_PINNED: &str = "pinned";

/// Paths of one job's objects, in one lineage.
#[derive(Clone, Debug)]
pub struct Layout {
    job: Path,
    lineage: Lineage,
}

impl Layout {
    /// For a job, in the nameless lineage.
    pub fn new(job: &str) -> Self {
        Layout { job: Layout::jobs().join(job), lineage: Lineage::NAMELESS }
    }

    /// The same in a lineage.
    pub fn in_lineage(self, lineage: Lineage) -> Self {
        Layout { lineage, ..self }
    }

    /// Which lineage.
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Everything of all jobs.
    pub fn jobs() -> Path {
        Path::from("jobs")
    }

    /// Everything of the job.
    pub fn job(&self) -> &Path {
        &self.job
    }

    /// A path within the storage, as this version states it. Those of earlier versions have the place of the storage before them,
    /// which may have been another one.
    pub fn relative(&self, stated: &str) -> String {
        let rooted = format!("/{stated}");
        match rooted.rfind(&format!("/{}/", self.job)) {
            Some(at) => rooted[at + 1..].into(),
            None => stated.into(),
        }
    }

    /// All claims of attempts.
    pub fn attempts(&self) -> Path {
        self.job.clone().join("attempts")
    }

    /// The claim of an attempt.
    pub fn attempt(&self, attempt: Attempt) -> Path {
        self.attempts().join(format!("{attempt:0DIGITS$}.json", attempt = attempt.0))
    }

    /// All checkpoints of all lineages.
    pub fn all_checkpoints(&self) -> Path {
        self.job.clone().join("checkpoints")
    }

    /// All checkpoints of the lineage; in the nameless one, of others, too.
    pub fn checkpoints(&self) -> Path {
        match self.lineage {
            Lineage::NAMELESS => self.all_checkpoints(),
            lineage => self.all_checkpoints().join(format!("{:0DIGITS$}", lineage.0)),
        }
    }

    /// The manifest of a checkpoint.
    pub fn manifest(&self, checkpoint: CheckpointId) -> Path {
        self.of_checkpoint(checkpoint, NAMELESS_MANIFEST, MANIFEST)
    }

    /// The mark that all of a checkpoint's committables are visible.
    pub fn committed(&self, checkpoint: CheckpointId) -> Path {
        self.of_checkpoint(checkpoint, NAMELESS_COMMITTED, COMMITTED)
    }

    /// The mark that a checkpoint is a savepoint.
    pub fn pinned(&self, checkpoint: CheckpointId) -> Path {
        self.of_checkpoint(checkpoint, NAMELESS_PINNED, PINNED)
    }

    fn of_checkpoint(&self, checkpoint: CheckpointId, nameless: &str, suffix: &str) -> Path {
        match self.lineage {
            Lineage::NAMELESS => self.checkpoints().join(number(checkpoint)).join(nameless),
            _ => self.checkpoints().join(format!("{}{suffix}", number(checkpoint))),
        }
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

    /// Positions of splits that subtask `subtask` of a source has written for a checkpoint, in the file of this number.
    pub fn split_file(
        &self,
        attempt: Attempt,
        checkpoint: CheckpointId,
        source: &str,
        subtask: usize,
        file: usize,
    ) -> Path {
        self.state_of(attempt, checkpoint).join(format!("{source}-{subtask}-splits-{file}.json"))
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

    /// The checkpoint that a path belongs to, if it is one of this lineage.
    pub fn checkpoint_of(&self, path: &Path) -> Option<CheckpointId> {
        let mut parts = path.prefix_match(&self.checkpoints())?;
        let first = parts.next()?;
        let number = match self.lineage {
            Lineage::NAMELESS => {
                let name = parts.next()?;
                let is_nameless = [NAMELESS_MANIFEST, NAMELESS_COMMITTED, NAMELESS_PINNED].contains(&name.as_ref());
                first.as_ref().parse().ok().filter(|_| is_nameless)
            }
            _ => first.as_ref().split_once('.')?.0.parse().ok(),
        };
        number.map(CheckpointId)
    }

    /// The lineage that something below [`Layout::all_checkpoints`] belongs to.
    pub fn lineage_of(&self, path: &Path) -> Option<Lineage> {
        let mut parts = path.prefix_match(&self.all_checkpoints())?;
        let (first, name) = (parts.next()?, parts.next()?);
        // Half-written files begin with a dot.
        let has_lineage = name.as_ref().trim_start_matches('.').starts_with(|first: char| first.is_ascii_digit());
        let lineage = first.as_ref().parse().ok()?;
        Some(if has_lineage { Lineage(lineage) } else { Lineage::NAMELESS })
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

    /// Whether an object is of an earlier lineage, so that it is no longer needed.
    pub fn is_left_behind(&self, path: &Path) -> bool {
        let writer = self.writer_of(path).or_else(|| self.staged_by(path).map(|(writer, _)| writer));
        match writer {
            Some(writer) => self.lineage.has_left_behind(writer),
            None => self.lineage_of(path).is_some_and(|lineage| lineage < self.lineage),
        }
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
        let layout = Layout::new("ad-click").in_lineage(Lineage(3));
        let manifest = layout.manifest(CheckpointId(12));
        assert_eq!(manifest.as_ref(), "jobs/ad-click/checkpoints/0000000003/0000000012.json");
        let committed = layout.committed(CheckpointId(12));
        assert_eq!(committed.as_ref(), "jobs/ad-click/checkpoints/0000000003/0000000012.committed");
        for path in [&manifest, &committed] {
            assert_eq!(layout.checkpoint_of(path), Some(CheckpointId(12)));
            assert_eq!(layout.lineage_of(path), Some(Lineage(3)));
        }
        let state = layout.state_file(Attempt(3), CheckpointId(12), "dedup.unique", 1);
        assert_eq!(state.as_ref(), "jobs/ad-click/state/0000000003/0000000012/dedup.unique-1.parquet");
        assert_eq!(layout.writer_of(&state), Some(Attempt(3)));
        assert_eq!(layout.attempt_of(&layout.attempt(Attempt(3))), Some(Attempt(3)));
        assert_eq!((layout.checkpoint_of(&state), layout.lineage_of(&state)), (None, None));
        let staged = layout.staged(Attempt(3), "sink.store", "0-12-0.arrow");
        assert_eq!(staged.as_ref(), "jobs/ad-click/staged/0000000003/sink.store/0-12-0.arrow");
        assert_eq!(layout.staged_by(&staged), Some((Attempt(3), "sink.store".into())));
        assert_eq!(layout.staged_by(&state), None);
    }

    #[test]
    fn a_lineage_knows_no_checkpoint_of_another() {
        let lineages = [0, 3, 12].map(|lineage| Layout::new("ad-click").in_lineage(Lineage(lineage)));
        for (at, one) in lineages.iter().enumerate() {
            for (of, other) in lineages.iter().enumerate() {
                for path in [other.manifest(CheckpointId(12)), other.committed(CheckpointId(12))] {
                    assert_eq!(one.checkpoint_of(&path), (at == of).then_some(CheckpointId(12)), "{path}");
                    assert_eq!(one.lineage_of(&path), Some(other.lineage()), "{path}");
                    assert_eq!(one.is_left_behind(&path), of < at, "{path}");
                }
            }
            for attempt in 1..14 {
                let state = one.state_file(Attempt(attempt), CheckpointId(1), "op", 0);
                let staged = one.staged(Attempt(attempt), "sink.a", "b");
                let expected = attempt < one.lineage().0;
                assert_eq!((one.is_left_behind(&state), one.is_left_behind(&staged)), (expected, expected));
                assert!(!one.is_left_behind(&one.attempt(Attempt(attempt))), "claims stay");
            }
        }
    }

    #[test]
    fn paths_of_earlier_versions_lose_the_place_that_they_were_written_at() {
        let layout = Layout::new("a");
        let path = "jobs/a/state/0000000001/0000000002/op-0.parquet";
        for stated in [path.to_owned(), format!("mnt/jobs/a/x/{path}"), format!("bucket prefix/{path}")] {
            assert_eq!(layout.relative(&stated), path);
        }
        assert_eq!(layout.relative("mnt/jobs/b/state/x"), "mnt/jobs/b/state/x");
    }
}
