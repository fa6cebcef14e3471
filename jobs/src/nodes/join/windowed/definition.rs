//! The keys of a join of results.

use weir_operators::definition::Reader;
use weir_operators::window_join::JoinType;

use super::super::super::inputs::Inputs;
use super::super::sides::Sides;
use crate::builder::JobBuilder;

/// Joins the results of two aggregates that have the same windows: those of one window that are equal in some columns.
#[derive(Debug, Clone)]
pub struct WindowJoin {
    pub(super) sides: Sides,
    pub(super) join_type: JoinType,
}

impl WindowJoin {
    /// Joins the results of two aggregates.
    pub fn of(left: impl Into<Inputs>, right: impl Into<Inputs>, join_type: JoinType) -> Self {
        WindowJoin { sides: Sides::of(left.into(), right.into()), join_type }
    }

    /// Adds a column that has to be equal on both sides. Without any, all results of a window belong together.
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

    /// Adds a column of the results: `left.NAME` or `right.NAME`.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, column: impl Into<String>) -> Self {
        self.sides.add_selected(name.into(), column.into());
        self
    }

    pub(in super::super) fn read(node: Reader<'_>) -> Self {
        let sides = Sides::read(&node);
        let types = [
            ("inner", JoinType::Inner),
            ("left", JoinType::Left),
            ("right", JoinType::Right),
            ("full", JoinType::Full),
        ];
        let join_type = node.choice("type", &types).unwrap_or(JoinType::Inner);
        for key in ["within", "match"] {
            if node.value(key).is_some() {
                let message =
                    format!("`type` is for results, which are joined by their windows, and `{key}` for events");
                node.refuse(key, message, &format!("no `{key}`; or, for events, no `type`"));
            }
        }
        node.finish();
        WindowJoin { sides, join_type }
    }
}

impl JobBuilder {
    /// Adds a join of results.
    #[must_use]
    pub fn window_join(self, name: impl Into<String>, join: WindowJoin) -> Self {
        self.node(name, Box::new(join))
    }
}
