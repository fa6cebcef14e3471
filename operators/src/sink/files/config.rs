//! The configuration of a files sink, as the node of a graph keeps it.

use crate::format::avro::{AvroSettings, Codec};
use serde::{Deserialize, Serialize};
use weir_engine::error::{EngineError, Result};

/// Settings of a files sink that its node keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSinkConfig {
    /// Folder, or URL of one (`file://`, `s3://`, `memory://`).
    pub path: String,
    /// Format of the files.
    #[serde(default)]
    pub format: FileFormat,
    /// Of Avro the schema.
    #[serde(default, skip_serializing_if = "has_no_schema")]
    pub schema: AvroSettings,
    /// How they are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How files are spread over folders.
    #[serde(default, skip_serializing_if = "PartitionBy::is_none")]
    pub partition_by: PartitionBy,
    /// The timestamp column that a row's partition follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_column: Option<String>,
    /// How long after its rows were committed a file goes; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<i64>,
    /// A file that has grown to this many bytes is closed and the next one begun, also between two checkpoints.
    #[serde(default = "default_roll_bytes", skip_serializing_if = "is_default_roll_bytes")]
    pub roll_bytes: u64,
}

fn has_no_schema(schema: &AvroSettings) -> bool {
    *schema == AvroSettings::default()
}

fn default_roll_bytes() -> u64 {
    256 << 20
}

fn is_default_roll_bytes(bytes: &u64) -> bool {
    *bytes == default_roll_bytes()
}

/// Formats that files can be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// JSON lines: an object a row.
    Json,
    /// CSV (RFC 4180), the first line naming the columns.
    Csv,
    /// Avro's object container files.
    Avro,
}

/// How files are compressed: of Parquet its pages, of Avro its blocks, of text the whole file.
///
/// Measured on rows of counts (UUID, ad, minute, filter, count, revision; 2 million rows, one thread): `none` 14 ns and 37
/// bytes a row, `snappy` 109 ns and 23 bytes, `zstd` 131 ns and 20 bytes. Half of such a row is a hash that nothing
/// shrinks, so `none` is the default; raw events and other rows with long texts are worth compressing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all, and not encoded either. See [`weir_engine::parquet_pages`].
    #[default]
    None,
    /// Zstandard, level 1: the smallest.
    Zstd,
    /// Snappy: between the two. There are no files of text that are compressed so.
    Snappy,
    /// Gzip: what everything can read. Not for Avro.
    Gzip,
    /// The same of Avro, which calls it so.
    Deflate,
}

/// How files are spread over folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// All in one folder.
    #[default]
    None,
    /// A folder for every hour of the partition column, in UTC, such as `hour=2022-03-04T00`.
    Hour,
}

impl Compression {
    /// As a definition has it.
    pub(super) const NAMES: [(&'static str, Compression); 5] = [
        ("none", Compression::None),
        ("snappy", Compression::Snappy),
        ("zstd", Compression::Zstd),
        ("gzip", Compression::Gzip),
        ("deflate", Compression::Deflate),
    ];

    /// Those of a format.
    pub(super) fn of(format: FileFormat) -> &'static [Compression] {
        use Compression::*;
        match format {
            FileFormat::Parquet => &[None, Snappy, Zstd, Gzip],
            FileFormat::Json | FileFormat::Csv => &[None, Gzip, Zstd],
            FileFormat::Avro => &[None, Snappy, Zstd, Deflate],
        }
    }

    /// As a definition calls it.
    pub(super) fn name(self) -> &'static str {
        Compression::NAMES.iter().find(|(_, named)| *named == self).map_or("none", |(name, _)| name)
    }

    /// As Avro has it; none: it has no such blocks.
    pub(super) fn codec(self) -> Option<Codec> {
        match self {
            Compression::None => Some(Codec::Null),
            Compression::Snappy => Some(Codec::Snappy),
            Compression::Zstd => Some(Codec::Zstandard),
            Compression::Deflate => Some(Codec::Deflate),
            Compression::Gzip => None,
        }
    }
}

impl FileFormat {
    /// As a definition has it.
    pub(super) const NAMES: [(&'static str, FileFormat); 4] = [
        ("parquet", FileFormat::Parquet),
        ("json", FileFormat::Json),
        ("csv", FileFormat::Csv),
        ("avro", FileFormat::Avro),
    ];

    /// What the files are, for people.
    pub(super) fn files(self) -> &'static str {
        match self {
            FileFormat::Parquet => "Parquet files",
            FileFormat::Json => "JSON lines",
            FileFormat::Csv => "CSV files",
            FileFormat::Avro => "Avro files",
        }
    }

    /// Whether files are text.
    pub(super) fn is_text(self) -> bool {
        matches!(self, FileFormat::Json | FileFormat::Csv)
    }
}

impl PartitionBy {
    fn is_none(&self) -> bool {
        *self == PartitionBy::None
    }
}

impl FilesSinkConfig {
    /// All settings but the path at their defaults.
    pub fn at(path: impl Into<String>) -> Self {
        FilesSinkConfig {
            path: path.into(),
            format: FileFormat::default(),
            schema: AvroSettings::default(),
            compression: Compression::default(),
            partition_by: PartitionBy::default(),
            partition_column: None,
            retention_ms: None,
            roll_bytes: default_roll_bytes(),
        }
    }

    /// From a node's settings.
    ///
    /// # Errors
    /// Naming the setting that is missing, unknown or of a wrong kind.
    pub fn from_json(config: &serde_json::Value) -> Result<Self> {
        let config = FilesSinkConfig::deserialize(config)
            .map_err(|error| EngineError::definition(format!("files sink: {error}")))?;
        if config.path.is_empty() {
            return Err(EngineError::definition("files sink: 'path' is empty; it must name a folder or a URL"));
        }
        if config.partition_by == PartitionBy::Hour && config.partition_column.is_none() {
            return Err(EngineError::definition(
                "files sink: partition_by = \"hour\" needs partition_column, the timestamp column to take the hour from",
            ));
        }
        if !Compression::of(config.format).contains(&config.compression) {
            let (compression, files) = (config.compression.name(), config.format.files());
            return Err(EngineError::definition(format!(
                "files sink: compression = \"{compression}\" is not for {files}"
            )));
        }
        if let Some(retention) = config.retention_ms.filter(|retention| *retention <= 0) {
            return Err(EngineError::definition(format!(
                "files sink: retention_ms = {retention}, so that no file would be kept"
            )));
        }
        Ok(config)
    }
}
