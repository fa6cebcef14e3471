//! One column of one row group: cut into pages, an encoding chosen for all of them, written.

use super::PageError;
use super::dictionary::UnitedDictionary;
use super::hybrid::{definition_levels, push_repeated};
use super::page_header::{self, ValueEncoding};
use super::plain;
use super::schema::{Column, Shape};
use super::statistics::TimestampStatistics;
use super::writer::CountedOutput;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Int32Array, Int64Array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, Decimal128Type};
use arrow::error::ArrowError;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescPtr;
use std::io::Write;
use std::sync::Arc;

/// Pages are cut at about this size: what readers expect, and what they hold at a time.
const PAGE_BYTES: usize = 1 << 20;

/// A page before it is encoded.
struct Page {
    rows: usize,
    /// Where the nulls are, if there are any.
    nulls: Option<NullBuffer>,
    /// The values that are not null.
    values: ArrayRef,
}

/// How the values of a column chunk are written.
enum Encoder {
    Plain,
    /// One value, in PLAIN form.
    Constant(Buffer),
    Dictionary(UnitedDictionary),
}

/// Writes one column of a row group, given as the arrays of its batches.
pub(super) fn write_chunk<W: Write>(
    output: &mut CountedOutput<W>,
    column: &Column,
    descriptor: ColumnDescPtr,
    arrays: &[ArrayRef],
) -> Result<ColumnChunkMetaData, PageError> {
    let pages = pages(column, arrays)?;
    let encoder = choose_encoder(column, &pages);
    let start = output.written();
    let dictionary_offset = write_dictionary(output, column, &encoder)?;
    let data_offset = output.written();
    let mut statistics = column.timestamp.then(TimestampStatistics::default);
    for page in &pages {
        write_page(output, column, page, &encoder, statistics.as_mut())?;
    }
    let values = if dictionary_offset.is_some() { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
    let bytes = (output.written() - start) as i64;
    let mut metadata = ColumnChunkMetaData::builder(descriptor)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, values])
        .set_compression(Compression::UNCOMPRESSED)
        .set_num_values(pages.iter().map(|page| page.rows as i64).sum())
        .set_data_page_offset(data_offset as i64)
        .set_dictionary_page_offset(dictionary_offset)
        .set_total_compressed_size(bytes)
        .set_total_uncompressed_size(bytes);
    if let Some(statistics) = statistics {
        metadata = metadata.set_statistics(statistics.finish());
    }
    Ok(metadata.build()?)
}

/// Cuts the arrays into pages and sets the nulls apart from the values.
fn pages(column: &Column, arrays: &[ArrayRef]) -> Result<Vec<Page>, PageError> {
    let mut pages = Vec::with_capacity(arrays.len());
    for array in arrays.iter().filter(|array| !array.is_empty()) {
        let array = as_stored(column, array)?;
        let rows = (PAGE_BYTES / plain::average_bytes(column.shape, &array)).max(1);
        for start in (0..array.len()).step_by(rows) {
            pages.push(page(column, array.slice(start, rows.min(array.len() - start)))?);
        }
    }
    Ok(pages)
}

fn page(column: &Column, array: ArrayRef) -> Result<Page, PageError> {
    let rows = array.len();
    // A dictionary array may have its nulls among the entries, too.
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let Some(nulls) = nulls else {
        return Ok(Page { rows, nulls: None, values: array });
    };
    if !column.nullable {
        return Err(PageError::UnexpectedNulls { column: column.name.clone(), nulls: nulls.null_count() });
    }
    let present = BooleanArray::new(nulls.inner().clone(), None);
    let values =
        filter(&array, &present).map_err(|source| PageError::Convert { column: column.name.clone(), source })?;
    Ok(Page { rows, nulls: Some(nulls), values })
}

fn as_stored(column: &Column, array: &ArrayRef) -> Result<ArrayRef, PageError> {
    if column.shape == Shape::Variable || *array.data_type() == column.stored {
        return Ok(ArrayRef::clone(array));
    }
    if let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() {
        return narrow(decimals, &column.stored)
            .map_err(|source| PageError::Convert { column: column.name.clone(), source });
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, &column.stored, &options)
        .map_err(|source| PageError::Convert { column: column.name.clone(), source })
}

