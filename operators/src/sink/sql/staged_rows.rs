//! Rows between the phases: cast to the table's types, written as Arrow IPC, read back, and put into the order of the key with
//! one row a key.

use super::{config::SqlSinkConfig, withdrawn};
pub(super) use crate::sink::staged_batches::decode;
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array},
    compute::{CastOptions, cast_with_options, concat_batches, take_record_batch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit},
    row::{RowConverter, SortField},
};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};
use weir_store::SqlType;

/// How columns of a type lie in staged files.
fn staged(sql_type: SqlType) -> DataType {
    match sql_type {
        SqlType::BigInt => DataType::Int64,
        SqlType::Double => DataType::Float64,
        // With all its digits.
        SqlType::Text | SqlType::Numeric => DataType::Utf8,
        SqlType::Bytes => DataType::Binary,
    }
}

/// Casts rows to the table's types, and refuses what no table could take: a commit that can never succeed must not be staged.
#[derive(Debug)]
pub(super) struct Normaliser {
    config: SqlSinkConfig,
    schema: SchemaRef,
    /// PostgreSQL has no texts with the character 0 in them.
    replaces_zero: bool,
}

impl Normaliser {
    pub fn new(config: SqlSinkConfig, replaces_zero: bool) -> Self {
        let field = |name: &str, sql_type: SqlType| Field::new(name, staged(sql_type), true);
        let mut fields: Vec<_> = config.columns.iter().map(|column| field(&column.name, column.sql_type)).collect();
        fields.extend(config.withdrawn.iter().map(|name| field(name, withdrawn::STAGED)));
        Normaliser { config, schema: Arc::new(Schema::new(fields)), replaces_zero }
    }

    /// # Errors
    /// When a column is missing or does not fit, or a row has no key.
    pub fn normalise(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let found = |name: &String| {
            rows.column_by_name(name).ok_or_else(|| {
                EngineError::definition(format!("rows for '{}' have no column '{name}'", self.config.table))
            })
        };
        let columns = self.config.columns.iter().map(|column| {
            let found = found(&column.name)?;
            let cast = self.cast(&column.name, found, column.sql_type)?;
            let needed = self.config.key.contains(&column.name) || self.config.revision.as_ref() == Some(&column.name);
            if needed && cast.null_count() > 0 {
                return Err(EngineError::definition(format!(
                    "a row for '{}' has nothing in '{}', which is part of its key or its revision: give it a value, as in \
                     \"coalesce({}, ...) as {}\", or leave such rows out",
                    self.config.table, column.name, column.name, column.name
                )));
            }
            Ok(cast)
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        if let Some(name) = &self.config.withdrawn {
            columns.push(self.cast(name, found(name)?, withdrawn::STAGED)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn cast(&self, name: &str, column: &ArrayRef, sql_type: SqlType) -> Result<ArrayRef> {
        let failed = |error: arrow::error::ArrowError| {
            EngineError::definition(format!("'{name}' does not fit into '{}': {error}", self.config.table))
        };
        // Nothing becomes nothing silently.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
        let column = match column.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                cast_with_options(column, &milliseconds, &options).map_err(failed)?
            }
            DataType::FixedSizeBinary(_) => cast_with_options(column, &DataType::Binary, &options).map_err(failed)?,
            _ => Arc::clone(column),
        };
        let cast = cast_with_options(&column, &staged(sql_type), &options).map_err(failed)?;
        Ok(if self.replaces_zero && sql_type == SqlType::Text { without_zero(&cast) } else { cast })
    }
}

/// The same texts with U+FFFD in place of the character 0.
fn without_zero(texts: &ArrayRef) -> ArrayRef {
    let texts = texts.as_string::<i32>();
    if !texts.value_data().contains(&0) {
        return Arc::new(texts.clone());
    }
    let replaced = texts.iter().map(|text| text.map(|text| text.replace('\0', "\u{fffd}")));
    Arc::new(StringArray::from_iter(replaced))
}

/// One row a key, in the order of keys: of several the one with the highest revision, of the newest time where that goes first;
/// without revisions, the first.
///
/// # Errors
/// When the rows are not those of the table.
pub(super) fn merge(config: &SqlSinkConfig, rows: &[RecordBatch]) -> Result<Option<RecordBatch>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let rows = concat_batches(&first.schema(), rows)?;
    let key: Vec<ArrayRef> =
        config.positions(&config.key).into_iter().map(|column| Arc::clone(rows.column(column))).collect();
    let fields = key.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&key)?;
    let versions = config.versions().into_iter().filter_map(|name| config.column(name));
    let versions: Vec<_> =
        versions.map(|column| rows.column(column).as_primitive::<Int64Type>().values().clone()).collect();
    let version = |row: u32| versions.iter().map(move |all| all[row as usize]);
    let count = u32::try_from(rows.num_rows()).map_err(|_| EngineError::internal("too many rows in a staged group"))?;
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by(|a, b| {
        let by_key = keys.row(*a as usize).cmp(&keys.row(*b as usize));
        by_key.then_with(|| version(*b).cmp(version(*a))).then(a.cmp(b))
    });
    order.dedup_by(|later, kept| keys.row(*later as usize) == keys.row(*kept as usize));
    Ok(Some(take_record_batch(&rows, &UInt32Array::from(order))?))
}

#[cfg(test)]
mod tests {
    use super::{super::config::SqlColumn, *};
    use crate::sink::staged_batches::encode;
    use arrow::array::{Int32Array, Int64Array, TimestampMillisecondArray};

