//! The settings that every source has, whatever its connector.

use super::{
    computed_time::ComputedTime,
    jump::{JumpAfter, JumpRule, UNSET_MAX_JUMP_MS},
    reader::ReaderSettings,
    split_watermark::WatermarkRule,
};
use crate::{
    definition::{Reader, duration::millis},
    schema::ColumnSchema,
};
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
    /// When event time advances to where such events are; none: as [`JumpAfter::default`] says.
    pub jump_after: Option<JumpAfter>,
    /// Of a source that is read as events happen: one further ahead of the wall clock than this is a dead letter.
    pub max_ahead_ms: Option<i64>,
    /// A split further ahead of the slowest one of its subtask than this waits for it; none: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_drift_ms: Option<i64>,
}

impl WatermarkSettings {
    /// Reads the keys of `watermark` that are the same for all connectors.
    pub fn read(watermark: &Reader<'_>) -> Self {
        let in_ms = |key: &str| watermark.positive_duration(key).map(millis);
        WatermarkSettings {
            delay_ms: watermark.duration("delay").map_or(0, millis),
            idle_after_ms: in_ms("idle_after").map(i64::unsigned_abs),
            max_jump_ms: in_ms("max_jump"),
            jump_after: read_jump_after(watermark),
            max_ahead_ms: in_ms("max_ahead"),
            max_drift_ms: in_ms("max_drift"),
        }
    }

    /// Whether nothing is said of it.
    pub fn is_empty(&self) -> bool {
        *self == WatermarkSettings::default()
    }
}

/// `jump_after = { rows = 1000, span = "10m" }`; what is missing is as it would be without the key.
fn read_jump_after(watermark: &Reader<'_>) -> Option<JumpAfter> {
    let table = watermark.table("jump_after")?;
    let standard = JumpAfter::default();
    let most = i64::try_from(JumpAfter::MOST_ROWS).unwrap_or(i64::MAX);
    let rows = table.integer("rows", 1..=most).map_or(standard.rows, i64::unsigned_abs);
    let span_ms = table.duration("span").map_or(standard.span_ms, millis);
    table.finish();
    Some(JumpAfter { rows, span_ms })
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

    /// The configuration of a node: that of its connector, with these beside it.
    pub fn beside(&self, connector: serde_json::Value) -> serde_json::Value {
        let mut config = connector;
        if let (Some(config), serde_json::Value::Object(common)) = (config.as_object_mut(), serde_json::json!(self)) {
            config.extend(common);
        }
        config
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
            max_drift_ms: self.watermark.max_drift_ms,
            idle_after: self.watermark.idle_after_ms.map(Duration::from_millis),
            batch_rows: BATCH_ROWS,
            poll_interval: POLL_INTERVAL,
            discover_interval: DISCOVER_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_graphs_keep_their_keys() {
        let settings = SourceSettings {
            columns: ColumnSchema::default(),
            event_time: Some("at".into()),
            computed_time: None,
            watermark: WatermarkSettings { delay_ms: 5, ..WatermarkSettings::default() },
        };
        let watermark = json!({
            "delay_ms": 5, "idle_after_ms": null, "max_jump_ms": null, "jump_after": null, "max_ahead_ms": null,
        });
        let expected = json!({ "path": "a", "columns": [], "event_time": "at", "watermark": watermark });
        assert_eq!(settings.beside(json!({ "path": "a" })), expected);
        assert_eq!(SourceSettings::deserialize(&expected).unwrap(), settings);
    }

    #[test]
    fn the_keys_of_the_watermark_are_read() {
        let keys = json!({
            "delay": "5s", "idle_after": "1m", "max_jump": "1h", "jump_after": { "rows": 7 }, "max_ahead": "0s",
            "max_drift": "10m",
        });
        let (read, wrong) = crate::definition::testing::read(keys, WatermarkSettings::read);
        let expected = WatermarkSettings {
            delay_ms: 5_000,
            idle_after_ms: Some(60_000),
            max_jump_ms: Some(3_600_000),
            jump_after: Some(JumpAfter { rows: 7, ..JumpAfter::default() }),
            max_ahead_ms: None,
            max_drift_ms: Some(600_000),
        };
        assert_eq!((read, wrong), (expected, vec!["max_ahead: `max_ahead` is zero".to_owned()]));
        assert!(WatermarkSettings::default().is_empty());
    }
}
