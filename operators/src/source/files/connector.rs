//! What a files source is to those that check, compile, show and confine jobs.

use super::{
    FilesConfig,
    listing::{self, Wanted},
    parquet_schema,
    read::read,
    schema::avro_schema,
    total,
};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake, Reader},
    format::{Format, avro::AvroSettings},
    schema::ColumnSchema,
    source::{
        Nature, SourceConnector, SourceGiven, SourceKind, Total, column_type::DeclaredSchema, settings::SourceSettings,
    },
};
use futures::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use weir_engine::{
    error::Result,
    operator::{OperatorContext, Source},
};

/// Files of lines, Parquet or Avro.
pub const KIND: SourceKind = SourceKind {
    name: "files",
    read,
    stored: |config| Ok(Box::new(FilesConfig::deserialize(config)?)),
    meaning: &["path", "format", "follow", "by_partition", "range", "partitions", "event_time"],
};

impl SourceConnector for FilesConfig {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    fn read_watermark(&mut self, watermark: &Reader<'_>) {
        self.by_partition = watermark.flag("by_partition").unwrap_or(false);
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn look(&self) -> Option<BoxFuture<'_, Result<ColumnSchema>>> {
        if let Some(avro) = self.avro_of_files() {
            let look = async {
                let schema = avro_schema(&self.path).await?;
                avro.pinned.set(schema);
                Ok(of_declared(&avro.all_columns()?))
            };
            return (!self.path.is_empty() && avro.pinned.is_none()).then(|| look.boxed());
        }
        if self.path.is_empty() || !self.are_columns_looked_up() {
            return self.format.format.look();
        }
        let look = async {
            let schema = parquet_schema(&self.path, self.by_partition).await?;
            Ok(ColumnSchema::from(schema.as_ref()))
        };
        Some(look.boxed())
    }

    fn columns(&self, given: &SourceGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        if self.path.is_empty() {
            return None; // Missing, and said so where it was read.
        }
        self.check_follow(at, mistakes);
        self.check_archive(given, at, mistakes);
        let mut columns = self.columns_in_files(given, at, mistakes)?;
        self.add_partitions(&mut columns, at, mistakes);
        Some(columns)
    }

    fn never_computes_time(&self) -> Option<(&'static str, &'static str)> {
        let why = ("an archive by hour has its event time in a column", "the name of a column of type timestamp");
        self.by_partition.then_some(why)
    }

    fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        self.format.format.check_secrets(runs_here, at, mistakes);
    }

    fn nature(&self) -> Nature {
        // Whether splits may be at rest is the affair of what reads them.
        if self.follow { Nature::FOLLOWED } else { Nature::BOUNDED }
    }

    fn reads_file(&self, file: &str) -> bool {
        let wanted = match &self.format.format {
            Format::Parquet { .. } => Wanted::Parquet,
            Format::Avro { .. } => Wanted::Avro,
            _ if self.follow => Wanted::GrowingLines,
            _ => Wanted::Lines,
        };
        !self.path.is_empty() && listing::would_list(&self.path, wanted, file)
    }

    fn bounds_time(&self) -> bool {
        self.by_partition
    }

    fn note(&self) -> String {
        let follow = if self.follow { ", followed" } else { "" };
        let by_hour = if self.by_partition { ", an archive by hour" } else { "" };
        let folders: Vec<&str> = self.partitions.columns.iter().map(|column| column.name.as_str()).collect();
        let folders = if folders.is_empty() { String::new() } else { format!(", {} from folders", folders.join(", ")) };
        format!("{} at {}{follow}{by_hour}{folders}", self.format.format.note(), self.path)
    }

    fn total(&self) -> Option<Total> {
        total::total(self)
    }

    fn locations(&self) -> Result<Vec<Location>> {
        Ok(listing::Location::outside(&self.path).into_iter().chain(self.format.format.locations()?).collect())
    }

    fn build(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.reader(settings, context)?))
    }
}

impl FilesConfig {
    fn is_parquet(&self) -> bool {
        matches!(self.format.format, Format::Parquet { .. })
    }

