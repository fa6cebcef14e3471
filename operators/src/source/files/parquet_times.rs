//! Times in Parquet files that are no timestamps there: numbers and texts, read as the declared form says.
//!
//! Invariant: a value is the time that the same value is in a JSON file of the same schema. One that is none is refused with
//! the reason, and never null without a word.

use crate::format::column_builder::ValueError;
use crate::source::{
    column_type::{ColumnType, DeclaredSchema},
    times::{Decimal, TimeError, TimeReader},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch, RecordBatchOptions, TimestampMillisecondArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema, UInt64Type},
};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// The declared columns of times and days.
#[derive(Clone, Debug, Default)]
pub(super) struct DeclaredTimes {
    columns: Vec<TimesOf>,
}

#[derive(Clone, Debug)]
struct TimesOf {
    name: String,
    days: bool,
    reader: TimeReader,
}

impl DeclaredTimes {
    /// Those of a schema.
    ///
    /// # Errors
    /// When a declaration contradicts itself; a checked one does not.
    pub(super) fn of(schema: Option<&DeclaredSchema>) -> Result<Self> {
        let mut columns = Vec::new();
        for declared in schema.iter().flat_map(|schema| &schema.columns) {
            if !matches!(declared.column_type, ColumnType::Timestamp | ColumnType::Date) {
                continue;
            }
            let reader = TimeReader::new(&declared.time)
                .map_err(|mistake| EngineError::definition(format!("column '{}': {mistake}", declared.name)))?;
            let days = declared.column_type == ColumnType::Date;
            columns.push(TimesOf { name: declared.name.clone(), days, reader });
        }
        Ok(DeclaredTimes { columns })
    }

    /// What to ask a file for: the wanted columns, those that are to be read as times in the types that they have there.
    pub(super) fn request(&self, wanted: &Schema, file: &Schema) -> Schema {
        let field = |field: &Arc<Field>| match self.stored_type(field, file) {
            Some(stored) => Arc::new(Field::new(field.name(), stored, true)),
            None => Arc::clone(field),
        };
        Schema::new(wanted.fields().iter().map(field).collect::<Vec<_>>())
    }

