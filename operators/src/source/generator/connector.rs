//! The generator as a connector: its partitions are the splits, dealt out to the subtasks in turn.

use super::{ClickStream, ClickStreamConfig, click_schema, reader::GeneratorRows};
use crate::{
    confinement::Location,
    dead_letters::DeadLetter,
    definition::{KeyPath, Mistake, Reader},
    schema::ColumnSchema,
    source::{
        Nature, SourceConnector, SourceGiven, SourceKind, Total,
        reader::SourceReader,
        settings::SourceSettings,
        split_reader::{Connector, OpenedSplit, RestoredSplit, SplitEvent, SplitReader},
    },
};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    operator::{OperatorContext, Source},
};

/// A reproducible stream of clicks.
pub const KIND: SourceKind = SourceKind {
    name: "generator",
    read: |keys| Box::new(GeneratorConfig::read(keys)),
    stored: |config| Ok(Box::new(GeneratorConfig::deserialize(config)?)),
    meaning: &["stream", "event_time"],
};

/// A generator source, as a definition's `[source.NAME]` has it and as the node of a graph keeps it; [`SourceSettings`] are
/// beside these in the same object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorConfig {
    /// What is generated.
    #[serde(default)]
    pub stream: ClickStreamConfig,
    /// Clicks a second of real time, all partitions together; none: as fast as they are taken.
    #[serde(default)]
    pub clicks_per_second: Option<u64>,
}

impl GeneratorConfig {
    /// The keys of a `[source.NAME]` are those of `weir generate`, under the same names.
    fn read(keys: &Reader<'_>) -> Self {
        let mut stream = ClickStreamConfig::default();
        for key in ClickStreamConfig::keys() {
            let Some(value) = keys.value(&key) else { continue };
            match stream.with(&key, value.to_json()) {
                Ok(changed) => stream = changed,
                Err(error) => {
                    let mistake = Mistake::new(keys.path.key(&key), error.to_string());
                    keys.note(mistake.found(value.kind.show()));
                }
            }
        }
        GeneratorConfig { stream, clicks_per_second: keys.positive_integer("clicks_per_second") }
    }
}

impl SourceConnector for GeneratorConfig {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn columns(&self, _given: &SourceGiven<'_>, _at: &KeyPath, _mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        Some(ColumnSchema::from(click_schema().as_ref()))
    }

    fn never_computes_time(&self) -> Option<(&'static str, &'static str)> {
        Some(("generated clicks have their event time in a column", "click_timestamp"))
    }

    /// A paced one gives its clicks one by one.
    fn nature(&self) -> Nature {
        Nature { live: self.clicks_per_second.is_some(), ..Nature::BOUNDED }
    }

    fn note(&self) -> String {
        "generated clicks".to_owned()
    }

    fn total(&self) -> Option<Total> {
        self.stream.events.map(Total::Events)
    }

    fn locations(&self) -> Result<Vec<Location>> {
        Ok(Vec::new())
    }

    fn build(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Source>> {
        let connector = GeneratorConnector::new(self.clone(), settings.column_names(), context)?;
        Ok(Box::new(SourceReader::new(settings.reader_settings(), Box::new(connector), context)))
    }
}

/// Knows which partitions are one subtask's.
pub struct GeneratorConnector {
    config: GeneratorConfig,
    /// The columns of [`click_schema`](super::click_schema) that are wanted, in order.
    columns: Vec<String>,
    stream: ClickStream,
    env: Env,
    subtask: usize,
    parallelism: usize,
}

impl GeneratorConnector {
    /// The generator in the subtask of `context`.
    ///
    /// # Errors
    /// When the configuration makes no stream, or names a column that a click does not have.
    pub fn new(config: GeneratorConfig, columns: Vec<String>, context: &OperatorContext) -> Result<Self> {
        if config.clicks_per_second == Some(0) {
            return Err(EngineError::definition(format!(
                "{}: clicks_per_second = 0: must be at least 1",
                context.operator
            )));
        }
        let stream = ClickStream::new(config.stream.clone()).map_err(|error| error.context(&context.operator))?;
        let (env, subtask, parallelism) = (context.env.clone(), context.subtask, context.parallelism.max(1));
        Ok(GeneratorConnector { config, columns, stream, env, subtask, parallelism })
    }

