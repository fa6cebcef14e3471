//! The keys of a join of events.

use std::time::Duration;

use weir_operators::definition::{Mistake, Reader};
use weir_operators::join::Match;

use super::super::inputs::Inputs;
use super::sides::Sides;
use crate::builder::JobBuilder;

/// Matches each row of the left input with rows of the right one that are near it in event time.
#[derive(Debug, Clone)]
pub struct Join {
    pub(super) sides: Sides,
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) allowed_lateness: Duration,
    pub(super) matching: Match,
}

impl Join {
    /// Joins the rows of two nodes. Each left row gets the latest right row, unless [`Join::matching`] says otherwise.
    pub fn of(left: impl Into<Inputs>, right: impl Into<Inputs>) -> Self {
        Join {
            sides: Sides::of(left.into(), right.into()),
            before: Duration::ZERO,
            after: Duration::ZERO,
            allowed_lateness: Duration::ZERO,
            matching: Match::Last,
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
        self.sides.add_on(left.into(), right.into());
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
        self.sides.add_selected(name.into(), column.into());
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let sides = Sides::read(&node);
        let mut join = Join { sides, ..Join::of("", "") };
        if !node.has("within") && !node.has("match") {
            let mistake = Mistake::on_key(node.path.clone(), "neither `within` and `match` nor `type` is given");
            let expected = "for events within = { before = \"7d\", after = \"0s\" } and match = \"last\", \"first\" or \"all\"; for \
                            results of aggregates type = \"inner\", \"left\", \"right\" or \"full\"";
            node.note(mistake.expected(expected));
        } else {
            node.require("match", "\"last\", \"first\" or \"all\"");
            node.require("within", "{ before = \"7d\", after = \"0s\" }: without bounds its state would grow for ever");
        }
        if let Some(within) = node.table("within") {
            within.require("before", "\"7d\"");
            within.require("after", "\"0s\"");
            join.before = within.duration("before").unwrap_or_default();
            join.after = within.duration("after").unwrap_or_default();
            join.allowed_lateness = within.duration("allowed_lateness").unwrap_or_default();
            within.finish();
        }
        let kinds = [("last", Match::Last), ("first", Match::First), ("all", Match::All)];
        join.matching = node.choice("match", &kinds).unwrap_or(Match::Last);
        node.finish();
        join
    }
}

impl JobBuilder {
    /// Adds a join.
    #[must_use]
    pub fn join(self, name: impl Into<String>, join: Join) -> Self {
        self.node(name, Box::new(join))
    }
}
