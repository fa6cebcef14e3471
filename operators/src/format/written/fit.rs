//! Columns as the fields of a schema hold them.
//!
//! A field is one of Arrow here, whatever format its schema is of. An enum is a dictionary whose names are in the field's metadata.
//!
//! Invariant: a value becomes the same value, or its row is refused. Only times lose what is below the unit of their field.

use arrow::{
    array::{
        Array, ArrayRef, AsArray, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray, StructArray,
        new_null_array,
    },
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{DataType, Decimal128Type, DecimalType, Field, FieldRef, Fields, Int32Type, TimeUnit},
    error::ArrowError,
    util::display::array_value_to_string,
};
use arrow_avro::schema::AVRO_ENUM_SYMBOLS_METADATA_KEY;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// How many bytes of a value are shown.
const SHOWN_BYTES: usize = 100;

/// Says of a row why it is refused.
type Refuse<'a> = &'a mut dyn FnMut(usize, String);

/// Rows as the fields of a schema hold them.
pub(in crate::format) struct Fitted {
    /// A column for each field, of the type that [`held_as`] says.
    pub columns: Vec<ArrayRef>,
    /// The rows that do not fit, and why.
    pub refused: BTreeMap<usize, String>,
}

/// The type of the column that holds the values of a field: wherever in it, a null is allowed.
pub(in crate::format) fn held_as(of_field: &DataType) -> DataType {
    let field = |field: &FieldRef| Field::new(field.name(), held_as(field.data_type()), true);
    match of_field {
        DataType::List(item) => DataType::List(item_of(held_as(item.data_type()))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

fn item_of(data_type: DataType) -> FieldRef {
    Arc::new(Field::new(Field::LIST_FIELD_DEFAULT_NAME, data_type, true))
}

/// The same type in the one form that values are taken from.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => DataType::List(Arc::clone(item)),
        other => other.clone(),
    }
}

/// Whether a field can hold values of a column, if not all of them.
pub(in crate::format) fn can_hold(field: &DataType, column: &DataType) -> bool {
    use DataType::*;
    match (field, plain(column)) {
        (_, Null) => true,
        (Boolean, Boolean) | (Date32, Date32) | (Timestamp(..), Timestamp(..)) => true,
        (Float64, Float16 | Float32 | Float64) | (Float32, Float16 | Float32) => true,
        (field, column) if field.is_integer() => column.is_integer(),
        (Decimal128(..), column) if column.is_integer() => true,
        (Decimal128(_, of_field), Decimal128(_, scale)) => *of_field >= scale,
        (Utf8 | Dictionary(..), Utf8) => true,
        // A record id, or what else has the size of a UUID.
        (Utf8, FixedSizeBinary(16) | Date32 | Decimal128(..)) => true,
        (Binary, Binary | FixedSizeBinary(_)) => true,
        (FixedSizeBinary(of_field), FixedSizeBinary(size)) => *of_field == size,
        (List(of_field), List(item)) => can_hold(of_field.data_type(), item.data_type()),
        (Struct(of_field), Struct(fields)) => {
            let held = |field: &FieldRef| {
                let found = of_field.find(field.name());
                found.is_some_and(|(_, found)| can_hold(found.data_type(), field.data_type()))
            };
            let there = |field: &FieldRef| field.is_nullable() || fields.find(field.name()).is_some();
            fields.iter().all(held) && of_field.iter().all(there)
        }
        _ => false,
    }
}

/// Whether a field can hold each value of a column, but for moments some hundred thousand years away.
pub(in crate::format) fn holds_all(field: &DataType, column: &DataType) -> bool {
    use DataType::*;
    let holds_field = |of_field: &FieldRef, field: &FieldRef| {
        (of_field.is_nullable() || !field.is_nullable()) && holds_all(of_field.data_type(), field.data_type())
    };
    match (field, plain(column)) {
        (Timestamp(TimeUnit::Nanosecond, _), Timestamp(unit, _)) => unit == TimeUnit::Nanosecond,
        (Int64, column) if column.is_integer() => column != UInt64,
        (Int32, column) if column.is_integer() => !matches!(column, Int64 | UInt64 | UInt32),
        (Decimal128(precision, scale), column) if column.is_integer() => {
            i16::from(*precision) - i16::from(*scale) >= digits(&column)
        }
        (Decimal128(precision, scale), Decimal128(of_column, scale_of_column)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            *scale >= scale_of_column && whole(*precision, *scale) >= whole(of_column, scale_of_column)
        }
        (Dictionary(..), column) => column == Null,
        (List(of_field), List(item)) => holds_field(of_field, &item),
        (Struct(of_field), Struct(fields)) => {
            let held =
                |field: &FieldRef| of_field.find(field.name()).is_some_and(|(_, found)| holds_field(found, field));
            fields.iter().all(held)
        }
        (field, column) => can_hold(field, &column),
    }
}

/// The decimal digits of an integer at most.
fn digits(integer: &DataType) -> i16 {
    match integer {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        _ => 20,
    }
}

/// Rows as the fields hold them. What there is no column for is null.
///
/// # Errors
/// When a column cannot be of the type of its field at all.
pub(in crate::format) fn fit_rows(rows: &RecordBatch, fields: &Fields) -> Result<Fitted, ArrowError> {
    let mut refused = BTreeMap::new();
    let mut refuse = |row: usize, reason: String| {
        refused.entry(row).or_insert(reason);
    };
    let column = |field: &FieldRef| match rows.column_by_name(field.name()) {
        Some(column) => fit(field.name(), column, field, &mut refuse),
        None => Ok(new_null_array(&held_as(field.data_type()), rows.num_rows())),
    };
    let columns = fields.iter().map(column).collect::<Result<_, _>>()?;
    Ok(Fitted { columns, refused })
}

fn fit(name: &str, column: &ArrayRef, field: &Field, refuse: Refuse<'_>) -> Result<ArrayRef, ArrowError> {
    let form = plain(column.data_type());
    let column = if form == *column.data_type() { Arc::clone(column) } else { cast(column, &form)? };
    if !field.is_nullable()
        && let Some(nulls) = column.logical_nulls().filter(|nulls| nulls.null_count() > 0)
    {
        let null = (0..column.len()).filter(|row| nulls.is_null(*row));
        null.for_each(|row| refuse(row, format!("{name} is null, and its field takes no null")));
    }
    match (field.data_type(), &form) {
        (wanted, DataType::Null) => Ok(new_null_array(&held_as(wanted), column.len())),
        (DataType::Dictionary(..), _) => names(name, &column, field, refuse),
        (DataType::List(item), _) => list(name, column.as_list(), item, refuse),
        (DataType::Struct(fields), _) => record(name, column.as_struct(), fields, refuse),
        (DataType::Utf8, DataType::FixedSizeBinary(16)) => Ok(uuids(&column)),
        (wanted, _) => single(name, &column, wanted, refuse),
    }
}

fn single(name: &str, column: &ArrayRef, wanted: &DataType, refuse: Refuse<'_>) -> Result<ArrayRef, ArrowError> {
    let fitted = cast_with_options(column, wanted, &CastOptions { safe: true, ..CastOptions::default() })?;
    let has_room = |row: usize| match wanted {
        DataType::Decimal128(precision, _) => {
            let value = fitted.as_primitive::<Decimal128Type>().value(row);
            Decimal128Type::is_valid_decimal_precision(value, *precision)
        }
        _ => true,
    };
    if fitted.null_count() > column.null_count() || matches!(wanted, DataType::Decimal128(..)) {
        for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
            if fitted.is_null(row) || !has_room(row) {
                refuse(row, format!("{name} is {}, which its field of type {wanted} can't hold", shown(column, row)));
            }
        }
    }
    Ok(fitted)
}

