//! What is known of rows that are results: which counts they are of, what corrections leave as it is, what tells one result from
//! another, and whether one may be withdrawn.
//!
//! Invariant: readers of results can tell which of two rows is newer, and whether it still applies. So a `select`
//! over results carries the columns that say so, whether it names them or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_operators::columns::{RANK, RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::expression::Expression;
use weir_operators::map::{ResultRows, SelectItem};
use weir_operators::schema::{Column, ColumnSchema};
use weir_operators::sink::{SinkResults, SinkWindows};

use super::window::{Window, Windows};

/// The aggregate that results are of, or the join.
#[derive(Debug)]
pub(crate) struct Counted {
    /// The node's name.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: Vec<String>,
    /// Its windows.
    pub(crate) window: Windows,
    /// How long they are corrected.
    pub(crate) allowed_lateness: Duration,
    /// The columns that it computes.
    pub(crate) computed: Vec<String>,
    /// Of these, the ones whose value over a window is the sum of those over its pieces.
    pub(crate) sums: Vec<String>,
    /// The first that counts rows, whatever is in them.
    pub(crate) count: Option<String>,
    /// Whether its rows were copied for the global filters.
    pub(crate) is_filtered: bool,
    /// Whether its rows were results themselves.
    pub(crate) of_results: bool,
    /// Whether it is no aggregate, but a join.
    pub(crate) of_join: bool,
    /// The event-time column of its rows; of a join, the one of its results that has the event time of the left, if any.
    pub(crate) time: String,
    /// What is computed before it, so that all arguments are columns.
    pub(crate) arguments: Option<Vec<SelectItem>>,
}

impl Counted {
    /// Whether its windows have no fixed bounds.
    pub(crate) fn is_of_sessions(&self) -> bool {
        self.window.are_sessions()
    }

    /// Whether a value over a window is the sum of those over its pieces.
    pub(crate) fn adds_up(&self, name: &str) -> bool {
        self.sums.iter().any(|sum| sum == name)
    }
}

/// Results, as an output holds them.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    /// What they count.
    pub(crate) counted: Arc<Counted>,
    /// The windows that they are of: the aggregate's, or the longer ones of a reduce.
    pub(crate) window: Windows,
    /// Whether each is the result of one group of one aggregate, and no rank.
    pub(crate) are_groups: bool,
    /// Whether they have come through a map.
    pub(crate) behind_map: bool,
    /// What each column was called when the results were made; none: a map computes it.
    pub(crate) columns: BTreeMap<String, Option<String>>,
    /// The columns in which every revision of a record has the same value; for those that are another column under this or
    /// another name, which one that was when the results were made.
    pub(crate) fixed: BTreeMap<String, Option<String>>,
    /// The columns that tell one result of a window from another, as they were called when the results were made.
    pub(crate) key: Vec<String>,
    /// Whether windows are sessions, whose bounds belong to what they hold.
    pub(crate) sessions: bool,
    /// Whether a result may be withdrawn because of what is made of it.
    pub(crate) withdrawable: bool,
    /// Whether one may be withdrawn because its type does not hold it, such as a sum past 64 bits.
    pub(crate) unsayable: bool,
}

impl Results {
    /// Those of an aggregate with these columns.
    pub(crate) fn of_aggregate(counted: Counted, unsayable: bool, columns: &ColumnSchema) -> Self {
        let sessions = counted.is_of_sessions();
        let (window, key) = (counted.window, counted.key.clone());
        // A session that grows is another one, and the one before no longer applies.
        let withdrawable = sessions;
        Results {
            sessions,
            unsayable,
            withdrawable,
            window,
            fixed: fixed(window, &key),
            key,
            counted: Arc::new(counted),
            are_groups: true,
            behind_map: false,
            columns: as_they_are(columns),
        }
    }

    /// Those of a join with these columns, of which some are the same in every revision of a record. There may be any number of
    /// results of one kind, so that only the record's id tells one from another.
    pub(crate) fn of_join(counted: Counted, fixed: impl Iterator<Item = String>, columns: &ColumnSchema) -> Self {
        let fixed = fixed.chain([RECORD_ID.to_owned()]).map(|name| (name.clone(), Some(name)));
        Results {
            window: counted.window,
            are_groups: false,
            behind_map: false,
            columns: as_they_are(columns),
            fixed: fixed.collect(),
            key: vec![RECORD_ID.to_owned()],
            sessions: false,
            // A left row that has had a match keeps one.
            withdrawable: false,
            unsayable: false,
            counted: Arc::new(counted),
        }
    }

    /// Those of a join of results with these columns, of which some are the same in every revision of a record, beside its window.
    pub(crate) fn of_window_join(
        counted: Counted,
        fixed: impl Iterator<Item = String>,
        columns: &ColumnSchema,
    ) -> Self {
        let key = counted.key.clone();
        let names = fixed.chain([RECORD_ID, WINDOW_START, WINDOW_END].map(str::to_owned));
        Results {
            fixed: names.map(|name| (name.clone(), Some(name))).collect(),
            key,
            ..Results::of_aggregate(counted, false, columns)
        }
    }

