//! The settings of a join.

use crate::schema::ColumnSchema;
use serde::{Deserialize, Serialize};
use weir_engine::{EngineError, Result};

/// Settings of an interval join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinConfig {
    /// The rows that are answered, each once.
    pub left: JoinInput,
    /// The rows that they are matched with.
    pub right: JoinInput,
    /// How much earlier than a left row, in event time, a right row may be.
    pub before_ms: i64,
    /// How much later.
    pub after_ms: i64,
    /// How far behind its own split a row may be, on either side.
    pub allowed_lateness_ms: i64,
    /// Which of the right rows that fit.
    #[serde(rename = "match")]
    pub matching: Match,
    /// The columns of the results, in order.
    pub select: Vec<JoinColumn>,
}

/// One side of a join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinInput {
    /// The columns that have to be equal on both sides, in the order of the other side's.
    pub on: Vec<String>,
    /// The event-time column.
    pub time_column: String,
    /// The columns that are kept as state, beside the event time: those of `on`, then those that are selected, in the order in
    /// which they come in. Together with the event time they are what tells one row from another.
    pub kept: ColumnSchema,
}

/// Which of the right rows that fit a left row is its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The latest; of several at one time, the largest.
    Last,
    /// The earliest; of several at one time, the smallest.
    First,
    /// Each of them is a result.
    All,
}

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first input.
    Left,
    /// The second input.
    Right,
}

/// A column of the results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinColumn {
    /// What it is called.
    pub name: String,
    /// The side that it is of.
    pub side: Side,
    /// What it is called there.
    pub column: String,
}

impl JoinConfig {
    /// The settings of a side.
    pub fn input(&self, side: Side) -> &JoinInput {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// How long after its event time a left row is kept: a right row may still change its answer.
    pub fn left_ttl_ms(&self) -> i64 {
        self.after_ms.saturating_add(self.allowed_lateness_ms)
    }

    /// How long after its event time a right row is kept: the last left row that it fits is `before` later, is answered `after` that,
    /// and may still be corrected as long as a left row is kept. Whatever a late row is compared with is there then.
    pub fn right_ttl_ms(&self) -> i64 {
        self.before_ms.saturating_add(self.left_ttl_ms())
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.before_ms < 0 || self.after_ms < 0 || self.allowed_lateness_ms < 0 {
            return Err(EngineError::definition("the bounds of a join must not be negative"));
        }
        if self.left.on.is_empty() || self.left.on.len() != self.right.on.len() {
            return Err(EngineError::definition("a join needs columns that are equal, as many on each side"));
        }
        let is_kept = |side: Side, name: &String| self.input(side).kept.column(name).is_some();
        let is_there =
            |item: &JoinColumn| item.column == self.input(item.side).time_column || is_kept(item.side, &item.column);
        let lost = self.select.iter().find(|item| !is_there(item)).map(|item| &item.column);
        let on = [Side::Left, Side::Right].into_iter().find_map(|side| {
            let input = self.input(side);
            input.on.iter().find(|name| !is_kept(side, name))
        });
        match lost.or(on) {
            Some(name) => {
                Err(EngineError::definition(format!("a join does not keep the column '{name}' that it needs")))
            }
            None => Ok(()),
        }
    }
}