/// The beginning of a value, for people.
fn shown(column: &ArrayRef, row: usize) -> String {
    let text = array_value_to_string(column, row).unwrap_or_default();
    if text.len() <= SHOWN_BYTES {
        return text;
    }
    let end = (0..=SHOWN_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// The text of UUIDs.
fn uuids(column: &ArrayRef) -> ArrayRef {
    let text = |id: &[u8]| uuid::Uuid::from_slice(id).ok().map(|id| id.hyphenated().to_string());
    let texts = column.as_fixed_size_binary().iter().map(|id| id.and_then(text));
    Arc::new(texts.collect::<StringArray>())
}

/// The names of an enum that a field has.
pub(in crate::format) fn names_of(field: &Field) -> Vec<String> {
    let names = field.metadata().get(AVRO_ENUM_SYMBOLS_METADATA_KEY);
    names.and_then(|names| serde_json::from_str(names).ok()).unwrap_or_default()
}

fn names(name: &str, column: &ArrayRef, field: &Field, refuse: Refuse<'_>) -> Result<ArrayRef, ArrowError> {
    let names = names_of(field);
    let places: HashMap<&str, i32> =
        names.iter().enumerate().map(|(place, name)| (name.as_str(), place as i32)).collect();
    let texts = column.as_string::<i32>().iter().enumerate();
    let mut place = |(row, text): (usize, Option<&str>)| {
        let place = places.get(text?).copied();
        if place.is_none() {
            refuse(
                row,
                format!("{name} is {:?}, which is no name of its enum: {}", shown(column, row), names.join(", ")),
            );
        }
        place
    };
    let keys: Int32Array = texts.map(&mut place).collect();
    let values = Arc::new(StringArray::from_iter_values(&names));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}

fn list(name: &str, column: &ListArray, item: &FieldRef, refuse: Refuse<'_>) -> Result<ArrayRef, ArrowError> {
    let offsets = column.value_offsets();
    let row_of = |place: usize| {
        let row = offsets.partition_point(|offset| *offset as usize <= place).checked_sub(1)?;
        (row < column.len() && column.is_valid(row)).then_some(row)
    };
    let mut refuse_item = |place: usize, reason: String| {
        if let Some(row) = row_of(place) {
            refuse(row, reason);
        }
    };
    let values = fit(&format!("an item of {name}"), column.values(), item, &mut refuse_item)?;
    let item = item_of(values.data_type().clone());
    Ok(Arc::new(ListArray::try_new(item, column.offsets().clone(), values, column.nulls().cloned())?))
}

fn record(name: &str, column: &StructArray, fields: &Fields, refuse: Refuse<'_>) -> Result<ArrayRef, ArrowError> {
    let mut refuse_below = |row: usize, reason: String| {
        if column.is_valid(row) {
            refuse(row, reason);
        }
    };
    let below = |field: &FieldRef| match column.column_by_name(field.name()) {
        Some(found) => fit(&format!("{name}.{}", field.name()), found, field, &mut refuse_below),
        None => Ok(new_null_array(&held_as(field.data_type()), column.len())),
    };
    let columns = fields.iter().map(below).collect::<Result<Vec<_>, _>>()?;
    let fields: Fields = fields
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    let nulls = column.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, column.len())?))
}
