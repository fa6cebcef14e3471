//! Rows as text.

use crate::sink::json_rows::{json_lines, readable};
use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use serde::{Deserialize, Serialize};
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
            let table = pretty_format_batches(&[RecordBatch::from(readable(rows)?)])?;
            out.extend_from_slice(table.to_string().as_bytes());
            out.push(b'\n');
            Ok(())
        }
        ConsoleFormat::Json => json_lines(rows, out),
    }
}