    fn open_partition(&self, partition: u32, restored: Option<&RestoredSplit>) -> Result<OpenedSplit> {
        let id = split_id(partition);
        let mut clicks = self.stream.partition(partition)?;
        if let Some(restored) = restored {
            let place = serde_json::from_value(restored.position.clone()).map_err(|error| {
                EngineError::corrupt(format!("{id}: its position in the checkpoint cannot be read: {error}"))
            })?;
            clicks.seek(place);
        }
        let mut rows = GeneratorRows::new(clicks, &self.columns)?;
        if let Some(clicks_per_second) = self.config.clicks_per_second {
            rows = rows.paced(self.env.clone(), clicks_per_second as f64 / f64::from(self.config.stream.partitions));
        }
        Ok(OpenedSplit {
            name: id.clone(),
            id,
            reader: Box::new(GeneratorSplit { rows, last: 0 }),
            newest_before_ms: None,
            oldest_ms: None,
        })
    }
}

fn split_id(partition: u32) -> String {
    format!("generator-partition-{partition}")
}

impl Connector for GeneratorConnector {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        let own = (0..self.config.stream.partitions)
            .filter(|partition| *partition as usize % self.parallelism == self.subtask);
        let opened: Result<Vec<OpenedSplit>> = own
            .map(|partition| {
                let id = split_id(partition);
                self.open_partition(partition, restored.iter().find(|restored| restored.id == id))
            })
            .collect();
        async move { opened }.boxed()
    }

    fn nature(&self) -> Nature {
        self.config.nature()
    }
}

/// One partition, read as a split. A paced one waits for its clicks: the wait may be dropped, and all splits have the same
/// pace, so none holds another up.
struct GeneratorSplit {
    rows: GeneratorRows,
    /// Place of the first of the last rows that came out.
    last: u64,
}