    fn stored_type(&self, wanted: &Field, file: &Schema) -> Option<DataType> {
        let column = self.columns.iter().find(|column| column.name == *wanted.name())?;
        let stored = file.field_with_name(wanted.name()).ok()?.data_type();
        let number =
            stored.is_integer() || matches!(stored, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..));
        (*stored == DataType::Utf8 || (number && !column.days)).then(|| stored.clone())
    }

    /// The rows with times in place of numbers and texts; refused are the ones, in rising order, whose are none. What they
    /// have is null then.
    pub(super) fn convert(&self, rows: RecordBatch, refused: &mut Vec<(usize, String)>) -> Result<RecordBatch> {
        let (schema, mut columns, count) = rows.into_parts();
        let mut fields: Vec<Arc<Field>> = schema.fields().to_vec();
        let before = refused.len();
        for column in &self.columns {
            let Some((place, field)) = schema.fields().find(&column.name) else { continue };
            let wanted = if column.days { ColumnType::Date } else { ColumnType::Timestamp }.data_type();
            if *field.data_type() != wanted {
                columns[place] = column.convert(&columns[place], refused)?;
                fields[place] = Arc::new(Field::new(field.name(), wanted, true));
            }
        }
        if refused.len() > before {
            refused.sort_by_key(|(row, _)| *row);
            refused.dedup_by_key(|(row, _)| *row);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

impl TimesOf {
    fn convert(&self, column: &ArrayRef, refused: &mut Vec<(usize, String)>) -> Result<ArrayRef> {
        let reader = &self.reader;
        match column.data_type() {
            DataType::UInt64 => {
                let numbers = column.as_primitive::<UInt64Type>();
                let read = |row: usize| match i64::try_from(numbers.value(row)) {
                    Ok(number) => reader.integer(number),
                    Err(_) => reader.number(&numbers.value(row).to_string()),
                };
                Ok(self.times(column, refused, read))
            }
            integer if integer.is_integer() => {
                let numbers = cast(column, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                Ok(self.times(column, refused, |row| reader.integer(numbers.value(row))))
            }
            DataType::Float32 | DataType::Float64 => {
                let numbers = cast(column, &DataType::Float64)?;
                let numbers = numbers.as_primitive::<Float64Type>();
                Ok(self.times(column, refused, |row| reader.number(&numbers.value(row).to_string())))
            }
            DataType::Decimal128(_, scale) => {
                let numbers = column.as_primitive::<Decimal128Type>();
                let number = |row: usize| Decimal::new(numbers.value(row), -i32::from(*scale));
                Ok(self.times(column, refused, |row| reader.decimal(number(row))))
            }
            _ => {
                // However it is held in memory.
                let texts = cast(column, &DataType::Utf8)?;
                let texts = texts.as_string::<i32>();
                if !self.days {
                    return Ok(self.times(column, refused, |row| reader.text(texts.value(row))));
                }
                let days = self.each(column, refused, |row| reader.day(texts.value(row)));
                Ok(Arc::new(Date32Array::from_iter(days)))
            }
        }
    }

    fn times(
        &self,
        column: &ArrayRef,
        refused: &mut Vec<(usize, String)>,
        read: impl Fn(usize) -> std::result::Result<i64, TimeError>,
    ) -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter(self.each(column, refused, read)).with_timezone("UTC"))
    }

    fn each<T>(
        &self,
        column: &ArrayRef,
        refused: &mut Vec<(usize, String)>,
        read: impl Fn(usize) -> std::result::Result<T, TimeError>,
    ) -> Vec<Option<T>> {
        let nulls = column.logical_nulls();
        let value = |row: usize| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return None;
            }
            match read(row) {
                Ok(value) => Some(value),
                Err(error) => {
                    let shown = arrow::util::display::array_value_to_string(column, row).unwrap_or_default();
                    refused.push((row, format!("{} \"{shown}\" {}", self.name, ValueError::Time(error))));
                    None
                }
            }
        };
        (0..column.len()).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array};
    use arrow::datatypes::TimestampMillisecondType;

    const CLICK: i64 = 1_646_352_001_000;

    fn declared(column: &str) -> DeclaredTimes {
        let schema = serde_json::from_str(&format!("{{\"at\": {column}}}")).expect("a schema");
        DeclaredTimes::of(Some(&schema)).expect("times")
    }

    fn converted(times: &DeclaredTimes, column: ArrayRef) -> (Vec<Option<i64>>, Vec<(usize, String)>) {
        let wanted = Schema::new(vec![Field::new("at", ColumnType::Timestamp.data_type(), true)]);
        let stored = Schema::new(vec![Field::new("at", column.data_type().clone(), true)]);
        assert_eq!(times.request(&wanted, &stored).field(0).data_type(), column.data_type());
        let mut refused = Vec::new();
        let rows = RecordBatch::try_from_iter_with_nullable([("at", column, true)]).expect("rows");
        let rows = times.convert(rows, &mut refused).expect("converted");
        assert_eq!(rows.schema().fields(), wanted.fields());
        (rows.column(0).as_primitive::<TimestampMillisecondType>().iter().collect(), refused)
    }

    #[test]
    fn numbers_are_times_in_their_unit() {
        let seconds = declared("{\"type\": \"timestamp\", \"unit\": \"s\"}");
        let columns: [ArrayRef; 5] = [
            Arc::new(Int64Array::from(vec![Some(1_646_352_001), None])),
            Arc::new(Int32Array::from(vec![Some(1_646_352_001), None])),
            Arc::new(UInt64Array::from(vec![Some(1_646_352_001), None])),
            Arc::new(Float64Array::from(vec![Some(1_646_352_001.0), None])),
            Arc::new(
                Decimal128Array::from(vec![Some(1_646_352_001_000), None])
                    .with_precision_and_scale(20, 3)
                    .expect("digits"),
            ),
        ];
        for column in columns {
            let name = column.data_type().to_string();
            assert_eq!(converted(&seconds, column), (vec![Some(CLICK), None], vec![]), "{name}");
        }
        let (times, refused) = converted(&seconds, Arc::new(UInt64Array::from(vec![u64::MAX])));
        assert_eq!((times, refused.len()), (vec![None], 1));
    }

    #[test]
    fn a_number_without_a_unit_is_refused_in_words() {
        let plain = declared("\"timestamp\"");
        let (times, refused) = converted(&plain, Arc::new(Int64Array::from(vec![CLICK, CLICK / 1_000])));
        assert_eq!(times, [Some(CLICK), None]);
        assert!(refused[0].1.starts_with("at \"1646352001\"") && refused[0].1.contains("unit = \"s\""), "{refused:?}");
    }

    #[test]
    fn texts_are_times_by_their_form() {
        let web = declared("{\"type\": \"timestamp\", \"format\": \"%d/%b/%Y:%H:%M:%S %z\"}");
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("04/Mar/2022:00:00:01 +0000"), None, Some("now")]));
        let (times, refused) = converted(&web, texts);
        assert_eq!(times, [Some(CLICK), None, None]);
        assert_eq!(refused.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2]);
        let plain = declared("\"timestamp\"");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["2022-03-04 00:00:01", "2022-03-04T00:00:01+0000"]));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for held in [DataType::Utf8View, dictionary] {
            let mut refused = Vec::new();
            let rows = RecordBatch::try_from_iter([("at", cast(&texts, &held).expect("text"))]).expect("rows");
            let rows = plain.convert(rows, &mut refused).expect("converted");
            let times = rows.column(0).as_primitive::<TimestampMillisecondType>();
            assert_eq!((times.values().as_ref(), refused.len()), (&[CLICK, CLICK][..], 0));
        }
    }
}
