//! What every source is configured with, whatever its connector.

use super::{
    computed_time::ComputedTime,
    jump::{JumpAfter, JumpRule, UNSET_MAX_JUMP_MS},
    reader::ReaderSettings,
    split_watermark::WatermarkRule,
};
use crate::schema::ColumnSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use weir_engine::{
    error::{EngineError, Result},
    operator::OperatorContext,
};

/// Records of a batch at most: enough for a column's fixed costs not to show, few enough for a batch to stay in the cache.
pub const BATCH_ROWS: usize = 16_384;
/// How often a followed source asks for new records.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often a followed source looks for new splits.
pub const DISCOVER_INTERVAL: Duration = Duration::from_millis(500);

/// The part of a source node's configuration that is the same for all connectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSettings {
    /// The columns that are wanted, in order.
    pub columns: ColumnSchema,
    /// The column that is the event time; none: the source has no watermark until its end.
    #[serde(default)]
    pub event_time: Option<String>,
    /// How the event time is computed; none: its column is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_time: Option<ComputedTime>,
    /// How the watermark follows the event time.
    #[serde(default)]
    pub watermark: WatermarkSettings,
}

/// How a source's watermark follows its event time, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatermarkSettings {
    /// How far it stays behind the largest event time.
    pub delay_ms: i64,
    /// After so long without records a followed split no longer holds it back; none: never.
    pub idle_after_ms: Option<u64>,
    /// An event further ahead of its split than this is a dead letter; none: none is, but one that is a day
    /// ahead moves no time.
    pub max_jump_ms: Option<i64>,
    /// When time goes on to where such events are; none: as [`JumpAfter::default`] says.
    pub jump_after: Option<JumpAfter>,
    /// Of a source that is read as events happen: one further ahead of the wall clock than this is a dead letter.
    pub max_ahead_ms: Option<i64>,
}

impl SourceSettings {
    /// The names of the wanted columns, in order.
    pub fn column_names(&self) -> Vec<String> {
        self.columns.names().map(str::to_owned).collect()
    }

    /// The same without some of the columns.
    pub fn without_columns(&self, left_out: impl Fn(&str) -> bool) -> Self {
        let mut settings = self.clone();
        settings.columns.columns.retain(|column| !left_out(&column.name));
        settings
    }

    /// From a node's configuration.
    ///
    /// # Errors
    /// Names the node and what does not fit.
    pub fn read(config: &serde_json::Value, context: &OperatorContext) -> Result<Self> {
        SourceSettings::deserialize(config).map_err(|error| {
            EngineError::definition(format!("the configuration of '{}' does not fit: {error}", context.operator))
        })
    }

    /// The rule of the splits' watermarks.
    pub fn rule(&self) -> WatermarkRule {
        let after = self.watermark.jump_after.unwrap_or_default();
        let (max_jump_ms, refuses) = match self.watermark.max_jump_ms {
            Some(max_jump_ms) => (max_jump_ms, true),
            None => (UNSET_MAX_JUMP_MS, false),
        };
        WatermarkRule { delay_ms: self.watermark.delay_ms, jump: Some(JumpRule { max_jump_ms, refuses, after }) }
    }

    /// What the sources' common part needs of them.
    pub fn reader_settings(&self) -> ReaderSettings {
        ReaderSettings {
            event_time: self.event_time.clone(),
            rule: self.rule(),
            max_ahead_ms: self.watermark.max_ahead_ms,
            idle_after: self.watermark.idle_after_ms.map(Duration::from_millis),
            batch_rows: BATCH_ROWS,
            poll_interval: POLL_INTERVAL,
            discover_interval: DISCOVER_INTERVAL,
        }
    }
}
