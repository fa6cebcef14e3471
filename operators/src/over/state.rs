//! What is held as state, and back: segments for pieces of event time, which go when nothing of them is held any more.
//!
//! `rows-START+WIDTH` has the rows of such a piece; a checkpoint appends those that came since the last one. `burst-START` has
//! again, of the keys whose last row is of that piece, these rows if the condition is true of them. `progress` has for each run of
//! key groups, from `key_group` on, the event time up to which rows have been answered.
//!
//! The columns are those of the rows, `key_group` and `evaluated_until`; the last one is null but for `progress`, where the
//! others are.

use super::held::{Handle, HeldRows, SharedRows};
use super::layout::Layout;
use crate::event_time::event_time_type;
use crate::schema::ColumnSchema;
use crate::window::floor;
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, TimestampMillisecondArray, new_null_array,
    },
    compute::filter_record_batch,
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimestampMillisecondType},
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    key_group::{KeyGroupRange, key_group_of},
    state::{Change, Segment, StateRows},
};

/// Segments of fewer rows are not worth writing anew for those that are not held any more.
const FEW_ROWS: usize = 1024;

/// How a segment is called, and what that says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Rows { start: i64, width: i64 },
    Burst { start: i64 },
    Progress,
}

impl Name {
    pub(super) fn text(self) -> String {
        match self {
            Name::Rows { start, width } => format!("rows-{start}+{width}"),
            Name::Burst { start } => format!("burst-{start}"),
            Name::Progress => "progress".into(),
        }
    }

    /// # Errors
    /// When no segment is called so.
    pub(super) fn of(text: &str) -> Result<Self> {
        let named = match text.strip_prefix("rows-") {
            Some(rest) => rest
                .rsplit_once('+')
                .and_then(|(start, width)| Some(Name::Rows { start: start.parse().ok()?, width: width.parse().ok()? })),
            None => match text.strip_prefix("burst-") {
                Some(start) => start.parse().ok().map(|start| Name::Burst { start }),
                None => (text == "progress").then_some(Name::Progress),
            },
        };
        named.ok_or_else(|| {
            EngineError::corrupt(format!("segment '{text}': not a name that an over gives to its state"))
        })
    }
}

/// The columns of state.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    layout: Arc<Layout>,
    schema: SchemaRef,
    max_parallelism: u16,
}

impl Stored {
    pub(super) fn new(layout: Arc<Layout>, max_parallelism: u16) -> Self {
        // Whether there are nulls is for the rows to say.
        let own =
            layout.columns().columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let group = Field::new(free_name(layout.columns(), "key_group"), DataType::Int32, false);
        let until = Field::new(free_name(layout.columns(), "evaluated_until"), event_time_type(), true);
        let schema = Arc::new(Schema::new(own.chain([group, until]).collect::<Vec<_>>()));
        Stored { layout, schema, max_parallelism }
    }

    /// Rows, to be made later; with the hash of each.
    pub(super) fn rows(&self, rows: SharedRows, hashes: &[u128]) -> StateRows {
        let groups: Vec<i32> = hashes.iter().map(|hash| i32::from(key_group_of(*hash, self.max_parallelism))).collect();
        let stored = self.clone();
        StateRows::deferred(move || {
            let each = rows.iter().flat_map(|(piece, rows)| rows.iter().map(|row| piece.row(*row as usize)));
            let mut columns = stored.layout.to_columns(each)?;
            columns.push(Arc::new(Int32Array::from(groups)));
            columns.push(new_null_array(&event_time_type(), columns[0].len()));
            Ok(vec![RecordBatch::try_new(stored.schema, columns)?])
        })
    }

    /// How far rows have been answered: from which key group on, and until when.
    pub(super) fn progress(&self, runs: &[(u16, i64)]) -> Result<RecordBatch> {
        let own = self.layout.columns().columns.iter().map(|column| new_null_array(&column.data_type, runs.len()));
        let groups: ArrayRef = Arc::new(Int32Array::from_iter_values(runs.iter().map(|run| i32::from(run.0))));
        let until = TimestampMillisecondArray::from_iter_values(runs.iter().map(|run| run.1)).with_timezone("UTC");
        let columns = own.chain([groups, Arc::new(until)]).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// What was stored by `progress`.
    ///
    /// # Errors
    /// When these are other columns.
    pub(super) fn read_progress(&self, stored: &RecordBatch) -> Result<Vec<(u16, i64)>> {
        let until = stored.columns().last().and_then(|until| until.as_primitive_opt::<TimestampMillisecondType>());
        let until = until.filter(|until| until.null_count() == 0).ok_or_else(misfit)?;
        let groups = self.groups(stored)?.values().iter().map(|group| u16::try_from(*group).map_err(|_| misfit()));
        groups.zip(until.values()).map(|(group, until)| Ok((group?, *until))).collect()
    }

    /// The rows of these key groups, in declared columns.
    ///
    /// # Errors
    /// When these are other columns.
    pub(super) fn read_rows(&self, stored: &RecordBatch, key_groups: KeyGroupRange) -> Result<RecordBatch> {
        let is_own = |group: &i32| u16::try_from(*group).is_ok_and(|group| key_groups.contains(group));
        let own: BooleanArray = self.groups(stored)?.values().iter().map(|group| Some(is_own(group))).collect();
        let rows = filter_record_batch(stored, &own)?;
        let columns = self.layout.declared(&rows)?;
        Layout::batch(self.layout.columns(), columns, rows.num_rows())
    }

    fn groups<'a>(&self, stored: &'a RecordBatch) -> Result<&'a Int32Array> {
        let position = self.layout.columns().columns.len();
        let groups = stored.columns().get(position).and_then(|groups| groups.as_primitive_opt::<Int32Type>());
        groups.filter(|_| stored.num_columns() == position + 2).ok_or_else(misfit)
    }
}

