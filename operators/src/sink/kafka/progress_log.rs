//! The topic that sinks write their progress to: compacted, one partition, a key for each sink.
//!
//! Invariant: the newest record of a key is found however the topic was compacted and whoever else has a transaction open in it:
//! it is read to the high watermark, which is reached by position and never by a time-out. (Where another sink's transaction is
//! open, what is committed ends before it, and is waited for.) From the end backwards, so that a start reads a few records.

use super::{patience::Tried, progress::Progress};
use std::time::Duration;
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitterContext,
};
use weir_kafka::{Bounds, Cluster, Isolation, KafkaError, NewTopic, RecordRef, TopicPartition};

/// How many offsets from the end are looked at first; four times as many each further time.
const FIRST_SPAN: i64 = 64;

/// How many records are taken at once.
const MOST: usize = 1_000;

/// The reader is asked at least so often, whether or not it has said that there is something.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Reading that is held up for so long is spoken of.
const SPOKEN_AFTER: Duration = Duration::from_secs(2);

/// The progress topic of a job, and one sink's key in it.
#[derive(Clone, Debug)]
pub(super) struct ProgressLog {
    pub topic: String,
    pub key: String,
}

impl ProgressLog {
    /// Of a sink of a job.
    pub fn of(named: Option<&str>, job: &str, sink: &str) -> Self {
        let topic = named.map_or_else(|| format!("weir-progress-{job}"), str::to_owned);
        ProgressLog { topic, key: format!("{job}/{sink}/0") }
    }

    /// Makes the topic where there is none.
    pub async fn ensure(&self, cluster: &dyn Cluster) -> Result<(), KafkaError> {
        if cluster.describe(&self.topic).await?.is_some() {
            return Ok(());
        }
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let topic = NewTopic {
            name: self.topic.clone(),
            partitions: 1,
            replication: None,
            settings: vec![
                setting("cleanup.policy", "compact"),
                setting("retention.ms", "-1"),
                setting("retention.bytes", "-1"),
                setting("segment.bytes", "1048576"),
                setting("min.cleanable.dirty.ratio", "0.1"),
            ],
        };
        cluster.create(&topic).await
    }

    /// The newest progress of the sink. Call it behind a fence: then nobody adds to it meanwhile.
    pub async fn read(&self, cluster: &dyn Cluster, context: &CommitterContext) -> Tried<Option<Progress>> {
        let partition = TopicPartition { topic: self.topic.clone(), partition: 0 };
        let Bounds { beginning, end, .. } = cluster.bounds(&self.topic, 0).await?;
        let (mut from, mut until, mut span) = (end, end, FIRST_SPAN);
        while from > beginning {
            from = until.saturating_sub(span).max(beginning);
            if let Some(found) = self.newest_between(cluster, context, &partition, (from, until)).await? {
                return Ok(Some(self.parse(&found)?));
            }
            (until, span) = (from, span.saturating_mul(4));
        }
        Ok(None)
    }

    async fn newest_between(
        &self,
        cluster: &dyn Cluster,
        context: &CommitterContext,
        partition: &TopicPartition,
        (from, until): (i64, i64),
    ) -> Result<Option<Vec<u8>>, KafkaError> {
        let mut consumer = cluster.consumer(Isolation::Committed)?;
        let mut reader = consumer.read(partition, from)?;
        let (woken, mut newest) = (consumer.woken(), None);
        let patient_until = context.env.now() + SPOKEN_AFTER;
        let mut wait = context.waiting("another transaction in the progress topic");
        while reader.position() < until {
            let mut note = |record: RecordRef<'_>| {
                if record.key == Some(self.key.as_bytes()) {
                    newest = record.value.map(<[u8]>::to_vec);
                }
            };
            let taken = reader.take(MOST, &mut note)?;
            if taken == 0 && reader.position() < until {
                if context.env.now() >= patient_until {
                    wait.goes_on(&format!(
                        "'{partition}' can be read to offset {} only, of {until}",
                        reader.position()
                    ));
                }
                tokio::select! {
                    () = woken.notified() => {}
                    () = context.env.sleep(LOOK_EVERY) => {}
                }
            }
        }
        Ok(newest)
    }

    fn parse(&self, value: &[u8]) -> Result<Progress> {
        serde_json::from_slice(value).map_err(|error| {
            EngineError::corrupt(format!(
                "the newest record of '{}' in the topic '{}' is no progress of a sink ({error}): somebody else has written it. \
                 Nothing is written until it is clear what is in: write the record before it once more, or start with --fresh",
                self.key, self.topic
            ))
        })
    }
}
