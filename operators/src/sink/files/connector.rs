//! What a files sink is to those that check, compile, show and confine jobs.
//!
//! A file per checkpoint would be millions a week. So only sinks that ask for it get that; else rows are held for as long as nobody
//! minds: a minute, since results come some time after their windows anyway; and ten minutes for what stands beside the results
//! (late rows, dead letters, an archive). Running counts are there to be new, and are not held.

use super::{
    FileFormat, FilesCommitter, FilesSink, FilesSinkConfig, FilesSinkSettings, PartitionBy, Roll,
    encoder::can_be_written, here::committed_in, naming::Ending, read_back::FilesReadBack, storage,
};
use crate::{
    columns::WINDOW_START,
    confinement::{Location, from_root},
    definition::{KeyPath, Mistake, duration::show},
    event_time::event_time_type,
    expression::type_name,
    hold::{self, HoldRule},
    sink::{
        Archive, FilesHere, Owned, SinkConnector, SinkGiven, SinkJob, SinkKind, SinkRhythm, StoredSink,
        read_back::{ReadBack, ReadBackOf},
    },
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    error::Result,
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// Files: Parquet, JSON lines, CSV or Avro.
pub const KIND: SinkKind = SinkKind {
    name: "files",
    read: |keys| Box::new(FilesSinkSettings::read(keys)),
    stored: |config| Ok(Box::new(FilesSinkConfig::from_json(config)?)),
    meaning: &["path"],
};

/// What a record of Avro is called whose schema follows from the columns.
const ROWS: &str = "row";

/// For how long rows are held where that is not said.
const STANDARD: Duration = Duration::from_secs(60);

/// For how long those of an output beside the main one.
const BESIDE: Duration = Duration::from_secs(600);

impl SinkConnector for FilesSinkSettings {
    fn kind(&self) -> &'static SinkKind {
        &KIND
    }

    fn check(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let path = &self.config.path;
        if path.trim().is_empty() {
            let mistake = Mistake::new(at.key("path"), "this names no folder");
            mistakes.push(mistake.found(format!("{path:?}")).expected("a folder or a URL of its own"));
        }
        self.check_roll(given, at, mistakes);
        self.check_columns(given, at, mistakes);
        self.check_partitions(given, at, mistakes);
    }

    fn owns(&self) -> Option<Owned> {
        let shown = folder(&self.config.path);
        if shown.is_empty() {
            return None;
        }
        let place = [KIND.name.to_owned()].into_iter().chain(parts(&self.config.path)).collect();
        Some(Owned { key: "path", expected: "a folder of its own", places: vec![place], shown })
    }

    fn example_file(&self) -> Option<String> {
        let hour = if self.is_hourly() { "hour=1970-01-01T00/" } else { "" };
        let path = self.config.path.trim_end_matches('/');
        (!path.is_empty()).then(|| format!("{path}/{hour}rows{}", Ending::of(&self.config).text()))
    }

    fn config(&self, given: &SinkGiven<'_>, _job: &SinkJob<'_>) -> serde_json::Value {
        let mut config = self.config.clone();
        if config.format == FileFormat::Avro {
            config.schema = config.schema.for_columns(ROWS, given.columns);
        }
        if self.is_hourly() {
            let named = config.partition_column.take();
            config.partition_column = named.or_else(|| partition_column(given).map(str::to_owned));
        }
        serde_json::json!(config)
    }

    fn note(&self) -> String {
        let hourly = if self.is_hourly() { ", one folder per hour" } else { "" };
        let kept = self
            .config
            .retention_ms
            .map_or(String::new(), |kept| format!(", kept for {}", show(Duration::from_millis(kept.unsigned_abs()))));
        format!("{} at {}{hourly}{kept}", self.config.format.files(), self.config.path)
    }

    fn takes_running(&self) -> bool {
        false
    }

    fn keeps_revisions(&self) -> bool {
        true
    }

    fn hold(&self, rows: &SinkRhythm) -> Option<HoldRule> {
        let standard = || match rows {
            SinkRhythm { running: true, .. } => Roll::Checkpoint,
            SinkRhythm { beside: true, .. } => Roll::Every { every: BESIDE, bytes: None },
            _ => Roll::Every { every: STANDARD, bytes: None },
        };
        match self.roll.unwrap_or_else(standard) {
            Roll::Checkpoint => None,
            Roll::Every { every, bytes } => HoldRule::every(every, bytes, rows.checkpoint_interval),
        }
    }

    fn archive(&self) -> Option<Archive<'_>> {
        let archive = Archive { path: &self.config.path, expires: self.config.retention_ms.is_some() };
        // Counts are recalculated from Parquet alone.
        (self.is_hourly() && self.config.format == FileFormat::Parquet).then_some(archive)
    }
}

impl FilesSinkSettings {
    fn is_hourly(&self) -> bool {
        self.config.partition_by == PartitionBy::Hour
    }

