//! Of several revisions of a result the one that holds.

use crate::failure::Failure;
use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch},
    datatypes::{DataType, SchemaRef},
    row::{OwnedRow, RowConverter, Rows, SortField},
};
use std::collections::HashMap;
use weir_operators::{
    columns::{RECORD_ID, REVISION, WITHDRAWN},
    sink::read_back::{is_withdrawn, revisions},
};

/// What is known of the results of a sink.
pub struct Truth {
    schema: SchemaRef,
    /// The columns that tell results apart; none: each row is one of its own.
    identity: Option<Converter>,
    /// Of a source that has the newest of each alone: all columns, by which a row that has changed is known.
    whole: Option<Converter>,
    /// Of each result, the newest that was seen.
    newest: HashMap<OwnedRow, Version>,
}

/// Which of several rows of a result it is.
#[derive(PartialEq, Eq)]
enum Version {
    Revision(i64),
    /// The row as it is.
    Row(OwnedRow),
}

/// Some columns as one value.
struct Converter {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Converter {
    fn of(schema: &SchemaRef, columns: Vec<usize>) -> Result<Self, Failure> {
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
        Ok(Converter { columns, converter: RowConverter::new(fields).map_err(|error| failed(&error))? })
    }

    fn rows(&self, rows: &RecordBatch) -> Result<Rows, Failure> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| rows.column(*column).clone()).collect();
        self.converter.convert_columns(&columns).map_err(|error| failed(&error))
    }
}

impl Truth {
    /// Nothing is known yet.
    pub fn new(schema: SchemaRef, identity: Vec<String>, is_whole: bool) -> Result<Self, Failure> {
        let columns: Vec<usize> = identity.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        let identity = (!columns.is_empty()).then(|| Converter::of(&schema, columns)).transpose()?;
        let all = || Converter::of(&schema, (0..schema.fields().len()).collect());
        let whole = is_whole.then(all).transpose()?;
        Ok(Truth { schema, identity, whole, newest: HashMap::new() })
    }

    /// All rows that hold, those of the newest windows first.
    pub fn begin(&mut self, found: &[RecordBatch]) -> Result<RecordBatch, Failure> {
        let all = concat_batches(&self.schema, found).map_err(|error| failed(&error))?;
        let news = self.newer(&all)?;
        let mut last: HashMap<OwnedRow, u32> = HashMap::new();
        let holding: Vec<u32> = match &self.identity {
            None => news,
            Some(identity) => {
                let keys = identity.rows(&all)?;
                // Of several the last one is the newest.
                last.extend(news.into_iter().map(|row| (keys.row(row as usize).owned(), row)));
                last.into_values().filter(|row| !is_withdrawn(&all, *row as usize)).collect()
            }
        };
        let holding = take(&all, holding)?;
        let order = order(&holding)?;
        take_record_batch(&holding, &order).map_err(|error| failed(&error))
    }

    /// The rows that are newer than what was known, in the order in which they came.
    pub fn news(&mut self, found: &[RecordBatch]) -> Result<RecordBatch, Failure> {
        let all = concat_batches(&self.schema, found).map_err(|error| failed(&error))?;
        let news = self.newer(&all)?;
        take(&all, news)
    }

    fn newer(&mut self, rows: &RecordBatch) -> Result<Vec<u32>, Failure> {
        let Some(identity) = &self.identity else { return Ok((0..rows.num_rows() as u32).collect()) };
        let (keys, revisions) = (identity.rows(rows)?, revisions(rows));
        let whole = self.whole.as_ref().map(|whole| whole.rows(rows)).transpose()?;
        let mut newer = Vec::new();
        for row in 0..rows.num_rows() {
            let version = match &whole {
                Some(whole) => Version::Row(whole.row(row).owned()),
                None => Version::Revision(revisions.as_ref().map_or(0, |revisions| revisions.value(row))),
            };
            let key = keys.row(row).owned();
            let is_newer = match (self.newest.get(&key), &version) {
                (None, _) => true,
                (Some(Version::Revision(known)), Version::Revision(this)) => this > known,
                (Some(known), this) => known != this,
            };
            if is_newer {
                self.newest.insert(key, version);
                newer.push(row as u32);
            }
        }
        Ok(newer)
    }
}

fn take(rows: &RecordBatch, which: Vec<u32>) -> Result<RecordBatch, Failure> {
    take_record_batch(rows, &UInt32Array::from(which)).map_err(|error| failed(&error))
}

