//! Makes results of rows that are results of another job: as they are in the topic, or the files, that it has written.
//!
//! Of a record each revision passes once, in rising order: one that is not above what has passed before has come twice, or has
//! been overtaken, and changes nothing. So what passes keeps the promise that readers of results rely on, however often a row
//! comes, and `(record_id, revision)` is never there twice. Running counts, whose revisions are below 0, are left out: they are
//! of windows that are not over.
//!
//! A record is what has one id, one key and one window. The id that goes out is made of these, of the job and of this
//! operator: two regions may run the same job under the same name, and so give the same ids to different counts.
//!
//! State: a segment per window, dropped whole when no row is accepted for it any more. A checkpoint appends the revisions that
//! have passed since the last one: `key_hash` (16 bytes, little-endian; of the key and the id) and `revision`. Of several rows of
//! a record the highest is the newest, so that some may come back twice.

mod rows;
mod state;
#[cfg(test)]
mod tests;

use crate::columns::{RECORD_ID, WINDOW_END, WINDOW_START, revision_field, withdrawn_field};
use crate::dead_letters::RefusedRows;
use crate::event_time::event_time_type;
use crate::ports;
use crate::record_id::RecordIds;
use crate::table::RowMask;
use crate::window::{WindowRule, WindowSpec};
use arrow::{
    array::{ArrayRef, BooleanArray, FixedSizeBinaryArray, TimestampMillisecondArray, UInt32Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};
use rows::RevisionRows;
use serde::{Deserialize, Serialize};
use state::Windows;
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::Snapshot,
};

/// Settings: which columns say what a row is a revision of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestRevisionConfig {
    /// The columns of the key, in which every revision of a record has the same value.
    pub key: Vec<String>,
    /// The column with the record's id: its text, or its sixteen bytes.
    pub record_id: String,
    /// The column with the revision, a whole number.
    pub revision: String,
    /// The column that says whether the record no longer applies; none: they all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// The event-time column: a moment of the record's window, such as its start.
    pub time_column: String,
    /// The windows, side by side, and how long they are corrected.
    #[serde(flatten)]
    pub windows: WindowRule,
    /// The columns that are passed on as they are, in order: the key's, and values.
    pub output: Vec<String>,
}

impl NewestRevisionConfig {
    /// The columns that tell records apart; rows are spread by them.
    pub fn identity(&self) -> Vec<String> {
        identity(&self.key, &self.record_id)
    }

    fn validate(&self) -> Result<()> {
        self.windows.validate()?;
        match self.windows.window {
            WindowSpec::Tumbling { .. } => Ok(()),
            _ => Err(EngineError::definition("a moment is in one window only where they lie side by side")),
        }
    }
}

/// The columns that tell records of such a key apart.
pub fn identity(key: &[String], record_id: &str) -> Vec<String> {
    key.iter().cloned().chain([record_id.to_owned()]).collect()
}

/// The columns of what passes, out of those that come in: the id, the key, the window, the values, and what says which row is
/// newer and whether it holds. Values are null in what is withdrawn.
///
/// # Errors
/// When a column is missing.
pub fn output_schema(input: &Schema, config: &NewestRevisionConfig) -> Result<Schema> {
    let field = |name: &String| {
        let field = input.field_with_name(name);
        let field = field.map_err(|_| EngineError::definition(format!("there is no column '{name}'")))?;
        let nullable = field.is_nullable() || !config.key.contains(name);
        Ok(Field::new(name, field.data_type().clone(), nullable))
    };
    let columns: Vec<Field> = config.output.iter().map(field).collect::<Result<_>>()?;
    let is_key = |field: &Field| config.key.iter().any(|name| name == field.name());
    let (keys, values): (Vec<Field>, Vec<Field>) = columns.into_iter().partition(is_key);
    let mut fields = vec![Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false)];
    fields.extend(keys);
    fields.extend([WINDOW_START, WINDOW_END].map(|name| Field::new(name, event_time_type(), false)));
    fields.extend(values);
    fields.extend([revision_field(), withdrawn_field()]);
    Ok(Schema::new(fields))
}