    fn config(revision: Option<&str>) -> SqlSinkConfig {
        let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
        SqlSinkConfig {
            url: "sqlite:x".into(),
            table: "t".into(),
            columns: vec![
                column("ad", SqlType::Text),
                column("minute", SqlType::BigInt),
                column("revision", SqlType::BigInt),
            ],
            key: vec!["minute".into(), "ad".into()],
            revision: revision.map(Into::into),
            withdrawn: None,
            newest_by: None,
            indexes: vec![],
            retention: None,
            description: Default::default(),
        }
    }

    fn rows(of: &[(Option<&str>, i64, i32)]) -> RecordBatch {
        let minutes = TimestampMillisecondArray::from_iter_values(of.iter().map(|row| row.1)).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 3] = [
            ("revision", Arc::new(Int32Array::from_iter_values(of.iter().map(|row| row.2)))),
            ("ad", Arc::new(StringArray::from_iter(of.iter().map(|row| row.0)))),
            ("minute", Arc::new(minutes)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn merged(revision: Option<&str>, batches: &[RecordBatch]) -> Vec<(String, i64, i64)> {
        let config = config(revision);
        let normaliser = Normaliser::new(config.clone(), false);
        let batches: Vec<_> = batches.iter().map(|batch| normaliser.normalise(batch).unwrap()).collect();
        let staged = decode("x", encode(&batches).unwrap()).unwrap();
        let rows = merge(&config, &staged).unwrap().unwrap();
        let numbers = |column: usize| rows.column(column).as_any().downcast_ref::<Int64Array>().unwrap().clone();
        let (minutes, revisions) = (numbers(1), numbers(2));
        let ads = rows.column(0).as_string::<i32>();
        (0..rows.num_rows()).map(|row| (ads.value(row).into(), minutes.value(row), revisions.value(row))).collect()
    }

    #[test]
    fn the_highest_revision_of_a_key_is_left_in_the_order_of_keys() {
        let batches = [
            rows(&[(Some("b"), 1, 0), (Some("a"), 2, i32::MIN), (Some("a"), 1, 2)]),
            rows(&[(Some("a"), 1, 1), (Some("a"), 2, -5)]),
        ];
        let expected = [("a".into(), 1, 2), ("b".into(), 1, 0), ("a".into(), 2, -5)];
        assert_eq!(merged(Some("revision"), &batches), expected);
        let first = [("a".into(), 1, 2), ("b".into(), 1, 0), ("a".into(), 2, i64::from(i32::MIN))];
        assert_eq!(merged(None, &batches), first);
    }

    #[test]
    fn rows_without_a_key_are_refused_with_words() {
        let error = Normaliser::new(config(None), false).normalise(&rows(&[(None, 1, 0)])).unwrap_err();
        assert!(error.message.contains("nothing in 'ad'"), "{error}");
    }

    #[test]
    fn what_a_database_cannot_take_is_replaced() {
        let given = rows(&[(Some("a\0b"), 1, 0)]);
        let kept = |replaces| {
            let rows = Normaliser::new(config(None), replaces).normalise(&given).unwrap();
            rows.column(0).as_string::<i32>().value(0).to_string()
        };
        assert_eq!((kept(false), kept(true)), ("a\0b".into(), "a\u{fffd}b".into()));
    }
}
