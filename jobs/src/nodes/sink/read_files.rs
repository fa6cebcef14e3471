//! The keys of a sink of files.

use std::time::Duration;

use super::files::{Compression, FilesSink, Roll};
use weir_operators::definition::{Kind, Reader};

impl FilesSink {
    pub(super) fn read(node: &Reader<'_>) -> Self {
        // There is one format so far; it is written out in definitions so that they stay right when there are more.
        node.choice("format", &[("parquet", ())]);
        let compressions = [Compression::None, Compression::Snappy, Compression::Zstd].map(|one| (one.name(), one));
        FilesSink {
            path: node.required_text("path", "\"out/counts\""),
            compression: node.choice("compression", &compressions).unwrap_or(Compression::None).name(),
            hourly: node.choice("partition_by", &[("hour", true), ("none", false)]).unwrap_or(false),
            partition_column: node.text("partition_column"),
            roll: read_roll(node),
            retention: read_files_retention(node),
        }
    }
}

/// The largest and the smallest `bytes` of a `roll`.
const ROLL_BYTES: std::ops::RangeInclusive<i64> = 1..=1 << 30;

/// `roll = { every = "1m" }`, perhaps with `bytes`, or `roll = "checkpoint"`.
fn read_roll(node: &Reader<'_>) -> Option<Roll> {
    match &node.value("roll")?.kind {
        Kind::Text(text) if text == "checkpoint" => return Some(Roll::Checkpoint),
        Kind::Table(_) => {}
        _ => {
            let expected = "{ every = \"1m\" }, or \"checkpoint\": a file with every checkpoint that has rows";
            node.refuse("roll", "this does not say when files are begun", expected);
            return None;
        }
    }
    let roll = node.table("roll")?;
    roll.require("every", "\"1m\"");
    let every = roll.positive_duration("every");
    let bytes = roll.integer("bytes", ROLL_BYTES).map(i64::unsigned_abs);
    roll.finish();
    Some(Roll::Every { every: every?, bytes })
}

/// Shorter ones would remove what nobody has had the time to read.
const SHORTEST_RETENTION: Duration = Duration::from_secs(60);

fn read_files_retention(node: &Reader<'_>) -> Option<Duration> {
    let retention = node.positive_duration("retention")?;
    if retention < SHORTEST_RETENTION {
        node.refuse(
            "retention",
            "files would be removed as soon as they are there",
            "a minute or more, such as \"30d\"",
        );
        return None;
    }
    Some(retention)
}
