//! Sinks that begin files less often than there are checkpoints: rows are held back before them.

use weir_operators::hold::{HoldConfig, check};
use weir_operators::schema::ColumnSchema;

use crate::diagnose::Mistake;
use crate::duration::millis;
use crate::key_path::KeyPath;
use crate::spec::{FilesSink, JobSpec, NodeBody, Sink, SinkConnector};

/// How long rows are held before a sink; none: they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// In event time.
    pub(super) time_ms: i64,
    /// Barriers, where time stands still: as many as come in that time.
    pub(super) barriers: u64,
}

impl Held {
    /// The settings of the operator, for rows of these columns.
    pub(super) fn config(self, columns: ColumnSchema) -> HoldConfig {
        HoldConfig { time_ms: self.time_ms, barriers: self.barriers, ..HoldConfig::of(columns) }
    }
}

/// How long rows are held before a sink.
pub(super) fn held_before(spec: &JobSpec, sink: &Sink) -> Option<Held> {
    match &sink.connector {
        SinkConnector::Files(files) => held(spec, files),
        SinkConnector::Console | SinkConnector::Sql(_) => None,
    }
}

/// How long rows may be held back from an archive, in milliseconds of event time: what has been counted so late may not be in it.
pub(super) fn longest_before_archives(spec: &JobSpec) -> i64 {
    let of_archive = |body: &NodeBody| match body {
        NodeBody::Sink(Sink { connector: SinkConnector::Files(files), .. }) if files.hourly => held(spec, files),
        _ => None,
    };
    spec.nodes.iter().filter_map(|node| of_archive(&node.body)).map(|held| held.time_ms).max().unwrap_or(0)
}

/// Rows that wait for the next barrier are not held.
fn held(spec: &JobSpec, files: &FilesSink) -> Option<Held> {
    let every = files.roll.filter(|every| *every > spec.checkpoint.interval)?;
    let interval = spec.checkpoint.interval.as_millis().max(1);
    let barriers = u64::try_from(every.as_millis().div_ceil(interval)).unwrap_or(u64::MAX);
    Some(Held { time_ms: millis(every), barriers })
}

/// What is wrong with holding rows of these columns, if anything is.
pub(super) fn mistake(files: &FilesSink, path: &KeyPath, columns: &ColumnSchema) -> Option<Mistake> {
    files.roll?;
    let error = check(columns).err()?;
    Some(Mistake::new(path.key("roll"), error.message).expected("no `roll`, or other columns in `select`"))
}
