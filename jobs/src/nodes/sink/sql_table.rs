//! A sink's table as its operators and its readers are told of it.

use serde_json::{Value, json};
use weir_engine::hidden::without_password;
use weir_engine::secrets;
use weir_operators::columns::{RECORD_ID, REVISION, WITHDRAWN};
use weir_operators::event_time::event_time_type;
use weir_operators::schema::Column;
use weir_operators::sink::sql::{Dialect, Retention, SqlColumn, SqlIndex, SqlSinkConfig, SqlType, TableRule};

use super::super::claims::Claim;
use super::super::planning::Planning;
use super::super::types::Types;

use super::sql::{SqlSink, TableIndex};
use crate::store_table::{KeptTable, Shadow};
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{KeyPath, Mistake};

impl SqlSink {
    /// What it can take.
    pub(super) fn table_rule(&self, written: &Types) -> Option<TableRule> {
        let key = self.key.clone().unwrap_or_else(|| vec![RECORD_ID.into()]);
        let revision = written.results.as_ref().map(|_| REVISION.to_owned());
        Some(TableRule {
            table: self.table.clone(),
            dialect: Dialect::of(&self.url).ok()?,
            needed: key.iter().cloned().chain(revision).collect(),
            key,
            indexes: self.indexes.iter().map(|index| index.columns.clone()).collect(),
        })
    }

    /// The settings of its node.
    pub(super) fn configuration(&self, planning: &Planning<'_>, takes_running: bool) -> Value {
        let written = planning.own;
        let column =
            |column: &Column| Some(SqlColumn { name: column.name.clone(), sql_type: SqlType::of(&column.data_type)? });
        let index =
            |index: &TableIndex| SqlIndex { columns: index.columns.clone(), condition: index.condition.clone() };
        let retention = self.retention.as_ref().map(|retention| Retention {
            time: retention.time.clone(),
            sum: retention.sum.clone(),
            minutes_ms: millis(retention.minutes),
            hours_ms: millis(retention.hours),
            days_ms: millis(retention.days),
        });
        let key = self.key.clone().unwrap_or_else(|| vec![RECORD_ID.into()]);
        let config = SqlSinkConfig {
            url: self.url.clone(),
            table: self.table.clone(),
            columns: stored(written).filter_map(column).collect(),
            revision: written.results.is_some().then(|| REVISION.into()),
            // Where the newest window stays, one that cannot be said is there without its values.
            withdrawn: written
                .results
                .as_ref()
                .filter(|results| results.may_be_withdrawn() && !self.keep_newest)
                .map(|_| WITHDRAWN.into()),
            newest_by: self.newest_by(written).map(Into::into),
            indexes: self.indexes.iter().map(index).collect(),
            description: description(planning, &key, retention.as_ref(), takes_running),
            retention,
            key,
        };
        json!(config)
    }

    /// The column by which the row of the newest window is known, where that one stays.
    fn newest_by<'a>(&self, written: &'a Types) -> Option<&'a str> {
        written.results.as_ref().filter(|_| self.keep_newest)?.newest_by(&written.main)
    }

    /// For people.
    pub(super) fn note(&self) -> String {
        let key = self.key.as_ref().map_or(RECORD_ID.into(), |key| key.join(", "));
        let retention = match &self.retention {
            None => String::new(),
            Some(retention) => format!(", hours after {}", show(retention.minutes)),
        };
        let newest = if self.keep_newest { ", the newest window of each" } else { "" };
        format!("the table {} in {}, key {key}{newest}{retention}", self.table, without_password(&self.url))
    }

    /// References to secrets must be written right, and, where the job runs, lead to something. The kind of the database is no
    /// secret, and has to be known before.
    pub(super) fn look(&self, path: &KeyPath, runs_here: bool) -> Option<Mistake> {
        let resolved = secrets::references(&self.url).and_then(|references| match references.is_empty() {
            false if runs_here => secrets::resolve(&self.url).map(|_| ()),
            _ => Ok(()),
        });
        let wrong = resolved.err()?;
        let (message, expected) = wrong.split_once("; ").unwrap_or((&wrong, ""));
        let mistake = Mistake::new(path.key("url"), message).found(format!("{:?}", without_password(&self.url)));
        Some(if expected.is_empty() { mistake } else { mistake.expected(expected) })
    }

    /// The tables that are its own.
    pub(super) fn claim(&self) -> Claim {
        Claim::tables(&self.url, &self.table, self.retention.is_some())
    }

    /// For recounts.
    pub(super) fn kept_table(&self) -> KeptTable<'_> {
        KeptTable {
            url: &self.url,
            table: &self.table,
            key: self.key.as_deref().unwrap_or_default(),
            keep_newest: self.keep_newest,
            sums: self.retention.as_ref().map(|retention| retention.sum.as_slice()).unwrap_or_default(),
        }
    }

    /// Makes it a table of a replay.
    pub(super) fn shadow(&mut self, shadow: &Shadow<'_>) {
        self.table = (shadow.table)(&self.table);
        self.retention = None;
        // Nobody asks it anything but in the order of its key.
        self.indexes.clear();
        if let Some(store) = shadow.store {
            self.url = store.into();
        }
    }
}

/// What readers of the table should know of how it came to be.
fn description(planning: &Planning<'_>, key: &[String], retention: Option<&Retention>, running: bool) -> Value {
    let written = planning.own;
    let results = written.results.as_ref();
    let filters = planning.job.filters.iter().map(|(id, predicate)| json!({ "id": id, "predicate": predicate }));
    let timestamp =
        |name: &&String| written.main.column(name).is_some_and(|column| column.data_type == event_time_type());
    json!({
        "filters": filters.collect::<Vec<_>>(),
        "key": key,
        "time": key.iter().find(timestamp),
        "window_ms": results.map(|results| millis(results.window.length())),
        "archive_held_ms": planning.archive_held_ms,
        "allowed_lateness_ms": results.map(|results| millis(results.counted.allowed_lateness)),
        "running": running,
        "retention": retention,
    })
}

/// The columns of the table. What is withdrawn is not in it, so that nothing has to say so.
pub(super) fn stored(written: &Types) -> impl Iterator<Item = &Column> {
    let is_result = written.results.is_some();
    written.main.columns.iter().filter(move |column| !is_result || column.name != WITHDRAWN)
}
