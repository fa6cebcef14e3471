//! The settings of a Kafka source, and the source that is made from them.

use super::{metadata::Metadata, splits::KafkaSplits};
use crate::{
    format::{Format, FormatSettings},
    kafka_connection::KafkaConnection,
    source::{first_look::FirstLook, reader::SourceReader, settings::SourceSettings, split_reader::Connector},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use weir_engine::{error::Result, operator::OperatorContext};

/// How often it is looked for new topics and partitions.
pub const DISCOVER_INTERVAL: Duration = Duration::from_secs(10);

/// A Kafka source, as a definition's `[source.NAME]` has it and as the node of a graph keeps it; [`SourceSettings`] are beside
/// these in the same object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KafkaConfig {
    /// The cluster.
    #[serde(flatten)]
    pub connection: KafkaConnection,
    /// The topics that are read; empty: those that fit the pattern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// What names of topics fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// How the values of records are written.
    #[serde(flatten)]
    pub format: FormatSettings,
    /// Where partitions begin that there are at the job's first start.
    #[serde(default)]
    pub start: Start,
    /// Where they end; none: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// The consumer group that positions are noted for, so that others see how far the job has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Columns that are not in the values of records, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Metadata>,
    /// How often it is looked for new topics and partitions; none: as [`DISCOVER_INTERVAL`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discover_ms: Option<u64>,
}

/// Where a partition begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest record that there is.
    #[default]
    Earliest,
    /// Behind the newest.
    Latest,
    /// At the first record of this time or later, in milliseconds since the epoch.
    At(i64),
    /// Where the consumer group has come to.
    Group,
}

/// Where a partition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Behind the newest record of when the job was started for the first time.
    Latest,
}

impl KafkaConfig {
    /// Topics of a cluster, from their beginning on; click logs, unless [`KafkaConfig::format`] says otherwise.
    pub fn topics<S: Into<String>>(brokers: impl Into<String>, topics: impl IntoIterator<Item = S>) -> Self {
        KafkaConfig {
            connection: KafkaConnection::to(brokers),
            topics: topics.into_iter().map(Into::into).collect(),
            pattern: None,
            format: Format::ClickLog.into(),
            start: Start::Earliest,
            end: None,
            group: None,
            metadata: BTreeMap::new(),
            discover_ms: None,
        }
    }

    /// How the values of records are written.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format.format = format;
        self
    }

    /// Where partitions begin.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Where partitions end.
    #[must_use]
    pub fn end(mut self, end: End) -> Self {
        self.end = Some(end);
        self
    }

    /// A column that is not in the values of records.
    #[must_use]
    pub fn metadata(mut self, column: impl Into<String>, metadata: Metadata) -> Self {
        self.metadata.insert(column.into(), metadata);
        self
    }

    /// How often it is looked for new topics and partitions.
    pub(super) fn discover_interval(&self) -> Duration {
        self.discover_ms.map_or(DISCOVER_INTERVAL, Duration::from_millis)
    }

    /// What is read, for people.
    pub(super) fn shown(&self) -> String {
        match &self.pattern {
            Some(pattern) => format!("topics {pattern}"),
            None if self.topics.len() == 1 => format!("topic {}", self.topics.join("")),
            None => format!("topics {}", self.topics.join(", ")),
        }
    }

    /// The source of one subtask. Nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// When a secret is not there, or the settings contradict each other.
    pub fn reader(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<SourceReader> {
        let splits = |settings: &SourceSettings| -> Result<Box<dyn Connector>> {
            Ok(Box::new(KafkaSplits::new(self, settings, context)?))
        };
        let connector = match &settings.computed_time {
            None => splits(settings)?,
            Some(computed) => computed.over(splits(&computed.read_settings(settings))?, settings)?,
        };
        let connector = FirstLook::at(connector, settings.event_time.as_deref());
        Ok(SourceReader::new(settings.reader_settings(), connector, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn graphs_of_other_versions_are_read_and_written_with_the_same_keys() {
        let least = json!({ "brokers": "a:9092", "topics": ["clicks"], "format": "click_log", "start": "earliest" });
        assert_eq!(json!(KafkaConfig::deserialize(&least).expect("settings")), least);
        assert_eq!(KafkaConfig::deserialize(&least).expect("settings"), KafkaConfig::topics("a:9092", ["clicks"]));
        let most = json!({
            "brokers": "a:9092", "properties": { "security.protocol": "SSL" }, "pattern": "clicks-*",
            "format": "json", "schema": { "a": "int" }, "max_line_bytes": 9, "start": { "at": 5 }, "end": "latest",
            "group": "g", "metadata": { "p": "partition", "trace": "headers.trace" }, "discover_ms": 7,
        });
        assert_eq!(json!(KafkaConfig::deserialize(&most).expect("settings")), most);
    }
}
