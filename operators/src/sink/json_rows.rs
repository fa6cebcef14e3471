//! Rows as JSON, one object a row: a record of a topic, a line of a file or of standard output, an element that is posted. And
//! what all sinks need before they write values out in full: [`pieces`] of rows.
//!
//! Record ids are the text of a UUID, timestamps text in UTC (RFC 3339), decimals numbers with all their digits, bytes hexadecimal;
//! nulls are written out. What JSON has no word for is null: NaN, infinity, a moment beyond the calendar.

use crate::columns::RECORD_ID;
use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryArray, GenericByteArray, PrimitiveArray,
        RecordBatch, StringArray, StringBuilder, StructArray, new_null_array,
    },
    compute::cast,
    datatypes::{
        ArrowNativeType, ByteArrayType, DataType, Date32Type, Field, FieldRef, Fields, Int64Type, Schema, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
    },
    json::writer::{EncoderOptions, make_encoder},
};
use chrono::DateTime;
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// The texts of rows that are written out in full at once have no more bytes than this, but for one row that has more.
pub(super) const PIECE_BYTES: usize = 8 << 20;

/// The same rows in pieces, in their order, each with texts of so many bytes at most, but for one row that has more. Most batches
/// are one piece.
///
/// A text of a dictionary may be that of all rows, and takes little until each row has its own: a plain column has room for 2 GiB.
pub(super) fn pieces(rows: &RecordBatch, most_bytes: usize) -> Vec<RecordBatch> {
    let count = rows.num_rows();
    if count <= 1 || text_bytes(rows) <= most_bytes {
        return vec![rows.clone()];
    }
    let half = count / 2;
    let mut cut = pieces(&rows.slice(0, half), most_bytes);
    cut.extend(pieces(&rows.slice(half, count - half), most_bytes));
    cut
}

/// How many bytes the texts of rows have where each row has its own. What is within lists and structs is not made plain, and does
/// not count.
pub(super) fn text_bytes(rows: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| match column.as_any_dictionary_opt() {
        Some(texts) if texts.values().is_empty() => 0,
        Some(texts) => bytes_of(texts.values(), texts.normalized_keys().into_iter()),
        None => bytes_of(column, 0..column.len()),
    };
    rows.columns().iter().map(of_column).sum()
}

/// The bytes of some texts of a column, of each as often as it is named.
fn bytes_of(texts: &ArrayRef, chosen: impl Iterator<Item = usize>) -> usize {
    match texts.data_type() {
        DataType::Utf8 => lengths(texts.as_string::<i32>(), chosen),
        DataType::LargeUtf8 => lengths(texts.as_string::<i64>(), chosen),
        DataType::Binary => lengths(texts.as_binary::<i32>(), chosen),
        DataType::LargeBinary => lengths(texts.as_binary::<i64>(), chosen),
        DataType::Utf8View => {
            let texts = texts.as_string_view();
            chosen.map(|row| texts.value(row).len()).sum()
        }
        DataType::BinaryView => {
            let texts = texts.as_binary_view();
            chosen.map(|row| texts.value(row).len()).sum()
        }
        DataType::FixedSizeBinary(size) => chosen.count() * usize::try_from(*size).unwrap_or(0),
        _ => 0,
    }
}

fn lengths<T: ByteArrayType>(texts: &GenericByteArray<T>, chosen: impl Iterator<Item = usize>) -> usize {
    chosen.map(|row| texts.value_length(row).as_usize()).sum()
}

/// Whether a column of such a type can be written.
pub(super) fn can_be_written(data_type: &DataType) -> bool {
    let column = new_null_array(data_type, 1);
    let field = Field::new("column", data_type.clone(), true);
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]);
    rows.map_err(EngineError::from).and_then(|rows| each(&readable(&rows)?, &mut |_| Ok(()))).is_ok()
}

/// Each row as a line, its break included.
///
/// # Errors
/// When JSON has no words for a column.
pub fn json_lines(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    for rows in pieces(rows, PIECE_BYTES) {
        each(&readable(&rows)?, &mut |row| {
            out.extend_from_slice(row);
            out.push(b'\n');
            Ok(())
        })?;
    }
    Ok(())
}

/// Gives out each row as a JSON object. The rows are [`readable`].
pub(super) fn each(rows: &StructArray, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (field, options) = (object_field(rows), options());
    let mut encoder = make_encoder(&field, rows, &options)?;
    let mut value = Vec::new();
    for row in 0..rows.len() {
        value.clear();
        encoder.encode(row, &mut value);
        each(&value)?;
    }
    Ok(())
}

