//! The settings of a files sink, as a definition's `[sink.NAME]` has them: those that its node keeps, and when files are begun.

use super::{Compression, FileFormat, FilesSinkConfig, PartitionBy};
use crate::{
    definition::{Kind, Reader, duration::millis},
    format::avro::AvroSettings,
};
use std::{ops::RangeInclusive, time::Duration};

/// A files sink as defined.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesSinkSettings {
    /// What its node keeps. The partition column may be left to the columns.
    pub config: FilesSinkConfig,
    /// When files are begun; none: as it suits what the rows are.
    pub roll: Option<Roll>,
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

/// The largest and the smallest `bytes` of a `roll`.
const ROLL_BYTES: RangeInclusive<i64> = 1..=1 << 30;

/// Shorter ones would remove what readers have had no time to read.
const SHORTEST_RETENTION: Duration = Duration::from_secs(60);

impl FilesSinkSettings {
    /// Parquet files in a folder, or below a URL.
    pub fn at(path: impl Into<String>) -> Self {
        FilesSinkSettings { config: FilesSinkConfig::at(path), roll: None }
    }

    /// Files of another format.
    #[must_use]
    pub fn format(mut self, format: FileFormat) -> Self {
        self.config.format = format;
        self
    }

    /// Of Avro: the schema that files are written by. Not said: the one that follows from the columns.
    #[must_use]
    pub fn schema(mut self, schema: AvroSettings) -> Self {
        self.config.schema = schema;
        self
    }

    /// How the files are compressed.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// A folder for every hour of a timestamp column; of the event time, or the window's start, when none is named.
    #[must_use]
    pub fn partition_by_hour(mut self, column: Option<String>) -> Self {
        self.config.partition_by = PartitionBy::Hour;
        self.config.partition_column = column;
        self
    }

    /// When files are begun. Not said: once a minute, every ten minutes for late rows, dead letters and what came on time, and with
    /// every checkpoint for running counts.
    #[must_use]
    pub fn roll(mut self, roll: Roll) -> Self {
        self.roll = Some(roll);
        self
    }

    /// Removes files so long after they were written.
    #[must_use]
    pub fn keep_for(mut self, retention: Duration) -> Self {
        self.config.retention_ms = Some(millis(retention));
        self
    }

    /// Reads the keys of a `[sink.NAME]`.
    pub(super) fn read(keys: &Reader<'_>) -> Self {
        let format = keys.choice("format", &FileFormat::NAMES).unwrap_or_default();
        let path = keys.required_text("path", "\"out/counts\"");
        let compression = keys.choice("compression", &Compression::NAMES).unwrap_or_default();
        if !Compression::of(format).contains(&compression) {
            let names: Vec<String> = Compression::of(format).iter().map(|one| format!("{:?}", one.name())).collect();
            let message = format!("there are no {} that are compressed with {}", format.files(), compression.name());
            keys.refuse("compression", message, &names.join(", "));
        }
        let schema = match format {
            FileFormat::Avro => AvroSettings::read_of_written_files(keys),
            _ => {
                if keys.value("schema").is_some() {
                    keys.refuse("schema", "only files of Avro have one", "no `schema`, or `format = \"avro\"`");
                }
                AvroSettings::default()
            }
        };
        let config = FilesSinkConfig {
            format,
            schema,
            compression,
            partition_by: keys
                .choice("partition_by", &[("hour", PartitionBy::Hour), ("none", PartitionBy::None)])
                .unwrap_or_default(),
            partition_column: keys.text("partition_column"),
            ..FilesSinkConfig::at(path)
        };
        let roll = read_roll(keys);
        FilesSinkSettings { config: FilesSinkConfig { retention_ms: read_retention(keys), ..config }, roll }
    }
}

/// `roll = { every = "1m" }`, perhaps with `bytes`, or `roll = "checkpoint"`.
fn read_roll(keys: &Reader<'_>) -> Option<Roll> {
    match &keys.value("roll")?.kind {
        Kind::Text(text) if text == "checkpoint" => return Some(Roll::Checkpoint),
        Kind::Table(_) => {}
        _ => {
            let expected = "{ every = \"1m\" }, or \"checkpoint\": a file with every checkpoint that has rows";
            keys.refuse("roll", "this does not say when new files are started", expected);
            return None;
        }
    }
    let roll = keys.table("roll")?;
    roll.require("every", "\"1m\"");
    let every = roll.positive_duration("every");
    let bytes = roll.integer("bytes", ROLL_BYTES).map(i64::unsigned_abs);
    roll.finish();
    Some(Roll::Every { every: every?, bytes })
}

fn read_retention(keys: &Reader<'_>) -> Option<i64> {
    let retention = keys.positive_duration("retention")?;
    if retention < SHORTEST_RETENTION {
        let message = "files would be removed as soon as they are written";
        keys.refuse("retention", message, "a minute or more, such as \"30d\"");
        return None;
    }
    Some(millis(retention))
}
