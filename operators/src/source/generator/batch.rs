//! Clicks as columns.
//!
//! Invariant: [`click_schema`] is the schema of every batch, with no nulls.

use super::{click::Click, text::ClickText};
use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray},
    buffer::{Buffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use std::sync::Arc;

/// `ad_id, click_timestamp, user_id, ip, country, event_id`, in the order of a click log's fields; `click_timestamp` in
/// milliseconds UTC, in whole seconds.
pub fn click_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        text("ad_id"),
        Field::new("click_timestamp", timestamp, false),
        text("user_id"),
        text("ip"),
        text("country"),
        text("event_id"),
    ]))
}

/// A text column while it grows.
struct TextColumn {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl TextColumn {
    fn with_capacity(rows: usize, width: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        TextColumn { bytes: Vec::with_capacity(rows * width), offsets }
    }

    fn end_row(&mut self) {
        // A batch is bounded by MAX_BATCH_ROWS, so a column stays far below 2 GiB.
        self.offsets.push(self.bytes.len() as i32);
    }

    fn finish(self) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(self.bytes), None))
    }
}

/// The columns of a batch while it grows.
pub(super) struct ClickColumns {
    ad_id: TextColumn,
    click_timestamp: Vec<i64>,
    user_id: TextColumn,
    ip: TextColumn,
    country: TextColumn,
    event_id: TextColumn,
}

impl ClickColumns {
    /// Room for `rows` clicks without growing.
    pub(super) fn with_capacity(rows: usize) -> Self {
        ClickColumns {
            ad_id: TextColumn::with_capacity(rows, 12),
            click_timestamp: Vec::with_capacity(rows),
            user_id: TextColumn::with_capacity(rows, 15),
            ip: TextColumn::with_capacity(rows, 15),
            country: TextColumn::with_capacity(rows, 3),
            event_id: TextColumn::with_capacity(rows, 32),
        }
    }

    pub(super) fn push(&mut self, click: &Click, text: &ClickText) {
        text.ad_id(click, &mut self.ad_id.bytes);
        text.user_id(click, &mut self.user_id.bytes);
        text.ip(click, &mut self.ip.bytes);
        text.country(click, &mut self.country.bytes);
        text.event_id(click, &mut self.event_id.bytes);
        self.click_timestamp.push(click.second * 1_000);
        for column in [&mut self.ad_id, &mut self.user_id, &mut self.ip, &mut self.country, &mut self.event_id] {
            column.end_row();
        }
    }

    pub(super) fn finish(self) -> RecordBatch {
        let timestamps = TimestampMillisecondArray::from(self.click_timestamp).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            self.ad_id.finish(),
            Arc::new(timestamps),
            self.user_id.finish(),
            self.ip.finish(),
            self.country.finish(),
            self.event_id.finish(),
        ];
        RecordBatch::try_new(click_schema(), columns).expect("the columns are built to this schema")
    }
}
