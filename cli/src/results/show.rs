//! Results on standard output: a table for people, or JSON lines for the next program.

use crate::failure::Failure;
use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use weir_operators::{
    columns::{RECORD_ID, WITHDRAWN},
    sink::json_lines,
};

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Table,
    /// An object a row.
    Json,
}

/// Prints rows; says whether anybody still reads. `says_withdrawn`: some of them may be.
pub fn print(rows: &RecordBatch, style: Style, says_withdrawn: bool) -> Result<bool, Failure> {
    let text = match style {
        Style::Json => {
            let mut lines = Vec::new();
            json_lines(rows, &mut lines)?;
            lines
        }
        Style::Table => table(rows, says_withdrawn)?.into_bytes(),
    };
    crate::text::write(&text)
}

/// Rows in columns, without what says nothing to people.
fn table(rows: &RecordBatch, says_withdrawn: bool) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("the results cannot be shown: {error}"));
    let options = FormatOptions::default()
        .with_null("")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let schema = rows.schema();
    let is_shown = |name: &str| name != RECORD_ID && (says_withdrawn || name != WITHDRAWN);
    let columns: Vec<usize> = (0..rows.num_columns()).filter(|column| is_shown(schema.field(*column).name())).collect();
    let cells = columns.iter().map(|column| ArrayFormatter::try_new(rows.column(*column), &options));
    let cells = cells.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    let cell = |of: &ArrayFormatter<'_>, row| of.value(row).try_to_string().map(|text| one_line(&text));
    let mut shown = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let row: Result<Vec<String>, _> = cells.iter().map(|of| cell(of, row)).collect();
        shown.push(row.map_err(|error| failed(&error))?);
    }
    let names: Vec<String> = columns.iter().map(|column| schema.field(*column).name().clone()).collect();
    Ok(crate::text::table(&names, &shown))
}

/// A text that breaks no table, and does nothing to a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
