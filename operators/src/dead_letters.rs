//! Dead letters: what a source could not read, or an expression could not be evaluated on, where it stands, and why.
//!
//! The schema is fixed here and nowhere else, so that all dead letters of a job can go into one table.

use crate::expression::RefusedRow;
use crate::ports;
use arrow::{
    array::{Array, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    util::display::array_value_to_string,
};
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};
use weir_engine::{
    element::Batch,
    error::Result,
    operator::{Collector, Counter, OperatorContext},
};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("file", DataType::Utf8, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Utf8, false),
    ]))
});

/// How many bytes of a row are shown.
const KEPT_BYTES: usize = 4096;

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it begins: a byte of its file, or a row of one that is made of rows.
    pub offset: i64,
    /// What is wrong, for people.
    pub reason: String,
    /// The record as it was found, cut off after some kilobytes.
    pub raw: String,
}

/// The columns of dead letters: `source` (the node's id), `file` (the split's name), `offset`, `reason`, `raw`. A row that an
/// expression failed on has no file and no offset.
pub fn dead_letter_schema() -> SchemaRef {
    SCHEMA.clone()
}

/// Dead letters of one split of a source as rows.
///
/// # Errors
/// Only by a mistake of ours.
pub fn dead_letter_batch(source: &str, file: &str, dead_letters: &[DeadLetter]) -> Result<RecordBatch> {
    let texts = |text: fn(&DeadLetter) -> &str| Arc::new(StringArray::from_iter_values(dead_letters.iter().map(text)));
    let same = |text: &str| Arc::new(StringArray::from_iter_values(dead_letters.iter().map(|_| text)));
    let offsets = Int64Array::from_iter_values(dead_letters.iter().map(|dead_letter| dead_letter.offset));
    let reasons = texts(|dead_letter| &dead_letter.reason);
    let raws = texts(|dead_letter| &dead_letter.raw);
    Ok(RecordBatch::try_new(dead_letter_schema(), vec![same(source), same(file), Arc::new(offsets), reasons, raws])?)
}

/// Where an operator sends the rows that one of its expressions fails on. Counts them as `dead_letters`.
#[derive(Debug)]
pub struct RefusedRows {
    operator: String,
    dead_letters: Counter,
    warned: AtomicBool,
}

impl RefusedRows {
    /// The dead letters of one instance of an operator.
    pub fn new(context: &OperatorContext) -> Self {
        let dead_letters = context.counters.counter("dead_letters");
        RefusedRows { operator: context.operator.clone(), dead_letters, warned: AtomicBool::new(false) }
    }

    /// Emits the refused ones of `rows` on the port of dead letters. The first of an attempt is said in the log.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn emit(&self, rows: &RecordBatch, refused: &[RefusedRow], out: &mut Collector) -> Result<()> {
        let Some(first) = refused.first() else { return Ok(()) };
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                operator = self.operator,
                "a row became a dead letter, and others may follow: {}",
                first.reason
            );
        }
        self.dead_letters.add(refused.len() as u64);
        out.emit(ports::DEAD_LETTERS, Batch::new(refused_batch(&self.operator, rows, refused)?));
        Ok(())
    }
}

fn refused_batch(operator: &str, rows: &RecordBatch, refused: &[RefusedRow]) -> Result<RecordBatch> {
    let count = refused.len();
    let operators = StringArray::from_iter_values(std::iter::repeat_n(operator, count));
    let reasons = StringArray::from_iter_values(refused.iter().map(|refused| &refused.reason));
    let raws = StringArray::from_iter_values(refused.iter().map(|refused| row_as_json(rows, refused.row)));
    let (files, offsets) = (StringArray::new_null(count), Int64Array::new_null(count));
    let columns = vec![
        Arc::new(operators) as _,
        Arc::new(files) as _,
        Arc::new(offsets) as _,
        Arc::new(reasons) as _,
        Arc::new(raws) as _,
    ];
    Ok(RecordBatch::try_new(dead_letter_schema(), columns)?)
}

/// A row as a JSON object, cut off after some kilobytes: numbers and truth values as they are, all else as text.
pub fn row_as_json(rows: &RecordBatch, row: usize) -> String {
    let mut text = String::from("{");
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(field.name().as_str()).to_string());
        text.push(':');
        text.push_str(&value_as_json(column.as_ref(), row));
    }
    text.push('}');
    if text.len() > KEPT_BYTES {
        text.truncate(text.floor_char_boundary(KEPT_BYTES));
    }
    text
}

fn value_as_json(column: &dyn Array, row: usize) -> String {
    let is_null = match column.as_any_dictionary_opt() {
        Some(dictionary) => dictionary.logical_nulls().is_some_and(|nulls| nulls.is_null(row)),
        None => column.is_null(row),
    };
    if is_null {
        return "null".to_owned();
    }
    let value = array_value_to_string(column, row).unwrap_or_else(|error| format!("({error})"));
    let is_number = column.data_type().is_numeric() && value.parse::<f64>().is_ok_and(f64::is_finite);
    match is_number || *column.data_type() == DataType::Boolean {
        true => value,
        false => serde_json::Value::from(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, TimestampMillisecondArray};
    use arrow::datatypes::Int32Type;

    #[test]
    fn dead_letters_become_rows() {
        let dead_letter = |offset| DeadLetter { offset, reason: "the line is empty".into(), raw: String::new() };
        let batch = dead_letter_batch("source.clicks", "a.log", &[dead_letter(3), dead_letter(9)]).expect("rows");
        assert_eq!((batch.num_rows(), batch.schema()), (2, dead_letter_schema()));
    }

    #[test]
    fn rows_are_shown_as_json() {
        let dictionary = DictionaryArray::<Int32Type>::from_iter([Some("a \"b\""), None]);
        let columns: [(&str, ArrayRef); 5] = [
            ("ad_id", Arc::new(dictionary)),
            ("cost", Arc::new(Int64Array::from(vec![Some(-3), None]))),
            ("rate", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("billed", Arc::new(BooleanArray::from(vec![true, false]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![1_500, 0]).with_timezone("UTC"))),
        ];
        let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        let rows = rows.expect("columns of one length");
        let first = r#"{"ad_id":"a \"b\"","cost":-3,"rate":0.5,"billed":true,"at":"1970-01-01T00:00:01.500Z"}"#;
        assert_eq!(row_as_json(&rows, 0), first);
        let second = r#"{"ad_id":null,"cost":null,"rate":"NaN","billed":false,"at":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(row_as_json(&rows, 1), second);
        let long: ArrayRef = Arc::new(StringArray::from(vec!["é".repeat(5_000)]));
        let long = RecordBatch::try_from_iter([("a", long)]).expect("one column");
        assert!((KEPT_BYTES - 2..=KEPT_BYTES).contains(&row_as_json(&long, 0).len()));
    }
}
