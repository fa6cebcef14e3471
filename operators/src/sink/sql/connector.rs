//! What a SQL sink is to those that check, compile, show and confine jobs.

use super::{
    Description, Dialect, Filter, SqlColumn, SqlCommitter, SqlSink, SqlSinkConfig, SqlSinkSettings, SqlType, TableRule,
    check::{Check, check_secrets, span, stored},
    location, of_sink,
    read_back::SqlReadBack,
    shape,
    table_key::newest_by,
};
use crate::{
    columns::{RECORD_ID, REVISION, WITHDRAWN},
    confinement::Location,
    definition::{
        KeyPath, Mistake,
        duration::{millis, show},
    },
    event_time::event_time_type,
    schema::Column,
    sink::{
        KeptTable, Owned, Shadow, SinkConnector, SinkGiven, SinkJob, SinkKind, SinkWindows, StoredSink, WrittenTable,
        read_back::{ReadBack, ReadBackOf},
    },
};
use serde_json::{Value, json};
use std::sync::Arc;
use weir_engine::{
    error::Result,
    hidden::without_password,
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// A table of a SQL database.
pub const KIND: SinkKind = SinkKind {
    name: "sql",
    read: |keys| Box::new(SqlSinkSettings::read(keys)),
    stored: |config| Ok(Box::new(SqlSinkConfig::from_json(config)?)),
    meaning: &["url", "table", "key", "newest_by"],
};

impl SinkConnector for SqlSinkSettings {
    fn kind(&self) -> &'static SinkKind {
        &KIND
    }

    fn check(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        Check { sql: self, given, at, mistakes }.all();
    }

    fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        check_secrets(self, runs_here, at, mistakes);
    }

    /// Two sinks with one table would take each other's rows for their own. Tables of hours and days and of what was withdrawn
    /// are its own, too.
    fn owns(&self) -> Option<Owned> {
        let shown = self.table.to_lowercase();
        let place = |table| vec![KIND.name.to_owned(), self.url.to_string(), table];
        let places = of_sink(&shown, self.retention.is_some()).into_iter().map(place).collect();
        Some(Owned { key: "table", expected: "a table of its own", places, shown })
    }

    fn config(&self, given: &SinkGiven<'_>, job: &SinkJob<'_>) -> Value {
        let column =
            |column: &Column| Some(SqlColumn { name: column.name.clone(), sql_type: SqlType::of(&column.data_type)? });
        // Where the newest window stays, one that cannot be said is there without its values.
        let may_be_withdrawn = given.results.is_some_and(|results| results.may_be_withdrawn()) && !self.keep_newest;
        json!(SqlSinkConfig {
            url: self.url.clone(),
            table: self.table.clone(),
            columns: stored(given).filter_map(column).collect(),
            key: self.primary_key(),
            revision: given.results.is_some().then(|| REVISION.into()),
            withdrawn: may_be_withdrawn.then(|| WITHDRAWN.into()),
            newest_by: newest_by(given).filter(|_| self.keep_newest).map(Into::into),
            indexes: self.indexes.clone(),
            retention: self.retention.clone(),
            description: self.description(given, job),
        })
    }

    fn note(&self) -> String {
        let key = self.key.as_ref().map_or(RECORD_ID.into(), |key| key.join(", "));
        let retention = match &self.retention {
            None => String::new(),
            Some(retention) => format!(", hours after {}", show(span(retention.minutes_ms))),
        };
        let newest = if self.keep_newest { ", the newest window of each" } else { "" };
        format!("the table {} in {}, key {key}{newest}{retention}", self.table, without_password(&self.url))
    }

    fn takes_running(&self) -> bool {
        true
    }

    fn keeps_revisions(&self) -> bool {
        false
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn table_rule(&self, given: &SinkGiven<'_>) -> Option<TableRule> {
        let key = self.primary_key();
        let revision = given.results.is_some().then(|| REVISION.to_owned());
        Some(TableRule {
            table: self.table.clone(),
            dialect: Dialect::of(&self.url).ok()?,
            needed: key.iter().cloned().chain(revision).collect(),
            key,
            indexes: self.indexes.iter().map(|index| index.columns.clone()).collect(),
        })
    }

    fn table(&self) -> Option<KeptTable<'_>> {
        Some(KeptTable {
            url: &self.url,
            table: &self.table,
            key: self.key.as_deref().unwrap_or_default(),
            sums: self.retention.as_ref().map_or(&[], |retention| retention.sum.as_slice()),
            keep_newest: self.keep_newest,
        })
    }

    fn beside(&self, shadow: &Shadow<'_>) -> Option<Arc<dyn SinkConnector>> {
        Some(Arc::new(SqlSinkSettings {
            url: shadow.store.map_or_else(|| self.url.clone(), Into::into),
            table: (shadow.table)(&self.table),
            retention: None,
            // It is only queried in the order of its key.
            indexes: Vec::new(),
            ..self.clone()
        }))
    }
}

impl SqlSinkSettings {
    /// What readers of the table should know of how it came to be.
    fn description(&self, given: &SinkGiven<'_>, job: &SinkJob<'_>) -> Description {
        let key = self.primary_key();
        let filters = job.filters.iter().map(|(id, predicate)| Filter { id: id.clone(), predicate: predicate.clone() });
        let timestamp =
            |name: &&String| given.columns.column(name).is_some_and(|column| column.data_type == event_time_type());
        Description {
            filters: filters.collect(),
            time: key.iter().find(timestamp).cloned(),
            key,
            window_ms: given
                .results
                .filter(|results| results.windows != SinkWindows::None)
                .map(|results| millis(results.window)),
            archive_held_ms: Some(job.archive_held_ms),
            allowed_lateness_ms: given.results.map(|results| millis(results.allowed_lateness)),
            running: job.running,
            retention: self.retention.clone(),
            shape: Some(shape::of(given, &self.primary_key())),
        }
    }
}

impl StoredSink for SqlSinkConfig {
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(SqlSink::new(self.clone(), context)?))
    }

    /// The database is not spoken to before the first need.
    fn committer(&self, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(SqlCommitter::new(self.clone(), context)?))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        location::of(&self.url)
    }

    fn shown(&self) -> Option<String> {
        Some(format!("{} in {}", self.table, without_password(&self.url)))
    }

    fn read_back(&self, of: &ReadBackOf<'_>) -> Result<Option<Box<dyn ReadBack>>> {
        Ok(Some(Box::new(SqlReadBack::new(self.clone(), of)?)))
    }

    fn table(&self) -> Option<WrittenTable<'_>> {
        Some(WrittenTable { url: &self.url, table: &self.table, key: &self.key })
    }
}

#[cfg(test)]
mod tests;
