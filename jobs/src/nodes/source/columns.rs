//! The columns that a source can give, and what contradicts the way it is read.

use weir_operators::format::click_log;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::generator::click_schema;

use super::super::check::Check;
use super::connector::{FilesSource, Format, SourceConnector};
use super::definition::Source;
use weir_operators::definition::{KeyPath, Mistake};

impl Source {
    /// The columns that it can give.
    pub(super) fn columns(&self, check: &mut Check<'_>) -> Option<ColumnSchema> {
        let path = check.path.clone();
        let files = match &self.connector {
            SourceConnector::Generator { .. } => return Some(ColumnSchema::from(click_schema().as_ref())),
            SourceConnector::Files(files) => files,
        };
        if files.follow {
            let mistake = |message: &str| Mistake::new(path.key("follow"), message).expected("false");
            if matches!(files.format, Format::Parquet { .. }) {
                check.mistakes.push(mistake("a Parquet file does not grow, so that it can't be followed"));
            } else if files.path.contains("://") && !files.path.starts_with("file://") {
                check.mistakes.push(mistake("only local files can be followed"));
            }
        }
        check_archive(self, files, &path, check.mistakes);
        let mut columns = columns_in_files(files, check)?;
        add_partitions(files, &mut columns, &path, check.mistakes);
        Some(columns)
    }
}

/// The columns that the files themselves have.
fn columns_in_files(files: &FilesSource, check: &mut Check<'_>) -> Option<ColumnSchema> {
    let path = check.path.clone();
    match &files.format {
        Format::ClickLog => Some(from_declared(&click_log::columns())),
        Format::Csv { schema, .. } | Format::Json { schema } => {
            check_paths(files, schema, &path, check.mistakes);
            if schema.columns.is_empty() {
                let mistake = Mistake::new(path.key("schema"), "no column is declared");
                check
                    .mistakes
                    .push(mistake.expected("such as { ad_id = \"string\", click_timestamp = \"timestamp\" }"));
                return None;
            }
            Some(from_declared(schema))
        }
        Format::Parquet { schema: Some(schema) } => {
            check_paths(files, schema, &path, check.mistakes);
            Some(from_declared(schema))
        }
        Format::Parquet { schema: None } => match check.found.columns.as_ref()? {
            Ok(columns) => Some(columns.clone()),
            Err(message) => {
                let expected = "a folder with Parquet files, or `schema = { column = \"type\" }` beside it";
                check.mistakes.push(Mistake::new(path.key("path"), message).found(&files.path).expected(expected));
                None
            }
        },
    }
}

/// Adds the columns that the names of folders tell. Where the files' own columns are looked up, a folder goes first.
fn add_partitions(files: &FilesSource, columns: &mut ColumnSchema, path: &KeyPath, mistakes: &mut Vec<Mistake>) {
    let are_looked_up = matches!(files.format, Format::Parquet { schema: None });
    for column in from_declared(&files.partitions).columns {
        let key = path.key("partitions").key(&column.name);
        if files.by_partition {
            let message = "an archive by hour has no other folders to take columns from";
            mistakes.push(Mistake::on_key(key, message).expected("no `partitions`, or no `by_partition`"));
            continue;
        }
        match columns.columns.iter_mut().find(|known| known.name == column.name) {
            None => columns.columns.push(column),
            Some(known) if are_looked_up => *known = column,
            Some(_) => {
                let message = format!("`{}` is a column of the files already", column.name);
                mistakes.push(Mistake::on_key(key, message).expected("a column that only the folders tell"));
            }
        }
    }
}

/// Reading an archive by its folders contradicts whatever else says how time goes.
fn check_archive(source: &Source, files: &FilesSource, path: &KeyPath, mistakes: &mut Vec<Mistake>) {
    let by_partition = path.key("watermark").key("by_partition");
    if !files.by_partition {
        if files.range.is_some() {
            let message = "only an archive by hour can be read in part";
            mistakes.push(Mistake::on_key(path.key("range"), message).expected("watermark = { by_partition = true }"));
        }
        return;
    }
    let mut refuse = |message: &str, expected: &str| {
        mistakes.push(Mistake::on_key(by_partition.clone(), message).expected(expected));
    };
    if !matches!(files.format, Format::Parquet { .. }) {
        refuse("only Parquet files are read by their folders", "format = \"parquet\"");
    }
    if source.event_time.is_none() {
        refuse("the folders say when events happened, but nothing says which column does", "event_time = \"...\"");
    }
    let others = [source.idle_after, source.max_jump, source.max_ahead];
    if !source.delay.is_zero() || others.iter().any(Option::is_some) || source.jump_after.is_some() {
        let expected = "no `delay`, `idle_after`, `max_jump`, `jump_after` or `max_ahead` beside it";
        refuse("time follows the folders, whatever the rows say", expected);
    }
}

/// Only JSON has values below others.
fn check_paths(files: &FilesSource, schema: &DeclaredSchema, path: &KeyPath, mistakes: &mut Vec<Mistake>) {
    if matches!(files.format, Format::Json { .. }) {
        return;
    }
    for column in schema.columns.iter().filter(|column| column.path.is_some()) {
        let place = path.key("schema").key(&column.name).key("path");
        let message = "only the values of JSON objects have paths";
        mistakes.push(Mistake::on_key(place, message).expected("the column's own name, and a `map` to rename it"));
    }
}

fn from_declared(schema: &DeclaredSchema) -> ColumnSchema {
    ColumnSchema::from(schema.arrow_schema().as_ref())
}
