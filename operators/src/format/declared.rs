//! The declared columns of a source: `NAME = "type"`, or `NAME = { type = "type", … }` with what else is to be said.

use crate::definition::{Kind, Mistake, Reader};
use crate::source::column_type::{ColumnType, DeclaredColumn, DeclaredSchema};
use crate::source::field_path::FieldPath;
use crate::source::times::{EpochUnit, TimeForm};

/// The columns that a key of a source declares (`schema`, `partitions`), if any; none of them where one is wrong.
pub fn read_schema(node: &Reader<'_>, key: &str) -> Option<DeclaredSchema> {
    let table = node.table(key)?;
    let mut columns = Vec::new();
    let mut wrong = false;
    for name in table.keys() {
        let column = match table.value(name).map(|value| &value.kind) {
            Some(Kind::Text(_)) => read_type(&table, name).map(|column_type| DeclaredColumn::new(name, column_type)),
            Some(Kind::Table(_)) => table.table(name).and_then(|entry| read_entry(name, entry)),
            _ => {
                let expected = "a type such as \"string\", or { type = \"string\", … }";
                table.refuse(name, "no type is given", expected);
                None
            }
        };
        wrong |= column.is_none();
        columns.extend(column);
    }
    // With a column missing, every expression that reads it would seem wrong too.
    Some(if wrong { DeclaredSchema::default() } else { DeclaredSchema { columns } })
}

/// The type that a key says.
fn read_type(table: &Reader<'_>, key: &str) -> Option<ColumnType> {
    let written = table.text(key)?;
    match written.parse() {
        Ok(column_type) => Some(column_type),
        Err(message) => {
            let mistake = Mistake::new(table.path.key(key), message);
            let mistake = mistake.one_of("types", &ColumnType::NAMES);
            table.note(if written.starts_with("decimal") {
                mistake
            } else {
                mistake.meant(&written, &ColumnType::NAMES)
            });
            None
        }
    }
}

/// `{ type = "timestamp", path = "click.at", unit = "s" }`; none where something is wrong with it.
fn read_entry(name: &str, entry: Reader<'_>) -> Option<DeclaredColumn> {
    entry.require("type", "\"string\"");
    let column_type = read_type(&entry, "type");
    let mut wrong = column_type.is_none();
    let path = entry.text("path").and_then(|text| match text.parse::<FieldPath>() {
        Ok(path) => Some(path),
        Err(message) => {
            entry.refuse("path", message, "keys between dots, as in \"ad.id\" or \"tags.0\"");
            wrong = true;
            None
        }
    });
    let units = EpochUnit::ALL.map(|unit| (unit.name(), unit));
    let time =
        TimeForm { unit: entry.choice("unit", &units), format: entry.text("format"), timezone: entry.text("timezone") };
    wrong |= entry.has("unit") && time.unit.is_none();
    if let Some(column_type) = column_type {
        let only_for: [(&str, &[ColumnType], &str); 3] = [
            ("unit", &[ColumnType::Timestamp], "`type = \"timestamp\"` beside it"),
            (
                "format",
                &[ColumnType::Timestamp, ColumnType::Date],
                "`type = \"timestamp\"` or `type = \"date\"` beside it",
            ),
            ("timezone", &[ColumnType::Timestamp], "`type = \"timestamp\"` beside it"),
        ];
        for (key, types, expected) in only_for {
            if entry.has(key) && !types.contains(&column_type) {
                entry.refuse(key, format!("`{key}` says nothing about a column of type {column_type}"), expected);
                wrong = true;
            }
        }
        if !wrong && let Err(mistake) = time.check(column_type == ColumnType::Date) {
            entry.refuse(mistake.key, mistake.message, mistake.expected);
            wrong = true;
        }
    }
    entry.finish();
    Some(DeclaredColumn { name: name.to_owned(), column_type: column_type?, path, time }).filter(|_| !wrong)
}
