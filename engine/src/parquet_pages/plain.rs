//! PLAIN encoding: for values of fixed width the Arrow buffer itself, for strings a length before each.

use super::schema::Shape;
use arrow::array::{Array, AsArray, ByteView, GenericByteArray, MAX_INLINE_VIEW_LEN, StringViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType, Decimal128Type, Int32Type, UInt32Type};

/// Strings up to this length are copied as this many bytes at once, which needs no call.
const SHORT: usize = 32;

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
        DataType::Utf8View => views_length_prefixed(values.as_string_view()),
        _ => {
            let entries = values.as_any_dictionary().values().as_string::<i32>();
            let (offsets, data) = (entries.value_offsets(), entries.value_data());
            let keys = dictionary_keys(values);
            let bounds =
                || keys.iter().map(|key| (offsets[*key as usize] as usize, offsets[*key as usize + 1] as usize));
            let mut out = Prefixed::of(values.len(), bounds().map(|(start, end)| end - start).sum());
            bounds().for_each(|(start, end)| out.push(data, start, end));
            out.bytes
        }
    }
}

/// Strings or binary values, each behind its length. Lengths beyond four bytes cannot occur in a page that is accepted.
pub(super) fn length_prefixed<T: ByteArrayType>(array: &GenericByteArray<T>) -> Vec<u8> {
    let mut out = Prefixed::of(array.len(), value_bytes(array));
    for pair in array.value_offsets().windows(2) {
        out.push(array.value_data(), pair[0].as_usize(), pair[1].as_usize());
    }
    out.bytes
}

fn views_length_prefixed(array: &StringViewArray) -> Vec<u8> {
    let mut out = Prefixed::of(array.len(), array.lengths().map(|length| length as usize).sum());
    for view in array.views() {
        let short = *view as u32 <= MAX_INLINE_VIEW_LEN;
        if short && let Some(place) = out.bytes.get_mut(out.at..out.at + 16) {
            // A short view is what is to be written: the length, then the string.
            place.copy_from_slice(&view.to_le_bytes());
            out.at += 4 + *view as u32 as usize;
        } else if short {
            let bytes = view.to_le_bytes();
            out.push(&bytes, 4, 4 + *view as u32 as usize);
        } else {
            let view = ByteView::from(*view);
            let start = view.offset as usize;
            out.push(&array.data_buffers()[view.buffer_index as usize], start, start + view.length as usize);
        }
    }
    out.bytes
}

/// Values behind their lengths, in the making.
struct Prefixed {
    /// All of them, as long as they will be.
    bytes: Vec<u8>,
    at: usize,
}

impl Prefixed {
    fn of(values: usize, value_bytes: usize) -> Self {
        Prefixed { bytes: vec![0; values * 4 + value_bytes], at: 0 }
    }

    /// Appends `data[start..end]`.
    #[inline(always)]
    fn push(&mut self, data: &[u8], start: usize, end: usize) {
        let length = end - start;
        self.bytes[self.at..self.at + 4].copy_from_slice(&(length as u32).to_le_bytes());
        self.at += 4;
        // What is copied beyond the string is overwritten by the next one.
        if length <= SHORT
            && let (Some(from), Some(to)) =
                (data.get(start..start + SHORT), self.bytes.get_mut(self.at..self.at + SHORT))
        {
            to.copy_from_slice(from);
        } else {
            self.bytes[self.at..self.at + length].copy_from_slice(&data[start..end]);
        }
        self.at += length;
    }
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