/// By time, the newest first; then by the other columns, so that the order is the same each time.
fn order(rows: &RecordBatch) -> Result<UInt32Array, Failure> {
    let schema = rows.schema();
    let is_time = |column: &usize| matches!(schema.field(*column).data_type(), DataType::Timestamp(..));
    let time = (0..rows.num_columns()).find(is_time);
    let is_of_all = |column: &usize| [RECORD_ID, REVISION, WITHDRAWN].contains(&schema.field(*column).name().as_str());
    let (last, first): (Vec<usize>, Vec<usize>) =
        (0..rows.num_columns()).filter(|column| Some(*column) != time).partition(is_of_all);
    let columns = time.into_iter().chain(first).chain(last);
    let columns: Vec<SortColumn> = columns
        .filter(|column| !schema.field(*column).data_type().is_nested())
        .map(|column| SortColumn {
            values: rows.column(column).clone(),
            options: Some(SortOptions { descending: Some(column) == time, nulls_first: false }),
        })
        .collect();
    if columns.is_empty() {
        return Ok((0..rows.num_rows() as u32).collect());
    }
    lexsort_to_indices(&columns, None).map_err(|error| failed(&error))
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the results cannot be compared: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{AsArray, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMillisecondArray},
        datatypes::{Field, Int64Type, Schema, TimeUnit},
    };
    use std::sync::Arc;

    fn schema() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new(RECORD_ID, DataType::Utf8, true),
            Field::new("window_start", time, true),
            Field::new("count", DataType::Int64, true),
            Field::new(REVISION, DataType::Int32, true),
            Field::new(WITHDRAWN, DataType::Boolean, true),
        ]))
    }

    /// Record, minute, count, revision, whether it is withdrawn.
    fn rows(of: &[(&str, i64, i64, i32, bool)]) -> RecordBatch {
        let times =
            TimestampMillisecondArray::from_iter_values(of.iter().map(|row| row.1 * 60_000)).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(of.iter().map(|row| row.0))),
            Arc::new(times),
            Arc::new(Int64Array::from_iter_values(of.iter().map(|row| row.2))),
            Arc::new(Int32Array::from_iter_values(of.iter().map(|row| row.3))),
            Arc::new(of.iter().map(|row| Some(row.4)).collect::<BooleanArray>()),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    fn counts(rows: &RecordBatch) -> Vec<i64> {
        rows.column(2).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn the_highest_revision_holds_in_whatever_order_they_come() {
        let mut truth = Truth::new(schema(), vec![RECORD_ID.into()], false).unwrap();
        let first =
            rows(&[("a", 1, 10, 1, false), ("b", 2, 20, 0, false), ("c", 2, 15, 0, false), ("d", 9, 9, 1, true)]);
        let second = rows(&[("a", 1, 1, 0, false), ("b", 2, 21, 1, false), ("d", 9, 8, 0, false)]);
        assert_eq!(counts(&truth.begin(&[first, second]).unwrap()), [15, 21, 10], "the newest window first");
        let third =
            rows(&[("a", 1, 11, 2, false), ("a", 1, 12, 3, true), ("b", 2, 21, 1, false), ("e", 3, 5, 0, false)]);
        assert_eq!(
            counts(&truth.news(std::slice::from_ref(&third)).unwrap()),
            [11, 12, 5],
            "each that is new, in their order"
        );
        assert_eq!(truth.news(&[third]).unwrap().num_rows(), 0);
        assert_eq!(truth.news(&[]).unwrap().num_rows(), 0);
    }

    #[test]
    fn events_stay_beside_each_other() {
        let mut truth = Truth::new(schema(), vec![], false).unwrap();
        let batch = rows(&[("a", 1, 10, 0, false), ("a", 1, 10, 0, false)]);
        assert_eq!(counts(&truth.begin(std::slice::from_ref(&batch)).unwrap()), [10, 10]);
        assert_eq!(counts(&truth.news(&[batch]).unwrap()), [10, 10]);
    }

    #[test]
    fn of_a_table_what_has_changed_is_new() {
        let mut truth = Truth::new(schema(), vec![RECORD_ID.into()], true).unwrap();
        let table = rows(&[("a", 1, 10, 2, false), ("b", 1, 10, 0, false)]);
        assert_eq!(counts(&truth.begin(&[table]).unwrap()), [10, 10]);
        // A newer window of the same key begins with revision 0.
        let table = rows(&[("a", 2, 3, 0, false), ("b", 1, 10, 0, false)]);
        assert_eq!(counts(&truth.news(&[table]).unwrap()), [3]);
    }
}