pub(super) fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true)
}

/// The field of rows that are objects.
pub(super) fn object_field(columns: &StructArray) -> FieldRef {
    Arc::new(Field::new_struct("", columns.fields().clone(), false))
}

/// The same rows with record ids as the text of a UUID, plain texts, and no moment that cannot be written. There is no room for
/// those of any batch: see [`pieces`].
pub(super) fn readable(rows: &RecordBatch) -> Result<StructArray> {
    let mut fields: Vec<FieldRef> = Vec::with_capacity(rows.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let column: ArrayRef = match column.data_type() {
            DataType::FixedSizeBinary(16) if field.name() == RECORD_ID => {
                Arc::new(uuids(column.as_fixed_size_binary()))
            }
            DataType::Dictionary(_, values) if **values == DataType::Utf8 => cast(column, &DataType::Utf8)?,
            DataType::LargeUtf8 | DataType::Utf8View => cast(column, &DataType::Utf8)?,
            DataType::Timestamp(..) => Arc::new(times(field, &in_calendar(column))?),
            _ => in_calendar(column),
        };
        fields.push(Arc::new(Field::new(field.name(), column.data_type().clone(), true)));
        columns.push(column);
    }
    Ok(StructArray::try_new_with_length(Fields::from(fields), columns, None, rows.num_rows())?)
}

fn uuids(ids: &FixedSizeBinaryArray) -> StringArray {
    let mut texts = StringBuilder::with_capacity(ids.len(), ids.len() * 36);
    let mut text = [0; 36];
    for id in ids {
        let id = id.and_then(|id| uuid::Uuid::from_slice(id).ok());
        texts.append_option(id.map(|id| &*id.hyphenated().encode_lower(&mut text)));
    }
    texts.finish()
}

/// Times as JSON has them. To write one takes longer than the rest of a row, and rows in a row mostly have the same.
fn times(field: &FieldRef, times: &ArrayRef) -> Result<StringArray> {
    let options = options();
    let mut encoder = make_encoder(field, times, &options)?;
    let numbers = cast(times, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let mut texts = StringBuilder::with_capacity(numbers.len(), numbers.len() * 24);
    let (mut last, mut text) = (None, Vec::new());
    for (row, number) in numbers.iter().enumerate() {
        if number.is_some() && number != last {
            text.clear();
            encoder.encode(row, &mut text);
            last = number;
        }
        // Without its quotes, which it gets again.
        let bare = text.get(1..text.len().saturating_sub(1)).and_then(|bare| str::from_utf8(bare).ok());
        texts.append_option(number.and(bare));
    }
    Ok(texts.finish())
}

/// A column in which moments and days beyond the calendar are null.
fn in_calendar(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            known::<TimestampSecondType>(column, |at| DateTime::from_timestamp(at, 0).is_some())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            known::<TimestampMillisecondType>(column, |at| DateTime::from_timestamp_millis(at).is_some())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            known::<TimestampMicrosecondType>(column, |at| DateTime::from_timestamp_micros(at).is_some())
        }
        DataType::Date32 => {
            known::<Date32Type>(column, |day| DateTime::from_timestamp(i64::from(day) * 86_400, 0).is_some())
        }
        _ => Arc::clone(column),
    }
}

