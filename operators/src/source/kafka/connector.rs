//! What a Kafka source is to those that check, compile, show and confine jobs.

use super::{End, KafkaConfig, Start, read::read};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake},
    moment,
    schema::ColumnSchema,
    source::{Nature, SourceConnector, SourceGiven, SourceKind, Total, settings::SourceSettings},
};
use serde::Deserialize;
use weir_engine::{
    error::Result,
    operator::{OperatorContext, Source},
};

/// Topics of Kafka.
pub const KIND: SourceKind = SourceKind {
    name: "kafka",
    read,
    stored: |config| Ok(Box::new(KafkaConfig::deserialize(config)?)),
    // A topic may come and go: positions are those of its partitions, and know the topic by its id.
    meaning: &["end", "event_time"],
};

impl KafkaConfig {
    /// How its records come: for ever, or up to an end.
    pub(super) fn nature_of_splits(&self) -> Nature {
        match self.end {
            None => Nature { listens: true, ..Nature::FOLLOWED },
            Some(End::Latest) => Nature::BOUNDED,
        }
    }

    fn add_metadata(&self, columns: &mut ColumnSchema, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        for (name, metadata) in &self.metadata {
            if columns.column(name).is_some() {
                let place = at.key("metadata").key(name);
                let message = format!("`{name}` is a column of the records' values already");
                mistakes.push(Mistake::on_key(place, message).expected("another name"));
                continue;
            }
            columns.columns.push(metadata.column(name));
        }
    }
}

impl SourceConnector for KafkaConfig {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn columns(&self, _given: &SourceGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        let mut columns = self.format.format.columns(at, mistakes)?;
        self.add_metadata(&mut columns, at, mistakes);
        Some(columns)
    }

    fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        self.connection.check_secrets(runs_here, at, mistakes);
    }

    fn nature(&self) -> Nature {
        // Whether splits may be at rest is the affair of what reads them.
        Nature { listens: false, ..self.nature_of_splits() }
    }

    fn note(&self) -> String {
        let start = match self.start {
            Start::Earliest => String::new(),
            Start::Latest => ", what is new".to_owned(),
            Start::At(time_ms) => format!(", from {}", moment::show(time_ms)),
            Start::Group => format!(", from where {} is", self.group.as_deref().unwrap_or_default()),
        };
        let end = if self.end.is_some() { ", to what is the end at the start" } else { "" };
        let columns: Vec<String> =
            self.metadata.iter().map(|(name, metadata)| format!("{name} is the {metadata}")).collect();
        let columns = if columns.is_empty() { String::new() } else { format!(", {}", columns.join(", ")) };
        // By its name: other notes on formats are about files.
        let format = serde_json::json!(self.format);
        let format = format["format"].as_str().unwrap_or_default();
        format!("{} in Kafka at {} ({format}){start}{end}{columns}", self.shown(), self.connection.shown())
    }

    /// What there is, only the brokers know.
    fn total(&self) -> Option<Total> {
        None
    }

    fn locations(&self) -> Result<Vec<Location>> {
        self.connection.locations()
    }

    fn build(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.reader(settings, context)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connectors::SOURCES,
        source::{WatermarkSettings, kafka::Metadata},
    };

    fn columns(config: &KafkaConfig) -> (Vec<String>, Vec<String>) {
        let given = SourceGiven { has_event_time: false, watermark: &WatermarkSettings::default(), looked: None };
        let mut mistakes = Vec::new();
        let columns = config.columns(&given, &KeyPath::default(), &mut mistakes).expect("columns");
        let told = mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect();
        (columns.names().map(str::to_owned).collect(), told)
    }

    #[test]
    fn it_says_what_it_is() {
        let config = KafkaConfig::topics("a:9092", ["clicks"]);
        assert_eq!(config.note(), "topic clicks in Kafka at a:9092 (click_log)");
        assert_eq!((config.nature(), config.total()), (Nature::FOLLOWED, None));
        assert!(config.nature_of_splits().listens);
        let bounded = KafkaConfig { pattern: Some("c*".into()), group: Some("g".into()), ..config.clone() }
            .start(Start::At(1_646_352_000_000))
            .end(End::Latest)
            .metadata("p", Metadata::Partition);
        let note = "topics c* in Kafka at a:9092 (click_log), from 2022-03-04T00:00:00Z, to what is the end at the start, p is the partition";
        assert_eq!((bounded.note().as_str(), bounded.nature()), (note, Nature::BOUNDED));
        assert_eq!(bounded.start(Start::Group).note().split(", ").nth(1), Some("from where g is"));
        let kind = SOURCES.into_iter().find(|kind| kind.name == "kafka").expect("it is a source");
        let again = (kind.stored)(&config.config()).expect("a configuration").config();
        assert_eq!(again, config.config());
        assert_eq!(config.locations().expect("places")[0].place.to_string(), "kafka://a:9092");
    }

    #[test]
    fn metadata_is_columns_beside_those_of_the_values() {
        let config = KafkaConfig::topics("a:9092", ["clicks"]);
        let (all, told) = columns(&config.clone().metadata("key", Metadata::Key).metadata("at", Metadata::Timestamp));
        assert_eq!((&all[all.len() - 2..], told), (&["at".to_owned(), "key".to_owned()][..], Vec::new()));
        let (_, told) = columns(&config.metadata("ip", Metadata::Key));
        assert_eq!(told, ["metadata.ip: `ip` is a column of the records' values already"]);
    }
}
