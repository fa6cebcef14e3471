//! Samples of records that writers of another make have written, for tests.

use arrow::array::{Array, RecordBatch};
use std::path::PathBuf;

/// Where a sample is; `make.py` beside it has made it.
pub(crate) fn sample_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/records").join(name)
}

/// A sample that is text.
pub(crate) fn sample(name: &str) -> String {
    std::fs::read_to_string(sample_path(name)).expect("a sample")
}

/// Bytes from their hexadecimal form.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// All values as text, `-` for null.
pub(crate) fn cells(records: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column: &dyn Array, row| {
        if column.is_null(row) {
            return "-".to_owned();
        }
        arrow::util::display::array_value_to_string(column, row).expect("displayable")
    };
    (0..records.num_rows()).map(|row| records.columns().iter().map(|column| cell(column, row)).collect()).collect()
}
