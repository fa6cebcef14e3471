//! The names of files and folders of a sink. The only copy of these rules; the rest passes them around.

use super::config::{Compression, FileFormat, FilesSinkConfig};
use weir_engine::ids::{Attempt, CheckpointId, Lineage};

const STAGING: &str = "_staging";
const STAGED: &str = ".staged";

/// Names of one sink of one job. All paths are relative to the sink's folder, with slashes.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    job: String,
    sink: String,
}

/// How the name of a file ends: what is in it, and how that is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub format: FileFormat,
    /// Of Parquet and Avro always none: they are compressed inside.
    pub compression: Compression,
}

impl Ending {
    /// All that results ever had: a sink knows its files after its format was changed.
    const ALL: [(&'static str, Ending); 8] = [
        (".parquet", Ending { format: FileFormat::Parquet, compression: Compression::None }),
        (".jsonl", Ending { format: FileFormat::Json, compression: Compression::None }),
        (".jsonl.gz", Ending { format: FileFormat::Json, compression: Compression::Gzip }),
        (".jsonl.zst", Ending { format: FileFormat::Json, compression: Compression::Zstd }),
        (".csv", Ending { format: FileFormat::Csv, compression: Compression::None }),
        (".csv.gz", Ending { format: FileFormat::Csv, compression: Compression::Gzip }),
        (".csv.zst", Ending { format: FileFormat::Csv, compression: Compression::Zstd }),
        (".avro", Ending { format: FileFormat::Avro, compression: Compression::None }),
    ];

    /// Of the files that a sink writes.
    pub fn of(config: &FilesSinkConfig) -> Self {
        let compression = if config.format.is_text() { config.compression } else { Compression::None };
        Ending { format: config.format, compression }
    }

    /// Of a file of results.
    pub fn of_name(name: &str) -> Option<Self> {
        Ending::split(name).map(|(_, ending)| ending)
    }

    fn split(name: &str) -> Option<(&str, Self)> {
        Ending::ALL.iter().find_map(|(text, ending)| Some((name.strip_suffix(text)?, *ending)))
    }

    /// As it stands in the name.
    pub fn text(self) -> &'static str {
        // Each that can be made is there.
        Ending::ALL.iter().find(|(_, ending)| *ending == self).map_or(".parquet", |(text, _)| text)
    }
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

    /// Where everybody stages.
    pub fn all_staging() -> &'static str {
        STAGING
    }

    /// File `k` that a subtask stages in an attempt. It does not end as results do, so that no pattern for them meets it.
    pub fn staged(&self, attempt: Attempt, subtask: usize, k: u64, ending: Ending) -> String {
        format!("{STAGING}/{}/{attempt}/{}/{subtask}-{k}{}{STAGED}", self.job, self.sink, ending.text())
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
        (lineage, checkpoint): (Lineage, CheckpointId),
        (subtask, k): (usize, usize),
        ending: Ending,
    ) -> String {
        let lineage = match lineage {
            Lineage::NAMELESS => String::new(),
            lineage => format!("{lineage}."),
        };
        let name = format!("{}-{}-{lineage}{:08}-{subtask}-{k}{}", self.job, self.sink, checkpoint.0, ending.text());
        folder.map_or(name.clone(), |folder| format!("{folder}/{name}"))
    }

    /// The lineage and the checkpoint of a final path, if it is one of this sink.
    pub fn committed_by(&self, path: &str) -> Option<(Lineage, CheckpointId)> {
        if path.starts_with(STAGING) {
            return None;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let rest = name.strip_prefix(&self.job)?.strip_prefix('-')?.strip_prefix(&self.sink)?.strip_prefix('-')?;
        let parts: Vec<&str> = Ending::split(rest)?.0.split('-').collect();
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

    const PARQUET: Ending = Ending { format: FileFormat::Parquet, compression: Compression::None };

    #[test]
    fn every_format_has_an_ending_of_its_own() {
        let counts = Naming::new("ad-click", "sink.counts");
        let of = (Lineage(4), CheckpointId(12));
        for (format, compression, text) in [
            (FileFormat::Parquet, Compression::None, "parquet"),
            (FileFormat::Parquet, Compression::Zstd, "parquet"),
            (FileFormat::Parquet, Compression::Gzip, "parquet"),
            (FileFormat::Json, Compression::None, "jsonl"),
            (FileFormat::Json, Compression::Gzip, "jsonl.gz"),
            (FileFormat::Csv, Compression::None, "csv"),
            (FileFormat::Csv, Compression::Zstd, "csv.zst"),
            (FileFormat::Avro, Compression::Zstd, "avro"),
        ] {
            let ending = Ending::of(&FilesSinkConfig { format, compression, ..FilesSinkConfig::at("out") });
            let path = counts.committed(None, of, (3, 1), ending);
            assert_eq!(path, format!("ad-click-counts-4.00000012-3-1.{text}"));
            assert_eq!((counts.committed_by(&path), Ending::of_name(&path)), (Some(of), Some(ending)));
            let staged = counts.staged(Attempt(7), 3, 1, ending);
            assert_eq!(staged, format!("_staging/ad-click/7/counts/3-1.{text}.staged"));
            assert_eq!(Ending::of_name(&staged), None);
        }
        assert_eq!(counts.committed_by("ad-click-counts-4.00000012-3-1.csv.bz2"), None);
    }

    #[test]
    fn names_tell_what_they_are() {
        let counts = Naming::new("ad-click", "sink.counts");
        let path = counts.committed(Some("hour=2022-03-04T00"), (Lineage(4), CheckpointId(12)), (3, 1), PARQUET);
        assert_eq!(path, "hour=2022-03-04T00/ad-click-counts-4.00000012-3-1.parquet");
        let nameless = counts.committed(None, (Lineage::NAMELESS, CheckpointId(12)), (3, 1), PARQUET);
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

        let staged = counts.staged(Attempt(7), 3, 1, PARQUET);
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
