//! The columns of sources and of their dead letters.

use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::dead_letters;
use weir_operators::source::files::format::click_log;
use weir_operators::source::generator::click_schema;
use weir_operators::source::parquet::{ParquetFile, ParquetLocation};

use crate::diagnose::Mistake;
use crate::key_path::KeyPath;
use crate::spec::{FilesSource, Format, Source, SourceConnector};

/// Folders deeper than this are not looked into for a Parquet file to take the schema from.
const DEEPEST_FOLDER: usize = 8;

/// The columns that a source can give.
pub(super) fn source_schema(source: &Source, path: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
    let files = match &source.connector {
        SourceConnector::Generator { .. } => return Some(ColumnSchema::from(click_schema().as_ref())),
        SourceConnector::Files(files) => files,
    };
    if files.path.is_empty() {
        return None; // Missing, and said so where it was read.
    }
    if files.follow {
        let mistake = |message: &str| Mistake::new(path.key("follow"), message).expected("false");
        if matches!(files.format, Format::Parquet { .. }) {
            mistakes.push(mistake("a Parquet file does not grow, so that it can't be followed"));
        } else if files.path.contains("://") && !files.path.starts_with("file://") {
            mistakes.push(mistake("only local files can be followed"));
        }
    }
    match &files.format {
        Format::ClickLog => Some(from_declared(&click_log::columns())),
        Format::Csv { schema, .. } | Format::Json { schema } => {
            if schema.columns.is_empty() {
                let mistake = Mistake::new(path.key("schema"), "no column is declared");
                mistakes.push(mistake.expected("such as { ad_id = \"string\", click_timestamp = \"timestamp\" }"));
                return None;
            }
            Some(from_declared(schema))
        }
        Format::Parquet { schema: Some(schema) } => Some(from_declared(schema)),
        Format::Parquet { schema: None } => match schema_of_files(files) {
            Ok(schema) => Some(ColumnSchema::from(&schema)),
            Err(message) => {
                let expected = "a folder with Parquet files, or `schema = { column = \"type\" }` beside it";
                mistakes.push(Mistake::new(path.key("path"), message).found(&files.path).expected(expected));
                None
            }
        },
    }
}

fn from_declared(schema: &DeclaredSchema) -> ColumnSchema {
    ColumnSchema::from(schema.arrow_schema().as_ref())
}

/// The columns of a source's output `dead_letters`.
pub(super) fn dead_letter_schema() -> ColumnSchema {
    ColumnSchema::from(dead_letters::dead_letter_schema().as_ref())
}

/// The columns of the first Parquet file, by name, that the source would read.
fn schema_of_files(files: &FilesSource) -> Result<Schema, String> {
    let path = files.path.strip_prefix("file://").unwrap_or(&files.path);
    if path.contains("://") {
        return Err("the columns of files in an object store have to be declared".into());
    }
    let Some(file) = first_parquet_file(Path::new(path), 0) else {
        return Err("there is no Parquet file to take the columns from".into());
    };
    let opened = futures::executor::block_on(ParquetFile::open(ParquetLocation::Local(file)));
    opened.map(|file| file.schema().as_ref().clone()).map_err(|error| error.message)
}

fn first_parquet_file(path: &Path, depth: usize) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    if depth > DEEPEST_FOLDER {
        return None;
    }
    let mut entries: Vec<PathBuf> = path.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let is_parquet = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let file = entries.iter().find(|entry| entry.is_file() && is_parquet(entry)).cloned();
    file.or_else(|| {
        entries.iter().filter(|entry| entry.is_dir()).find_map(|entry| first_parquet_file(entry, depth + 1))
    })
}
