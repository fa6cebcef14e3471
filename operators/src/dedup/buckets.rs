//! The ids that a dedup remembers, in buckets of event time that are dropped whole when their time is over.

use crate::table::{IdLog, RowMask, Rows, TableFull};
use crate::window::floor;
use std::collections::BTreeMap;
use weir_engine::{EngineError, Result, element::WATERMARK_MIN};

/// Width of a bucket when equal events have the same event time: between 8 and 64 s no difference was measurable.
const NARROW_MS: i64 = 64_000;
/// Emptied logs that wait for reuse.
const SPARE: usize = 2;

/// Ids by event time.
#[derive(Debug)]
pub(super) struct Buckets {
    width_ms: i64,
    ttl_ms: i64,
    same_event_time: bool,
    watermark: i64,
    buckets: BTreeMap<i64, Bucket>,
    spare: Vec<IdLog>,
    /// Ids of the largest bucket of late: what the next one is sized for.
    expected: usize,
}

/// Ids first seen in one piece of event time.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) ids: IdLog,
    /// It came from a checkpoint under another name, so appending to what is stored is not enough.
    pub(super) rewrite: bool,
}

impl Buckets {
    pub(super) fn new(ttl_ms: i64, same_event_time: bool) -> Self {
        let width_ms = if same_event_time { NARROW_MS } else { NARROW_MS.max(ttl_ms) };
        Buckets {
            width_ms,
            ttl_ms,
            same_event_time,
            watermark: WATERMARK_MIN,
            buckets: BTreeMap::new(),
            spare: Vec::new(),
            expected: 0,
        }
    }

    pub(super) fn width(&self) -> i64 {
        self.width_ms
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (i64, &mut Bucket)> {
        self.buckets.iter_mut().map(|(start, bucket)| (*start, bucket))
    }

    /// Whether the ids of the bucket that starts at `start` are no longer held.
    pub(super) fn is_expired(&self, start: i64) -> bool {
        start.saturating_add(self.width_ms).saturating_add(self.ttl_ms) <= self.watermark
    }

    /// Inserts rows that all fall into one bucket, and adds those whose id it did not know to `kept`; to `late`, if the bucket
    /// is gone.
    pub(super) fn insert(
        &mut self,
        start: i64,
        hashes: &[u128],
        rows: Rows<'_>,
        kept: &mut RowMask,
        late: &mut RowMask,
    ) -> Result<(), TableFull> {
        if self.is_expired(start) {
            (0..rows.len()).for_each(|n| late.insert(rows.row(n)));
            return Ok(());
        }
        let ids = &mut self.open(start).ids;
        match rows {
            Rows::All(_) => ids.insert_all(hashes, kept),
            Rows::Some(rows) => ids.insert_rows(hashes, rows, kept),
        }
    }

    /// Inserts a batch where an id may be in any bucket. Equal ids in different buckets may follow each other closely, so the
    /// rows go in run by run, in the order in which they came.
    pub(super) fn insert_in_order(
        &mut self,
        times: &[i64],
        hashes: &[u128],
        kept: &mut RowMask,
        late: &mut RowMask,
    ) -> Result<(), TableFull> {
        let mut first = 0;
        while let Some(time) = times.get(first) {
            let start = floor(*time, self.width_ms);
            let is_in_run = |time: &&i64| floor(**time, self.width_ms) == start;
            let end = first + times[first..].iter().take_while(is_in_run).count();
            let elsewhere: Vec<&IdLog> =
                self.buckets.iter().filter(|(other, _)| **other != start).map(|(_, bucket)| &bucket.ids).collect();
            let is_unknown = |row: &u32| !elsewhere.iter().any(|ids| ids.contains(hashes[*row as usize]));
            let rows = first as u32..end as u32;
            let rows: Vec<u32> =
                if self.is_expired(start) { rows.collect() } else { rows.filter(is_unknown).collect() };
            self.insert(start, hashes, Rows::Some(&rows), kept, late)?;
            first = end;
        }
        Ok(())
    }

    /// Refuses state in buckets of another width where it cannot be told into which bucket an id belongs.
    pub(super) fn check_width(&self, width_ms: i64) -> Result<()> {
        if self.same_event_time && width_ms > self.width_ms {
            return Err(EngineError::definition(
                "the checkpoint was taken without same_event_time, and the ids in it don't tell their event time: \
                 leave same_event_time off, or start without this checkpoint",
            ));
        }
        Ok(())
    }

    /// Puts an id back that a checkpoint held in the bucket at `start` of that width. After a change of the ttl it is held no
    /// shorter than before, and its bucket, which has another name now, is rewritten.
    pub(super) fn restore(&mut self, start: i64, width_ms: i64, hash: u128) -> Result<(), TableFull> {
        let is_same = width_ms == self.width_ms;
        let start = if is_same { start } else { floor(start.saturating_add(width_ms - 1), self.width_ms) };
        let bucket = self.open(start);
        bucket.ids.insert(hash)?;
        bucket.ids.mark_handed_over();
        bucket.rewrite |= !is_same;
        Ok(())
    }

    fn open(&mut self, start: i64) -> &mut Bucket {
        let neighbour = self.buckets.range(..start).next_back().map_or(0, |(_, bucket)| bucket.ids.len());
        let expected = self.expected.max(neighbour);
        self.buckets.entry(start).or_insert_with(|| {
            let spare = self.spare.pop().map(|mut ids| {
                ids.reset(expected);
                ids
            });
            Bucket { ids: spare.unwrap_or_else(|| IdLog::with_capacity(expected)), rewrite: false }
        })
    }

    /// Drops the buckets whose ids need not be held any more.
    pub(super) fn advance(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        while let Some((start, bucket)) = self.buckets.first_key_value() {
            if !self.is_expired(*start) {
                break;
            }
            self.expected = bucket.ids.len();
            if let Some((_, bucket)) = self.buckets.pop_first()
                && self.spare.len() < SPARE
            {
                self.spare.push(bucket.ids);
            }
        }
    }
}
