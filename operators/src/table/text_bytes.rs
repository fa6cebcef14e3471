//! How much room texts take: a column holds 2 GiB of them at most, so that what is put together has to be cut by it.

use super::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, GenericByteArray},
    datatypes::{ArrowNativeType, ByteArrayType, DataType},
};

/// How many bytes the texts of one of these rows have together, at most. Columns are plain ones.
pub(crate) fn longest_texts(columns: &[ArrayRef], rows: Rows<'_>) -> usize {
    let of_column = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8 => longest_in(column.as_string::<i32>(), rows),
        DataType::Binary => longest_in(column.as_binary::<i32>(), rows),
        _ => 0,
    };
    columns.iter().map(of_column).sum()
}

fn longest_in<T: ByteArrayType>(texts: &GenericByteArray<T>, rows: Rows<'_>) -> usize {
    (0..rows.len()).map(|n| texts.value_length(rows.row(n)).as_usize()).max().unwrap_or(0)
}