    fn are_columns_looked_up(&self) -> bool {
        matches!(self.format.format, Format::Parquet { schema: None })
    }

    /// The settings of Avro files that bring their own schema.
    fn avro_of_files(&self) -> Option<&AvroSettings> {
        match &self.format.format {
            Format::Avro { schema } if schema.is_of_files() => Some(schema),
            _ => None,
        }
    }

    fn check_follow(&self, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if !self.follow {
            return;
        }
        let mistake = |message: &str| Mistake::new(at.key("follow"), message).expected("false");
        if self.is_parquet() {
            mistakes.push(mistake("a Parquet file does not grow, so it can't be followed"));
        } else if matches!(self.format.format, Format::Avro { .. }) {
            mistakes.push(mistake("an Avro file is not read before it is complete, so it can't be followed"));
        } else if self.path.contains("://") && !self.path.starts_with("file://") {
            mistakes.push(mistake("only local files can be followed"));
        }
    }

    /// Reading an archive by its folders contradicts whatever else says how time goes.
    fn check_archive(&self, given: &SourceGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let by_partition = at.key("watermark").key("by_partition");
        if !self.by_partition {
            if self.range.is_some() {
                let mistake = Mistake::on_key(at.key("range"), "only an archive by hour can be read in part");
                mistakes.push(mistake.expected("watermark = { by_partition = true }"));
            }
            return;
        }
        let mut refuse = |message: &str, expected: &str| {
            mistakes.push(Mistake::on_key(by_partition.clone(), message).expected(expected));
        };
        if !self.is_parquet() {
            refuse("only Parquet files are read by their folders", "format = \"parquet\"");
        }
        if !given.has_event_time {
            let message = "the folders give the hour of events, but no column is named as the event time";
            refuse(message, "event_time = \"...\"");
        }
        if !given.watermark.is_empty() {
            let expected = "no `delay`, `idle_after`, `max_jump`, `jump_after` or `max_ahead` beside it";
            refuse("time follows the folders, whatever the rows say", expected);
        }
    }

    /// The columns that the files themselves have.
    fn columns_in_files(
        &self,
        given: &SourceGiven<'_>,
        at: &KeyPath,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<ColumnSchema> {
        let of_avro = self.avro_of_files().map(|avro| avro.pinned.is_none());
        if of_avro == Some(false) || (of_avro.is_none() && !self.are_columns_looked_up()) {
            return self.format.format.columns(at, mistakes);
        }
        match given.looked {
            Some(Ok(found)) => Some(found.clone()),
            other => {
                let why = match other {
                    Some(Err(why)) => why,
                    _ => "nobody has looked at the files",
                };
                let expected = match of_avro {
                    None => "a folder with Parquet files, or `schema = { column = \"type\" }` beside it",
                    Some(_) => "a folder with Avro files, or `schema = { file = \"clicks.avsc\" }` beside it",
                };
                mistakes.push(Mistake::new(at.key("path"), why).found(&self.path).expected(expected));
                None
            }
        }
    }

    /// Adds the columns that the names of folders tell. Where the files' own columns are looked up, a folder goes first.
    fn add_partitions(&self, columns: &mut ColumnSchema, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let are_looked_up = self.are_columns_looked_up();
        for column in of_declared(&self.partitions).columns {
            let key = at.key("partitions").key(&column.name);
            if self.by_partition {
                let message = "an archive by hour has no other folders to take columns from";
                mistakes.push(Mistake::on_key(key, message).expected("no `partitions`, or no `by_partition`"));
                continue;
            }
            match columns.columns.iter_mut().find(|known| known.name == column.name) {
                None => columns.columns.push(column),
                Some(known) if are_looked_up => *known = column,
                Some(_) => {
                    let message = format!("`{}` is a column of the files already", column.name);
                    mistakes
                        .push(Mistake::on_key(key, message).expected("a column that is only in the folders' names"));
                }
            }
        }
    }
}

fn of_declared(schema: &DeclaredSchema) -> ColumnSchema {
    ColumnSchema::from(schema.arrow_schema().as_ref())
}
