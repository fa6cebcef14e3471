//! What a Kafka sink is to those that check, compile, show and confine jobs.

use super::{Delivery, KafkaCommitter, KafkaSink, KafkaSinkConfig, KafkaSinkSettings, check, read_back::KafkaReadBack};
use crate::{
    columns::RECORD_ID,
    confinement::Location,
    definition::{KeyPath, Mistake, duration::millis},
    sink::{
        Owned, SinkConnector, SinkGiven, SinkJob, SinkKind, StoredSink,
        read_back::{ReadBack, ReadBackOf},
    },
};
use futures::future::BoxFuture;
use std::sync::Arc;
use weir_engine::{
    error::Result,
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// A topic of Kafka.
pub const KIND: SinkKind = SinkKind {
    name: "kafka",
    read: |keys| Box::new(KafkaSinkSettings::read(keys)),
    stored: |config| Ok(Box::new(KafkaSinkConfig::from_json(config)?)),
    // Not the brokers: another list of them leads to the same cluster, and of another one the progress tells.
    meaning: &["topic", "key", "delivery", "progress_topic"],
};

impl SinkConnector for KafkaSinkSettings {
    fn kind(&self) -> &'static SinkKind {
        &KIND
    }

    fn check(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        check::check(self, given, at, mistakes);
    }

    fn look(&self) -> Option<BoxFuture<'_, Result<()>>> {
        self.format.look()
    }

    fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        self.format.check_secrets(runs_here, at, mistakes);
        self.connection.check_secrets(runs_here, at, mistakes);
    }

    /// Rows of two sinks in one topic are most likely a mistake; several inputs can go to one sink.
    fn owns(&self) -> Option<Owned> {
        let place = vec![KIND.name.to_owned(), self.connection.brokers.clone(), self.topic.clone()];
        let expected = "a topic of its own, or one sink with several inputs";
        Some(Owned { key: "topic", shown: self.topic.clone(), expected, places: vec![place] })
    }

    fn config(&self, given: &SinkGiven<'_>, _job: &SinkJob<'_>) -> serde_json::Value {
        serde_json::json!(KafkaSinkConfig {
            connection: self.connection.clone(),
            topic: self.topic.clone(),
            format: self.format.for_columns(&self.topic, given.columns),
            key: self.record_key(given),
            results: given.results.is_some(),
            delivery: self.delivery,
            transaction_timeout_ms: millis(self.transaction_timeout).unsigned_abs(),
            progress_topic: self.progress_topic.clone(),
            rejected_topic: self.rejected_topic.clone(),
        })
    }

    fn note(&self) -> String {
        let key = match self.key.as_deref() {
            None => String::new(),
            Some([]) => ", no key".to_owned(),
            Some(key) => format!(", key {}", key.join(", ")),
        };
        let delivery = match self.delivery {
            Delivery::ExactlyOnce => "",
            Delivery::AtLeastOnce => ", at least once",
        };
        let format = if self.format.is_json() { String::new() } else { format!(", {}", self.format.note()) };
        format!("the topic {} at {}{format}{key}{delivery}", self.topic, self.connection.shown())
    }

    fn takes_running(&self) -> bool {
        false
    }

    fn keeps_revisions(&self) -> bool {
        true
    }
}

impl KafkaSinkSettings {
    /// The columns of a record's key. Where nothing is said, a result's is its record id: all its revisions are in one partition, in
    /// order, and a compacted topic keeps the newest of each. (By the columns of the aggregate's key alone, a window would take the
    /// place of the one before.) Events have none.
    fn record_key(&self, given: &SinkGiven<'_>) -> Vec<String> {
        let is_result = given.results.is_some() && given.columns.column(RECORD_ID).is_some();
        self.key.clone().unwrap_or_else(|| if is_result { vec![RECORD_ID.to_owned()] } else { Vec::new() })
    }
}

impl StoredSink for KafkaSinkConfig {
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(KafkaSink::new(self.clone(), context)))
    }

    /// The brokers are not spoken to before the first need.
    fn committer(&self, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(KafkaCommitter::new(self.clone(), context)?))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        let mut locations = self.connection.locations()?;
        locations.extend(self.format.locations()?);
        Ok(locations)
    }

    fn shown(&self) -> Option<String> {
        Some(format!("{} at {}", self.topic, self.connection.shown()))
    }

    fn read_back(&self, of: &ReadBackOf<'_>) -> Result<Option<Box<dyn ReadBack>>> {
        Ok(Some(Box::new(KafkaReadBack::new(self, of)?)))
    }
}

#[cfg(test)]
mod tests;
