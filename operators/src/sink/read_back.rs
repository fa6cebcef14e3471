//! Results as they are visible, read back from where a sink has put them: for people who want a first look, without another
//! program. Whatever the connector and the format, they come as rows of the same columns.

use crate::{
    columns::{RECORD_ID, REVISION, WITHDRAWN},
    schema::ColumnSchema,
    sink::json_rows::readable,
};
use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, new_null_array},
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Fields, Int64Type, Schema, SchemaRef, TimeUnit},
    json::ReaderBuilder,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use futures::future::BoxFuture;
use std::{io::BufRead, sync::Arc};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

/// Whose results are read.
#[derive(Clone, Copy, Debug)]
pub struct ReadBackOf<'a> {
    /// The job's name.
    pub job: &'a str,
    /// The sink's node id, such as `sink.counts`.
    pub sink: &'a str,
    /// The columns that it writes, as the definition says it now.
    pub columns: &'a ColumnSchema,
    /// Time and chance.
    pub env: &'a Env,
}

/// Reads what a sink has made visible.
pub trait ReadBack: Send {
    /// The columns that tell one result from another; empty: nothing does, and each row stays beside the others.
    fn identity(&self) -> Vec<String>;

    /// Whether only the newest of each is there, and all of them are given out whenever one has changed.
    fn is_whole(&self) -> bool {
        false
    }

    /// Rows that have become visible since the last time, the first time all that there are. Their columns are those of
    /// [`shown_schema`].
    ///
    /// # Errors
    /// When they cannot be read.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<RecordBatch>>>;
}

/// The identity of rows that keep their revisions.
pub(super) fn identity_of(columns: &ColumnSchema) -> Vec<String> {
    let are_results = [RECORD_ID, REVISION].iter().all(|name| columns.column(name).is_some());
    if are_results { vec![RECORD_ID.to_owned()] } else { Vec::new() }
}

/// The columns of rows that are read back: those of the sink, record ids as text; of types that are only there to be looked at, text.
pub fn shown_schema(columns: &ColumnSchema) -> SchemaRef {
    let field = |column: &crate::schema::Column| {
        let data_type = match &column.data_type {
            DataType::FixedSizeBinary(16) if column.name == RECORD_ID => DataType::Utf8,
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
            other => Some(with_spans_as_text(other)).filter(can_be_read).unwrap_or(DataType::Utf8),
        };
        Field::new(&column.name, data_type, true)
    };
    Arc::new(Schema::new(columns.columns.iter().map(field).collect::<Fields>()))
}

/// The type with text in the place of spans of time, also within lists and structs: they are written as text, and only numbers can
/// be read as spans.
fn with_spans_as_text(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(field.as_ref().clone().with_data_type(with_spans_as_text(field.data_type())))
    };
    match data_type {
        DataType::Duration(_) | DataType::Interval(_) => DataType::Utf8,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

/// Whether JSON can be read as this type.
fn can_be_read(data_type: &DataType) -> bool {
    let schema = Schema::new(vec![Field::new("column", data_type.clone(), true)]);
    ReaderBuilder::new(Arc::new(schema)).build_decoder().is_ok()
}

/// Rows with the columns of a schema, by name; one that they lack is null, as it is in files of an earlier definition.
///
/// # Errors
/// When a column is of quite another type.
pub(super) fn fit(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    // Most are what they are to be: to write times as text and read them again takes longer than to read the file.
    let is_other =
        |found: &&Field| schema.field_with_name(found.name()).is_ok_and(|field| found.data_type() != field.data_type());
    let others: Vec<usize> =
        (0..rows.num_columns()).filter(|index| is_other(&rows.schema_ref().field(*index))).collect();
    let others = RecordBatch::from(readable(&rows.project(&others)?)?);
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        match (others.column_by_name(field.name()), rows.column_by_name(field.name())) {
            (Some(other), _) => Ok(cast_with_options(other, field.data_type(), &options)?),
            (None, Some(column)) => Ok(Arc::clone(column)),
            (None, None) => Ok(new_null_array(field.data_type(), rows.num_rows())),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Whether values of a type are moments or days.
fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32)
}

/// The same columns with text in the place of moments and days: decoders know only years of four digits.
pub(super) fn with_times_as_text(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &FieldRef| match is_time(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Fields>()))
}

/// Rows that were read [`with_times_as_text`] with moments and days of any year; none: a text is neither.
pub(super) fn with_times_of_text(rows: &RecordBatch, schema: &SchemaRef) -> Option<RecordBatch> {
    let column = |(field, column): (&FieldRef, &ArrayRef)| match is_time(field.data_type()) {
        true => times_of(column.as_string_opt::<i32>()?, field.data_type()),
        false => Some(Arc::clone(column)),
    };
    let columns = schema.fields().iter().zip(rows.columns()).map(column).collect::<Option<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).ok()
}

