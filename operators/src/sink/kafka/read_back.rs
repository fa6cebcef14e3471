//! The committed records of a topic again, as the columns of its sink: for whoever shows results.

use super::config::KafkaSinkConfig;
use crate::{
    schema::ColumnSchema,
    sink::read_back::{ReadBack, ReadBackOf, identity_of, of_json, shown_schema},
};
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use std::{io::Cursor, sync::Arc, time::Duration};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};
use weir_kafka::{Cluster, Consumer, Isolation, KafkaError, PartitionReader, RecordRef, TopicPartition};

/// Records that are taken at once.
const MOST: usize = 10_000;
/// How long one waits for brokers before a look whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long brokers may say nothing, where there is more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the topic of one sink.
pub(super) struct KafkaReadBack {
    cluster: Arc<dyn Cluster>,
    topic: String,
    columns: ColumnSchema,
    env: Env,
    reading: Option<Reading>,
}

/// All partitions, from their beginnings.
struct Reading {
    consumer: Box<dyn Consumer>,
    partitions: Vec<(TopicPartition, Box<dyn PartitionReader>)>,
}

impl KafkaReadBack {
    pub fn new(config: &KafkaSinkConfig, of: &ReadBackOf<'_>) -> Result<Self> {
        Ok(KafkaReadBack {
            cluster: config.connection.connect()?,
            topic: config.topic.clone(),
            columns: of.columns.clone(),
            env: of.env.clone(),
            reading: None,
        })
    }

    /// All that is committed by now and was not given out.
    async fn read_new(&mut self) -> Result<Vec<RecordBatch>> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => open(self.cluster.as_ref(), &self.topic).await?,
        };
        let mut lines = Vec::new();
        for (partition, reader) in &mut reading.partitions {
            let end = self.cluster.bounds(&partition.topic, partition.partition).await?.stable_end;
            let mut heard = self.env.now();
            while reader.position() < end {
                let mut take = |record: RecordRef<'_>| {
                    // A tombstone is no row.
                    if let Some(value) = record.value {
                        lines.extend_from_slice(value);
                        lines.push(b'\n');
                    }
                };
                let woken = reading.consumer.woken();
                if reader.take(MOST, &mut take)? > 0 {
                    heard = self.env.now();
                } else if reader.position() < end {
                    if self.env.now() - heard > PATIENCE {
                        return Err(EngineError::unavailable(format!(
                            "'{partition}' can be read to offset {} only, of {end}",
                            reader.position()
                        )));
                    }
                    tokio::select! {
                        () = woken.notified() => {}
                        () = self.env.sleep(LOOK_EVERY) => {}
                    }
                }
            }
        }
        self.reading = Some(reading);
        of_json(Cursor::new(lines), &shown_schema(&self.columns))
    }
}

async fn open(cluster: &dyn Cluster, topic: &str) -> Result<Reading, KafkaError> {
    let mut consumer = cluster.consumer(Isolation::Committed)?;
    let count = cluster.describe(topic).await?.map_or(0, |topic| topic.partitions);
    let mut partitions = Vec::new();
    for partition in 0..count {
        let from = cluster.bounds(topic, partition).await?.beginning;
        let partition = TopicPartition { topic: topic.to_owned(), partition };
        let reader = consumer.read(&partition, from)?;
        partitions.push((partition, reader));
    }
    Ok(Reading { consumer, partitions })
}

impl ReadBack for KafkaReadBack {
    fn identity(&self) -> Vec<String> {
        identity_of(&self.columns)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<RecordBatch>>> {
        self.read_new().boxed()
    }
}
