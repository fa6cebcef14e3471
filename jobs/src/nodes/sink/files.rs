//! Files in a folder: their settings.

use std::time::Duration;

/// Files in a folder.
#[derive(Debug, Clone)]
pub(crate) struct FilesSink {
    pub(crate) path: String,
    pub(crate) compression: &'static str,
    pub(crate) hourly: bool,
    pub(crate) partition_column: Option<String>,
    /// When files are begun; none: as it suits what the rows are.
    pub(crate) roll: Option<Roll>,
    /// How long after they were written files are kept; none: for ever.
    pub(crate) retention: Option<Duration>,
}

/// When a sink begins files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roll {
    /// With every checkpoint that has rows.
    Checkpoint,
    /// So often at most, but for rows of so many bytes in memory: until then rows are held as state of the job.
    Every {
        /// How long rows are held.
        every: Duration,
        /// How many bytes of them in a subtask; none: as many as make a file of some megabytes.
        bytes: Option<u64>,
    },
}

/// How the pages of Parquet files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: the fastest.
    None,
    /// Snappy: between the two others.
    Snappy,
    /// Zstandard: the smallest.
    Zstd,
}

impl Compression {
    /// The name in a definition.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }
}

impl FilesSink {
    /// Files in this folder.
    pub(super) fn at(path: String) -> Self {
        FilesSink {
            path,
            compression: Compression::None.name(),
            hourly: false,
            partition_column: None,
            roll: None,
            retention: None,
        }
    }
}