    /// Columns that a format has no words for.
    fn check_columns(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let format = self.config.format;
        if format == FileFormat::Avro {
            return self.config.schema.check_files(given.columns, &given.columns_at(at), at, mistakes);
        }
        for column in given.columns.columns.iter().filter(|column| !can_be_written(&column.data_type, format)) {
            let (name, kind) = (&column.name, type_name(&column.data_type));
            let (message, expected) = match format {
                FileFormat::Csv if column.data_type.is_nested() => (
                    format!("`{name}` is {kind}, and a field of a CSV holds one value"),
                    "`format = \"json\"`, a `select` without it, or a `map` that converts it",
                ),
                _ => (
                    format!("`{name}` is {kind}, which cannot be written to a file"),
                    "a `select` without it, or a `map` that converts it",
                ),
            };
            mistakes.push(Mistake::new(given.columns_at(at), message).expected(expected));
        }
        if let (FileFormat::Csv, [only]) = (format, given.columns.columns.as_slice())
            && only.nullable
        {
            let message = format!("`{}` is the only column, and a CSV has no line for a null in it", only.name);
            let expected = "a second column, or `format = \"json\"`";
            mistakes.push(Mistake::new(given.columns_at(at), message).expected(expected));
        }
    }

    /// What is wrong with holding rows of these columns, if it was asked for and anything is.
    fn check_roll(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if let (Some(Roll::Every { .. }), Err(error)) = (self.roll, hold::check(given.columns)) {
            let mistake = Mistake::new(at.key("roll"), error.message);
            mistakes.push(mistake.expected("\"checkpoint\", or other columns in `select`"));
        }
    }

    fn check_partitions(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let place = at.key("partition_column");
        match &self.config.partition_column {
            Some(name) if !self.is_hourly() => {
                let mistake = Mistake::new(place, format!("`{name}` partitions nothing"));
                mistakes.push(mistake.expected("`partition_by = \"hour\"` beside it"));
            }
            Some(name) => match given.columns.column(name) {
                None => mistakes.push(Mistake::unknown_column(place, name, given.columns)),
                Some(column) if column.data_type != event_time_type() => {
                    let message = format!("`{name}` is {}", type_name(&column.data_type));
                    mistakes.push(Mistake::new(place, message).expected("a column of type timestamp"));
                }
                Some(_) => {}
            },
            None if self.is_hourly() && partition_column(given).is_none() => {
                let mistake = Mistake::new(at.key("partition_by"), "it is not clear which column's hour is meant");
                mistakes.push(mistake.expected("`partition_column = \"a timestamp column\"` beside it"));
            }
            None => {}
        }
    }
}

/// The timestamp column whose hour files are sorted by when none is named.
fn partition_column<'a>(given: &SinkGiven<'a>) -> Option<&'a str> {
    if let Some(event_time) = given.event_time {
        return Some(event_time);
    }
    let timestamps = || given.columns.columns.iter().filter(|column| column.data_type == event_time_type());
    let start = timestamps().find(|column| column.name == WINDOW_START);
    let only = || timestamps().next().filter(|_| timestamps().count() == 1);
    start.or_else(only).map(|column| column.name.as_str())
}

/// A path as the names that lead there, of this machine from the root. Links are not followed: nothing is looked at here.
fn parts(path: &str) -> Vec<String> {
    let local = path.strip_prefix("file://").unwrap_or(path);
    if local.contains("://") {
        return folder(path).split('/').map(str::to_owned).collect();
    }
    from_root(Path::new(local)).components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
}

/// A path in the same words as others that lead there.
fn folder(path: &str) -> String {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

impl StoredSink for FilesSinkConfig {
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>> {
        let storage = storage::open_patiently(&self.path, context.patience())?;
        Ok(Box::new(FilesSink::new(self.clone(), storage, context)))
    }

    fn committer(&self, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        let storage = storage::open_patiently(&self.path, context.patience())?;
        let committer = FilesCommitter::new(storage, &context);
        Ok(Arc::new(match self.retention_ms {
            Some(keep_ms) => committer.with_retention(keep_ms),
            None => committer,
        }))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        storage::locations(&self.path)
    }

    fn shown(&self) -> Option<String> {
        Some(self.path.clone())
    }

    fn read_back(&self, of: &ReadBackOf<'_>) -> Result<Option<Box<dyn ReadBack>>> {
        Ok(Some(Box::new(FilesReadBack::new(storage::open(&self.path)?, of))))
    }

    fn files_here(&self, job: &str, sink: &str) -> Option<FilesHere> {
        let folder = match self.path.strip_prefix("file://") {
            Some(path) => PathBuf::from(path),
            None if self.path.contains("://") => return None,
            None => PathBuf::from(&self.path),
        };
        let files = committed_in(&folder, job, sink);
        Some(FilesHere { folder, files })
    }
}

#[cfg(test)]
mod tests;
