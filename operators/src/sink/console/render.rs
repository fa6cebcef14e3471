//! Rows as lines of text.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::{DataType, Field, FieldRef, Schema},
    json::LineDelimitedWriter,
    util::pretty::pretty_format_batches,
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
    pub(super) fn is_default(&self) -> bool {
        *self == ConsoleFormat::default()
    }
}

/// The lines of a batch; none for no rows.
pub(super) fn lines(format: ConsoleFormat, rows: &RecordBatch) -> Result<Vec<String>> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let rows = with_readable_uuids(rows)?;
    let text = match format {
        ConsoleFormat::Table => pretty_format_batches(&[rows])?.to_string(),
        ConsoleFormat::Json => {
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(&rows)?;
            writer.finish()?;
            String::from_utf8_lossy(&writer.into_inner()).into_owned()
        }
    };
    Ok(text.lines().map(str::to_string).collect())
}

/// UUIDs with their hyphens, instead of plain bytes.
fn with_readable_uuids(rows: &RecordBatch) -> Result<RecordBatch> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(rows.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let uuid = field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.uuid");
        match column.data_type() {
            DataType::FixedSizeBinary(16) if uuid => {
                let ids = column.as_fixed_size_binary();
                let text = (0..ids.len()).map(|row| ids.is_valid(row).then(|| hyphenated(ids.value(row))));
                columns.push(Arc::new(StringArray::from_iter(text)));
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())));
            }
            _ => {
                columns.push(Arc::clone(column));
                fields.push(Arc::clone(field));
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn hyphenated(id: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in id.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
