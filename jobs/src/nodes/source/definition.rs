//! The keys of a source that are not its connector's.

use std::time::Duration;

use weir_operators::source::JumpAfter;

use super::connector::SourceConnector;
use weir_operators::definition::duration::millis;
use weir_operators::definition::{Kind, Reader};

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
    pub(crate) connector: SourceConnector,
    pub(crate) event_time: Option<EventTime>,
    pub(crate) delay: Duration,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) max_jump: Option<Duration>,
    pub(crate) jump_after: Option<JumpAfter>,
    pub(crate) max_ahead: Option<Duration>,
}

impl Source {
    pub(crate) fn new(connector: SourceConnector) -> Self {
        Source {
            connector,
            event_time: None,
            delay: Duration::ZERO,
            idle_after: None,
            max_jump: None,
            jump_after: None,
            max_ahead: None,
        }
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
        self.delay = delay;
        self
    }

    /// The silence after which a split no longer holds time up.
    #[must_use]
    pub fn idle_after(mut self, silence: Duration) -> Self {
        self.idle_after = Some(silence);
        self
    }

    /// How far a record may be ahead of its split's time; one that is further ahead is a dead letter.
    #[must_use]
    pub fn max_jump(mut self, jump: Duration) -> Self {
        self.max_jump = Some(jump);
        self
    }

    /// With [`Source::max_jump`]: how many records ahead must agree, and what they must cover, for time to go on there.
    #[must_use]
    pub fn jump_after(mut self, after: JumpAfter) -> Self {
        self.jump_after = Some(after);
        self
    }

    /// How far a record may be ahead of the wall clock when it is read; one that is further ahead is a dead letter. Without
    /// effect where records are not read as they happen.
    #[must_use]
    pub fn max_ahead(mut self, ahead: Duration) -> Self {
        self.max_ahead = Some(ahead);
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let Some(connector) = SourceConnector::read(&node) else {
            // No other key can be judged, and no column.
            node.ignore_others();
            return Source::new(SourceConnector::unknown());
        };
        let mut source = Source::new(connector);
        source.event_time = EventTime::read(&node);
        if let Some(watermark) = node.table("watermark") {
            source.connector.read_watermark(&watermark);
            source.delay = watermark.duration("delay").unwrap_or_default();
            source.idle_after = watermark.positive_duration("idle_after");
            source.max_jump = watermark.positive_duration("max_jump");
            source.jump_after = read_jump_after(&watermark);
            source.max_ahead = watermark.positive_duration("max_ahead");
            watermark.finish();
        }
        node.finish();
        source
    }
}

/// `jump_after = { rows = 1000, span = "10m" }`; what is missing is as it would be without the key.
fn read_jump_after(watermark: &Reader<'_>) -> Option<JumpAfter> {
    let table = watermark.table("jump_after")?;
    let standard = JumpAfter::default();
    let most = i64::try_from(JumpAfter::MOST_ROWS).unwrap_or(i64::MAX);
    let rows = table.integer("rows", 1..=most).and_then(|rows| u64::try_from(rows).ok()).unwrap_or(standard.rows);
    let span_ms = table.duration("span").map_or(standard.span_ms, millis);
    table.finish();
    Some(JumpAfter { rows, span_ms })
}