impl SplitReader for GeneratorSplit {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        async move {
            self.last = self.rows.position();
            Ok(match self.rows.next(max_rows).await? {
                Some(columns) => SplitEvent::Records { columns, dead_letters: Vec::new() },
                None => SplitEvent::Finished,
            })
        }
        .boxed()
    }

    fn position(&self) -> serde_json::Value {
        self.rows.position().into()
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        // Only configurations that start before 1970 or after 2199 come here.
        let locate = |row: &usize| DeadLetter {
            offset: i64::try_from(self.last + *row as u64).unwrap_or(i64::MAX),
            reason: String::new(),
            raw: "a generated click".into(),
        };
        rows.iter().map(locate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::operator::SourceEvent;

    fn context(subtask: usize, parallelism: usize) -> OperatorContext {
        OperatorContext { subtask, parallelism, ..OperatorContext::single("test", "source.clicks") }
    }

    fn config(events: u64) -> GeneratorConfig {
        GeneratorConfig {
            stream: ClickStreamConfig { events: Some(events), partitions: 5, ..ClickStreamConfig::default() },
            clicks_per_second: None,
        }
    }

    fn event_id() -> Vec<String> {
        vec!["event_id".into()]
    }

    async fn read_rows(reader: &mut dyn SplitReader, max_rows: usize) -> usize {
        match reader.next_chunk(max_rows).await.unwrap() {
            SplitEvent::Records { columns, .. } => columns.num_rows(),
            SplitEvent::Finished => 0,
            SplitEvent::Pending | SplitEvent::AtRest | SplitEvent::Away => panic!("a generator always has something"),
        }
    }

    #[tokio::test]
    async fn every_partition_belongs_to_one_subtask_and_goes_on_where_it_was() {
        let mut restored = Vec::new();
        for subtask in 0..2 {
            let mut connector = GeneratorConnector::new(config(100), event_id(), &context(subtask, 2)).unwrap();
            for mut split in connector.open(Vec::new()).await.unwrap() {
                assert_eq!(read_rows(split.reader.as_mut(), 7).await, 7);
                restored.push(RestoredSplit { id: split.id, position: split.reader.position(), finished: false });
            }
        }
        assert_eq!(restored.len(), 5);
        let mut rest = 0;
        for subtask in 0..3 {
            let mut connector = GeneratorConnector::new(config(100), event_id(), &context(subtask, 3)).unwrap();
            for mut split in connector.open(restored.clone()).await.unwrap() {
                let rows = read_rows(split.reader.as_mut(), 1_000).await;
                assert_eq!(split.reader.locate_rows(&[2]).iter().map(|at| at.offset).collect::<Vec<_>>(), [9]);
                assert_eq!(read_rows(split.reader.as_mut(), 1_000).await, 0);
                rest += rows;
            }
        }
        assert_eq!(rest, 100 - 5 * 7);
    }

    #[tokio::test]
    async fn a_node_configuration_becomes_a_source_with_event_time() {
        let config = serde_json::json!({
            "stream": config(1_000).stream,
            "columns": [
                { "name": "event_id", "type": "Utf8" },
                { "name": "click_timestamp", "type": "Timestamp(ms, \"UTC\")" },
            ],
            "event_time": "click_timestamp",
            "watermark": { "delay_ms": 10_000, "idle_after_ms": null, "max_jump_ms": null },
        });
        let mut source = crate::connectors::source(&KIND, &config, &context(0, 2)).unwrap();
        source.restore(Vec::new()).await.unwrap();
        let (mut rows, mut watermark) = (0, i64::MIN);
        loop {
            match source.next().await.unwrap() {
                SourceEvent::Rows(_, batch) => rows += batch.len(),
                SourceEvent::Watermark(risen) => watermark = risen,
                SourceEvent::Idle => panic!("a generator is never idle"),
                SourceEvent::EndOfInput => break,
            }
        }
        assert_eq!(rows, 600, "partitions 0, 2 and 4");
        assert!(watermark > ClickStreamConfig::default().start_ms - 10_000, "{watermark}");
        let misspelt = serde_json::json!({ "stream": { "sed": 1 }, "columns": [] });
        let error = crate::connectors::source(&KIND, &misspelt, &context(0, 1)).err().unwrap();
        assert!(error.message.contains("the configuration of 'source.clicks', generator, does not fit"), "{error}");
    }

    #[test]
    fn the_settings_of_the_stream_are_keys_of_the_source() {
        let read = |keys| crate::definition::testing::read(keys, GeneratorConfig::read);
        let (generator, wrong) = read(serde_json::json!({ "seed": 7, "skew": 0.5, "clicks_per_second": 10 }));
        let stream = ClickStreamConfig { seed: 7, skew: 0.5, ..ClickStreamConfig::default() };
        assert_eq!(generator, GeneratorConfig { stream, clicks_per_second: Some(10) });
        assert_eq!((wrong, generator.nature().live), (Vec::<String>::new(), true));
        let (generator, wrong) = read(serde_json::json!({ "seed": "x", "sed": 1 }));
        assert_eq!((generator, wrong.len()), (GeneratorConfig::default(), 2), "{wrong:?}");
    }

    #[test]
    fn no_pace_at_all_is_refused() {
        let config = GeneratorConfig { clicks_per_second: Some(0), ..config(1) };
        let error = GeneratorConnector::new(config, event_id(), &context(0, 1)).err().unwrap();
        assert!(error.message.contains("source.clicks: clicks_per_second = 0"), "{error}");
    }
}
