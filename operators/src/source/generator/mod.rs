//! A reproducible click stream for tests, benchmarks and demos, from a seed.
//!
//! Reading order: `config` (what can be asked for), `click` (the pure function from a place in the stream to a click),
//! `batch` and `lines` (clicks as columns and as text), `write` (files of them), `parquet` (how they are encoded), `records` (keyed, for
//! a log), `reader` (a
//! partition, paced or not), `connector` (the generator as a source).
//!
//! Invariant: click `n` of a partition depends on the configuration, the partition and `n` alone, and is the same in every
//! format. A partition can be made without the others, and from any place on.

mod batch;
mod click;
mod config;
mod connector;
mod lines;
mod parquet;
mod random;
mod reader;
mod records;
#[cfg(test)]
mod tests;
mod text;
mod write;
mod zipf;

pub use batch::click_schema;
pub use config::{ClickStreamConfig, WrongSetting};
pub use connector::{GeneratorConfig, GeneratorConnector, KIND};
pub use lines::LineFormat;
pub use records::{AllClicks, ClickRecord, ClickRecords};
pub use write::{ClickFormat, Destination, GenerateReport, generate};

use arrow::array::RecordBatch;
use batch::ClickColumns;
use click::Law;
use std::sync::Arc;
use text::ClickText;
use weir_engine::error::{EngineError, Result};

/// Rows of a batch unless told otherwise.
const DEFAULT_BATCH_ROWS: usize = 8_192;
/// Rows of a batch at most: offsets of text columns are 32 bits wide.
const MAX_BATCH_ROWS: usize = 1 << 20;

/// All partitions of a click stream. Cheap to clone: the table of ads is shared.
#[derive(Clone)]
pub struct ClickStream {
    law: Arc<Law>,
}

impl ClickStream {
    /// Prepares the stream.
    ///
    /// # Errors
    /// When the configuration makes no stream; see [`ClickStreamConfig::validate`].
    pub fn new(config: ClickStreamConfig) -> Result<Self> {
        Ok(ClickStream { law: Arc::new(Law::new(config)?) })
    }

    /// What it was made from.
    pub fn config(&self) -> &ClickStreamConfig {
        self.law.config()
    }

    /// The clicks of one partition, from its first one on.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn partition(&self, partition: u32) -> Result<PartitionClicks> {
        let partitions = self.config().partitions;
        if partition >= partitions {
            return Err(EngineError::definition(format!(
                "click stream: partition {partition} asked for, but partitions = {partitions} (the first is 0)"
            )));
        }
        Ok(PartitionClicks {
            partition,
            partition_key: self.law.partition_key(partition),
            end: self.config().events_of(partition),
            place: 0,
            batch_rows: DEFAULT_BATCH_ROWS,
            text: ClickText::new(self.config().ads),
            law: self.law.clone(),
        })
    }
}

/// The clicks of one partition as batches of [`click_schema`], one after the other.
pub struct PartitionClicks {
    law: Arc<Law>,
    partition: u32,
    partition_key: u64,
    end: Option<u64>,
    place: u64,
    batch_rows: usize,
    text: ClickText,
}

impl PartitionClicks {
    /// Batches of `rows` rows (from 1 to 2^20; the last of a partition may be shorter) instead of 8,192.
    pub fn with_batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = rows.clamp(1, MAX_BATCH_ROWS);
        self
    }

    /// Goes on at click `place` of the partition, counted from 0. Costs nothing, wherever that is.
    pub fn seek(&mut self, place: u64) {
        self.place = place;
    }

    /// The place of the next click.
    pub fn position(&self) -> u64 {
        self.place
    }

    /// The newest event time in milliseconds that the next click may have; none at the end.
    pub fn next_arrival_ms(&self) -> Option<i64> {
        (self.remaining() > 0).then(|| self.law.arrival_ms(self.partition, self.place))
    }

    /// The next clicks, at most `rows` of them; none at the end.
    pub fn next_rows(&mut self, rows: usize) -> Option<RecordBatch> {
        let rows = self.remaining().min(rows.min(MAX_BATCH_ROWS) as u64);
        if rows == 0 {
            return None;
        }
        let mut columns = ClickColumns::with_capacity(rows as usize);
        for place in self.place..self.place + rows {
            columns.push(&self.law.click(self.partition, self.partition_key, place), &self.text);
        }
        self.place += rows;
        Some(columns.finish())
    }

    fn remaining(&self) -> u64 {
        self.end.unwrap_or(u64::MAX).saturating_sub(self.place)
    }
}

impl Iterator for PartitionClicks {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        self.next_rows(self.batch_rows)
    }
}
