//! An event time that no column holds: an SQL expression over the columns that a connector reads.
//!
//! It stands between the connector and the sources' common part, so that from there on it is a column like any other.
//! Invariant: a row on which the expression fails, or gives nothing, is a dead letter with the reason, whatever batch it came
//! in; all others are passed on, in their order. What only the expression reads is not passed on.

use super::{
    settings::SourceSettings,
    split_reader::{Connector, OpenedSplit, Over, OverSplits, SplitEvent, SplitReader},
};
use crate::{
    dead_letters::DeadLetter,
    event_time::event_time_type,
    expression::{EvaluatedRows, Expression, RefusedRow, evaluate_rows},
    schema::ColumnSchema,
};
use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array},
    compute::{CastOptions, cast_with_options, concat, filter_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// How an event time is computed, as a node's configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedTime {
    /// The expression.
    pub expression: String,
    /// The columns that are read, for the expression or to be passed on, in order.
    pub columns: ColumnSchema,
}

impl ComputedTime {
    /// Whether an expression of this type says when something happened.
    pub fn can_be_of(data_type: &DataType) -> bool {
        matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
    }

    /// The settings of the connector, which knows only the columns that are read.
    pub(super) fn read_settings(&self, settings: &SourceSettings) -> SourceSettings {
        SourceSettings { columns: self.columns.clone(), event_time: None, ..settings.clone() }
    }

    /// A connector whose rows have the event time of `settings`, too.
    ///
    /// # Errors
    /// When the expression is none over these columns; a checked definition's is.
    pub(super) fn over(&self, inner: Box<dyn Connector>, settings: &SourceSettings) -> Result<Box<dyn Connector>> {
        let refuse =
            |problem: String| EngineError::definition(format!("event_time = \"{}\": {problem}", self.expression));
        let name = settings.event_time.clone().ok_or_else(|| refuse("it has no name".to_owned()))?;
        let expression = Expression::new(&self.expression, &self.columns.to_arrow());
        let expression = expression.map_err(|error| refuse(error.to_string()))?;
        if !Self::can_be_of(expression.data_type()) {
            return Err(refuse(format!("it is of type {}, and a timestamp is needed", expression.data_type())));
        }
        let column = TimeColumn { name, expression, output: settings.column_names() };
        Ok(Over::boxed(inner, TimedSplits { column: Arc::new(column) }))
    }
}

/// The computed column.
#[derive(Debug)]
struct TimeColumn {
    name: String,
    expression: Expression,
    /// What is passed on, in order.
    output: Vec<String>,
}

/// Rows with their event time.
struct TimedRows {
    rows: RecordBatch,
    refused: Vec<RefusedRow>,
    /// True for the rows that are not refused; none: that is all of them.
    kept: Option<BooleanArray>,
}

impl TimeColumn {
    fn over(&self, read: &RecordBatch) -> Result<TimedRows> {
        let failed =
            |error: &dyn std::fmt::Display| EngineError::internal(format!("event time {}: {error}", self.name));
        let evaluated = evaluate_rows(read, |rows| self.expression.evaluate(rows)).map_err(|error| failed(&error))?;
        let EvaluatedRows { pieces, mut refused } = evaluated;
        let kept = EvaluatedRows { pieces: Vec::<ArrayRef>::new(), refused: refused.clone() }.kept(read.num_rows());
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        let times = match pieces.is_empty() {
            true => new_empty_array(&event_time_type()),
            false => to_event_times(&concat(&pieces)?)?,
        };
        if times.null_count() == 0 {
            let rows = match &kept {
                Some(kept) => filter_record_batch(read, kept)?,
                None => read.clone(),
            };
            return Ok(TimedRows { rows: self.arrange(&rows, times)?, refused, kept });
        }
        // The rows that gave nothing are refused as well.
        let mut place = 0..;
        let mut wanted = vec![true; read.num_rows()];
        for (row, wanted) in wanted.iter_mut().enumerate() {
            if kept.as_ref().is_some_and(|kept| !kept.value(row)) {
                *wanted = false;
            } else if place.next().is_some_and(|place| times.is_null(place)) {
                *wanted = false;
                let reason = format!("the event time {} is null: {}", self.name, self.expression.text());
                refused.push(RefusedRow { row, reason });
            }
        }
        refused.sort_by_key(|refused| refused.row);
        let wanted = BooleanArray::from(wanted);
        let there: BooleanArray = (0..times.len()).map(|row| Some(times.is_valid(row))).collect();
        let times = arrow::compute::filter(&times, &there)?;
        let rows = self.arrange(&filter_record_batch(read, &wanted)?, times)?;
        Ok(TimedRows { rows, refused, kept: Some(wanted) })
    }

