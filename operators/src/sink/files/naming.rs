//! The names of files and folders of a sink. The only copy of these rules; the rest passes them around.

use weir_engine::ids::{Attempt, CheckpointId, Lineage};

const STAGING: &str = "_staging";
const STAGED_SUFFIX: &str = ".parquet.staged";
const SUFFIX: &str = ".parquet";

/// Names of one sink of one job. All paths are relative to the sink's folder, with slashes.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    job: String,
    sink: String,
}

impl Naming {
    /// For the node `sink`; its `sink.` is left out of names.
    pub fn new(job: &str, sink: &str) -> Self {
        Naming { job: plain(job), sink: plain(sink.strip_prefix("sink.").unwrap_or(sink)) }
    }

    /// Where all attempts of the job stage.
    pub fn staging(&self) -> String {
        staging(&self.job)
    }

    /// File `k` that a subtask stages in an attempt. It does not end in `.parquet`, so that no pattern for results meets it.
    pub fn staged(&self, attempt: Attempt, subtask: usize, k: u64) -> String {
        format!("{STAGING}/{}/{attempt}/{}/{subtask}-{k}{STAGED_SUFFIX}", self.job, self.sink)
    }

    /// The attempt that staged a file, if this sink did. Half-written ones (with anything behind the name) count too.
    pub fn attempt_of(&self, staged: &str) -> Option<Attempt> {
        let rest = staged.strip_prefix(STAGING)?.strip_prefix('/')?.strip_prefix(&self.job)?.strip_prefix('/')?;
        let mut parts = rest.split('/');
        let attempt = parts.next()?.parse().ok()?;
        (parts.next()? == self.sink).then_some(Attempt(attempt))
    }

    /// The final path of the `k`-th file that a subtask wrote for a checkpoint of a lineage.
    pub fn committed(
        &self,
        folder: Option<&str>,
        lineage: Lineage,
        checkpoint: CheckpointId,
        subtask: usize,
        k: usize,
    ) -> String {
        let lineage = match lineage {
            Lineage::NAMELESS => String::new(),
            lineage => format!("{lineage}."),
        };
        let name = format!("{}-{}-{lineage}{:08}-{subtask}-{k}{SUFFIX}", self.job, self.sink, checkpoint.0);
        folder.map_or(name.clone(), |folder| format!("{folder}/{name}"))
    }

    /// The lineage and the checkpoint of a final path, if it is one of this sink.
    pub fn committed_by(&self, path: &str) -> Option<(Lineage, CheckpointId)> {
        if path.starts_with(STAGING) {
            return None;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let rest = name.strip_prefix(&self.job)?.strip_prefix('-')?.strip_prefix(&self.sink)?.strip_prefix('-')?;
        let parts: Vec<&str> = rest.strip_suffix(SUFFIX)?.split('-').collect();
        let [of, subtask, k] = parts[..] else { return None };
        let (lineage, checkpoint) = of.split_once('.').unwrap_or(("0", of));
        subtask.parse::<u64>().ok()?;
        k.parse::<u64>().ok()?;
        Some((Lineage(lineage.parse().ok()?), CheckpointId(checkpoint.parse().ok()?)))
    }
}

/// Where all attempts of a job stage.
pub(super) fn staging_of(job: &str) -> String {
    staging(&plain(job))
}

/// The attempt that staged a file, if a sink of this job did.
pub(super) fn attempt_of_staged(job: &str, staged: &str) -> Option<Attempt> {
    let rest = staged.strip_prefix(&staging_of(job))?.strip_prefix('/')?;
    rest.split('/').next()?.parse().ok().map(Attempt)
}

fn staging(plain_job: &str) -> String {
    format!("{STAGING}/{plain_job}")
}

/// A name as it may stand in a path anywhere: other characters become their codes, so that two names stay two.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => plain.push(character),
            '.' if !plain.is_empty() => plain.push(character),
            other => plain.push_str(&format!("~{:x}", u32::from(other))),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_are() {
        let counts = Naming::new("ad-click", "sink.counts");
        let path = counts.committed(Some("hour=2022-03-04T00"), Lineage(4), CheckpointId(12), 3, 1);
        assert_eq!(path, "hour=2022-03-04T00/ad-click-counts-4.00000012-3-1.parquet");
        let nameless = counts.committed(None, Lineage::NAMELESS, CheckpointId(12), 3, 1);
        assert_eq!(nameless, "ad-click-counts-00000012-3-1.parquet");
        for (path, lineage, checkpoint) in
            [(&*path, 4, 12), (&*nameless, 0, 12), ("ad-click-counts-11.123456789-3-1.parquet", 11, 123_456_789)]
        {
            assert_eq!(counts.committed_by(path), Some((Lineage(lineage), CheckpointId(checkpoint))), "{path}");
            assert_eq!(Naming::new("ad", "click-counts-1").committed_by(path), None);
            assert_eq!(Naming::new("ad-click", "sink.count").committed_by(path), None);
        }
        for other in ["late-00000012-3-1", "1-00000012-3-1", "4.5.00000012-3-1", "00000012-3", "00000012-3-x"] {
            assert_eq!(counts.committed_by(&format!("ad-click-counts-{other}.parquet")), None, "{other}");
        }

        let staged = counts.staged(Attempt(7), 3, 1);
        assert_eq!(staged, "_staging/ad-click/7/counts/3-1.parquet.staged");
        assert_eq!(counts.attempt_of(&staged), Some(Attempt(7)));
        assert_eq!(Naming::new("ad-click", "sink.count").attempt_of(&staged), None);
        assert_eq!(Naming::new("ad", "sink.counts").attempt_of(&staged), None);
        assert_eq!(counts.committed_by(&staged), None);
        assert_eq!(attempt_of_staged("ad-click", &staged), Some(Attempt(7)));
        assert_eq!(attempt_of_staged("ad", &staged), None);
        assert!(staged.starts_with(&staging_of("ad-click")));
    }

    #[test]
    fn names_leave_no_folder() {
        assert_eq!(plain("../a b"), "~2e.~2fa~20b");
    }
}
