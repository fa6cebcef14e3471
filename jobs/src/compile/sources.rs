//! The columns of sources and of their dead letters.

use arrow::datatypes::Schema;
use weir_operators::dead_letters;
use weir_operators::format::click_log;
use weir_operators::memory_stores::for_thread_beside;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::files::parquet_schema;
use weir_operators::source::generator::click_schema;

use crate::spec::{FilesSource, Format, Source, SourceConnector};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;

/// The columns that a source can give.
pub(super) fn source_schema(source: &Source, path: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
    let files = match &source.connector {
        SourceConnector::Generator { .. } => {
            check_jump(source, path, mistakes);
            return Some(ColumnSchema::from(click_schema().as_ref()));
        }
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
    check_archive(source, files, path, mistakes);
    check_jump(source, path, mistakes);
    let mut columns = columns_in_files(files, path, mistakes)?;
    add_partitions(files, &mut columns, path, mistakes);
    Some(columns)
}

/// The columns that the files themselves have.
fn columns_in_files(files: &FilesSource, path: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
    match &files.format {
        Format::ClickLog => Some(from_declared(&click_log::columns())),
        Format::Csv { schema, .. } | Format::Json { schema } => {
            check_paths(files, schema, path, mistakes);
            if schema.columns.is_empty() {
                let mistake = Mistake::new(path.key("schema"), "no column is declared");
                mistakes.push(mistake.expected("such as { ad_id = \"string\", click_timestamp = \"timestamp\" }"));
                return None;
            }
            Some(from_declared(schema))
        }
        Format::Parquet { schema: Some(schema) } => {
            check_paths(files, schema, path, mistakes);
            Some(from_declared(schema))
        }
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

/// Where no row is refused for being ahead, there is nothing to go on after.
fn check_jump(source: &Source, path: &KeyPath, mistakes: &mut Vec<Mistake>) {
    if source.jump_after.is_some() && source.max_jump.is_none() {
        let message = "it says when time goes on to rows that are ahead, but without `max_jump` none is refused";
        let mistake = Mistake::on_key(path.key("watermark").key("jump_after"), message);
        mistakes.push(mistake.expected("`max_jump = \"1h\"` beside it"));
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

/// The columns of a source's output `dead_letters`.
pub(super) fn dead_letter_schema() -> ColumnSchema {
    ColumnSchema::from(dead_letters::dead_letter_schema().as_ref())
}

/// The columns of the Parquet files that the source would read.
fn schema_of_files(files: &FilesSource) -> Result<Schema, String> {
    let look_up = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the files can't be looked at: {error}"))?;
        runtime.block_on(parquet_schema(&files.path, files.by_partition)).map_err(|error| error.message)
    };
    // On a thread of its own: the caller may be inside of a runtime already.
    let schema = std::thread::scope(|scope| scope.spawn(for_thread_beside(look_up)).join());
    Ok(schema.map_err(|_| "looking at the files failed".to_owned())??.as_ref().clone())
}
