//! The checks of a sink that keeps a table, and its configuration: what the database would refuse after hours is told before
//! the job starts.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::hidden::without_password;
use weir_engine::secrets;
use weir_operators::columns::{RECORD_ID, REVISION, WITHDRAWN};
use weir_operators::event_time::event_time_type;
use weir_operators::expression::type_name;
use weir_operators::sink::sql::{
    Description, Dialect, Filter, OWN, Retention, SqlColumn, SqlIndex, SqlSinkConfig, SqlType, TableRule, check_name,
    of_sink,
};

use super::check::{Check, adds_up};
use super::roll::longest_before_archives;
use super::table_key::newest_by;
use super::types::{Types, unknown_column};
use crate::spec::{Aggregate, JobSpec, NodeBody, Sink, SinkConnector, Window};
use crate::sql_sink::{SqlSink, TableRetention};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::{millis, show};

impl Check<'_> {
    /// Checks a sink that writes these columns into a table.
    pub(super) fn sql_sink(&mut self, sink: &Sink, sql: &SqlSink, written: &Types) {
        let before = self.mistakes.len();
        if let Err(wrong) = Dialect::of(&sql.url) {
            let mistake =
                Mistake::new(self.path.key("url"), wrong.message).found(format!("{:?}", without_password(&sql.url)));
            self.mistakes.push(mistake.expected(wrong.expected.unwrap_or_default()));
        }
        self.table_name(sql);
        self.table_columns(sink, written);
        let keyed = self.mistakes.len();
        self.table_key(sql, written);
        if self.mistakes.len() == keyed {
            self.result_key(sql, written);
        }
        self.table_revision(written);
        for (number, index) in sql.indexes.iter().enumerate() {
            let place = self.path.key("indexes").index(number).key("columns");
            self.known_columns(&place, &index.columns, written);
        }
        // What else is wrong would be echoed there.
        if let Some(retention) = sql.retention.as_ref().filter(|_| self.mistakes.len() == before) {
            self.retention(sink, sql, retention, written);
        }
    }

    fn table_name(&mut self, sql: &SqlSink) {
        // A name that is missing was told of before.
        if sql.table.is_empty() {
            return;
        }
        if check_name(&sql.table).is_err() {
            let mistake = Mistake::new(self.path.key("table"), "this can't be the name of a table");
            self.mistakes.push(mistake.found(format!("{:?}", sql.table)).expected(NAMES));
        }
        if sql.table.starts_with(OWN) {
            let mistake = Mistake::new(self.path.key("table"), "names that begin with `weir_` are Weir's own");
            self.mistakes.push(mistake.found(format!("{:?}", sql.table)).expected("another name"));
        }
    }

    fn table_columns(&mut self, sink: &Sink, written: &Types) {
        let place = self.path.key(if sink.select.is_some() { "select" } else { "input" });
        for column in stored(written) {
            if check_name(&column.name).is_err() {
                let message = format!("`{}` can't be the name of a table's column", column.name);
                self.mistakes.push(Mistake::new(place.clone(), message).expected(format!("a `select` with {NAMES}")));
            }
            if SqlType::of(&column.data_type).is_none() {
                let message = format!("`{}` is {}, which no table holds", column.name, type_name(&column.data_type));
                let expected = "a `select` with a number, a text, a timestamp or bytes in its place";
                self.mistakes.push(Mistake::new(place.clone(), message).expected(expected));
            }
        }
    }

    fn table_key(&mut self, sql: &SqlSink, written: &Types) {
        let place = self.path.key("key");
        let Some(key) = &sql.key else {
            if written.main.column(RECORD_ID).is_none() {
                let mistake = Mistake::on_key(self.path.clone(), "its rows have no `record_id`, and no `key` is named");
                self.mistakes.push(mistake.expected("key = [...], the columns that tell two rows apart"));
            }
            return;
        };
        if key.is_empty() {
            let mistake = Mistake::new(place.clone(), "a table without a key would hold rows twice after a restart");
            self.mistakes.push(mistake.expected("the columns that tell two rows apart"));
        }
        self.known_columns(&place, key, written);
        for (number, name) in key.iter().enumerate() {
            if written.main.column(name).and_then(|column| SqlType::of(&column.data_type)) == Some(SqlType::Double) {
                let mistake = Mistake::new(place.index(number), format!("`{name}` is a floating-point number"));
                self.mistakes.push(mistake.expected("a column whose values are equal or not, without rounding"));
            }
            if key[..number].contains(name) {
                let mistake = Mistake::new(place.index(number), format!("`{name}` stands there twice"));
                self.mistakes.push(mistake.expected("each column once"));
            }
        }
        if key.iter().any(|name| name == REVISION) && written.results.is_some() {
            let message =
                "with the revision in the key every correction would be a row beside the one that it corrects";
            self.mistakes.push(Mistake::new(place, message).expected("the key without `revision`"));
        }
    }

    /// Results are corrected later: the table must know which is newer.
    fn table_revision(&mut self, written: &Types) {
        if written.results.is_none() {
            return;
        }
        let whole = |column: &weir_operators::schema::Column| column.data_type.is_integer();
        if !written.main.column(REVISION).is_some_and(whole) {
            let message = "it does not write `revision`, which tells a correction from what it corrects";
            self.mistakes.push(Mistake::new(self.path.key("select"), message).expected("\"revision\" in the list"));
        }
    }

    fn known_columns(&mut self, place: &KeyPath, names: &[String], written: &Types) {
        for (number, name) in names.iter().enumerate() {
            if written.main.column(name).is_none() {
                self.mistakes.push(unknown_column(place.index(number), name, &written.main));
            }
        }
    }

    fn retention(&mut self, sink: &Sink, sql: &SqlSink, retention: &TableRetention, written: &Types) {
        let place = self.path.key("retention");
        match written.main.column(&retention.time) {
            None => self.mistakes.push(unknown_column(place.key("time"), &retention.time, &written.main)),
            Some(column) if column.data_type != event_time_type() => {
                let message = format!("`{}` is {}", retention.time, type_name(&column.data_type));
                self.mistakes.push(Mistake::new(place.key("time"), message).expected("a column of type timestamp"));
            }
            Some(_) if sql.key.as_ref().and_then(|key| key.first()) != Some(&retention.time) => {
                let message =
                    format!("`{}` is not the first column of the key, so old rows are not found", retention.time);
                self.mistakes.push(Mistake::new(place.key("time"), message).expected("the first column of `key`"));
            }
            Some(_) => {}
        }
        for (number, name) in sql.key.iter().flatten().enumerate() {
            if written.main.column(name).and_then(|column| SqlType::of(&column.data_type)) == Some(SqlType::Numeric) {
                let message = format!("`{name}` is an exact number, which `retention` can't find its way by");
                let mistake = Mistake::new(self.path.key("key").index(number), message);
                self.mistakes.push(mistake.expected("no `retention`, or texts, timestamps and ints in the key"));
            }
        }
        self.sums(sink, sql, retention, written);
        self.spans(sink, retention);
    }

    /// A column that is neither added up nor part of the key has no value for an hour.
    fn sums(&mut self, sink: &Sink, sql: &SqlSink, retention: &TableRetention, written: &Types) {
        let place = self.path.key("retention").key("sum");
        self.known_columns(&place, &retention.sum, written);
        let results = results_of(self.spec, &sink.input);
        for (number, name) in retention.sum.iter().enumerate() {
            let whole = written.main.column(name).is_none_or(|column| {
                SqlType::of(&column.data_type) == Some(SqlType::BigInt) && column.data_type.is_integer()
            });
            let counted = results.and_then(|(aggregate, _)| {
                Some((aggregate, before_maps(self.spec, &sink.input, computed_from(written, name))?))
            });
            let sums = counted.is_none_or(|(aggregate, column)| adds_up(aggregate, column));
            if !whole || !sums || sql.key.iter().flatten().any(|key| key == name) {
                let mistake =
                    Mistake::new(place.index(number), format!("`{name}` of an hour is not the sum of its minutes'"));
                self.mistakes.push(mistake.expected("columns with a count or a sum of whole numbers"));
            }
        }
        for column in stored(written) {
            let name = &column.name;
            let known = sql.key.iter().flatten().chain(&retention.sum).any(|other| other == name) || name == REVISION;
            if !known {
                let message =
                    format!("it is not clear what `{name}` of an hour is: it is neither added up nor in the key");
                self.mistakes
                    .push(Mistake::new(place.clone(), message).expected("a `select` without it, or it in `sum`"));
            }
        }
    }

    /// Nothing may be put away that can still be corrected.
    fn spans(&mut self, sink: &Sink, retention: &TableRetention) {
        let place = self.path.key("retention");
        if let Some((aggregate, window)) = results_of(self.spec, &sink.input) {
            let open = aggregate.allowed_lateness + length(window);
            if retention.minutes < open {
                let message = "windows would be put away that late events still correct";
                let expected = format!("at least the window and its allowed lateness, {}", show(open));
                let mistake = Mistake::new(place.key("minutes"), message).found(show(retention.minutes));
                self.mistakes.push(mistake.expected(expected));
            }
        }
        for (key, shorter, longer) in
            [("hours", retention.minutes, retention.hours), ("days", retention.hours, retention.days)]
        {
            if longer < shorter {
                let mistake = Mistake::new(place.key(key), "they would go before they have come");
                self.mistakes.push(mistake.found(show(longer)).expected(format!("at least {}", show(shorter))));
            }
        }
    }
}

