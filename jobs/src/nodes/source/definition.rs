//! The keys of a source that are not its connector's.

use std::sync::Arc;
use std::time::Duration;

use weir_operators::Extensions;
use weir_operators::definition::duration::millis;
use weir_operators::definition::{Kind, Reader};
use weir_operators::source::{JumpAfter, SourceConnector, WatermarkSettings};

/// What says when a record happened: a column, or an expression over columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventTime {
    /// The name of the computed column; none: a column is named, or `event_time` is computed.
    pub(crate) name: Option<String>,
    pub(crate) expression: String,
}

impl std::fmt::Display for EventTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.expression)
    }
}

impl EventTime {
    /// A column or an expression, or `{ name = "clicked_at", expression = "..." }`.
    pub(super) fn read(node: &Reader<'_>) -> Option<Self> {
        if !matches!(node.value("event_time")?.kind, Kind::Table(_)) {
            return Some(EventTime { name: None, expression: node.text("event_time")? });
        }
        let table = node.table("event_time")?;
        table.require("name", "\"clicked_at\"");
        table.require("expression", "\"to_timestamp_seconds(at)\"");
        let (name, expression) = (table.text("name"), table.text("expression"));
        table.finish();
        Some(EventTime { name: Some(name?), expression: expression? })
    }
}

/// Where records come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is read; none: the definition names no connector that there is.
    pub(super) connector: Option<Arc<dyn SourceConnector>>,
    pub(super) event_time: Option<EventTime>,
    pub(super) watermark: WatermarkSettings,
}

impl Source {
    /// What the settings of a connector say, such as [`FilesConfig`](weir_operators::source::files::FilesConfig).
    pub fn of(connector: impl SourceConnector + 'static) -> Self {
        Source { connector: Some(Arc::new(connector)), event_time: None, watermark: WatermarkSettings::default() }
    }

    /// The column that says when a record happened; or an SQL expression that does, as a column `event_time`.
    #[must_use]
    pub fn event_time(mut self, column: impl Into<String>) -> Self {
        self.event_time = Some(EventTime { name: None, expression: column.into() });
        self
    }

    /// An SQL expression that says when a record happened, and the name of the column that it becomes.
    #[must_use]
    pub fn computed_event_time(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.event_time = Some(EventTime { name: Some(name.into()), expression: expression.into() });
        self
    }

    /// How far the watermark stays behind the largest event time seen: how much disorder is waited for.
    #[must_use]
    pub fn watermark_delay(mut self, delay: Duration) -> Self {
        self.watermark.delay_ms = millis(delay);
        self
    }

    /// The silence after which a split no longer holds time up.
    #[must_use]
    pub fn idle_after(mut self, silence: Duration) -> Self {
        self.watermark.idle_after_ms = Some(millis(silence).unsigned_abs());
        self
    }

    /// How far a record may be ahead of its split's time; one that is further ahead is a dead letter.
    #[must_use]
    pub fn max_jump(mut self, jump: Duration) -> Self {
        self.watermark.max_jump_ms = Some(millis(jump));
        self
    }

    /// With [`Source::max_jump`]: how many records ahead must agree, and what they must cover, for event time to advance there.
    #[must_use]
    pub fn jump_after(mut self, after: JumpAfter) -> Self {
        self.watermark.jump_after = Some(after);
        self
    }

    /// How far a record may be ahead of the wall clock when it is read; one that is further ahead is a dead letter. Without
    /// effect where records are not read as they happen.
    #[must_use]
    pub fn max_ahead(mut self, ahead: Duration) -> Self {
        self.watermark.max_ahead_ms = Some(millis(ahead));
        self
    }

    pub(crate) fn read(node: Reader<'_>, extensions: &Extensions) -> Self {
        let Some(kind) = extensions.chosen_source(&node) else {
            // No other key can be judged, and no column.
            node.ignore_others();
            return Source { connector: None, event_time: None, watermark: WatermarkSettings::default() };
        };
        let mut connector = (kind.read)(&node);
        let event_time = EventTime::read(&node);
        let mut watermark = WatermarkSettings::default();
        if let Some(table) = node.table("watermark") {
            connector.read_watermark(&table);
            watermark = WatermarkSettings::read(&table);
            table.finish();
        }
        node.finish();
        Source { connector: Some(connector.into()), event_time, watermark }
    }
}
