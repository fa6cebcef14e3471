//! Values of any type that a key can have, as bytes that sort as the values do.
//!
//! A truth value is one byte. Numbers, times and decimals are big-endian, with the sign turned over so that negative ones come
//! first; of negative floats all bits are, so that they have IEEE 754's total order: -0 before 0, NaN last. Texts and binaries
//! are as they are. The bytes are stored in checkpoints, so they do not change within a state format version.

use super::{too_large, wrong};
use crate::table::{can_be_key, plain_key_type, plain_keys};
use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, StringArray, make_array,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer},
    datatypes::DataType,
};
use std::sync::Arc;
use weir_engine::Result;

/// A type whose values can be kept as bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ValueType {
    data_type: DataType,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Boolean,
    Number { width: usize, order: Order },
    Bytes,
    FixedBytes { width: i32 },
}

/// How the bits of a number sort.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Unsigned,
    Signed,
    Float,
}

impl ValueType {
    /// None: values of this type can't be kept.
    pub(super) fn new(data_type: &DataType) -> Option<Self> {
        let data_type = plain_key_type(data_type);
        if !can_be_key(&data_type) {
            return None;
        }
        let shape = match &data_type {
            DataType::Boolean => Shape::Boolean,
            DataType::Utf8 | DataType::Binary => Shape::Bytes,
            DataType::FixedSizeBinary(width) => Shape::FixedBytes { width: *width },
            number => {
                let order = match number {
                    unsigned if unsigned.is_unsigned_integer() => Order::Unsigned,
                    float if float.is_floating() => Order::Float,
                    _ => Order::Signed,
                };
                Shape::Number { width: number.primitive_width().filter(|width| *width <= 16)?, order }
            }
        };
        Some(ValueType { data_type, shape })
    }

    /// The type that values are given out in: text is Utf8, however it came.
    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// A column of such values, to be read row by row.
    ///
    /// # Errors
    /// When it is of another type.
    pub(super) fn column(&self, column: &ArrayRef) -> Result<ValueColumn> {
        let [plain] = plain_keys(std::slice::from_ref(column))?.try_into().map_err(|_| wrong())?;
        if *plain.data_type() != self.data_type {
            return Err(wrong());
        }
        Ok(ValueColumn { nulls: plain.logical_nulls(), data: plain.to_data(), shape: self.shape, array: plain })
    }

    /// Values back as a column.
    ///
    /// # Errors
    /// When they are no such values, or exceed 2 GiB together.
    pub(super) fn array<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
        let values: Vec<Option<&[u8]>> = values.collect();
        let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        match self.shape {
            Shape::Boolean => {
                let bits: BooleanBuffer = values.iter().map(|value| value.is_some_and(|value| value == [1])).collect();
                Ok(Arc::new(BooleanArray::new(bits, nulls)))
            }
            Shape::Bytes => self.texts(&values, nulls),
            Shape::FixedBytes { width } => {
                let bytes = joined(&values, width as usize, |value, bytes| bytes.extend_from_slice(value))?;
                Ok(Arc::new(FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), nulls)?))
            }
            Shape::Number { width, order } => {
                let bytes = joined(&values, width, |value, bytes| {
                    let mut whole = [0; 16];
                    whole[16 - width..].copy_from_slice(value);
                    let number = order.unsorted(u128::from_be_bytes(whole), width);
                    bytes.extend_from_slice(&number.to_le_bytes()[..width]);
                })?;
                let data = ArrayData::builder(self.data_type.clone()).len(values.len()).nulls(nulls);
                Ok(make_array(data.add_buffer(Buffer::from_vec(bytes)).align_buffers(true).build()?))
            }
        }
    }

    fn texts(&self, values: &[Option<&[u8]>], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let lengths = || values.iter().map(|value| value.map_or(0, <[u8]>::len));
        if i32::try_from(lengths().sum::<usize>()).is_err() {
            return Err(too_large());
        }
        let offsets = OffsetBuffer::from_lengths(lengths());
        let bytes = Buffer::from_vec(values.iter().flatten().copied().collect::<Vec<_>>().concat());
        Ok(match self.data_type {
            DataType::Utf8 => Arc::new(StringArray::try_new(offsets, bytes, nulls)?),
            _ => Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?),
        })
    }
}

/// All values one after the other, zeros in the place of nulls.
fn joined(values: &[Option<&[u8]>], width: usize, write: impl Fn(&[u8], &mut Vec<u8>)) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(values.len() * width);
    for value in values {
        match value {
            None => bytes.resize(bytes.len() + width, 0),
            Some(value) if value.len() == width => write(value, &mut bytes),
            Some(_) => return Err(wrong()),
        }
    }
    Ok(bytes)
}

impl Order {
    /// A number whose bits sort as unsigned ones do.
    #[inline(always)]
    fn sorted(self, number: u128, width: usize) -> u128 {
        let sign = 1u128 << (8 * width - 1);
        match self {
            Order::Unsigned => number,
            Order::Signed => number ^ sign,
            Order::Float if number & sign == 0 => number | sign,
            Order::Float => !number & (sign | (sign - 1)),
        }
    }