/// The operator. Counts rows that change nothing as `duplicates`, and running counts as `running_left_out`.
#[derive(Debug)]
pub struct NewestRevision {
    config: NewestRevisionConfig,
    context: OperatorContext,
    hasher: KeyHasher,
    ids: RecordIds,
    windows: Windows,
    duplicates: Counter,
    running_left_out: Counter,
    late: Counter,
    refused: RefusedRows,
}

impl NewestRevision {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: NewestRevisionConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        Ok(NewestRevision {
            hasher: KeyHasher::new(config.identity()),
            ids: RecordIds::new(&context.identity, &context.operator),
            windows: Windows::new(config.windows),
            duplicates: context.counters.counter("duplicates"),
            running_left_out: context.counters.counter("running_left_out"),
            late: context.counters.counter("late"),
            refused: RefusedRows::new(context),
            context: context.clone(),
            config,
        })
    }

    /// The rows that go on, as results; `hashes` are of all rows of the batch.
    fn results(&self, batch: &Batch, rows: &RevisionRows, hashes: &[u128], kept: &[u32]) -> Result<RecordBatch> {
        let schema = output_schema(batch.columns.schema_ref(), &self.config)?;
        let at = || kept.iter().map(|row| *row as usize);
        let bounds: Vec<(i64, i64)> = at().map(|row| self.windows.bounds(rows.times[row])).collect();
        let ids: Vec<[u8; 16]> =
            at().zip(&bounds).map(|(row, (start, end))| self.ids.id(hashes[row], *start, *end)).collect();
        let moments = |of: fn(&(i64, i64)) -> i64| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from_iter_values(bounds.iter().map(of)).with_timezone("UTC"))
        };
        let indices = UInt32Array::from(kept.to_vec());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (place, field) in schema.fields().iter().enumerate() {
            let own_last = schema.fields().len() - 2;
            columns.push(match field.name().as_str() {
                RECORD_ID if place == 0 => {
                    let bytes = Buffer::from_vec(ids.as_flattened().to_vec());
                    Arc::new(FixedSizeBinaryArray::try_new(16, bytes, None)?)
                }
                WINDOW_START => moments(|bounds| bounds.0),
                WINDOW_END => moments(|bounds| bounds.1),
                _ if place == own_last => Arc::new(rows.revisions(at())),
                _ if place > own_last => Arc::new(at().map(|row| Some(rows.withdrawn[row])).collect::<BooleanArray>()),
                name => {
                    let column = batch.columns.column_by_name(name);
                    let missing = || EngineError::internal(format!("there is no column '{name}'"));
                    arrow::compute::take(column.ok_or_else(missing)?, &indices, None)?
                }
            });
        }
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}

impl Operator for NewestRevision {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let hashes = self.hasher.hashes_of(&batch)?;
        batch.key_hashes = None;
        let rows =
            RevisionRows::of(&self.config, &batch.columns).map_err(|error| error.context(&self.context.operator))?;
        self.refused.emit(&batch.columns, &rows.refused, out)?;
        let (mut kept, mut late) = (Vec::new(), RowMask::none(batch.len()));
        for row in 0..batch.len() {
            match rows.revisions[row] {
                // It is a dead letter.
                None => {}
                Some(revision) if revision < 0 => self.running_left_out.add(1),
                Some(revision) => match self.windows.pass(rows.times[row], hashes[row], revision) {
                    state::Passing::Passes => kept.push(row as u32),
                    state::Passing::Repeated => self.duplicates.add(1),
                    // The gates before let none come.
                    state::Passing::Expired => late.insert(row),
                },
            }
        }
        if !kept.is_empty() {
            out.emit(Port::MAIN, Batch::new(self.results(&batch, &rows, &hashes, &kept)?));
        }
        if late.count() > 0 {
            self.late.add(late.count() as u64);
            out.emit(ports::LATE, batch.filter(&BooleanArray::new(late.into_boolean_buffer(), None))?);
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        self.windows.advance(watermark);
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        Ok(Snapshot { segments: self.windows.segments() })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let restored = self.windows.restore(segment, rows, key_groups, self.context.max_parallelism);
        restored.map_err(|error| error.context(&self.context.operator))
    }
}
