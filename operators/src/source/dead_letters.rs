//! Dead letters: what a source could not read, where it stands, and why.
//!
//! The schema is fixed here and nowhere else.

use arrow::{
    array::{Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};
use weir_engine::error::Result;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("file", DataType::Utf8, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Utf8, false),
    ]))
});

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

/// The columns of dead letters: `source` (the node's id), `file` (the split's name), `offset`, `reason`, `raw`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_become_rows() {
        let dead_letter = |offset| DeadLetter { offset, reason: "the line is empty".into(), raw: String::new() };
        let batch = dead_letter_batch("source.clicks", "a.log", &[dead_letter(3), dead_letter(9)]).expect("rows");
        assert_eq!((batch.num_rows(), batch.schema()), (2, dead_letter_schema()));
    }
}
