//! The ids that a dedup remembers, in buckets of event time that are dropped whole when their time is over.

use crate::table::{IdLog, RowMask, Rows, TableFull};
use crate::window::floor;
use std::collections::BTreeMap;
use weir_engine::{EngineError, Result, element::WATERMARK_MIN};

/// Width of a bucket when equal events bear the same event time: between 8 and 64 s no difference was measurable.
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
    /// It came from a checkpoint and has not been part of one of this attempt.
    pub(super) restored: bool,
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

    /// Inserts rows that all fall into one bucket, and adds those that no bucket in question knew to `kept`.
    pub(super) fn insert(
        &mut self,
        start: i64,
        hashes: &[u128],
        rows: Rows<'_>,
        kept: &mut RowMask,
    ) -> Result<(), TableFull> {
        self.open(start);
        if !self.same_event_time && self.buckets.len() > 1 {
            return self.insert_unless_elsewhere(start, hashes, rows, kept);
        }
        let Some(bucket) = self.buckets.get_mut(&start) else { return Ok(()) };
        match rows {
            Rows::All(_) => bucket.ids.insert_all(hashes, kept),
            Rows::Some(rows) => bucket.ids.insert_rows(hashes, rows, kept),
        }
    }

    fn insert_unless_elsewhere(
        &mut self,
        start: i64,
        hashes: &[u128],
        rows: Rows<'_>,
        kept: &mut RowMask,
    ) -> Result<(), TableFull> {
        let elsewhere: Vec<&IdLog> =
            self.buckets.iter().filter(|(other, _)| **other != start).map(|(_, bucket)| &bucket.ids).collect();
        let unknown: Vec<u32> = (0..rows.len())
            .map(|n| rows.row(n) as u32)
            .filter(|row| !elsewhere.iter().any(|ids| ids.contains(hashes[*row as usize])))
            .collect();
        match self.buckets.get_mut(&start) {
            Some(bucket) => bucket.ids.insert_rows(hashes, &unknown, kept),
            None => Ok(()),
        }
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

    /// Puts an id back that a checkpoint held in a bucket whose last millisecond was `last`. After a change of the ttl it is
    /// held no shorter than before.
    pub(super) fn restore(&mut self, last: i64, hash: u128) -> Result<(), TableFull> {
        let start = floor(last, self.width_ms);
        self.open(start);
        if let Some(bucket) = self.buckets.get_mut(&start) {
            bucket.restored = true;
            bucket.ids.insert(hash)?;
        }
        Ok(())
    }

    fn open(&mut self, start: i64) {
        if self.buckets.contains_key(&start) {
            return;
        }
        let neighbour = self.buckets.range(..start).next_back().map_or(0, |(_, bucket)| bucket.ids.len());
        let expected = self.expected.max(neighbour);
        let ids = match self.spare.pop() {
            Some(mut ids) => {
                ids.reset(expected);
                ids
            }
            None => IdLog::with_capacity(expected),
        };
        self.buckets.insert(start, Bucket { ids, restored: false });
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
