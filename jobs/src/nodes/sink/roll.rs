//! Sinks that begin files less often than there are checkpoints: rows are held back before them.
//!
//! A file a checkpoint would be millions a week. So only who asks for it gets that; else rows are held for as long as nobody
//! minds: a minute, since results come some time after their windows anyway; and ten minutes for what stands beside the results
//! (late rows, dead letters, an archive). Running counts are there to be new, and are not held.

use std::time::Duration;

use weir_operators::hold::{HoldConfig, check};
use weir_operators::schema::ColumnSchema;

use super::super::node::Node;
use super::connector::SinkConnector;
use super::definition::Sink;
use super::files::{FilesSink, Roll};
use crate::settings::JobSettings;
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{KeyPath, Mistake};

/// For how long rows are held.
const STANDARD: Duration = Duration::from_secs(60);

/// For how long those of an output beside the main one.
const BESIDE: Duration = Duration::from_secs(600);

/// How long rows are held before a sink; none: they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// In event time.
    pub(super) time_ms: i64,
    /// Barriers, where time stands still: as many as come in that time.
    pub(super) barriers: u64,
    /// Bytes, where it is said.
    pub(super) bytes: Option<u64>,
}

impl Held {
    /// The settings of the operator, for rows of these columns.
    pub(super) fn config(self, columns: ColumnSchema) -> HoldConfig {
        let standard = HoldConfig::of(columns);
        let bytes = self.bytes.map_or(standard.bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        HoldConfig { time_ms: self.time_ms, barriers: self.barriers, bytes, ..standard }
    }

    /// For how long, in words.
    pub(super) fn note(self) -> String {
        let every = show(Duration::from_millis(self.time_ms.unsigned_abs()));
        match self.bytes {
            Some(bytes) => format!("holds rows for up to {every}, or until they are {bytes} bytes"),
            None => format!("holds rows for up to {every}, or until they are many"),
        }
    }
}

impl Sink {
    /// The files, if they are by hour.
    pub(super) fn hourly_files(&self) -> Option<&FilesSink> {
        match &self.connector {
            SinkConnector::Files(files) if files.hourly => Some(files),
            _ => None,
        }
    }

    /// How long rows of these columns are held before it.
    pub(super) fn held_before(&self, job: &JobSettings, columns: &ColumnSchema) -> Option<Held> {
        match &self.connector {
            SinkConnector::Files(files) if check(columns).is_ok() => self.held(job, files),
            SinkConnector::Files(_) | SinkConnector::Console | SinkConnector::Sql(_) => None,
        }
    }

    /// Rows that wait for the next barrier are not held.
    pub(super) fn held(&self, job: &JobSettings, files: &FilesSink) -> Option<Held> {
        let Roll::Every { every, bytes } = files.roll.unwrap_or_else(|| self.standard_roll()) else { return None };
        if every <= job.checkpoint.interval {
            return None;
        }
        Some(Held { time_ms: millis(every), barriers: job.checkpoints_in(every), bytes })
    }

    /// What suits its rows, where it does not say when files are begun.
    fn standard_roll(&self) -> Roll {
        if self.takes_running() {
            return Roll::Checkpoint;
        }
        // `clicks` is a node, `clicks.dead_letters` another output of it.
        let is_beside = self.input.iter().all(|input| input.contains('.'));
        Roll::Every { every: if is_beside { BESIDE } else { STANDARD }, bytes: None }
    }
}

/// What is wrong with holding rows of these columns, if it was asked for and anything is.
pub(super) fn mistake(files: &FilesSink, path: &KeyPath, columns: &ColumnSchema) -> Option<Mistake> {
    let Some(Roll::Every { .. }) = files.roll else { return None };
    let error = check(columns).err()?;
    Some(Mistake::new(path.key("roll"), error.message).expected("\"checkpoint\", or other columns in `select`"))
}
