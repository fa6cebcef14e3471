//! What a sink writes to: files, a table, or the console.

use serde_json::{Value, json};
use weir_operators::columns::{REVISION, WITHDRAWN};
use weir_operators::map::SelectItem;
use weir_operators::sink::sql::TableRule;

use super::super::check::Check;
use super::super::claims::Claim;
use super::super::planning::Planning;
use super::super::results::Results;
use super::super::select::is_column;
use super::super::types::Types;
use super::files::FilesSink;
use super::sql::SqlSink;
use crate::store_table::{KeptTable, Shadow};
use weir_operators::definition::{KeyPath, Mistake, Reader};

/// What a sink writes to.
#[derive(Debug, Clone)]
pub(crate) enum SinkConnector {
    Console,
    Files(FilesSink),
    Sql(SqlSink),
}

type ReadConnector = fn(&Reader<'_>) -> SinkConnector;

impl SinkConnector {
    /// Reads the connector's own keys; nothing, where it is not known which connector it is.
    pub(super) fn read(node: &Reader<'_>) -> Option<Self> {
        node.require("connector", "\"files\", \"sql\" or \"console\"");
        let connectors: [(&str, ReadConnector); 3] = [
            ("files", |node| SinkConnector::Files(FilesSink::read(node))),
            ("sql", |node| SinkConnector::Sql(SqlSink::read(node))),
            ("console", |_| SinkConnector::Console),
        ];
        node.choice("connector", &connectors).map(|read| read(node))
    }

    /// Whether it keeps a table, which is there to be asked.
    pub(super) fn is_table(&self) -> bool {
        matches!(self, SinkConnector::Sql(_))
    }

    /// Whether rows may be dead letters here, although nothing is computed.
    pub(super) fn may_refuse(&self) -> bool {
        matches!(self, SinkConnector::Sql(_))
    }

    /// What is wrong with what it needs from outside of the definition.
    pub(super) fn look(&self, path: &KeyPath, runs_here: bool) -> Vec<Mistake> {
        match self {
            SinkConnector::Sql(sql) => sql.look(path, runs_here).into_iter().collect(),
            SinkConnector::Files(_) | SinkConnector::Console => Vec::new(),
        }
    }

    /// Checks the columns that it is to write.
    pub(super) fn check(&self, place: &KeyPath, given: &Types, written: &Types, check: &mut Check<'_>) {
        match self {
            SinkConnector::Sql(sql) => check.sql_sink(place, sql, given, written),
            SinkConnector::Files(files) => files.check(place, written, check),
            SinkConnector::Console => {}
        }
    }

    /// What a `select` over results carries beside what it names: whether they hold, where that is not plain.
    pub(super) fn carried(&self, items: &[SelectItem], results: &Results) -> &'static [&'static str] {
        let names_revision = items.iter().any(|item| is_column(item, REVISION));
        let says_so = match self {
            // A table has no such column: what is withdrawn is not in it.
            SinkConnector::Sql(_) => results.may_be_withdrawn(),
            SinkConnector::Files(_) | SinkConnector::Console => results.may_be_withdrawn() || names_revision,
        };
        if says_so { &[WITHDRAWN] } else { &[] }
    }

    /// What its table can take; none: it writes into no table.
    pub(super) fn table_rule(&self, written: &Types) -> Option<TableRule> {
        match self {
            SinkConnector::Sql(sql) => sql.table_rule(written),
            SinkConnector::Files(_) | SinkConnector::Console => None,
        }
    }

    /// Its name in the registry of operators, and its settings.
    pub(super) fn configuration(&self, planning: &Planning<'_>, takes_running: bool) -> (&'static str, Value) {
        match self {
            SinkConnector::Console => ("console", json!({})),
            SinkConnector::Sql(sql) => ("sql", sql.configuration(planning, takes_running)),
            SinkConnector::Files(files) => ("files", files.configuration(planning.own)),
        }
    }

    /// What it writes to, for people.
    pub(super) fn note(&self) -> String {
        match self {
            SinkConnector::Console => "lines on standard output".into(),
            SinkConnector::Sql(sql) => sql.note(),
            SinkConnector::Files(files) => files.note(),
        }
    }

    /// What it writes to, and nobody else may.
    pub(super) fn claim(&self) -> Option<Claim> {
        match self {
            SinkConnector::Files(files) => Claim::folder(&files.path),
            SinkConnector::Sql(sql) => Some(sql.claim()),
            SinkConnector::Console => None,
        }
    }

    /// For recounts: the table that it keeps.
    pub(super) fn kept_table(&self) -> Option<KeptTable<'_>> {
        match self {
            SinkConnector::Sql(sql) => Some(sql.kept_table()),
            SinkConnector::Files(_) | SinkConnector::Console => None,
        }
    }

    /// Makes it a part of a replay.
    pub(super) fn shadow(&mut self, shadow: &Shadow<'_>) {
        if let SinkConnector::Sql(sql) = self {
            sql.shadow(shadow);
        }
    }
}