fn times_of(texts: &StringArray, wanted: &DataType) -> Option<ArrayRef> {
    let number = |text: Option<&str>| text.map_or(Some(None), |text| time_of(text, wanted).map(Some));
    let numbers: Int64Array = texts.iter().map(number).collect::<Option<Vec<_>>>()?.into_iter().collect();
    match wanted {
        // A number of days has 32 bits.
        DataType::Date32 => cast(&cast(&numbers, &DataType::Int32).ok()?, wanted).ok(),
        _ => cast(&numbers, wanted).ok(),
    }
}

/// A moment or a day as the number that it is.
fn time_of(text: &str, wanted: &DataType) -> Option<i64> {
    let DataType::Timestamp(unit, _) = wanted else {
        let day: NaiveDate = text.parse().ok()?;
        return Some(day.signed_duration_since(NaiveDate::default()).num_days());
    };
    let at = match text.parse::<DateTime<Utc>>() {
        Ok(at) => at,
        Err(_) => text.parse::<NaiveDateTime>().ok()?.and_utc(),
    };
    match unit {
        TimeUnit::Second => Some(at.timestamp()),
        TimeUnit::Millisecond => Some(at.timestamp_millis()),
        TimeUnit::Microsecond => Some(at.timestamp_micros()),
        TimeUnit::Nanosecond => at.timestamp_nanos_opt(),
    }
}

/// How many lines are decoded at once.
const LINES: usize = 8_192;

/// Rows that are JSON lines, and how many lines are none of these columns.
///
/// # Errors
/// When the text cannot be read, or only by a mistake of ours.
pub(super) fn of_json(text: impl BufRead, schema: &SchemaRef) -> Result<(Vec<RecordBatch>, u64)> {
    let (mut rows, mut left_out, mut lines) = (Vec::new(), 0, Vec::with_capacity(LINES));
    for line in text.split(b'\n') {
        lines.push(line.map_err(|error| EngineError::corrupt(format!("it cannot be read: {error}")))?);
        if lines.len() == LINES {
            left_out += decode(&lines, schema, &mut rows)?;
            lines.clear();
        }
    }
    left_out += decode(&lines, schema, &mut rows)?;
    Ok((rows, left_out))
}

/// Decodes some lines, and says how many are no rows.
fn decode(lines: &[Vec<u8>], schema: &SchemaRef, rows: &mut Vec<RecordBatch>) -> Result<u64> {
    let mut decoder = decoder(schema)?;
    let fed = lines.iter().try_for_each(|line| {
        decoder.decode(line)?;
        decoder.decode(b"\n").map(drop)
    });
    match fed.and_then(|()| decoder.flush()) {
        Ok(decoded) => rows.extend(decoded),
        Err(_) if lines.len() == 1 => {
            let row = of_any_year(&lines[0], schema)?;
            let left_out = u64::from(row.is_none());
            rows.extend(row);
            return Ok(left_out);
        }
        // One that is no row takes no other with it.
        Err(_) => {
            let (left, right) = lines.split_at(lines.len() / 2);
            return Ok(decode(left, schema, rows)? + decode(right, schema, rows)?);
        }
    }
    Ok(0)
}

/// A line as a row, if it is one whose years are not of four digits.
fn of_any_year(line: &[u8], schema: &SchemaRef) -> Result<Option<RecordBatch>> {
    let mut decoder = decoder(&with_times_as_text(schema))?;
    let row = decoder.decode(line).and_then(|_| decoder.flush()).ok().flatten();
    Ok(row.and_then(|row| with_times_of_text(&row, schema)))
}

fn decoder(schema: &SchemaRef) -> Result<arrow::json::reader::Decoder> {
    let builder = ReaderBuilder::new(Arc::clone(schema)).with_coerce_primitive(true).with_batch_size(LINES + 1);
    Ok(builder.build_decoder()?)
}

/// The revisions of rows that have any.
pub fn revisions(rows: &RecordBatch) -> Option<Int64Array> {
    let column = cast(rows.column_by_name(REVISION)?, &DataType::Int64).ok()?;
    column.as_primitive_opt::<Int64Type>().cloned()
}

/// Whether a row withdraws its result.
pub fn is_withdrawn(rows: &RecordBatch, row: usize) -> bool {
    let withdrawn = rows.column_by_name(WITHDRAWN).and_then(|column| column.as_boolean_opt());
    withdrawn.is_some_and(|withdrawn| withdrawn.value(row))
}
