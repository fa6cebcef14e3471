//! Settings of a lookup, as its compiled node keeps them.

use super::service::ServiceConfig;
use crate::{schema::ColumnSchema, source::column_type::DeclaredSchema};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Keys that are asked about at once in a subtask, where nothing is said.
pub const IN_FLIGHT: u32 = 100;
/// How long an answer may take, where nothing is said.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// How many answers a cache has room for in a subtask, where nothing is said.
pub const CACHE_SIZE: u32 = 100_000;

/// Settings of a lookup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupConfig {
    /// Who is asked.
    pub service: ServiceConfig,
    /// The columns that come in.
    pub input: ColumnSchema,
    /// The columns that are added. Their order may be lost on the way here, with this as a JSON value: `output` has it.
    pub columns: DeclaredSchema,
    /// Of these and those that come in, the ones that are passed on, in order; none: all, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<String>>,
    /// How many keys are asked about at once.
    pub in_flight: u32,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// What is done when no answer comes.
    pub retries: Retries,
    /// What is remembered of answers; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// What becomes of a row about which there is no answer in the end.
    pub on_failure: OnFailure,
    /// What becomes of a row that nothing is known about.
    pub missing: Missing,
}

/// When it is asked again. Each pause is twice as long as the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// How often, after the first time.
    pub times: u32,
    /// The first pause, in milliseconds.
    pub pause_ms: u64,
    /// The longest, in milliseconds.
    pub longest_ms: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { times: 3, pause_ms: 100, longest_ms: 10_000 }
    }
}

/// What is remembered of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// How long an answer is taken for true, in milliseconds of the clock.
    pub ttl_ms: i64,
    /// How many are kept in a subtask: the oldest go first.
    pub size: u32,
}

/// What becomes of a row about which there is no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is a dead letter, with the reason.
    #[default]
    DeadLetter,
    /// It is passed on with nulls.
    Null,
    /// A service that is away is waited for, for as long as it takes; what waiting does not heal ends the job.
    Fail,
}

impl OnFailure {
    /// As a definition has it.
    pub const NAMES: [(&'static str, OnFailure); 3] =
        [("dead_letter", OnFailure::DeadLetter), ("null", OnFailure::Null), ("fail", OnFailure::Fail)];
}

/// What becomes of a row that the service knows nothing about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is passed on with nulls.
    #[default]
    Null,
    /// It is a dead letter.
    DeadLetter,
    /// It is left out, and counted.
    Drop,
}

impl Missing {
    /// As a definition has it.
    pub const NAMES: [(&'static str, Missing); 3] =
        [("null", Missing::Null), ("dead_letter", Missing::DeadLetter), ("drop", Missing::Drop)];
}

impl LookupConfig {
    /// The columns that the service is asked by.
    pub fn key(&self) -> Vec<String> {
        self.service.key()
    }
}
