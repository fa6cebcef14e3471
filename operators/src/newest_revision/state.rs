//! The newest revision of every record, by window.

use crate::columns::REVISION;
use crate::window::WindowRule;
use crate::{aggregate::time_in, table::hashes_in};
use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Int32Type, Schema},
    record_batch::RecordBatch,
};
use hashbrown::{HashMap, hash_map::Entry};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use weir_engine::{
    EngineError, Result,
    element::WATERMARK_MIN,
    key_group::{KeyGroupRange, key_group_of},
    state::{Change, Segment, StateRows},
};

/// So many rows that newer ones have replaced are kept in checkpoints at least before they are written anew.
const DEAD_ROWS: usize = 4096;
const KEY_HASH: &str = "key_hash";
const WINDOW: &str = "window";

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// It is newer than what has passed.
    Passes,
    /// It is not.
    Repeated,
    /// Nothing is remembered of its window any more.
    Expired,
}

/// The windows that rows are accepted for.
#[derive(Debug)]
pub(super) struct Windows {
    rule: WindowRule,
    by_start: BTreeMap<i64, Records>,
    watermark: i64,
}

/// The records of one window.
#[derive(Debug, Default)]
struct Records {
    newest: HashMap<u128, i32>,
    /// What no checkpoint holds, as it came.
    unsaved: Vec<(u128, i32)>,
    /// Rows that checkpoints hold.
    saved: usize,
}

impl Windows {
    pub(super) fn new(rule: WindowRule) -> Self {
        Windows { rule, by_start: BTreeMap::new(), watermark: WATERMARK_MIN }
    }

    /// Start and end of the window of a moment.
    pub(super) fn bounds(&self, time: i64) -> (i64, i64) {
        (self.rule.slice(time).0, self.rule.last_window_end(time))
    }

    /// Notes a revision of a record of the window of that moment, if it is newer than what has passed.
    pub(super) fn pass(&mut self, time: i64, record: u128, revision: i32) -> Passing {
        let (start, end) = self.bounds(time);
        if self.rule.expiry(end) <= self.watermark {
            return Passing::Expired;
        }
        let records = self.by_start.entry(start).or_default();
        match records.newest.entry(record) {
            Entry::Occupied(known) if *known.get() >= revision => return Passing::Repeated,
            Entry::Occupied(mut known) => *known.get_mut() = revision,
            Entry::Vacant(vacant) => {
                vacant.insert(revision);
            }
        }
        records.unsaved.push((record, revision));
        Passing::Passes
    }

    /// Drops the windows that no row is accepted for any more.
    pub(super) fn advance(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        while let Some(first) = self.by_start.first_entry() {
            if self.rule.expiry(self.rule.last_window_end(*first.key())) > self.watermark {
                break;
            }
            first.remove();
        }
    }

    /// What a checkpoint writes.
    pub(super) fn segments(&mut self) -> Vec<Segment> {
        let segment = |(start, records): (&i64, &mut Records)| Segment {
            id: format!("{WINDOW}-{start}"),
            change: records.change(),
        };
        self.by_start.iter_mut().map(segment).collect()
    }

    /// Takes back what a checkpoint holds of one window, but for foreign key groups.
    pub(super) fn restore(
        &mut self,
        segment: &str,
        rows: &RecordBatch,
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<()> {
        let misfit = || EngineError::corrupt(format!("segment '{segment}': not the state of revisions"));
        let start = time_in(segment, WINDOW).ok_or_else(misfit)?;
        let hashes = rows.column_by_name(KEY_HASH).and_then(hashes_in).ok_or_else(misfit)?;
        let revisions = rows.column_by_name(REVISION).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let revisions = revisions.ok_or_else(misfit)?;
        let mine = hashes.iter().zip(revisions.values());
        for (hash, revision) in mine.filter(|(hash, _)| key_groups.contains(key_group_of(**hash, max_parallelism))) {
            let records = self.by_start.entry(start).or_default();
            records.saved += 1;
            let known = records.newest.entry(*hash).or_insert(*revision);
            *known = (*known).max(*revision);
        }
        Ok(())
    }
}

impl Records {
    fn change(&mut self) -> Change {
        let unsaved = std::mem::take(&mut self.unsaved);
        if unsaved.is_empty() {
            return Change::Unchanged;
        }
        let dead = (self.saved + unsaved.len()).saturating_sub(self.newest.len());
        if dead > DEAD_ROWS.max(self.newest.len()) {
            let mut all: Vec<(u128, i32)> = self.newest.iter().map(|(record, revision)| (*record, *revision)).collect();
            all.sort_unstable();
            self.saved = all.len();
            return Change::Replace(StateRows::deferred(move || Ok(vec![state_rows(&all)?])));
        }
        self.saved += unsaved.len();
        Change::Append(StateRows::deferred(move || Ok(vec![state_rows(&unsaved)?])))
    }
}

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(KEY_HASH, DataType::FixedSizeBinary(16), false),
        Field::new(REVISION, DataType::Int32, false),
    ]))
});

fn state_rows(rows: &[(u128, i32)]) -> Result<RecordBatch> {
    let hashes: Vec<u128> = rows.iter().map(|row| row.0).collect();
    let hashes: ArrayRef = Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(hashes), None)?);
    let revisions = Int32Array::from_iter_values(rows.iter().map(|row| row.1));
    Ok(RecordBatch::try_new(SCHEMA.clone(), vec![hashes, Arc::new(revisions)])?)
}
