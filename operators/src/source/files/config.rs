//! The settings of a files source, and the source that is made from them.

use super::{
    archive::{ArchiveFiles, EventTimeRange},
    avro_split::AvroFileSettings,
    bounded::{BoundedFiles, RecordSettings},
    decoders::Decoders,
    empty_columns::ToldFiles,
    followed::{Copies, FollowSettings, FollowedFiles},
    lines::LineSettings,
    listing::Location,
    parquet_split::ParquetSettings,
    parquet_times::DeclaredTimes,
    partitions::{PartitionColumns, PartitionedFiles},
    passed_over::Teller,
};
use crate::format::{Format, FormatSettings};
use crate::source::{
    column_type::DeclaredSchema,
    first_look::FirstLook,
    reader::{ReaderSettings, SourceReader},
    settings::SourceSettings,
    split_reader::Connector,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use weir_engine::{
    error::{EngineError, Result},
    operator::OperatorContext,
};

/// How long a rotated file may still be written to without having anything to say, in milliseconds.
pub const DEFAULT_ROTATION_GRACE_MS: u64 = 5_000;

/// A files source, as a definition's `[source.NAME]` has it and as the node of a graph keeps it; [`SourceSettings`] are beside
/// these in the same object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilesConfig {
    /// A file, a folder, a pattern, or a URL of an object store.
    pub path: String,
    /// How the files are written.
    #[serde(flatten)]
    pub format: FormatSettings,
    /// Columns whose values are in the names of folders, as in `country=US`.
    #[serde(default, skip_serializing_if = "DeclaredSchema::is_empty")]
    pub partitions: DeclaredSchema,
    /// Whether the files are followed as they grow, until the job is stopped.
    #[serde(default)]
    pub follow: bool,
    /// Rows of a batch at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_rows: Option<usize>,
    /// How often a followed file is asked for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
    /// How often new files are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover_ms: Option<u64>,
    /// How long a rotated file may still be written to; none: as [`DEFAULT_ROTATION_GRACE_MS`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_grace_ms: Option<u64>,
    /// What is done with a followed file that may be a copy of another one; none: as [`Copies::default`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// Whether the files lie in folders by hour, which say how old their rows can be: the watermark follows from that.
    #[serde(default, skip_serializing_if = "is_not")]
    pub by_partition: bool,
    /// Whether one of such files that cannot be read ends the job, in place of being a dead letter: what is counted from the
    /// others would be wrong.
    #[serde(default, skip_serializing_if = "is_not")]
    pub all_or_nothing: bool,
    /// Only events of this range; for such files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<EventTimeRange>,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

impl FilesConfig {
    /// Files below a folder, or at a URL; click logs, unless [`FilesConfig::format`] says otherwise.
    pub fn at(path: impl Into<String>) -> Self {
        FilesConfig {
            path: path.into(),
            format: Format::ClickLog.into(),
            partitions: DeclaredSchema::default(),
            follow: false,
            batch_rows: None,
            poll_ms: None,
            discover_ms: None,
            rotation_grace_ms: None,
            copies: None,
            by_partition: false,
            all_or_nothing: false,
            range: None,
        }
    }

    /// How the files are written.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format.format = format;
        self
    }

    /// Columns whose values are in the names of folders, as in `country=US/clicks.log`.
    #[must_use]
    pub fn partitions(mut self, columns: DeclaredSchema) -> Self {
        self.partitions = columns;
        self
    }

    /// Whether growing and new files are followed until the job is stopped.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// The files are an archive: Parquet in a folder for each hour, as a files sink with `partition_by = "hour"` writes it. They
    /// are read in the order of the hours, time follows the hours, and nothing is ever behind.
    #[must_use]
    pub fn by_partition(mut self) -> Self {
        self.by_partition = true;
        self
    }

    /// A file of an archive that cannot be read ends the job, since what is counted from the others would be wrong. Otherwise it
    /// is a dead letter.
    #[must_use]
    pub fn all_or_nothing(mut self) -> Self {
        self.all_or_nothing = true;
        self
    }

    /// Of an archive, only the events of this range.
    #[must_use]
    pub fn range(mut self, range: EventTimeRange) -> Self {
        self.range = Some(range);
        self
    }

    /// The source of one subtask. Nothing is opened yet.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or the storage that it names cannot be opened.
    pub fn reader(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<SourceReader> {
        let connector = match &settings.computed_time {
            None => self.connector(settings, context)?,
            Some(computed) => computed.over(self.connector(&computed.read_settings(settings), context)?, settings)?,
        };
        let connector = FirstLook::at(connector, settings.event_time.as_deref());
        Ok(SourceReader::new(self.reader_settings(settings), connector, context))
    }

    /// What reads the columns of `settings`, those that folders tell among them.
    fn connector(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Connector>> {
        let location = Location::parse(&self.path)?.telling(Teller::of(context));
        let all_columns = settings.columns.to_arrow();
        let partitions = PartitionColumns::of(&all_columns, &self.partitions);
        let in_files = settings.without_columns(|name| self.is_partition(name));
        let settings = &in_files;
        let mut connector: Box<dyn Connector> = if self.follow {
            Box::new(self.followed(&location, settings, context)?)
        } else if self.by_partition {
            Box::new(self.archive(location, settings, context)?)
        } else {
            let (subtask, parallelism) = (context.subtask, context.parallelism);
            let path = self.path.clone();
            let (records, env) = (self.records(settings)?, context.env.clone());
            let (attempt, staging) = (context.attempt, context.staging.clone());
            Box::new(BoundedFiles { location, path, records, subtask, parallelism, env, attempt, staging })
        };
        if let Some(partitions) = partitions {
            connector = PartitionedFiles::over(connector, partitions);
        }
        Ok(connector)
    }

    fn is_partition(&self, name: &str) -> bool {
        self.partitions.column(name).is_some()
    }

    pub(super) fn reader_settings(&self, settings: &SourceSettings) -> ReaderSettings {
        let common = settings.reader_settings();
        ReaderSettings {
            batch_rows: self.batch_rows.unwrap_or(common.batch_rows).max(1),
            poll_interval: self.poll_ms.map_or(common.poll_interval, Duration::from_millis),
            discover_interval: self.discover_ms.map_or(common.discover_interval, Duration::from_millis),
            ..common
        }
    }

    pub(super) fn followed(
        &self,
        location: &Location,
        settings: &SourceSettings,
        context: &OperatorContext,
    ) -> Result<FollowedFiles> {
        let Location::Local(path) = location else {
            return Err(self.refuse("follow = true: only local files can be followed, not objects of a store"));
        };
        let RecordSettings::Lines(lines) = self.records(settings)? else {
            return Err(
                self.refuse("follow = true: only files of lines can be followed, one of another format does not grow")
            );
        };
        let rotation_grace = Duration::from_millis(self.rotation_grace_ms.unwrap_or(DEFAULT_ROTATION_GRACE_MS));
        let OperatorContext { env, subtask, parallelism, .. } = context;
        let discover = self.reader_settings(settings).discover_interval;
        let follow = FollowSettings { rotation_grace, copies: self.copies.unwrap_or_default(), discover };
        Ok(FollowedFiles::new(path.clone(), lines, follow, env.clone(), *subtask, *parallelism))
    }

    fn archive(
        &self,
        location: Location,
        settings: &SourceSettings,
        context: &OperatorContext,
    ) -> Result<ArchiveFiles> {
        let (RecordSettings::Parquet(parquet), Some(event_time)) = (self.records(settings)?, &settings.event_time)
        else {
            return Err(self.refuse("by_partition = true: that needs Parquet files and an event time"));
        };
        let OperatorContext { env, subtask, parallelism, .. } = context;
        Ok(ArchiveFiles {
            location,
            path: self.path.clone(),
            range: self.range.unwrap_or(EventTimeRange::ALL),
            parquet,
            event_time: event_time.clone(),
            all_or_nothing: self.all_or_nothing,
            subtask: *subtask,
            parallelism: *parallelism,
            env: env.clone(),
        })
    }

    pub(super) fn records(&self, settings: &SourceSettings) -> Result<RecordSettings> {
        if let Format::Avro { schema } = &self.format.format {
            let refused = |error: EngineError| self.refuse(&error.message);
            let requested = schema.requested(&settings.column_names()).map_err(refused)?;
            let schema = schema.schema().map_err(refused)?;
            return Ok(RecordSettings::Avro(Arc::new(AvroFileSettings { schema, requested })));
        }
        let Some(format) = self.format.format.as_lines() else {
            return Ok(RecordSettings::Parquet(Arc::new(self.parquet(settings)?)));
        };
        if self.format.format.declared().is_some_and(DeclaredSchema::is_empty) {
            return Err(self.refuse("the columns and their types must be declared: schema = { … }"));
        }
        let (columns, max_line_bytes) = (settings.column_names(), self.format.longest_line());
        Ok(RecordSettings::Lines(Arc::new(LineSettings {
            format,
            columns,
            max_line_bytes,
            decoders: Decoders::default(),
        })))
    }

    fn parquet(&self, settings: &SourceSettings) -> Result<ParquetSettings> {
        // One that a folder gives is in no file.
        let event_time = settings.event_time.clone().filter(|name| settings.columns.column(name).is_some());
        Ok(ParquetSettings {
            columns: settings.columns.to_arrow(),
            times: DeclaredTimes::of(self.format.format.declared())?,
            event_time,
            uncut: settings.computed_time.is_some(),
            jump: settings.rule().jump,
            told: ToldFiles::default(),
        })
    }

    fn refuse(&self, problem: &str) -> EngineError {
        EngineError::definition(format!("files source with path = \"{}\": {problem}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build(config: serde_json::Value) -> Result<SourceReader> {
        let context = OperatorContext::single("job", "source.clicks");
        let settings = SourceSettings::read(&config, &context)?;
        let files = FilesConfig::deserialize(&config).map_err(|error| EngineError::definition(error.to_string()))?;
        files.reader(&settings, &context)
    }

    fn refused(mut config: serde_json::Value) -> String {
        config["columns"] = json!([]);
        build(config).err().expect("refused").message
    }

    #[test]
    fn a_configuration_becomes_a_source() {
        let config = json!({
            "path": "a", "format": "csv", "schema": {"a": "int"}, "delimiter": ";", "follow": false,
            "columns": [{"name": "a", "type": "Int64"}], "event_time": null,
            "watermark": {"delay_ms": 15000, "idle_after_ms": null, "max_jump_ms": null, "jump_after": {"rows": 5, "span_ms": 0}}
        });
        assert!(build(config.clone()).is_ok());
        let context = OperatorContext::single("job", "source.clicks");
        let settings = SourceSettings::read(&config, &context).expect("settings");
        let files = FilesConfig::deserialize(&config).expect("files");
        let RecordSettings::Lines(lines) = files.records(&settings).expect("valid") else { panic!("csv is lines") };
        assert_eq!((lines.columns.clone(), lines.max_line_bytes), (vec!["a".to_owned()], 1 << 20));
    }

    #[test]
    fn graphs_of_other_versions_are_read_and_written_with_the_same_keys() {
        let least = json!({ "path": "a", "format": "click_log", "follow": false });
        assert_eq!(json!(FilesConfig::deserialize(&least).expect("files")), least);
        let most = json!({
            "path": "a", "format": "csv", "schema": { "a": "int" }, "delimiter": ",", "partitions": { "day": "date" },
            "follow": true, "max_line_bytes": 9, "batch_rows": 8, "poll_ms": 7, "discover_ms": 6, "rotation_grace_ms": 0,
            "copies": "read", "by_partition": true, "all_or_nothing": true, "range": { "from_ms": 1, "to_ms": 2 },
        });
        assert_eq!(json!(FilesConfig::deserialize(&most).expect("files")), most);
        let parquet = json!({ "path": "a", "format": "parquet", "follow": false });
        assert_eq!(json!(FilesConfig::deserialize(&parquet).expect("files")), parquet);
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(refused(json!({"path": "a", "format": "tsv"})).contains("unknown variant `tsv`"));
        assert!(refused(json!({"path": "a", "format": "csv"})).contains("missing field `schema`"));
        assert!(refused(json!({"path": "a", "format": "csv", "schema": {}})).contains("must be declared"));
        assert!(refused(json!({"path": "", "format": "click_log"})).contains("must name a file"));
        assert!(refused(json!({"path": "ftp://x/y", "format": "click_log"})).contains("there is no 'ftp://'"));
        let object = json!({"path": "memory:///a", "format": "click_log", "follow": true});
        assert!(refused(object).contains("only local files"));
        assert!(refused(json!({"path": "a", "format": "parquet", "follow": true})).contains("does not grow"));
        assert!(refused(json!({"format": "parquet"})).contains("missing field `path`"));
    }
}