    /// Those of a reduce over such results: a record for each place in a list for each value of the columns `per`, or, where
    /// several have one rank, for each key.
    pub(crate) fn ranked(&self, per: &[String], places: bool, window: Option<Windows>, columns: &ColumnSchema) -> Self {
        let key: Vec<String> = match places {
            true => per.iter().cloned().chain([RANK.into()]).collect(),
            false => self.counted.key.clone(),
        };
        let own = window.unwrap_or(self.window);
        Results {
            window: own,
            are_groups: false,
            columns: as_they_are(columns),
            fixed: fixed(own, &key),
            key,
            sessions: own.are_sessions(),
            // A key leaves a list when others come before it.
            withdrawable: self.withdrawable || !places,
            ..self.clone()
        }
    }

    /// Whether a result may be withdrawn, for whatever reason.
    pub(crate) fn may_be_withdrawn(&self) -> bool {
        self.withdrawable || self.unsayable
    }

    /// Whether they are of a join of events, and so of no window.
    pub(crate) fn is_of_events(&self) -> bool {
        self.counted.of_join && self.window.is_global()
    }

    /// Whether every revision of a record has the same value in a column.
    pub(crate) fn is_fixed(&self, name: &str) -> bool {
        self.fixed.contains_key(name)
    }

    /// What a column was called when the results were made, if it is one of those that were fixed then.
    pub(crate) fn origin(&self, name: &str) -> Option<&str> {
        self.fixed.get(name).and_then(|origin| origin.as_deref())
    }

    /// Whether a column is as it was when the results were made, its name included.
    pub(crate) fn is_unchanged(&self, name: &str) -> bool {
        self.columns.get(name).is_some_and(|origin| origin.as_deref() == Some(name))
    }

    /// Whether a column over a window is the sum of those over its pieces; of what a map computes that is not known.
    pub(crate) fn adds_up(&self, name: &str) -> Option<bool> {
        match self.columns.get(name) {
            Some(origin) => origin.as_deref().map(|origin| self.counted.adds_up(origin)),
            None => Some(false),
        }
    }

    /// What a map has to know.
    pub(crate) fn rows(&self, running: bool) -> ResultRows {
        ResultRows { fixed: self.fixed.keys().cloned().collect(), running }
    }

    /// The results of which a condition keeps some.
    pub(crate) fn kept_by(&self, condition: &Expression) -> Self {
        let may_change = !self.follows(condition);
        Results { withdrawable: self.withdrawable || may_change, ..self.clone() }
    }

    /// The results of which these columns are computed. What fails on a row may fail on a correction only.
    pub(crate) fn selected(&self, items: &[SelectItem], given: &ColumnSchema) -> Self {
        let given = given.to_arrow();
        let (mut columns, mut fixed, mut may_fail) = (BTreeMap::new(), BTreeMap::new(), false);
        for item in items {
            let Ok(expression) = Expression::new(&item.expression, &given) else { continue };
            let plain = expression.as_column();
            may_fail |= plain.is_none() && !self.follows(&expression);
            if self.follows(&expression) {
                let origin = plain.and_then(|column| self.origin(column)).map(str::to_owned);
                fixed.insert(item.name.clone(), origin);
            }
            columns.insert(item.name.clone(), plain.and_then(|column| self.columns.get(column).cloned().flatten()));
        }
        Results { columns, fixed, withdrawable: self.withdrawable || may_fail, ..self.clone() }
    }

    fn follows(&self, expression: &Expression) -> bool {
        expression.columns().all(|column| self.is_fixed(column))
    }

    /// The columns with every value allowed to be null: a result that was withdrawn has none.
    pub(crate) fn nullable(&self, columns: ColumnSchema) -> ColumnSchema {
        with_null_values(columns, |name| self.is_fixed(name))
    }

    /// What a sink should know of them; `not_sums` are the columns that don't add up over windows.
    pub(crate) fn of_sink(&self, not_sums: Vec<String>) -> SinkResults {
        SinkResults {
            fixed: self.fixed.clone(),
            key: self.key.clone(),
            sessions: self.sessions,
            withdrawable: self.withdrawable,
            unsayable: self.unsayable,
            window: self.window.length(),
            windows: match self.window.kind {
                Window::Global { .. } => SinkWindows::None,
                Window::Cumulating { .. } => SinkWindows::Growing,
                Window::Tumbling { .. } if self.window.alignment.is_epoch() => SinkWindows::SideBySide,
                _ => SinkWindows::Other,
            },
            allowed_lateness: self.counted.allowed_lateness,
            not_sums,
        }
    }
}

fn fixed(window: Windows, key: &[String]) -> BTreeMap<String, Option<String>> {
    let own = if window.is_global() { &[RECORD_ID][..] } else { &[RECORD_ID, WINDOW_START, WINDOW_END] };
    own.iter()
        .map(|name| (*name).to_owned())
        .chain(key.iter().cloned())
        .map(|name| (name.clone(), Some(name)))
        .collect()
}

fn as_they_are(columns: &ColumnSchema) -> BTreeMap<String, Option<String>> {
    columns.names().map(|name| (name.to_owned(), Some(name.to_owned()))).collect()
}

/// The columns of what a map of results lets through.
pub(crate) fn with_null_values(columns: ColumnSchema, is_fixed: impl Fn(&str) -> bool) -> ColumnSchema {
    let is_carried = |name: &str| name == REVISION || name == WITHDRAWN || is_fixed(name);
    let nullable = |column: Column| Column { nullable: column.nullable || !is_carried(&column.name), ..column };
    ColumnSchema { columns: columns.columns.into_iter().map(nullable).collect() }
}