    /// The inverse.
    #[inline(always)]
    fn unsorted(self, number: u128, width: usize) -> u128 {
        let sign = 1u128 << (8 * width - 1);
        match self {
            Order::Unsigned => number,
            Order::Signed => number ^ sign,
            Order::Float if number & sign != 0 => number & !sign,
            Order::Float => !number & (sign | (sign - 1)),
        }
    }
}

/// A column whose values are read as bytes.
#[derive(Debug)]
pub(super) struct ValueColumn {
    array: ArrayRef,
    data: ArrayData,
    nulls: Option<NullBuffer>,
    shape: Shape,
}

impl ValueColumn {
    #[inline(always)]
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Puts the bytes of a value that is not null into `out`, in the place of what is there.
    #[inline]
    pub(super) fn read(&self, row: usize, out: &mut Vec<u8>) {
        out.clear();
        match self.shape {
            Shape::Boolean => out.push(u8::from(self.array.as_boolean().value(row))),
            Shape::Bytes => match self.array.as_string_opt::<i32>() {
                Some(texts) => out.extend_from_slice(texts.value(row).as_bytes()),
                None => out.extend_from_slice(self.array.as_binary::<i32>().value(row)),
            },
            Shape::FixedBytes { .. } => out.extend_from_slice(self.array.as_fixed_size_binary().value(row)),
            Shape::Number { width, order } => {
                let first = (self.data.offset() + row) * width;
                let mut whole = [0; 16];
                whole[..width].copy_from_slice(&self.data.buffers()[0][first..first + width]);
                let number = order.sorted(u128::from_le_bytes(whole), width);
                out.extend_from_slice(&number.to_be_bytes()[16 - width..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;

    /// Values of a type in their order, with a null in the middle.
    fn columns() -> Vec<ArrayRef> {
        vec![
            Arc::new(BooleanArray::from(vec![Some(false), None, Some(true)])),
            Arc::new(Int8Array::from(vec![Some(i8::MIN), Some(-1), None, Some(0), Some(i8::MAX)])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(-300), None, Some(300), Some(i64::MAX)])),
            Arc::new(UInt64Array::from(vec![Some(0), None, Some(1 << 63), Some(u64::MAX)])),
            Arc::new(Float32Array::from(vec![Some(f32::NEG_INFINITY), Some(-1.5), None, Some(1e-40), Some(f32::NAN)])),
            Arc::new(Float64Array::from(vec![
                Some(f64::MIN),
                Some(-1e-300),
                Some(-0.0),
                None,
                Some(0.0),
                Some(2.5),
                Some(f64::INFINITY),
                Some(f64::NAN),
            ])),
            Arc::new(Date32Array::from(vec![Some(-5), None, Some(20_000)])),
            Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None, Some(1)]).with_timezone("UTC")),
            Arc::new(Decimal128Array::from(vec![Some(-(10i128.pow(37))), None, Some(-1), Some(10i128.pow(37))])),
            Arc::new(StringArray::from(vec![Some(""), Some("a"), None, Some("ab"), Some("b"), Some("é")])),
            Arc::new(BinaryArray::from(vec![Some(&b"\0"[..]), None, Some(&b"\xff"[..])])),
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([0, 9]), None, Some([1, 0])].into_iter(), 2)
                    .unwrap(),
            ),
        ]
    }

    #[test]
    fn bytes_sort_as_the_values_do_and_come_back() {
        for column in columns() {
            let of = ValueType::new(column.data_type()).unwrap_or_else(|| panic!("{}", column.data_type()));
            // Also where it is a piece of a longer one.
            for column in [Arc::clone(&column), column.slice(1, column.len() - 1)] {
                let values = of.column(&column).unwrap();
                let mut bytes = Vec::new();
                for row in 0..column.len() {
                    let mut value = Vec::new();
                    let is_valid = !values.is_null(row);
                    if is_valid {
                        values.read(row, &mut value);
                    }
                    bytes.push(is_valid.then_some(value));
                }
                let present: Vec<&Vec<u8>> = bytes.iter().flatten().collect();
                assert!(present.is_sorted() && present.windows(2).all(|two| two[0] != two[1]), "{column:?}");
                let back = of.array(bytes.iter().map(Option::as_deref)).unwrap();
                assert_eq!(back.to_data(), column.to_data(), "{}", column.data_type());
            }
        }
    }

    #[test]
    fn texts_in_any_layout_are_texts() {
        let texts = StringArray::from(vec!["b", "a", "b"]);
        let of = ValueType::new(&DataType::Utf8View).unwrap();
        assert_eq!(of.data_type(), &DataType::Utf8);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for layout in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, dictionary] {
            let column = of.column(&arrow::compute::cast(&texts, &layout).unwrap()).unwrap();
            let mut value = Vec::new();
            column.read(0, &mut value);
            assert_eq!(value, b"b", "{layout}");
        }
        assert!(ValueType::new(&DataType::new_list(DataType::Utf8, true)).is_none());
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(of.column(&numbers).is_err());
    }
}
