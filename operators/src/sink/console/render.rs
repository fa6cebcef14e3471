//! Rows as text.

use crate::sink::json_rows::{json_lines, readable};
use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    datatypes::{DataType, Field, Schema},
    util::{
        display::{ArrayFormatter, FormatOptions},
        pretty::pretty_format_batches,
    },
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::error::Result;

/// How rows are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleFormat {
    /// A small table for every batch of rows.
    #[default]
    Table,
    /// A JSON object a row.
    Json,
}

impl ConsoleFormat {
    pub(super) const NAMES: [(&'static str, ConsoleFormat); 2] =
        [("table", ConsoleFormat::Table), ("json", ConsoleFormat::Json)];

    pub(super) fn is_default(&self) -> bool {
        *self == ConsoleFormat::default()
    }
}

/// Adds the lines of a batch, each with its break; nothing for no rows.
pub(super) fn render(format: ConsoleFormat, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    match format {
        ConsoleFormat::Table => {
            let table = pretty_format_batches(&[printable(&RecordBatch::from(readable(rows)?))?])?;
            out.extend_from_slice(table.to_string().as_bytes());
            out.push(b'\n');
            Ok(())
        }
        ConsoleFormat::Json => json_lines(rows, out),
    }
}

/// Rows as texts that break no table, and do nothing to a terminal.
fn printable(rows: &RecordBatch) -> Result<RecordBatch> {
    let options = FormatOptions::default().with_display_error(true);
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let cells = ArrayFormatter::try_new(column, &options)?;
        let cell = |row| one_line(&cells.value(row).to_string());
        columns.push(Arc::new(StringArray::from_iter_values((0..rows.num_rows()).map(cell))));
        fields.push(Field::new(one_line(field.name()), DataType::Utf8, false));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
