//! The settings of a join of results.

use crate::join::Side;
use crate::schema::ColumnSchema;
use crate::window::WindowRule;
use serde::{Deserialize, Serialize};
use weir_engine::{EngineError, Result};

/// Settings of a join of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowJoinConfig {
    /// One side.
    pub left: WindowJoinInput,
    /// The other.
    pub right: WindowJoinInput,
    /// What becomes of rows that have no match.
    #[serde(rename = "type")]
    pub join_type: JoinType,
    /// The windows of both sides, and how long after its end either side may still correct one.
    #[serde(flatten)]
    pub windows: WindowRule,
    /// The columns of the results, in order.
    pub select: Vec<WindowJoinColumn>,
}

/// One side of a join of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowJoinInput {
    /// The columns that have to be equal on both sides, in the order of the other side's.
    pub on: Vec<String>,
    /// Whether they are the whole key of this side, so that it has one result at most for each of their values and each window.
    pub is_single: bool,
    /// The columns that are kept as state: those of `on`, then those that are selected.
    pub kept: ColumnSchema,
}

/// What becomes of rows that have no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinType {
    /// There is no result for them.
    Inner,
    /// Those of the left are results, with nulls for what is of the right.
    Left,
    /// Those of the right are results, with nulls for what is of the left.
    Right,
    /// Those of both sides are.
    Full,
}

/// A column of the results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowJoinColumn {
    /// What it is called.
    pub name: String,
    /// The side that it is of. A column of `on` is of both.
    pub side: Side,
    /// What it is called there.
    pub column: String,
    /// Whether every revision of a result has the same value in it, so that a withdrawn one has, too.
    pub is_fixed: bool,
}

impl JoinType {
    /// Whether rows of a side are results without a match.
    pub fn keeps(self, side: Side) -> bool {
        match side {
            Side::Left => matches!(self, JoinType::Left | JoinType::Full),
            Side::Right => matches!(self, JoinType::Right | JoinType::Full),
        }
    }
}

impl WindowJoinConfig {
    /// The settings of a side.
    pub fn input(&self, side: Side) -> &WindowJoinInput {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// Which of the columns of `on` a column of a side is, if it is one.
    pub fn place_in_on(&self, side: Side, column: &str) -> Option<usize> {
        self.input(side).on.iter().position(|name| name == column)
    }

    pub(super) fn validate(&self) -> Result<()> {
        self.windows.validate()?;
        if !self.windows.window.has_slices() {
            return Err(EngineError::definition(
                "only windows whose bounds do not depend on what they hold can be joined",
            ));
        }
        if self.left.on.len() != self.right.on.len() {
            return Err(EngineError::definition("a join needs as many columns that are equal on each side"));
        }
        for input in [&self.left, &self.right] {
            let begins = input.kept.names().zip(&input.on).filter(|(kept, on)| kept == on).count();
            if begins < input.on.len() {
                return Err(EngineError::definition("what a join keeps of a side begins with the columns of `on`"));
            }
        }
        let is_kept = |item: &&WindowJoinColumn| self.input(item.side).kept.column(&item.column).is_some();
        match self.select.iter().find(|item| !is_kept(item)) {
            Some(WindowJoinColumn { column, .. }) => {
                Err(EngineError::definition(format!("a join does not keep the column '{column}' that it needs")))
            }
            None => Ok(()),
        }
    }
}