const NAMES: &str = "letters, digits and `_`, no digit first, not longer than 48";

/// The aggregate whose results an input has, and their windows; none where its rows are still events.
fn results_of<'a>(spec: &'a JobSpec, input: &str) -> Option<(&'a Aggregate, Window)> {
    match node(spec, input)? {
        NodeBody::Aggregate(aggregate) => Some((aggregate, aggregate.window)),
        NodeBody::Reduce(reduce) => {
            let (aggregate, window) = results_of(spec, &reduce.input)?;
            Some((aggregate, reduce.window.unwrap_or(window)))
        }
        NodeBody::Map(map) => results_of(spec, &map.input),
        _ => None,
    }
}

/// What a column was called before the maps that results come through; none where it is computed.
fn before_maps<'a>(spec: &'a JobSpec, input: &str, name: &'a str) -> Option<&'a str> {
    let Some(NodeBody::Map(map)) = node(spec, input) else { return Some(name) };
    let name = match &map.select {
        None => name,
        Some(items) => {
            let (_, expression) = items.iter().find(|(item, _)| item == name)?;
            let column = expression.trim().trim_matches('"');
            column.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(column)?
        }
    };
    before_maps(spec, &map.input, name)
}

/// The columns of the table. What is withdrawn is not in it, so that nothing has to say so.
fn stored(written: &Types) -> impl Iterator<Item = &weir_operators::schema::Column> {
    let is_result = written.results.is_some();
    written.main.columns.iter().filter(move |column| !is_result || column.name != WITHDRAWN)
}

