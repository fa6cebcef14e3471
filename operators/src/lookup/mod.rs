//! The lookup: enriches rows with what a SQL table or an HTTP service knows about them. Rows leave in the order in which they came.
//!
//! A row is *settled* when it is known what was found about its key: by an answer to a question of its own or of an equal key that
//! is being asked about, by the cache, or because there is nothing to ask, its key having a null. The operator is a pure state
//! machine: its subtask's loop hands it rows, answers and the time, and takes questions and settled rows.
//!
//! State: segments `rows-N` of some thousand rows that wait, with what is known of each; one that nothing has happened to is not
//! written again, and one that rows came to is appended to. A segment `answers-N` for each piece of the cache, to which a checkpoint appends what was answered since the
//! last one, and which is dropped whole. So what was answered before a barrier is not asked again after a restore. What was
//! asked and not answered is.
//!
//! Invariant: between two barriers that complete, each row is emitted with one answer; what an attempt has emitted beyond its last
//! complete checkpoint is committed nowhere.
//!
//! Reading order: [`config`], `settings` (what a definition says), `answer` (what services say), `waiting` (rows), `questions`
//! (keys that are asked about), `cache`, `state` (how these are stored), [`operator`], then the [`service`]s.

mod answer;
mod cache;
pub mod config;
pub mod operator;
mod questions;
pub mod service;
mod settings;
mod state;
mod waiting;

use crate::confinement::Location;
use serde::Deserialize;
use weir_engine::{EngineError, Result, graph::Node};

pub use config::{CacheConfig, LookupConfig, Missing, OnFailure, Retries};
pub use operator::LookupOperator;
pub use service::{ServiceConfig, http::HttpLookup, sql::SqlLookup};
pub use settings::LookupSettings;

/// What the registry knows it by.
pub const KIND: &str = "lookup";

/// Where the service of a node leads, as its configuration says; nowhere, where the node is no lookup.
///
/// # Errors
/// When the configuration is none of a lookup.
pub fn locations(node: &Node) -> Result<Vec<Location>> {
    if node.kind != KIND {
        return Ok(Vec::new());
    }
    let config = LookupConfig::deserialize(&node.config);
    config.map_err(|error| EngineError::definition(format!("this is no lookup: {error}")))?.service.locations()
}