    /// The columns that are passed on; the computed one replaces one with its name.
    fn arrange(&self, read: &RecordBatch, times: ArrayRef) -> Result<RecordBatch> {
        let mut fields: Vec<Arc<Field>> = Vec::with_capacity(self.output.len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.output.len());
        let schema: SchemaRef = read.schema();
        for name in &self.output {
            if *name == self.name {
                fields.push(Arc::new(Field::new(name, event_time_type(), true)));
                columns.push(Arc::clone(&times));
                continue;
            }
            let (position, field) = schema.fields().find(name).ok_or_else(|| {
                EngineError::internal(format!("there is no column '{name}' among those that are read"))
            })?;
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(read.column(position)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(read.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

/// In milliseconds UTC; a time without a zone is taken for UTC, as everywhere. What does not fit is null.
fn to_event_times(times: &ArrayRef) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let times = match times.data_type() {
        DataType::Timestamp(_, Some(_)) => Arc::clone(times),
        _ => cast_with_options(times, &DataType::Timestamp(TimeUnit::Millisecond, None), &options)?,
    };
    Ok(cast_with_options(&times, &event_time_type(), &options)?)
}

/// Computes the event time of the rows of each split.
struct TimedSplits {
    column: Arc<TimeColumn>,
}

impl OverSplits for TimedSplits {
    fn over(&mut self, opened: OpenedSplit) -> OpenedSplit {
        let reader = Box::new(TimedReader { inner: opened.reader, column: Arc::clone(&self.column), kept: None });
        OpenedSplit { reader, ..opened }
    }
}

struct TimedReader {
    inner: Box<dyn SplitReader>,
    column: Arc<TimeColumn>,
    /// Which rows of the inner reader's last chunk came out; none: all.
    kept: Option<BooleanArray>,
}

impl TimedReader {
    fn timed(&mut self, read: &RecordBatch, mut dead_letters: Vec<DeadLetter>) -> Result<SplitEvent> {
        let TimedRows { rows, refused, kept } = self.column.over(read)?;
        self.kept = kept;
        if !refused.is_empty() {
            let places: Vec<usize> = refused.iter().map(|refused| refused.row).collect();
            let located = self.inner.locate_rows(&places);
            if located.len() != places.len() {
                let found = format!("{} of {} rejected rows were found again", located.len(), places.len());
                return Err(EngineError::internal(found));
            }
            let letter = |(found, refused): (DeadLetter, RefusedRow)| DeadLetter { reason: refused.reason, ..found };
            dead_letters.extend(located.into_iter().zip(refused).map(letter));
            dead_letters.sort_by_key(|dead_letter| dead_letter.offset);
        }
        Ok(SplitEvent::Records { columns: rows, dead_letters })
    }
}

impl SplitReader for TimedReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        async move {
            match self.inner.next_chunk(max_rows).await? {
                SplitEvent::Records { columns, dead_letters } => self.timed(&columns, dead_letters),
                other => Ok(other),
            }
        }
        .boxed()
    }

    fn position(&self) -> serde_json::Value {
        self.inner.position()
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some(kept) = &self.kept else { return self.inner.locate_rows(rows) };
        let places: Vec<usize> = (0..kept.len()).filter(|row| kept.value(*row)).collect();
        let read: Vec<usize> = rows.iter().filter_map(|row| places.get(*row).copied()).collect();
        self.inner.locate_rows(&read)
    }

    fn is_at_hand(&self) -> bool {
        self.inner.is_at_hand()
    }

    fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    fn bytes_behind(&self) -> u64 {
        self.inner.bytes_behind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::TimestampMillisecondType;

    fn column(expression: &str, output: &[&str]) -> TimeColumn {
        let schema = Schema::new(vec![
            Field::new("day", DataType::Utf8, true),
            Field::new("at", DataType::Int64, true),
            Field::new("ad", DataType::Utf8, true),
        ]);
        TimeColumn {
            name: "event_time".into(),
            expression: Expression::new(expression, &schema).expect("an expression"),
            output: output.iter().map(ToString::to_string).collect(),
        }
    }

    fn rows() -> RecordBatch {
        let days = StringArray::from(vec![
            Some("04/Mar/2022:00:00:01 +0000"),
            Some("yesterday"),
            None,
            Some("04/Mar/2022:09:00:02 +0900"),
        ]);
        let columns: [(&str, ArrayRef); 3] = [
            ("day", Arc::new(days)),
            ("at", Arc::new(Int64Array::from(vec![Some(1_646_352_001), None, Some(3), Some(4)]))),
            ("ad", Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("rows")
    }

    fn times(rows: &RecordBatch) -> Vec<i64> {
        rows.column_by_name("event_time")
            .expect("computed")
            .as_primitive::<TimestampMillisecondType>()
            .values()
            .to_vec()
    }

    #[test]
    fn rows_without_a_time_are_refused_and_the_others_go_on() {
        let column = column("to_timestamp(day, '%d/%b/%Y:%H:%M:%S %z')", &["ad", "event_time"]);
        let timed = column.over(&rows()).expect("evaluated");
        assert_eq!(times(&timed.rows), [1_646_352_001_000, 1_646_352_002_000]);
        assert_eq!(timed.rows.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), Some("d")]);
        assert_eq!(timed.rows.num_columns(), 2, "what only the expression reads goes no further");
        let refused: Vec<usize> = timed.refused.iter().map(|refused| refused.row).collect();
        assert_eq!(refused, [1, 2]);
        assert!(timed.refused[0].reason.contains("yesterday"), "{}", timed.refused[0].reason);
        assert!(timed.refused[1].reason.contains("is null"), "{}", timed.refused[1].reason);
    }

    #[test]
    fn every_batch_has_the_same_columns() {
        let column = column("to_timestamp_seconds(at)", &["event_time", "at"]);
        let all = column.over(&rows()).expect("evaluated");
        assert_eq!(times(&all.rows), [1_646_352_001_000, 3_000, 4_000]);
        assert!(all.refused[0].reason.contains("to_timestamp_seconds(at)"));
        let none = column.over(&rows().slice(1, 1)).expect("evaluated");
        assert_eq!((none.rows.num_rows(), none.rows.schema()), (0, all.rows.schema()));
        let empty = column.over(&rows().slice(0, 0)).expect("evaluated");
        assert_eq!((empty.rows.num_rows(), empty.rows.schema()), (0, all.rows.schema()));
    }
}
