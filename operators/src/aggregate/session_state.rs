//! What a checkpoint holds of sessions: one segment, a row per session and per withdrawal that is still to be emitted.

use super::accumulator::Accumulator;
use super::config::AggregateConfig;
use super::groups::GroupColumns;
use super::session_store::{Kind, Session, SessionStore};
use super::state::misfit;
use crate::columns::{REVISION, WINDOW_END, WINDOW_START};
use crate::event_time::{event_time_type, event_times};
use crate::table::{Rows, hash_column, hashes_in};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, TimestampMillisecondArray, UInt16Array},
    buffer::ScalarBuffer,
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    Result,
    key_group::{KeyGroupRange, key_group_of},
    operator::OperatorContext,
};

const BEFORE_KEYS: usize = 4;
const FLAGS: [&str; 3] = ["emitted", "changed", "retracted"];

/// The columns of the state of sessions.
#[derive(Debug, Clone)]
pub(super) struct SessionState {
    schema: SchemaRef,
    max_parallelism: u16,
}

/// Rows of a checkpoint as they come back, those of foreign key groups left out of `rows`.
pub(super) struct RestoredSessions {
    pub(super) hashes: Vec<u128>,
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<Vec<ArrayRef>>,
    bounds: (ScalarBuffer<i64>, ScalarBuffer<i64>),
    flags: Vec<BooleanArray>,
    revisions: Int32Array,
    /// As for slices: the stored segment does not hold exactly this subtask's rows.
    pub(super) is_partial: bool,
}

impl RestoredSessions {
    /// The session in a row.
    pub(super) fn session(&self, row: usize, key: u32) -> Session {
        let [emitted, changed, retracted] = [0, 1, 2].map(|flag: usize| self.flags[flag].value(row));
        let kind = match (retracted, emitted) {
            (true, _) => Kind::Withdrawal,
            (false, true) => Kind::Emitted,
            (false, false) => Kind::Open,
        };
        let (start, end, revision) = (self.bounds.0[row], self.bounds.1[row], self.revisions.value(row));
        Session { key, start, end, kind, revision, changed, expired: false, due: None }
    }
}

impl SessionState {
    pub(super) fn new(config: &AggregateConfig, prototype: &GroupColumns, max_parallelism: u16) -> Self {
        let keys = config.key.iter().zip(prototype.keys.types()).map(|(name, t)| Field::new(name, t.clone(), true));
        let mut fields = vec![
            Field::new("key_group", DataType::UInt16, false),
            Field::new("key_hash", DataType::FixedSizeBinary(16), false),
            Field::new(WINDOW_START, event_time_type(), false),
            Field::new(WINDOW_END, event_time_type(), false),
        ];
        fields.extend(keys);
        fields.extend(prototype.accumulators.iter().flat_map(Accumulator::state_fields));
        fields.extend(FLAGS.map(|name| Field::new(name, DataType::Boolean, false)));
        fields.push(Field::new(REVISION, DataType::Int32, false));
        SessionState { schema: Arc::new(Schema::new(fields)), max_parallelism }
    }

    /// All sessions; `key_hashes` by key number.
    pub(super) fn rows(&self, store: &SessionStore, key_hashes: &[u128]) -> Result<Vec<RecordBatch>> {
        let slots = store.slots();
        let sessions = || slots.iter().map(|slot| store.session(*slot));
        let keys: Vec<u32> = sessions().map(|session| session.key).collect();
        let hashes = || keys.iter().map(|key| key_hashes[*key as usize]);
        let times = |of: fn(&Session) -> i64| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from_iter_values(sessions().map(of)).with_timezone("UTC"))
        };
        let flags = |of: fn(&Session) -> bool| -> ArrayRef {
            Arc::new(sessions().map(|session| Some(of(session))).collect::<BooleanArray>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from_iter_values(hashes().map(|hash| key_group_of(hash, self.max_parallelism)))),
            hash_column(hashes().collect())?,
            times(|session| session.start),
            times(|session| session.end),
        ];
        columns.extend(store.keys().arrays(Rows::Some(&keys))?);
        for accumulator in store.accumulators() {
            columns.extend(accumulator.states(Rows::Some(&slots))?);
        }
        columns.push(flags(|session| session.kind == Kind::Emitted));
        columns.push(flags(|session| session.changed));
        columns.push(flags(|session| session.kind == Kind::Withdrawal));
        columns.push(Arc::new(Int32Array::from_iter_values(sessions().map(|session| session.revision))));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), columns)?])
    }

    /// The rows that belong to `key_groups`.
    pub(super) fn restored(
        config: &AggregateConfig,
        segment: &str,
        batch: &RecordBatch,
        key_groups: KeyGroupRange,
        context: &OperatorContext,
    ) -> Result<RestoredSessions> {
        let fields = batch.schema_ref().fields();
        let widths = Accumulator::state_widths(&config.aggregates, fields, BEFORE_KEYS + config.key.len());
        let before_flags = BEFORE_KEYS + config.key.len() + widths.iter().sum::<usize>();
        if batch.num_columns() != before_flags + FLAGS.len() + 1 {
            return Err(misfit(segment));
        }
        let columns = batch.columns();
        let hashes = hashes_in(&columns[1]).ok_or_else(|| misfit(segment))?;
        let mut states = columns[BEFORE_KEYS + config.key.len()..before_flags].iter().cloned();
        let flags: Option<Vec<BooleanArray>> = columns[before_flags..before_flags + FLAGS.len()]
            .iter()
            .map(|flags| flags.as_boolean_opt().filter(|flags| flags.null_count() == 0).cloned())
            .collect();
        let revisions = columns[before_flags + FLAGS.len()].as_primitive_opt::<Int32Type>();
        let in_range = |row: &u32| key_groups.contains(key_group_of(hashes[*row as usize], context.max_parallelism));
        let rows: Vec<u32> = (0..hashes.len() as u32).filter(in_range).collect();
        Ok(RestoredSessions {
            is_partial: rows.len() < hashes.len() || key_groups != context.key_groups,
            rows,
            keys: columns[BEFORE_KEYS..BEFORE_KEYS + config.key.len()].to_vec(),
            states: widths.into_iter().map(|width| states.by_ref().take(width).collect()).collect(),
            bounds: (event_times(batch, WINDOW_START)?, event_times(batch, WINDOW_END)?),
            flags: flags.ok_or_else(|| misfit(segment))?,
            revisions: revisions.ok_or_else(|| misfit(segment))?.clone(),
            hashes,
        })
    }
}
