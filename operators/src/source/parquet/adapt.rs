//! Conversion of a file's column to the requested type: files of one source are not all written alike.
//!
//! Invariant: a value is read as what it says or not at all. What always fits is converted; a value that does not fit becomes
//! null, which the caller can tell from a null of the file; types that mean something else are refused.

use super::columns::logical_type;
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Float64Type},
};
use std::sync::Arc;

/// Whether columns of type `found` can be read as `declared`.
pub(super) fn can_adapt(found: &DataType, declared: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal128, Dictionary, Float16, Float32, Float64, Int64,
        LargeBinary, Null, Timestamp, Utf8,
    };
    match (found, declared) {
        (Null, _) => true,
        _ if found.equals_datatype(declared) => true,
        (Dictionary(_, values), _) => can_adapt(values, declared),
        (found, Int64) => found.is_integer() || matches!(found, Float16 | Float32 | Float64 | Decimal128(_, 0)),
        (found, Float64) => found.is_integer() || matches!(found, Float16 | Float32 | Decimal128(_, _)),
        (Binary | LargeBinary | BinaryView, Utf8) => true,
        (found, Utf8) => is_text(found),
        (Date64, Date32) => true,
        (Timestamp(_, _) | Date32 | Date64, Timestamp(_, _)) => true,
        (Decimal128(digits, scale), Decimal128(more, wanted)) => {
            scale <= wanted && i16::from(*digits) - i16::from(*scale) <= i16::from(*more) - i16::from(*wanted)
        }
        (Boolean, _) => false,
        _ => false,
    }
}

/// The column as one of type `declared`; text stays as it is held. Values that do not fit are null.
///
/// # Errors
/// When the types mean something else, in words.
pub(super) fn adapt(column: &ArrayRef, declared: &DataType) -> Result<ArrayRef, String> {
    let found = column.data_type();
    if found == declared || (*declared == DataType::Utf8 && is_text(found)) {
        return Ok(column.clone());
    }
    let logical = logical_type(found);
    if !can_adapt(&logical, declared) {
        return Err(format!("{found} cannot be read as {declared}"));
    }
    let cast = |column: &ArrayRef, wanted: &DataType| {
        let options = CastOptions { safe: true, ..CastOptions::default() };
        cast_with_options(column, wanted, &options).map_err(|error| error.to_string())
    };
    match (found, declared) {
        (DataType::Null, _) => Ok(new_null_array(declared, column.len())),
        _ if logical != *found => adapt(&cast(column, &logical)?, declared),
        (DataType::Dictionary(_, values), _) => adapt(&cast(column, values)?, declared),
        // A cast would cut fractions off.
        (DataType::Float16 | DataType::Float32 | DataType::Float64, DataType::Int64) => {
            let numbers = cast(column, &DataType::Float64)?;
            let whole = numbers.as_primitive::<Float64Type>().iter().map(|number| number.and_then(whole_number));
            Ok(Arc::new(Int64Array::from_iter(whole)))
        }
        _ => cast(column, declared),
    }
}

/// The integer that a floating-point number is.
fn whole_number(number: f64) -> Option<i64> {
    // Beyond 2^53 neighbours are more than one apart: which integer was meant is not known.
    let exact = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= exact).then_some(number as i64)
}

/// Text, however it is held.
pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The type that columns of both types can be read as, if there is one.
pub(super) fn common_type(one: &DataType, other: &DataType) -> Option<DataType> {
    if one.equals_datatype(other) {
        return Some(one.clone());
    }
    if let (DataType::Decimal128(a, b), DataType::Decimal128(c, d)) = (one, other) {
        let scale = *b.max(d);
        let whole = (i16::from(*a) - i16::from(*b)).max(i16::from(*c) - i16::from(*d));
        let digits = u8::try_from(whole + i16::from(scale)).ok().filter(|digits| *digits <= 38)?;
        return Some(DataType::Decimal128(digits, scale));
    }
    let candidates = [one, other, &DataType::Int64, &DataType::Float64];
    // An int is not widened to a float where both are ints: that comes last.
    let fits = |wanted: &&DataType| {
        let is_float_from_int = |found: &DataType| found.is_floating() && **wanted == DataType::Int64;
        can_adapt(one, wanted) && can_adapt(other, wanted) && !is_float_from_int(one) && !is_float_from_int(other)
    };
    candidates.into_iter().find(fits).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{
            BinaryArray, BooleanArray, Date32Array, Float64Array, Int8Array, Int32Array, NullArray, StringArray,
            UInt64Array,
        },
        compute::cast,
        datatypes::{Int64Type, TimeUnit, TimestampMillisecondType},
    };

    fn utc() -> DataType {
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
    }

    #[test]
    fn what_always_fits_is_converted() {
        let ints = |column: ArrayRef| -> Vec<Option<i64>> {
            let adapted = adapt(&column, &DataType::Int64).expect("fits");
            adapted.as_primitive::<Int64Type>().iter().collect()
        };
        assert_eq!(ints(Arc::new(Int32Array::from(vec![Some(-1), None]))), [Some(-1), None]);
        assert_eq!(ints(Arc::new(Int8Array::from(vec![7]))), [Some(7)]);
        assert_eq!(ints(Arc::new(UInt64Array::from(vec![7, u64::MAX]))), [Some(7), None]);
        assert_eq!(ints(Arc::new(NullArray::new(2))), [None, None]);
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(3.0), Some(3.5), Some(f64::NAN), Some(1e300), None]));
        assert_eq!(ints(floats), [Some(3), None, None, None, None]);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int32));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![5, 5]));
        assert_eq!(ints(cast(&numbers, &dictionary).expect("a dictionary")), [Some(5), Some(5)]);
        let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"ad1"), Some(b"\xff"), None]));
        let text = adapt(&bytes, &DataType::Utf8).expect("text");
        assert_eq!(text.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("ad1"), None, None]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![1]));
        let times = adapt(&days, &utc()).expect("times");
        assert_eq!(times.as_primitive::<TimestampMillisecondType>().value(0), 86_400_000);
    }

    #[test]
    fn what_means_something_else_is_refused() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        assert_eq!(adapt(&text, &DataType::Int64).expect_err("refused"), "Utf8 cannot be read as Int64");
        let truth: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        for (column, declared) in [
            (&truth, DataType::Int64),
            (&number, DataType::Utf8),
            (&number, DataType::Boolean),
            (&number, utc()),
            (&text, DataType::Date32),
        ] {
            assert!(adapt(column, &declared).is_err(), "{column:?} as {declared}");
        }
    }

    #[test]
    fn two_files_have_a_type_in_common_or_none() {
        use DataType::{
            Boolean, Date32, Date64, Decimal128, Float32, Float64, Int16, Int32, Int64, Null, UInt64, Utf8,
        };
        for (one, other, expected) in [
            (Int32, Int64, Some(Int64)),
            (Int16, Int32, Some(Int64)),
            (UInt64, Int32, Some(Int64)),
            (Float32, Float64, Some(Float64)),
            (Int64, Float64, Some(Float64)),
            (Int32, Float32, Some(Float64)),
            (Null, Boolean, Some(Boolean)),
            (Date64, Date32, Some(Date32)),
            (Decimal128(9, 2), Decimal128(12, 4), Some(Decimal128(12, 4))),
            (Decimal128(20, 0), Decimal128(12, 4), Some(Decimal128(24, 4))),
            (Utf8, Int64, None),
            (Boolean, Int64, None),
        ] {
            assert_eq!(common_type(&one, &other), expected, "{one} and {other}");
            assert_eq!(common_type(&other, &one), expected, "{other} and {one}");
        }
    }
}
