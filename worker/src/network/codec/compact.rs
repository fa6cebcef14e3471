//! Leaves out what a batch refers to and does not use: dictionary values, and texts behind views.

use arrow::{
    array::{AnyDictionaryArray, Array, ArrayData, ArrayRef, AsArray, UInt32Array, make_array},
    compute,
    datatypes::DataType,
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use std::sync::Arc;

/// Below this, unused texts behind views are not worth a copy.
const SMALL_BYTES: usize = 512;

/// Compacts the batches of one channel.
#[derive(Debug, Default)]
pub(super) struct Compactor {
    /// By column: the dictionary that it came with last.
    dictionaries: Vec<Option<Presented>>,
}

/// A dictionary, and how many rows in a row came with it.
#[derive(Debug)]
struct Presented {
    values: ArrayData,
    rows: usize,
}

impl Compactor {
    /// The same rows, with less behind them.
    pub(super) fn compact(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        self.dictionaries.resize_with(batch.num_columns(), || None);
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (column, presented) in batch.columns().iter().zip(&mut self.dictionaries) {
            columns.push(match column.data_type() {
                DataType::Dictionary(..) => compact_dictionary(column, presented)?,
                DataType::Utf8View => {
                    let views = column.as_string_view();
                    compact_views(column, views.data_buffers(), views.total_buffer_bytes_used(), || {
                        Arc::new(views.gc())
                    })
                }
                DataType::BinaryView => {
                    let views = column.as_binary_view();
                    compact_views(column, views.data_buffers(), views.total_buffer_bytes_used(), || {
                        Arc::new(views.gc())
                    })
                }
                _ => column.clone(),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(batch.schema(), columns, &options)
    }
}

fn compact_views(
    column: &ArrayRef,
    buffers: &[arrow::buffer::Buffer],
    used: usize,
    compacted: impl FnOnce() -> ArrayRef,
) -> ArrayRef {
    let held: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    if held > SMALL_BYTES && held / 2 > used { compacted() } else { column.clone() }
}

/// A dictionary that comes with few rows at a time is cut to the values in use, until as many rows have come with it as it
/// has values: from then on it has earned its way, is sent once, and costs nothing with later batches. So no more than twice
/// the values are sent that the better of both ways would send.
fn compact_dictionary(column: &ArrayRef, presented: &mut Option<Presented>) -> Result<ArrayRef, ArrowError> {
    let dictionary = column.as_any_dictionary();
    let (rows, count) = (dictionary.len(), dictionary.values().len());
    let values = dictionary.values().to_data();
    let so_far = match presented {
        Some(before) if ArrayData::ptr_eq(&before.values, &values) => {
            before.rows = before.rows.saturating_add(rows);
            before.rows
        }
        _ => {
            *presented = Some(Presented { values, rows });
            rows
        }
    };
    if so_far >= count { Ok(column.clone()) } else { cut(dictionary, column.data_type()) }
}

/// The same column over only those values that it uses, in their former order.
fn cut(dictionary: &dyn AnyDictionaryArray, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let keys = dictionary.keys();
    let old_keys = dictionary.normalized_keys();
    let mut new_key = vec![u32::MAX; dictionary.values().len()];
    let valid_keys = || old_keys.iter().enumerate().filter(|(row, _)| keys.is_valid(*row)).map(|(_, key)| *key);
    for key in valid_keys() {
        new_key[key] = 0;
    }
    let mut used = Vec::new();
    for (key, new) in new_key.iter_mut().enumerate().filter(|(_, new)| **new == 0) {
        *new = used.len() as u32;
        used.push(key as u32);
    }
    let values = compute::take(dictionary.values(), &UInt32Array::from(used), None)?;
    let new_keys = old_keys.iter().map(|key| if new_key[*key] == u32::MAX { 0 } else { new_key[*key] });
    let new_keys = UInt32Array::new(new_keys.collect(), keys.nulls().cloned());
    let new_keys = compute::cast(&new_keys, keys.data_type())?;
    let builder = new_keys.to_data().into_builder().data_type(data_type.clone()).add_child_data(values.to_data());
    Ok(make_array(builder.build()?))
}
