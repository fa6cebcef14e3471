//! Settings of a Kafka sink, as the compiled node of a definition's `[sink.NAME]` has them.

use crate::{format::WrittenFormat, kafka_connection::KafkaConnection};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use weir_engine::error::{EngineError, Result};

/// Settings of a Kafka sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSinkConfig {
    /// The cluster.
    pub connection: KafkaConnection,
    /// The topic's name.
    pub topic: String,
    /// How values are written.
    #[serde(default)]
    pub format: WrittenFormat,
    /// The columns of a record's key; empty: records have none.
    #[serde(default)]
    pub key: Vec<String>,
    /// Whether rows are results, whose record id and revision become headers.
    #[serde(default)]
    pub results: bool,
    /// What is promised of each row.
    #[serde(default)]
    pub delivery: Delivery,
    /// How long brokers leave a transaction open, in milliseconds.
    #[serde(default = "default_timeout")]
    pub transaction_timeout_ms: u64,
    /// The topic of the progress; none: that of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_topic: Option<String>,
    /// The topic for rows that the topic does not take; none: they are told of in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_topic: Option<String>,
}

/// What is promised of each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Who reads what is committed sees it once.
    #[default]
    ExactlyOnce,
    /// It is there, after a failure perhaps twice. No transactions, no progress.
    AtLeastOnce,
}

/// How long a transaction may be open where that is not said.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

fn default_timeout() -> u64 {
    TRANSACTION_TIMEOUT.as_millis() as u64
}

impl KafkaSinkConfig {
    /// From a node's settings.
    ///
    /// # Errors
    /// Naming the setting that is missing, unknown or wrong.
    pub fn from_json(config: &serde_json::Value) -> Result<Self> {
        let wrong = |error: String| EngineError::definition(format!("Kafka sink: {error}"));
        let config = KafkaSinkConfig::deserialize(config).map_err(|error| wrong(error.to_string()))?;
        for topic in [Some(&config.topic), config.progress_topic.as_ref(), config.rejected_topic.as_ref()] {
            if let Some(topic) = topic.filter(|topic| !is_topic_name(topic)) {
                return Err(wrong(format!("'{topic}' can't be the name of a topic")));
            }
        }
        Ok(config)
    }

    pub(super) fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms)
    }
}

/// Whether Kafka takes a topic of such a name.
pub(super) fn is_topic_name(name: &str) -> bool {
    let right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(right) && !matches!(name, "." | "..")
}