/// The values for which `is_known` holds; the others are null.
fn known<T: ArrowPrimitiveType>(column: &ArrayRef, is_known: impl Fn(T::Native) -> bool) -> ArrayRef {
    let values = column.as_primitive::<T>();
    if values.iter().flatten().all(&is_known) {
        return Arc::clone(column);
    }
    let known: PrimitiveArray<T> = values.unary_opt(|value| is_known(value).then_some(value));
    Arc::new(known.with_data_type(column.data_type().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{
            Date32Array, DictionaryArray, Float64Array, Int64Array, ListArray, StringViewBuilder,
            TimestampMillisecondArray,
        },
        compute::concat_batches,
        datatypes::Int32Type,
    };

    fn lines(columns: Vec<(&str, ArrayRef)>) -> Vec<String> {
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
        let mut out = Vec::new();
        json_lines(&rows.unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_json_has_no_word_for_is_null() {
        let times = TimestampMillisecondArray::from(vec![Some(1_500), Some(i64::MIN), None]).with_timezone("UTC");
        let found = lines(vec![
            ("at", Arc::new(times)),
            ("day", Arc::new(Date32Array::from(vec![0, i32::MAX, i32::MIN]))),
            ("rate", Arc::new(Float64Array::from(vec![0.5, f64::NAN, f64::INFINITY]))),
        ]);
        let expected = [
            r#"{"at":"1970-01-01T00:00:01.500Z","day":"1970-01-01","rate":0.5}"#,
            r#"{"at":null,"day":null,"rate":null}"#,
            r#"{"at":null,"day":null,"rate":null}"#,
        ];
        assert_eq!(found, expected);
    }

    /// As a dictionary, and as views, which share texts as well.
    #[test]
    fn texts_that_rows_share_are_in_several_pieces() {
        let long = "x".repeat(300);
        let shared: DictionaryArray<Int32Type> = (0..1_000).map(|row| (row != 7).then_some(long.as_str())).collect();
        let mut views = StringViewBuilder::new().with_deduplicate_strings();
        (0..1_000).for_each(|_| views.append_value(&long));
        let texts: [ArrayRef; 2] = [Arc::new(shared), Arc::new(views.finish())];
        for texts in texts {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
            let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("text", texts, true)]).unwrap();
            let cut = pieces(&rows, 1 << 10);
            assert!(cut.iter().all(|piece| (1..=3).contains(&piece.num_rows())), "of 300 bytes each");
            assert!(cut.iter().all(|piece| text_bytes(piece) <= 1 << 10));
            assert_eq!(
                concat_batches(rows.schema_ref(), &cut).unwrap(),
                rows,
                "nothing is lost, and nothing changes places"
            );
            assert_eq!(pieces(&rows, PIECE_BYTES), std::slice::from_ref(&rows));
            assert_eq!(pieces(&rows.slice(0, 2), 1).len(), 2, "a row is not cut");
            assert_eq!(pieces(&rows.slice(0, 0), 1).len(), 1);
        }
    }

    #[test]
    fn the_texts_of_a_column_are_counted_in_any_form() {
        let bytes =
            |column: ArrayRef| text_bytes(&RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap());
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("four"), None, Some("it")]));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8));
        let forms =
            [DataType::LargeUtf8, DataType::Utf8View, DataType::Binary, DataType::LargeBinary, DataType::BinaryView];
        for form in forms {
            assert_eq!(bytes(cast(&texts, &form).unwrap().slice(1, 2)), 2, "{form}");
        }
        assert_eq!(bytes(cast(&texts.slice(1, 2), &dictionary).unwrap().slice(1, 1)), 2);
        assert_eq!(bytes(new_null_array(&dictionary, 3)), 0);
        assert_eq!(bytes(new_null_array(&DataType::FixedSizeBinary(16), 3)), 48);
        assert_eq!(bytes(Arc::new(Int64Array::from(vec![1]))), 0);
    }

    #[test]
    fn lists_are_arrays() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        assert_eq!(lines(vec![("list", Arc::new(list))]), [r#"{"list":[1,null]}"#, r#"{"list":null}"#]);
        assert!(can_be_written(&DataType::new_list(DataType::Utf8, true)));
    }

    #[test]
    fn rows_without_a_column_are_rows() {
        let rows = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            vec![],
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(2)),
        );
        let mut out = Vec::new();
        json_lines(&rows.unwrap(), &mut out).unwrap();
        assert_eq!(out, b"{}\n{}\n");
    }

    #[test]
    fn times_are_what_json_makes_of_them() {
        let moments = [0, 0, 1_500, 1_500, 1_500, -1, 0, 1_646_352_060_000, 1_646_352_060_000];
        let moments: Vec<Option<i64>> =
            moments.into_iter().flat_map(|moment| [Some(moment), (moment == 1_500).then_some(moment)]).collect();
        let milliseconds = TimestampMillisecondArray::from(moments);
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            for zone in [None, Some("UTC"), Some("+01:30"), Some("Europe/Berlin")] {
                let data_type = DataType::Timestamp(unit, zone.map(Into::into));
                let column = cast(&cast(&milliseconds, &DataType::Int64).unwrap(), &data_type).unwrap();
                let field: FieldRef = Arc::new(Field::new("time", data_type, true));
                let texts = times(&field, &column).unwrap();
                let options = options();
                let mut encoder = make_encoder(&field, &column, &options).unwrap();
                for row in 0..column.len() {
                    let mut expected = Vec::new();
                    match encoder.is_null(row) {
                        true => assert!(texts.is_null(row)),
                        false => {
                            encoder.encode(row, &mut expected);
                            assert_eq!(format!("{:?}", texts.value(row)).as_bytes(), expected, "{field}");
                        }
                    }
                }
            }
        }
    }
}
