//! The keys of an over.

use std::time::Duration;

use super::super::inputs::Inputs;
use crate::builder::JobBuilder;
use weir_operators::definition::Reader;
use weir_operators::definition::duration::millis;

/// The most rows that a row may see by their number.
const MOST_ROWS: u32 = 1_000_000;

/// Adds to each row what the rows before it say.
#[derive(Debug, Clone)]
pub struct Over {
    pub(crate) input: Inputs,
    pub(crate) key: Vec<String>,
    pub(crate) within: Duration,
    pub(crate) rows: Option<u32>,
    pub(crate) allowed_lateness: Duration,
    pub(crate) select: Vec<(String, String)>,
    pub(crate) condition: Option<String>,
    pub(crate) once: bool,
}

impl Over {
    /// Each row of the output of a node sees those that are equal to it in these columns and less than `within` before it.
    pub fn of<S: Into<String>>(input: impl Into<Inputs>, key: impl IntoIterator<Item = S>, within: Duration) -> Self {
        Over {
            input: input.into(),
            key: key.into_iter().map(Into::into).collect(),
            within,
            rows: None,
            allowed_lateness: Duration::ZERO,
            select: Vec::new(),
            condition: None,
            once: false,
        }
    }

    /// Of these it sees the last so many at most, itself included.
    #[must_use]
    pub fn rows(mut self, rows: u32) -> Self {
        self.rows = Some(rows);
        self
    }

    /// How late rows may be: as long it waits for them.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// Adds a column of the result: an expression over the row's columns, in which aggregates and `lag` may be called.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.select.push((name.into(), expression.into()));
        self
    }

    /// Keeps the rows for which this SQL expression over the result's columns is true.
    #[must_use]
    pub fn keep_where(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Of rows in succession that are kept, only the first is.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        node.require("key", "[\"user_id\"]");
        node.require("within", "\"10s\"");
        node.require("select", "{ user_id = \"user_id\", n = \"count(*)\" }");
        let over = Over {
            input,
            key: node.texts("key").unwrap_or_default(),
            within: node.positive_duration("within").unwrap_or(Duration::from_secs(1)),
            rows: node.integer("rows", 1..=i64::from(MOST_ROWS)).and_then(|rows| u32::try_from(rows).ok()),
            allowed_lateness: node.duration("allowed_lateness").unwrap_or_default(),
            select: node.named_texts("select").unwrap_or_default(),
            condition: node.text("where"),
            once: node.flag("once").unwrap_or(false),
        };
        node.finish();
        over
    }

    /// A row as old as the watermark is behind it: what is younger than so much passes the gate.
    pub(super) fn lateness_ms(&self) -> i64 {
        millis(self.allowed_lateness).max(1)
    }
}

impl JobBuilder {
    /// Adds an over.
    #[must_use]
    pub fn over(self, name: impl Into<String>, over: Over) -> Self {
        self.node(name, Box::new(over))
    }
}