fn node<'a>(spec: &'a JobSpec, name: &str) -> Option<&'a NodeBody> {
    spec.nodes.iter().find(|node| node.name == name).map(|node| &node.body)
}

/// The column of the input that a selected one is.
fn computed_from<'a>(written: &'a Types, name: &'a str) -> &'a str {
    let item = written.select.iter().flatten().find(|item| item.name == name);
    item.map_or(name, |item| item.expression.trim_matches('"'))
}

fn length(window: Window) -> Duration {
    match window {
        Window::Tumbling { size } | Window::Hopping { size, .. } => size,
        Window::Session { gap } => gap,
    }
}

/// What the table of a sink can take; none: it writes into no table.
pub(super) fn table_rule(sink: &Sink, written: &Types) -> Option<TableRule> {
    let SinkConnector::Sql(sql) = &sink.connector else { return None };
    let key = sql.key.clone().unwrap_or_else(|| vec![RECORD_ID.into()]);
    let revision = written.results.as_ref().map(|_| REVISION.to_owned());
    Some(TableRule {
        table: sql.table.clone(),
        dialect: Dialect::of(&sql.url).ok()?,
        needed: key.iter().cloned().chain(revision).collect(),
        key,
        indexes: sql.indexes.iter().map(|index| index.columns.clone()).collect(),
    })
}

/// The settings of its node.
pub(super) fn configuration(spec: &JobSpec, sink: &Sink, sql: &SqlSink, written: &Types) -> Value {
    let column = |column: &weir_operators::schema::Column| {
        Some(SqlColumn { name: column.name.clone(), sql_type: SqlType::of(&column.data_type)? })
    };
    let index = |index: &crate::sql_sink::TableIndex| SqlIndex {
        columns: index.columns.clone(),
        condition: index.condition.clone(),
    };
    let retention = sql.retention.as_ref().map(|retention| Retention {
        time: retention.time.clone(),
        sum: retention.sum.clone(),
        minutes_ms: millis(retention.minutes),
        hours_ms: millis(retention.hours),
        days_ms: millis(retention.days),
    });
    let key = sql.key.clone().unwrap_or_else(|| vec![RECORD_ID.into()]);
    let config = SqlSinkConfig {
        url: sql.url.clone(),
        table: sql.table.clone(),
        columns: stored(written).filter_map(column).collect(),
        revision: written.results.is_some().then(|| REVISION.into()),
        // Where the newest window stays, one that cannot be said is there without its values.
        withdrawn: written
            .results
            .as_ref()
            .filter(|results| results.may_be_withdrawn() && !sql.keep_newest)
            .map(|_| WITHDRAWN.into()),
        newest_by: newest_by(written).filter(|_| sql.keep_newest).map(Into::into),
        indexes: sql.indexes.iter().map(index).collect(),
        description: description(spec, sink, &key, retention.as_ref(), written),
        retention,
        key,
    };
    json!(config)
}

