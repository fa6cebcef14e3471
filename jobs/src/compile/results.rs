//! What is known of rows that are results: what corrections leave as it is, what tells one result from another, and whether one
//! may be withdrawn.
//!
//! Invariant: whoever reads results can tell which of two rows is the newer one, and whether it still holds. So a `select`
//! over results carries the columns that say so, whether it names them or not.

use std::collections::BTreeMap;

use weir_operators::columns::{RANK, RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::expression::Expression;
use weir_operators::map::{ResultRows, SelectItem};
use weir_operators::schema::{Column, ColumnSchema};

use super::plan::quoted;
use crate::spec::{Aggregate, Reduce, SinkConnector, Window};

/// Results, as an output holds them.
#[derive(Debug, Clone)]
pub(super) struct Results {
    /// The columns in which every revision of a record has the same value; for those that are another column under this or
    /// another name, which one that was when the results were made.
    fixed: BTreeMap<String, Option<String>>,
    /// The columns that tell one result of a window from another, as they were called when the results were made.
    key: Vec<String>,
    /// Whether windows are sessions, whose bounds belong to what they hold.
    pub(super) sessions: bool,
    /// Whether a result may be withdrawn because of what is made of it.
    pub(super) withdrawable: bool,
    /// Whether one may be withdrawn because its type does not hold it, such as a sum past 64 bits.
    pub(super) unsayable: bool,
}

impl Results {
    /// Those of an aggregate.
    pub(super) fn of_aggregate(aggregate: &Aggregate, unsayable: bool) -> Self {
        let sessions = matches!(aggregate.window, Window::Session { .. });
        // A session that grows is another one, and the one before holds no longer.
        Results { sessions, unsayable, ..Results::new(aggregate.key.clone(), sessions) }
    }

    /// Those of a reduce over such results.
    pub(super) fn of_reduce(reduce: &Reduce, ranked: &Results) -> Self {
        let key = reduce.per.iter().cloned().chain([RANK.into()]).collect();
        Results { unsayable: ranked.unsayable, ..Results::new(key, ranked.withdrawable) }
    }

    fn new(key: Vec<String>, withdrawable: bool) -> Self {
        let own = [RECORD_ID, WINDOW_START, WINDOW_END].map(str::to_owned);
        let fixed = own.into_iter().chain(key.iter().cloned()).map(|name| (name.clone(), Some(name))).collect();
        Results { fixed, key, sessions: false, withdrawable, unsayable: false }
    }

    /// Whether a result may be withdrawn, for whatever reason.
    pub(super) fn may_be_withdrawn(&self) -> bool {
        self.withdrawable || self.unsayable
    }

    /// Whether every revision of a record has the same value in a column.
    pub(super) fn is_fixed(&self, name: &str) -> bool {
        self.fixed.contains_key(name)
    }

    /// What a column was called when the results were made, if it is one of those that were fixed then.
    pub(super) fn origin(&self, name: &str) -> Option<&str> {
        self.fixed.get(name).and_then(|origin| origin.as_deref())
    }

    /// The columns that tell results of one window apart and that `names` has not among them.
    pub(super) fn left_out(&self, names: &[String]) -> Vec<&str> {
        let has = |column: &str| names.iter().any(|name| self.origin(name) == Some(column));
        self.key.iter().map(String::as_str).filter(|column| !has(column)).collect()
    }

    /// What a map has to know.
    pub(super) fn rows(&self, running: bool) -> ResultRows {
        ResultRows { fixed: self.fixed.keys().cloned().collect(), running }
    }

    /// The results of which a condition keeps some.
    pub(super) fn kept_by(&self, condition: Option<&Expression>) -> Self {
        let may_change = condition.is_some_and(|condition| !self.follows(condition));
        Results { withdrawable: self.withdrawable || may_change, ..self.clone() }
    }

    /// The results of which these columns are computed. What fails on a row may fail on a correction only.
    pub(super) fn selected(&self, items: &[SelectItem], given: &ColumnSchema) -> Self {
        let given = given.to_arrow();
        let (mut fixed, mut may_fail) = (BTreeMap::new(), false);
        for item in items {
            let Ok(expression) = Expression::new(&item.expression, &given) else { continue };
            let plain = expression.as_column();
            may_fail |= plain.is_none() && !self.follows(&expression);
            if self.follows(&expression) {
                let origin = plain.and_then(|column| self.origin(column)).map(str::to_owned);
                fixed.insert(item.name.clone(), origin);
            }
        }
        Results { fixed, withdrawable: self.withdrawable || may_fail, ..self.clone() }
    }

    fn follows(&self, expression: &Expression) -> bool {
        expression.columns().all(|column| self.is_fixed(column))
    }

    /// The columns with every value allowed to be null: a result that was withdrawn has none.
    pub(super) fn nullable(&self, columns: ColumnSchema) -> ColumnSchema {
        with_null_values(columns, |name| self.is_fixed(name))
    }
}

/// The columns of what a map of results lets through.
pub(super) fn with_null_values(columns: ColumnSchema, is_fixed: impl Fn(&str) -> bool) -> ColumnSchema {
    let is_carried = |name: &str| name == REVISION || name == WITHDRAWN || is_fixed(name);
    let nullable = |column: Column| Column { nullable: column.nullable || !is_carried(&column.name), ..column };
    ColumnSchema { columns: columns.columns.into_iter().map(nullable).collect() }
}

/// What a `select` over results carries beside what it names: of a map's all that makes them results, of a sink's whether they
/// hold, where that is not plain.
pub(super) fn carried_by_map() -> &'static [&'static str] {
    &[RECORD_ID, REVISION, WITHDRAWN]
}

/// See [`carried_by_map`].
pub(super) fn carried_by_sink(
    connector: &SinkConnector,
    items: &[SelectItem],
    results: &Results,
) -> &'static [&'static str] {
    let names_revision = items.iter().any(|item| is_column(item, REVISION));
    match connector {
        // A table has no such column: what is withdrawn is not in it.
        SinkConnector::Sql(_) if results.may_be_withdrawn() => &[WITHDRAWN],
        SinkConnector::Sql(_) => &[],
        SinkConnector::Files(_) | SinkConnector::Console if results.may_be_withdrawn() || names_revision => {
            &[WITHDRAWN]
        }
        SinkConnector::Files(_) | SinkConnector::Console => &[],
    }
}

/// Whether an item is this column and nothing else.
pub(super) fn is_column(item: &SelectItem, name: &str) -> bool {
    item.expression == name || item.expression == quoted(name)
}
