//! What a checkpoint holds of a global window: one segment, to which the lives that have changed are appended.
//!
//! A row is a life of a key: its bounds, its keys, its states, whether it is in a result, and in `version` the checkpoint that it
//! was written with. Of rows that overlap in one key the highest version counts. When more than half of the rows are outdated, the
//! segment is written anew.
//!
//! Invariant: the newest life that is stored of a key is not told of as unemitted when a result of it, or of a later one, is out. Rows
//! are only appended, so that those of a life that was dropped are still there: a life that ends is therefore written once more, as
//! emitted, with the checkpoint that its result goes out with, and dropped after that. Else a restart would emit it as an earlier
//! checkpoint has it, with a higher revision.

use super::accumulator::Accumulator;
use super::config::AggregateConfig;
use super::groups::GroupColumns;
use super::lives::{Life, Lives};
use super::state::misfit;
use crate::event_time::event_time_type;
use crate::table::{Rows, hash_column, hashes_in};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, TimestampMillisecondArray, UInt16Array},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMillisecondType},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    Result,
    key_group::{KeyGroupRange, key_group_of},
    operator::OperatorContext,
};

/// Names that keys and aggregates cannot have, beside those of other aggregates.
pub(super) const FIRST_EVENT: &str = "first_event";
pub(super) const LAST_EVENT: &str = "last_event";
pub(super) const VERSION: &str = "version";
const BEFORE_KEYS: usize = 4;

/// The columns of the state of a global window.
#[derive(Debug, Clone)]
pub(super) struct LivesState {
    schema: SchemaRef,
    max_parallelism: u16,
}

/// Rows of a checkpoint as they come back, those of foreign key groups left out of `rows`.
pub(super) struct RestoredLives {
    pub(super) hashes: Vec<u128>,
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<Vec<ArrayRef>>,
    bounds: [TimestampMillisecondArray; 2],
    emitted: BooleanArray,
    versions: Int64Array,
    /// The stored segment does not hold exactly this subtask's rows.
    pub(super) is_partial: bool,
}

impl RestoredLives {
    /// The life in a row.
    pub(super) fn life(&self, row: usize, key: u32) -> Life {
        let [first, last] = self.bounds.each_ref().map(|times| times.is_valid(row).then(|| times.value(row)));
        let mut life = Life::of(key, first.unwrap_or(i64::MIN), last.unwrap_or(i64::MAX));
        (life.emitted, life.version) = (self.emitted.value(row), self.versions.value(row));
        life
    }
}

impl LivesState {
    pub(super) fn new(config: &AggregateConfig, prototype: &GroupColumns, max_parallelism: u16) -> Self {
        let keys = config.key.iter().zip(prototype.keys.types()).map(|(name, t)| Field::new(name, t.clone(), true));
        let mut fields = vec![
            Field::new("key_group", DataType::UInt16, false),
            Field::new("key_hash", DataType::FixedSizeBinary(16), false),
            Field::new(FIRST_EVENT, event_time_type(), true),
            Field::new(LAST_EVENT, event_time_type(), true),
        ];
        fields.extend(keys);
        fields.extend(prototype.accumulators.iter().flat_map(Accumulator::state_fields));
        fields.push(Field::new("emitted", DataType::Boolean, false));
        fields.push(Field::new(VERSION, DataType::Int64, false));
        LivesState { schema: Arc::new(Schema::new(fields)), max_parallelism }
    }

    /// Some lives. Where a key lives for ever its bounds are null.
    pub(super) fn rows(&self, lives: &Lives, slots: &[u32]) -> Result<Vec<RecordBatch>> {
        let all = || slots.iter().map(|slot| lives.life(*slot));
        let keys: Vec<u32> = all().map(|life| life.key).collect();
        let hashes: Vec<u128> = slots.iter().map(|slot| lives.hash_of(*slot)).collect();
        let groups = hashes.iter().map(|hash| key_group_of(*hash, self.max_parallelism));
        let times = |of: fn(&Life) -> i64| -> ArrayRef {
            let known = all().map(|life| Some(of(life)).filter(|time| *time != i64::MIN && *time != i64::MAX));
            Arc::new(TimestampMillisecondArray::from_iter(known).with_timezone("UTC"))
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from_iter_values(groups)),
            hash_column(hashes)?,
            times(|life| life.first),
            times(|life| life.last),
        ];
        columns.extend(lives.keys().arrays(Rows::Some(&keys))?);
        for accumulator in lives.accumulators() {
            columns.extend(accumulator.states(Rows::Some(slots))?);
        }
        columns.push(Arc::new(all().map(|life| Some(life.emitted)).collect::<BooleanArray>()));
        columns.push(Arc::new(Int64Array::from_iter_values(all().map(|life| life.version))));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), columns)?])
    }

    /// The rows that belong to `key_groups`.
    pub(super) fn restored(
        config: &AggregateConfig,
        segment: &str,
        batch: &RecordBatch,
        key_groups: KeyGroupRange,
        context: &OperatorContext,
    ) -> Result<RestoredLives> {
        let wrong = || misfit(segment);
        let first_state = BEFORE_KEYS + config.key.len();
        let widths = Accumulator::state_widths(&config.aggregates, batch.schema_ref().fields(), first_state);
        let after_states = first_state + widths.iter().sum::<usize>();
        if batch.num_columns() != after_states + 2 {
            return Err(wrong());
        }
        let columns = batch.columns();
        let hashes = hashes_in(&columns[1]).ok_or_else(wrong)?;
        let time = |at: usize| columns[at].as_primitive_opt::<TimestampMillisecondType>().cloned().ok_or_else(wrong);
        let emitted = columns[after_states].as_boolean_opt().ok_or_else(wrong)?;
        let versions = columns[after_states + 1].as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        if emitted.null_count() > 0 || versions.null_count() > 0 {
            return Err(wrong());
        }
        let mut states = columns[first_state..after_states].iter().cloned();
        let in_range = |row: &u32| key_groups.contains(key_group_of(hashes[*row as usize], context.max_parallelism));
        let rows: Vec<u32> = (0..hashes.len() as u32).filter(in_range).collect();
        Ok(RestoredLives {
            is_partial: rows.len() < hashes.len() || key_groups != context.key_groups,
            rows,
            keys: columns[BEFORE_KEYS..first_state].to_vec(),
            states: widths.into_iter().map(|width| states.by_ref().take(width).collect()).collect(),
            bounds: [time(2)?, time(3)?],
            emitted: emitted.clone(),
            versions: versions.clone(),
            hashes,
        })
    }
}