/// What readers of the table should know of how it came to be.
fn description(
    spec: &JobSpec,
    sink: &Sink,
    key: &[String],
    retention: Option<&Retention>,
    written: &Types,
) -> Description {
    let results = results_of(spec, &sink.input);
    let filters = spec.filters.iter().map(|(id, predicate)| Filter { id: id.clone(), predicate: predicate.clone() });
    // Only an aggregate has running counts, and only straight to a sink.
    let emits = |node: &NodeBody| matches!(node, NodeBody::Aggregate(aggregate) if aggregate.emit.is_some());
    let running = sink.takes_running() && node(spec, &sink.input).is_some_and(emits);
    let timestamp =
        |name: &&String| written.main.column(name).is_some_and(|column| column.data_type == event_time_type());
    Description {
        filters: filters.collect(),
        key: key.to_vec(),
        time: key.iter().find(timestamp).cloned(),
        window_ms: results.map(|(_, window)| millis(length(window))),
        archive_held_ms: Some(longest_before_archives(spec)),
        allowed_lateness_ms: results.map(|(aggregate, _)| millis(aggregate.allowed_lateness)),
        running,
        retention: retention.cloned(),
    }
}

/// References to secrets must be written right, and, where the job runs, lead to something. The kind of the database is no
/// secret, and has to be known before.
pub(super) fn check_secrets(spec: &JobSpec, runs_here: bool, mistakes: &mut Vec<Mistake>) {
    for node in &spec.nodes {
        let NodeBody::Sink(Sink { connector: SinkConnector::Sql(sql), enabled, .. }) = &node.body else { continue };
        let resolved = secrets::references(&sql.url).and_then(|references| match references.is_empty() {
            false if runs_here && *enabled => secrets::resolve(&sql.url).map(|_| ()),
            _ => Ok(()),
        });
        if let Err(wrong) = resolved {
            let mistake = Mistake::new(super::resolve::path_of(node).key("url"), wrong.message);
            let mistake = mistake.found(format!("{:?}", without_password(&sql.url)));
            mistakes.push(match wrong.expected {
                None => mistake,
                Some(expected) => mistake.expected(expected),
            });
        }
    }
}

/// Two sinks with one table would take each other's rows for their own.
pub(super) fn check_tables(spec: &JobSpec, mistakes: &mut Vec<Mistake>) {
    let table = |body: &NodeBody| match body {
        NodeBody::Sink(Sink { connector: SinkConnector::Sql(sql), enabled: true, .. }) => {
            Some((String::clone(&sql.url), sql.table.to_lowercase(), sql.retention.is_some()))
        }
        _ => None,
    };
    for (index, node) in spec.nodes.iter().enumerate() {
        let Some(own) = table(&node.body) else { continue };
        let shares = |other: &&crate::spec::NodeSpec| table(&other.body).is_some_and(|other| meet(&own, &other));
        if let Some(twin) = spec.nodes[..index].iter().find(shares) {
            let message = format!("the sink `{}` writes there too", twin.name);
            let mistake = Mistake::new(super::resolve::path_of(node).key("table"), message);
            mistakes.push(mistake.found(own.1).expected("a table of its own"));
        }
    }
}

/// Whether two sinks have a table in common, those of hours and days and of what was withdrawn included.
fn meet(one: &(String, String, bool), other: &(String, String, bool)) -> bool {
    let tables = |(_, table, retained): &(String, String, bool)| of_sink(table, *retained);
    one.0 == other.0 && tables(one).iter().any(|table| tables(other).contains(table))
}

/// For people.
pub(super) fn note(sql: &SqlSink) -> String {
    let key = sql.key.as_ref().map_or(RECORD_ID.into(), |key| key.join(", "));
    let retention = match &sql.retention {
        None => String::new(),
        Some(retention) => format!(", hours after {}", show(retention.minutes)),
    };
    let newest = if sql.keep_newest { ", the newest window of each" } else { "" };
    format!("the table {} in {}, key {key}{newest}{retention}", sql.table, without_password(&sql.url))
}
