//! The configuration of a files source, as a node of a graph bears it, and the source that is made from it.

use super::{
    archive::{ArchiveFiles, EventTimeRange},
    bounded::{BoundedFiles, RecordSettings},
    empty_columns::ToldFiles,
    followed::{Copies, FollowSettings, FollowedFiles},
    lines::LineSettings,
    listing::Location,
    parquet_split::ParquetSettings,
    parquet_times::DeclaredTimes,
    partitions::{PartitionColumns, PartitionedFiles},
    passed_over::Teller,
};
use crate::confinement::Location as Outside;
use crate::format::{DEFAULT_MAX_LINE_BYTES, LineFormat};
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
    operator::{OperatorContext, Source},
};

/// How long a rotated file may still be written to without having anything to say, in milliseconds.
pub const DEFAULT_ROTATION_GRACE_MS: u64 = 5_000;

/// A files source as a node of a graph configures it; [`SourceSettings`] are beside these in the same object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilesConfig {
    /// A file, a folder, a pattern, or a URL of an object store.
    pub path: String,
    /// `click_log`, `csv`, `json` or `parquet`.
    pub format: String,
    /// The declared columns of `csv` and `json`, and of Parquet files where there are any.
    #[serde(default)]
    pub schema: Option<DeclaredSchema>,
    /// What stands between the fields of `csv`; a comma unless told otherwise.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// Columns whose values are in the names of folders, as in `country=US`.
    #[serde(default)]
    pub partitions: Option<DeclaredSchema>,
    /// Whether the files are followed as they grow.
    #[serde(default)]
    pub follow: bool,
    /// The longest line that is accepted, in bytes.
    #[serde(default)]
    pub max_line_bytes: Option<usize>,
    /// Rows of a batch at most.
    #[serde(default)]
    pub batch_rows: Option<usize>,
    /// How often a followed file is asked for more.
    #[serde(default)]
    pub poll_ms: Option<u64>,
    /// How often new files are looked for.
    #[serde(default)]
    pub discover_ms: Option<u64>,
    /// How long a rotated file may still be written to.
    #[serde(default)]
    pub rotation_grace_ms: Option<u64>,
    /// What is done with a followed file that may be a copy of another one.
    #[serde(default)]
    pub copies: Copies,
    /// Whether the files lie in folders by hour, which say how old their rows can be: the watermark follows from that.
    #[serde(default)]
    pub by_partition: bool,
    /// Whether one of such files that cannot be read ends the job, in place of being a dead letter: what is counted from the
    /// others would be wrong.
    #[serde(default)]
    pub all_or_nothing: bool,
    /// Only events of this range; for such files.
    #[serde(default)]
    pub range: Option<EventTimeRange>,
}

/// The source that a node's configuration asks for: [`FilesConfig`] and [`SourceSettings`], both in the same object.
///
/// # Errors
/// When the configuration does not fit or contradicts itself, or the storage that it names cannot be opened.
pub fn source(config: &serde_json::Value, context: &OperatorContext) -> Result<Box<dyn Source>> {
    let settings = SourceSettings::read(config, context)?;
    let files = FilesConfig::deserialize(config).map_err(|error| {
        EngineError::definition(format!("the configuration of '{}', files, does not fit: {error}", context.operator))
    })?;
    Ok(Box::new(files.build(&settings, context)?))
}

/// Where a files source reads, from the settings of its node.
///
/// # Errors
/// When they name nothing.
pub fn locations(config: &serde_json::Value) -> Result<Vec<Outside>> {
    match config["path"].as_str() {
        Some(path) => Ok(Location::outside(path).into_iter().collect()),
        None => Err(EngineError::definition("a files source needs a `path`")),
    }
}