fn misfit() -> EngineError {
    EngineError::corrupt("not the columns of an over's state")
}

/// A name that no column of the rows has.
fn free_name(columns: &ColumnSchema, wanted: &str) -> String {
    let mut name = wanted.to_owned();
    while columns.column(&name).is_some() {
        name.push('_');
    }
    name
}

/// The pieces of event time that rows are held of.
#[derive(Debug)]
pub(super) struct Buckets {
    width: i64,
    buckets: BTreeMap<i64, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Rows that no checkpoint has.
    fresh: Vec<Handle>,
    held: usize,
    /// Rows that the stored segment has, those that were let go included.
    stored: usize,
    /// What is stored has another name.
    is_elsewhere: bool,
}

impl Buckets {
    pub(super) fn new(width: i64) -> Self {
        Buckets { width, buckets: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, time: i64, row: Handle) {
        let bucket = self.buckets.entry(floor(time, self.width)).or_default();
        bucket.held += 1;
        bucket.fresh.push(row);
    }

    /// A row that a segment of a checkpoint has, in pieces of such a width.
    pub(super) fn restore(&mut self, time: i64, width: i64) {
        let bucket = self.buckets.entry(floor(time, self.width)).or_default();
        bucket.held += 1;
        bucket.stored += 1;
        bucket.is_elsewhere |= width != self.width;
    }

    pub(super) fn let_go(&mut self, time: i64, held: &HeldRows) {
        let start = floor(time, self.width);
        let Some(bucket) = self.buckets.get_mut(&start) else { return };
        bucket.held -= 1;
        if bucket.held == 0 {
            self.buckets.remove(&start);
        } else if bucket.fresh.len() > 2 * bucket.held + FEW_ROWS {
            bucket.fresh.retain(|row| held.is_held(*row));
        }
    }

    /// What a checkpoint writes of them.
    pub(super) fn segments(&mut self, held: &HeldRows, stored: &Stored) -> Vec<Segment> {
        let mut anew: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (start, bucket) in &mut self.buckets {
            bucket.fresh.retain(|row| held.is_held(*row));
            if bucket.is_elsewhere || bucket.stored + bucket.fresh.len() > 2 * bucket.held + FEW_ROWS {
                anew.insert(*start, Vec::with_capacity(bucket.held));
            }
        }
        if !anew.is_empty() {
            for slot in held.used() {
                if let Some(rows) = anew.get_mut(&floor(held.time(slot), self.width)) {
                    rows.push(slot);
                }
            }
        }
        let width = self.width;
        let segment = |(start, bucket): (&i64, &mut Bucket)| {
            let id = Name::Rows { start: *start, width }.text();
            Segment { id, change: bucket.change(anew.remove(start), held, stored) }
        };
        self.buckets.iter_mut().map(segment).collect()
    }
}

impl Bucket {
    fn change(&mut self, anew: Option<Vec<u32>>, held: &HeldRows, stored: &Stored) -> Change {
        let rows = |slots: &[u32]| {
            let hashes: Vec<u128> = slots.iter().map(|slot| held.hash(*slot)).collect();
            stored.rows(held.shared(slots.iter().copied()), &hashes)
        };
        let fresh: Vec<u32> = std::mem::take(&mut self.fresh).into_iter().map(|row| row.slot).collect();
        if let Some(all) = anew {
            (self.stored, self.is_elsewhere) = (all.len(), false);
            return Change::Replace(rows(&all));
        }
        let is_first = self.stored == 0;
        self.stored += fresh.len();
        match (is_first, fresh.is_empty()) {
            (_, true) => Change::Unchanged,
            (true, false) => Change::Replace(rows(&fresh)),
            (false, false) => Change::Append(rows(&fresh)),
        }
    }
}
