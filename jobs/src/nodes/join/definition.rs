//! The keys of a join.

use std::time::Duration;

use weir_operators::definition::{Kind, Reader};
use weir_operators::join::Match;

use super::super::inputs::Inputs;
use crate::builder::JobBuilder;

/// Matches each row of the left input with rows of the right one that are near it in event time.
#[derive(Debug, Clone)]
pub struct Join {
    pub(super) left: Inputs,
    pub(super) right: Inputs,
    /// The columns of the left and of the right that have to be equal, in pairs.
    pub(super) on: [Vec<String>; 2],
    /// Whether `on` was written as a table, for the places of mistakes.
    pub(super) on_is_table: bool,
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) allowed_lateness: Duration,
    pub(super) matching: Match,
    /// Names and columns, as `left.NAME` or `right.NAME`; none: all of the left, then those of the right that have other names.
    pub(super) select: Option<Vec<(String, String)>>,
}

impl Join {
    /// Joins the rows of two nodes. Each left row gets the latest right row, unless [`Join::matching`] says otherwise.
    pub fn of(left: impl Into<Inputs>, right: impl Into<Inputs>) -> Self {
        Join {
            left: left.into(),
            right: right.into(),
            on: [Vec::new(), Vec::new()],
            on_is_table: false,
            before: Duration::ZERO,
            after: Duration::ZERO,
            allowed_lateness: Duration::ZERO,
            matching: Match::Last,
            select: None,
        }
    }

    /// Adds a column that has to be equal on both sides.
    #[must_use]
    pub fn on(self, column: impl Into<String>) -> Self {
        let column = column.into();
        self.on_columns(column.clone(), column)
    }

    /// Adds a column of the left and one of the right that have to be equal.
    #[must_use]
    pub fn on_columns(mut self, left: impl Into<String>, right: impl Into<String>) -> Self {
        self.on[0].push(left.into());
        self.on[1].push(right.into());
        self
    }

    /// How much earlier, and how much later, than the left row a right row may be.
    #[must_use]
    pub fn within(mut self, before: Duration, after: Duration) -> Self {
        (self.before, self.after) = (before, after);
        self
    }

    /// How far behind its own split a row may be, on either side.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// Which of the right rows that fit count.
    #[must_use]
    pub fn matching(mut self, matching: Match) -> Self {
        self.matching = matching;
        self
    }

    /// Adds a column of the results: `left.NAME` or `right.NAME`.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, column: impl Into<String>) -> Self {
        self.select.get_or_insert_default().push((name.into(), column.into()));
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let example = "the name of a node, in quotes";
        let mut join = Join::of(Inputs::read(&node, "left", example), Inputs::read(&node, "right", example));
        let (on, is_table) = read_on(&node);
        let (left, right) = on.into_iter().unzip();
        (join.on, join.on_is_table) = ([left, right], is_table);
        match node.table("within") {
            Some(within) => {
                within.require("before", "\"7d\"");
                within.require("after", "\"0s\"");
                join.before = within.duration("before").unwrap_or_default();
                join.after = within.duration("after").unwrap_or_default();
                join.allowed_lateness = within.duration("allowed_lateness").unwrap_or_default();
                within.finish();
            }
            None => node
                .require("within", "{ before = \"7d\", after = \"0s\" }: without bounds its state would grow for ever"),
        }
        node.require("match", "\"last\", \"first\" or \"all\"");
        let kinds = [("last", Match::Last), ("first", Match::First), ("all", Match::All)];
        join.matching = node.choice("match", &kinds).unwrap_or(Match::Last);
        join.select = node.named_texts("select");
        node.finish();
        join
    }
}

/// `["user_id"]`, or `{ user_id = "uid" }`; and whether it is the latter.
fn read_on(node: &Reader<'_>) -> (Vec<(String, String)>, bool) {
    node.require("on", "[\"user_id\"], or { left_column = \"right_column\" }");
    match node.value("on").map(|value| &value.kind) {
        Some(Kind::Table(_)) => (node.named_texts("on").unwrap_or_default(), true),
        _ => {
            let names = node.texts("on").unwrap_or_default();
            (names.into_iter().map(|name| (name.clone(), name)).collect(), false)
        }
    }
}

impl JobBuilder {
    /// Adds a join.
    #[must_use]
    pub fn join(self, name: impl Into<String>, join: Join) -> Self {
        self.node(name, Box::new(join))
    }
}