/// Decimals in fewer bytes: as integers in units of the last digit, or as their bytes from the highest one on.
fn narrow(decimals: &Decimal128Array, stored: &DataType) -> Result<ArrayRef, ArrowError> {
    let nulls = decimals.nulls().cloned();
    let too_large =
        |value: i128| ArrowError::ComputeError(format!("{value} has more digits than {}", decimals.data_type()));
    // What stands under a null may be anything.
    let values =
        decimals.values().iter().enumerate().map(|(row, value)| if decimals.is_valid(row) { *value } else { 0 });
    Ok(match stored {
        DataType::Int32 => {
            let values = values.map(|value| i32::try_from(value).map_err(|_| too_large(value)));
            Arc::new(Int32Array::try_new(values.collect::<Result<_, _>>()?, nulls)?)
        }
        DataType::Int64 => {
            let values = values.map(|value| i64::try_from(value).map_err(|_| too_large(value)));
            Arc::new(Int64Array::try_new(values.collect::<Result<_, _>>()?, nulls)?)
        }
        DataType::FixedSizeBinary(width) => {
            let unused = 16 - *width as usize;
            let mut bytes = Vec::with_capacity(decimals.len() * *width as usize);
            for value in values {
                if (value << (8 * unused)) >> (8 * unused) != value {
                    return Err(too_large(value));
                }
                bytes.extend_from_slice(&value.to_be_bytes()[unused..]);
            }
            Arc::new(FixedSizeBinaryArray::try_new(*width, bytes.into(), nulls)?)
        }
        other => return Err(ArrowError::CastError(format!("decimals are not kept as {other}"))),
    })
}

fn choose_encoder(column: &Column, pages: &[Page]) -> Encoder {
    let filled: Vec<ArrayRef> =
        pages.iter().map(|page| &page.values).filter(|values| !values.is_empty()).map(ArrayRef::clone).collect();
    if let Some(value) = constant(column, &filled) {
        return Encoder::Constant(value);
    }
    UnitedDictionary::over(&filled).map_or(Encoder::Plain, Encoder::Dictionary)
}

/// The one value of all pages, where there is only one. Not worth it for a single row.
fn constant(column: &Column, pages: &[ArrayRef]) -> Option<Buffer> {
    if pages.iter().map(|page| page.len()).sum::<usize>() < 2 {
        return None;
    }
    let mut value: Option<Buffer> = None;
    for page in pages {
        if !plain::is_constant(column.shape, page) {
            return None;
        }
        let first = plain::encode(column.shape, &page.slice(0, 1));
        if *value.get_or_insert_with(|| first.clone()) != first {
            return None;
        }
    }
    value
}

/// Writes the dictionary page, if there is to be one, and says where it begins.
fn write_dictionary<W: Write>(
    output: &mut CountedOutput<W>,
    column: &Column,
    encoder: &Encoder,
) -> Result<Option<i64>, PageError> {
    let (entries, bytes) = match encoder {
        Encoder::Plain => return Ok(None),
        Encoder::Constant(value) => (1, value),
        Encoder::Dictionary(dictionary) => (dictionary.len, &dictionary.entries),
    };
    let offset = output.written() as i64;
    let mut header = Vec::with_capacity(32);
    page_header::dictionary_page(&mut header, page_size(column, entries)?, page_size(column, bytes.len())?);
    output.put(&header)?;
    output.put(bytes)?;
    Ok(Some(offset))
}

fn write_page<W: Write>(
    output: &mut CountedOutput<W>,
    column: &Column,
    page: &Page,
    encoder: &Encoder,
    statistics: Option<&mut TimestampStatistics>,
) -> Result<(), PageError> {
    if let Some(statistics) = statistics {
        statistics.add(&plain::encode(column.shape, &page.values), page.rows - page.values.len());
    }
    let levels = if column.nullable { definition_levels(page.rows, page.nulls.as_ref()) } else { Vec::new() };
    let (encoding, values) = match encoder {
        Encoder::Plain => (ValueEncoding::Plain, plain::encode(column.shape, &page.values)),
        Encoder::Constant(_) => {
            let mut indices = vec![1];
            push_repeated(&mut indices, page.values.len(), 0);
            (ValueEncoding::Dictionary, Buffer::from_vec(indices))
        }
        Encoder::Dictionary(dictionary) => {
            (ValueEncoding::Dictionary, Buffer::from_vec(dictionary.indices(&page.values)))
        }
    };
    let bytes = page_size(column, levels.len() + values.len())?;
    let mut head = Vec::with_capacity(32 + levels.len());
    page_header::data_page(&mut head, page_size(column, page.rows)?, bytes, encoding);
    head.extend_from_slice(&levels);
    output.put(&head)?;
    output.put(&values)?;
    Ok(())
}

fn page_size(column: &Column, bytes: usize) -> Result<i32, PageError> {
    i32::try_from(bytes).map_err(|_| PageError::PageTooLarge { column: column.name.clone(), bytes })
}
