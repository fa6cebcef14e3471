//! What a join holds of both sides, and which right rows fit a left one.

use super::buckets::Buckets;
use super::config::{JoinConfig, Match};
use super::keyed_rows::KeyedRows;
use super::left::LeftRows;
use super::right::RightRows;
use weir_engine::Result;

/// Where a row is: the start of its bucket, and its number there.
pub(super) type Place = (i64, u32);

/// What a join holds of both sides.
#[derive(Debug)]
pub(super) struct Sides {
    pub(super) left: Buckets<LeftRows>,
    pub(super) right: Buckets<RightRows>,
    matching: Match,
    before_ms: i64,
    after_ms: i64,
}

impl Sides {
    pub(super) fn new(config: &JoinConfig) -> Self {
        Sides {
            left: Buckets::new(config.left_ttl_ms()),
            right: Buckets::new(config.right_ttl_ms()),
            matching: config.matching,
            before_ms: config.before_ms,
            after_ms: config.after_ms,
        }
    }

    /// The bucket of left rows at a start.
    pub(super) fn open_left(&mut self, start: i64, config: &JoinConfig) -> Result<&mut LeftRows> {
        let types = config.left.kept.columns.iter().map(|column| &column.data_type);
        self.left.open(start, || Ok(LeftRows::new(KeyedRows::new(types, true)?)))
    }

    /// The bucket of right rows at a start.
    pub(super) fn open_right(&mut self, start: i64, config: &JoinConfig) -> Result<&mut RightRows> {
        let types = config.right.kept.columns.iter().map(|column| &column.data_type);
        // Only where each match is a result of its own do its right row's columns say which one it is.
        let with_row_hashes = config.matching == Match::All;
        self.right.open(start, || Ok(RightRows::new(KeyedRows::new(types, with_row_hashes)?)))
    }

    pub(super) fn left_row(&self, (start, row): Place) -> Option<(&LeftRows, u32)> {
        self.left.get(start).map(|bucket| (bucket, row))
    }

    pub(super) fn right_row(&self, (start, row): Place) -> Option<(&RightRows, u32)> {
        self.right.get(start).map(|bucket| (bucket, row))
    }

    /// How many bytes the texts of a result have together, at most.
    pub(super) fn longest(&self) -> usize {
        let left = self.left.values().map(|bucket| bucket.rows.longest()).max();
        let right = self.right.values().map(|bucket| bucket.rows.longest()).max();
        left.unwrap_or(0).saturating_add(right.unwrap_or(0))
    }

    /// The same of a result of these rows. What is known is how long texts are in their buckets.
    pub(super) fn longest_of(&self, left: Place, right: Option<Place>) -> usize {
        let left = self.left_row(left).map_or(0, |(bucket, _)| bucket.rows.longest());
        let right = right.and_then(|right| self.right_row(right)).map_or(0, |(bucket, _)| bucket.rows.longest());
        left.saturating_add(right)
    }

    /// The right row that fits a left row with this key and time, if only one counts.
    pub(super) fn best(&self, hash: u128, time: i64) -> Option<Place> {
        let (from, to) = (time.saturating_sub(self.before_ms), time.saturating_add(self.after_ms));
        let mut buckets = self.right.between(from, to);
        match self.matching {
            Match::First => buckets.find_map(|(start, bucket)| Some((start, bucket.rows.first(hash, from, to)?))),
            _ => buckets.rev().find_map(|(start, bucket)| Some((start, bucket.rows.last(hash, from, to)?))),
        }
    }

    /// All right rows that fit a left row with this key and time, in their order.
    pub(super) fn all(&self, hash: u128, time: i64) -> Vec<Place> {
        let (from, to) = (time.saturating_sub(self.before_ms), time.saturating_add(self.after_ms));
        let of = |(start, bucket): (i64, &RightRows)| {
            bucket.rows.all(hash, from, to).into_iter().map(move |row| (start, row)).collect::<Vec<Place>>()
        };
        self.right.between(from, to).flat_map(of).collect()
    }

    /// The left rows that right rows of this key fit, from the earliest of them to the latest.
    pub(super) fn fitted(&self, hash: u128, earliest: i64, latest: i64) -> Vec<Place> {
        let (from, to) = (earliest.saturating_sub(self.after_ms), latest.saturating_add(self.before_ms));
        let of = |(start, bucket): (i64, &LeftRows)| {
            bucket.rows.all(hash, from, to).into_iter().map(move |row| (start, row)).collect::<Vec<Place>>()
        };
        self.left.between(from, to).flat_map(of).collect()
    }

    /// Whether a right row has come since left rows were last answered.
    pub(super) fn is_new(&self, place: Place) -> bool {
        self.right_row(place).is_some_and(|(bucket, row)| bucket.is_new(row))
    }

    /// Takes the left rows whose time has come when event time is past this.
    pub(super) fn take_due(&mut self, watermark: i64) -> Vec<Place> {
        let until = watermark.saturating_sub(self.after_ms).saturating_sub(1);
        let mut due = Vec::new();
        for (start, bucket) in self.left.iter_mut().take_while(|(start, _)| *start <= until) {
            due.extend(bucket.take_due(until).into_iter().map(|row| (start, row)));
        }
        due
    }
}
