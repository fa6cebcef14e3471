//! Who is asked. Each kind of service is a file here that reads its own keys of a definition, says what is wrong with them, where it
//! leads, and asks; and a variant of [`ServiceConfig`].

pub mod http;
mod patience;
pub mod sql;
#[cfg(test)]
mod tests;

use super::config::{LookupConfig, OnFailure, Retries};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake},
    schema::ColumnSchema,
};
use http::{HttpLookup, HttpService};
use patience::Patience;
use serde::{Deserialize, Serialize};
use sql::{SqlLookup, SqlService};
use std::sync::Arc;
use weir_engine::{
    Result,
    operator::{LookupService, OperatorContext},
};

/// Who is asked, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "connector", rename_all = "snake_case")]
pub enum ServiceConfig {
    /// A table of a SQL database.
    Sql(SqlLookup),
    /// An HTTP service.
    Http(HttpLookup),
}

impl ServiceConfig {
    /// The columns of rows that it is asked by.
    pub fn key(&self) -> Vec<String> {
        match self {
            ServiceConfig::Sql(sql) => sql.on.iter().map(|(column, _)| column.clone()).collect(),
            ServiceConfig::Http(http) => http.key(),
        }
    }

    /// Where a definition names such a column.
    pub fn key_path(&self, at: &KeyPath, column: &str) -> KeyPath {
        match self {
            ServiceConfig::Sql(_) => at.key("on").key(column),
            ServiceConfig::Http(_) => at.key("url"),
        }
    }

    /// How many keys one question is about, at most.
    pub fn keys_of_a_question(&self) -> usize {
        match self {
            ServiceConfig::Sql(_) => sql::MOST_KEYS,
            ServiceConfig::Http(_) => 1,
        }
    }

    /// What is wrong with it, where these columns come in.
    pub fn check(&self, given: &ColumnSchema, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        match self {
            ServiceConfig::Sql(sql) => sql.check(given, at, mistakes),
            ServiceConfig::Http(_) => {}
        }
    }

    /// Whether references to secrets lead to something, where the job runs.
    pub fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        match self {
            ServiceConfig::Sql(sql) => sql.check_secrets(runs_here, at, mistakes),
            ServiceConfig::Http(http) => http.check_secrets(runs_here, at, mistakes),
        }
    }

    /// Where it leads.
    ///
    /// # Errors
    /// When that is no place.
    pub fn locations(&self) -> Result<Vec<Location>> {
        match self {
            ServiceConfig::Sql(sql) => sql.locations(),
            ServiceConfig::Http(http) => http.locations(),
        }
    }

    /// In the words of people: `the table campaigns in postgres://…`.
    pub fn note(&self) -> String {
        match self {
            ServiceConfig::Sql(sql) => sql.note(),
            ServiceConfig::Http(http) => http.note(),
        }
    }
}

/// The service of a lookup, for one subtask. Nothing is spoken to before the first need.
///
/// # Errors
/// When a secret is missing, or an address leads nowhere.
pub fn service(config: &LookupConfig, context: &OperatorContext) -> Result<Arc<dyn LookupService>> {
    let patience = Patience::new(config, context);
    let of_node = |error: weir_engine::EngineError| error.context(&context.operator);
    Ok(match &config.service {
        ServiceConfig::Sql(sql) => Arc::new(SqlService::new(sql, config, patience).map_err(of_node)?),
        ServiceConfig::Http(http) => Arc::new(HttpService::new(http, config, patience).map_err(of_node)?),
    })
}