impl FilesConfig {
    /// The source of one subtask. Nothing is opened yet.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or the storage that it names cannot be opened.
    pub fn build(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<SourceReader> {
        let connector = match &settings.computed_time {
            None => self.connector(settings, context)?,
            Some(computed) => computed.over(self.connector(&computed.read_settings(settings), context)?, settings)?,
        };
        let connector = Box::new(FirstLook::at(connector, settings.event_time.as_deref()));
        Ok(SourceReader::new(self.reader_settings(settings), connector, context))
    }

    /// What reads the columns of `settings`, those that folders tell among them.
    fn connector(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Connector>> {
        let location = Location::parse(&self.path)?.telling(Teller::of(context));
        let all_columns = settings.columns.to_arrow();
        let partitions = self.partitions.as_ref().and_then(|partitions| PartitionColumns::of(&all_columns, partitions));
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
            Box::new(BoundedFiles { location, path, records, subtask, parallelism, env })
        };
        if let Some(partitions) = partitions {
            connector = Box::new(PartitionedFiles::new(connector, partitions));
        }
        Ok(connector)
    }

    fn is_partition(&self, name: &str) -> bool {
        self.partitions.as_ref().is_some_and(|partitions| partitions.columns.iter().any(|column| column.name == name))
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
            return Err(self.refuse("follow = true: only files of lines can be followed, a Parquet file does not grow"));
        };
        let rotation_grace = Duration::from_millis(self.rotation_grace_ms.unwrap_or(DEFAULT_ROTATION_GRACE_MS));
        let OperatorContext { env, subtask, parallelism, .. } = context;
        let discover = self.reader_settings(settings).discover_interval;
        let follow = FollowSettings { rotation_grace, copies: self.copies, discover };
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
        let schema = || self.schema.clone().filter(|schema| !schema.columns.is_empty());
        let declared =
            || schema().ok_or_else(|| self.refuse("the columns and their types must be declared: schema = { … }"));
        let format = match self.format.as_str() {
            "click_log" => LineFormat::ClickLog,
            "csv" => LineFormat::Csv { schema: declared()?, delimiter: self.delimiter.unwrap_or(',') },
            "json" => LineFormat::Json { schema: declared()? },
            "parquet" => return Ok(RecordSettings::Parquet(Arc::new(self.parquet(settings)?))),
            other => {
                let right = "click_log, csv, json or parquet is expected";
                return Err(self.refuse(&format!("there is no format '{other}': {right}")));
            }
        };
        let max_line_bytes = self.max_line_bytes.unwrap_or(DEFAULT_MAX_LINE_BYTES);
        Ok(RecordSettings::Lines(Arc::new(LineSettings { format, columns: settings.column_names(), max_line_bytes })))
    }

    fn parquet(&self, settings: &SourceSettings) -> Result<ParquetSettings> {
        // One that a folder tells is in no file.
        let event_time = settings.event_time.clone().filter(|name| settings.columns.column(name).is_some());
        Ok(ParquetSettings {
            columns: settings.columns.to_arrow(),
            times: DeclaredTimes::of(self.schema.as_ref())?,
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

    fn build(config: serde_json::Value) -> Result<Box<dyn Source>> {
        source(&config, &OperatorContext::single("job", "source.clicks"))
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
    fn contradictions_are_refused() {
        assert!(refused(json!({"path": "a", "format": "tsv"})).contains("click_log, csv, json or parquet"));
        assert!(refused(json!({"path": "a", "format": "csv"})).contains("must be declared"));
        assert!(refused(json!({"path": "", "format": "click_log"})).contains("must name a file"));
        assert!(refused(json!({"path": "ftp://x/y", "format": "click_log"})).contains("there is no 'ftp://'"));
        let object = json!({"path": "memory:///a", "format": "click_log", "follow": true});
        assert!(refused(object).contains("only local files"));
        assert!(refused(json!({"path": "a", "format": "parquet", "follow": true})).contains("does not grow"));
        assert!(
            refused(json!({"format": "parquet"}))
                .starts_with("the configuration of 'source.clicks', files, does not fit")
        );
    }
}
