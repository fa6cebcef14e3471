//! PLAIN encoding: for values of fixed width the Arrow buffer itself, for strings a length before each.

use super::schema::Shape;
use arrow::array::{Array, AsArray, GenericByteArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType, Decimal128Type, Int32Type, UInt32Type};

/// Strings up to this length are copied as this many bytes at once, which needs no call.
const SHORT: usize = 16;

/// The PLAIN form of an array without nulls.
pub(super) fn encode(shape: Shape, values: &dyn Array) -> Buffer {
    match shape {
        Shape::Boolean => values.as_boolean().values().sliced(),
        Shape::Fixed(width) => fixed_width(values, width),
        Shape::Variable => Buffer::from_vec(variable(values)),
    }
}

/// Whether all values of an array without nulls are the same. Fast when they are not.
pub(super) fn is_constant(shape: Shape, values: &dyn Array) -> bool {
    match shape {
        // A bit a value is small enough as it is, and dictionaries of booleans are unheard of.
        Shape::Boolean => false,
        Shape::Fixed(width) => repeats(&fixed_width(values, width), width),
        Shape::Variable => match values.data_type() {
            DataType::Utf8 => bytes_constant(values.as_string::<i32>()),
            DataType::LargeUtf8 => bytes_constant(values.as_string::<i64>()),
            DataType::Binary => bytes_constant(values.as_binary::<i32>()),
            DataType::Utf8View => {
                let mut strings = values.as_string_view().iter();
                let first = strings.next();
                strings.all(|string| Some(string) == first)
            }
            _ => repeats(dictionary_keys(values).inner(), 4),
        },
    }
}

/// Keys of a dictionary array without nulls.
pub(super) fn dictionary_keys(values: &dyn Array) -> ScalarBuffer<u32> {
    match values.data_type() {
        DataType::Dictionary(key, _) if **key == DataType::UInt32 => {
            values.as_dictionary::<UInt32Type>().keys().values().clone()
        }
        // Keys that are not null index an array, so they are not negative.
        _ => {
            let keys = values.as_dictionary::<Int32Type>().keys().values();
            ScalarBuffer::new(keys.inner().clone(), 0, keys.len())
        }
    }
}

/// Rough bytes a value, to cut pages by.
pub(super) fn average_bytes(shape: Shape, values: &dyn Array) -> usize {
    let rows = values.len().max(1);
    match (shape, values.data_type()) {
        (Shape::Boolean, _) => 1,
        (Shape::Fixed(width), _) => width,
        (_, DataType::Utf8) => 4 + value_bytes(values.as_string::<i32>()) / rows,
        (_, DataType::LargeUtf8) => 4 + value_bytes(values.as_string::<i64>()) / rows,
        (_, DataType::Binary) => 4 + value_bytes(values.as_binary::<i32>()) / rows,
        (_, DataType::Utf8View) => {
            4 + values.as_string_view().lengths().map(|length| length as usize).sum::<usize>() / rows
        }
        _ => {
            let entries = values.as_any_dictionary().values().as_string::<i32>();
            4 + value_bytes(entries) / entries.len().max(1)
        }
    }
}

/// The buffer of values of fixed width, as far as the array uses it. Parquet's decimals begin with the highest byte.
fn fixed_width(values: &dyn Array, width: usize) -> Buffer {
    if let Some(decimals) = values.as_primitive_opt::<Decimal128Type>() {
        return Buffer::from_iter(decimals.values().iter().map(|value| value.to_be()));
    }
    let data = values.to_data();
    data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width)
}

fn variable(values: &dyn Array) -> Vec<u8> {
    match values.data_type() {
        DataType::Utf8 => length_prefixed(values.as_string::<i32>()),
        DataType::LargeUtf8 => length_prefixed(values.as_string::<i64>()),
        DataType::Binary => length_prefixed(values.as_binary::<i32>()),
        DataType::Utf8View => {
            let mut out = Vec::with_capacity(values.len() * average_bytes(Shape::Variable, values));
            for string in values.as_string_view().iter().flatten() {
                out.extend_from_slice(&(string.len() as u32).to_le_bytes());
                out.extend_from_slice(string.as_bytes());
            }
            out
        }
        _ => {
            let entries = values.as_any_dictionary().values().as_string::<i32>();
            let mut out = Vec::with_capacity(values.len() * average_bytes(Shape::Variable, values));
            for key in dictionary_keys(values).iter() {
                let string = entries.value(*key as usize);
                out.extend_from_slice(&(string.len() as u32).to_le_bytes());
                out.extend_from_slice(string.as_bytes());
            }
            out
        }
    }
}

/// Strings or binary values, each behind its length. Lengths beyond four bytes cannot occur in a page that is accepted.
pub(super) fn length_prefixed<T: ByteArrayType>(array: &GenericByteArray<T>) -> Vec<u8> {
    let (offsets, data) = (array.value_offsets(), array.value_data());
    let total = array.len() * 4 + value_bytes(array);
    let mut out = vec![0u8; total];
    let mut at = 0;
    for pair in offsets.windows(2) {
        let (start, end) = (pair[0].as_usize(), pair[1].as_usize());
        let length = end - start;
        out[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
        at += 4;
        if length <= SHORT && at + SHORT <= total && start + SHORT <= data.len() {
            // What is copied beyond the string is overwritten by the next one.
            out[at..at + SHORT].copy_from_slice(&data[start..start + SHORT]);
        } else {
            out[at..at + length].copy_from_slice(&data[start..end]);
        }
        at += length;
    }
    out
}

fn value_bytes<T: ByteArrayType>(array: &GenericByteArray<T>) -> usize {
    let offsets = array.value_offsets();
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => last.as_usize() - first.as_usize(),
        _ => 0,
    }
}

fn bytes_constant<T: ByteArrayType>(array: &GenericByteArray<T>) -> bool {
    let offsets = array.value_offsets();
    let (Some(first), Some(second)) = (offsets.first(), offsets.get(1)) else {
        return true;
    };
    let length = second.as_usize() - first.as_usize();
    let same_lengths = offsets.windows(2).all(|pair| pair[1].as_usize() - pair[0].as_usize() == length);
    let start = first.as_usize();
    same_lengths && repeats(&array.value_data()[start..start + length * array.len()], length)
}

/// Whether `bytes` is one value of `width` bytes over and over: then it equals itself shifted by one value. A single
/// comparison of memory, which stops at the first difference.
fn repeats(bytes: &[u8], width: usize) -> bool {
    bytes.len() <= width || bytes[width..] == bytes[..bytes.len() - width]
}
