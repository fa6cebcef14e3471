//! The commit of a checkpoint to Kafka, as short as it can be, and the ways to build it wrong.
//!
//! Fence first (`init`), then read the progress to its end, which is the high watermark, reached by position; then one transaction
//! with the rows and the new progress. After anything whose outcome is unknown, and after what may come once more: from the
//! beginning, with another producer.

use rand::{RngExt, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use weir_engine::env::Env;
use weir_kafka::{
    Cluster, Isolation, KafkaError, KafkaErrorKind, NewRecord, Result, TopicPartition, TransactionalProducer,
};

pub const OUT: &str = "out";
pub const PROGRESS: &str = "progress";
const KEY: &[u8] = b"sink/0";
/// How long a transaction may be open.
const TIMEOUT: Duration = Duration::from_secs(8);
/// So many offsets before the end are read first.
const BACK: i64 = 4;

/// What is built wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Progress is read, and then others are fenced.
    ProgressBeforeFence,
    /// The end of the progress is where nothing comes for a while.
    EndByTimeout,
    /// The end of the progress is the last stable offset.
    EndByStableOffset,
    /// After an unknown outcome the transaction is aborted, and the same producer goes on.
    NoInitAfterUnknown,
    /// After a commit that the client had to ask for more than once the same producer goes on.
    NoInitAfterRepeated,
    /// Every attempt has a transactional id of its own.
    AttemptInTheId,
    /// The progress is written when the transaction is committed.
    ProgressOutside,
}

impl Wrong {
    pub const ALL: [Wrong; 7] = [
        Wrong::ProgressBeforeFence,
        Wrong::EndByTimeout,
        Wrong::EndByStableOffset,
        Wrong::NoInitAfterUnknown,
        Wrong::NoInitAfterRepeated,
        Wrong::AttemptInTheId,
        Wrong::ProgressOutside,
    ];
}

/// A row: its partition and its record id.
pub type Row = (i32, u64);

/// Commits checkpoints, one after another.
pub struct Sink {
    pub cluster: Arc<dyn Cluster>,
    pub attempt: u64,
    pub wrong: Option<Wrong>,
    pub dice: StdRng,
    pub live: Option<Live>,
}

/// A producer that has fenced all others, and the progress that it knows.
pub struct Live {
    producer: Box<dyn TransactionalProducer>,
    progress: u64,
}

impl Sink {
    /// Returns when the rows of a checkpoint are there.
    pub async fn commit(&mut self, checkpoint: u64, rows: &[Row]) {
        while let Err(error) = self.try_to_commit(checkpoint, rows).await {
            if self.wrong != Some(Wrong::NoInitAfterUnknown) || !self.goes_on(&error).await {
                self.live = None;
            }
            self.pause(100).await;
        }
    }

    async fn try_to_commit(&mut self, checkpoint: u64, rows: &[Row]) -> Result<()> {
        if self.live.is_none() {
            self.live = Some(self.fence_and_read().await?);
        }
        self.pause(10).await;
        let (wrong, cluster, dice) = (self.wrong, self.cluster.clone(), &mut self.dice);
        let Some(live) = self.live.as_mut().filter(|live| live.progress < checkpoint) else { return Ok(()) };
        live.producer.begin()?;
        for (partition, id) in rows {
            live.producer.send(record(OUT, *partition, b"key", id.to_string().as_bytes())).await?;
            Env::default().sleep(Duration::from_millis(dice.random_range(0..8))).await;
        }
        let progress = checkpoint.to_string();
        let progress = record(PROGRESS, 0, KEY, progress.as_bytes());
        if wrong != Some(Wrong::ProgressOutside) {
            live.producer.send(progress).await?;
        }
        live.producer.commit().await?;
        if wrong == Some(Wrong::ProgressOutside) {
            let mut plain = cluster.producer()?;
            plain.send(progress).await?;
            plain.flush().await?;
        }
        live.progress = checkpoint;
        if live.producer.may_have_repeated() && wrong != Some(Wrong::NoInitAfterRepeated) {
            self.live = None;
        }
        Ok(())
    }

    async fn fence_and_read(&mut self) -> Result<Live> {
        let id = match self.wrong {
            Some(Wrong::AttemptInTheId) => format!("weir-job-sink-{}", self.attempt),
            _ => "weir-job-sink-0".to_owned(),
        };
        let mut producer = self.cluster.transactional(&id, TIMEOUT)?;
        if self.wrong == Some(Wrong::ProgressBeforeFence) {
            let progress = self.progress().await?;
            self.pause(10).await;
            producer.init().await?;
            return Ok(Live { producer, progress });
        }
        producer.init().await?;
        self.pause(10).await;
        Ok(Live { producer, progress: self.progress().await? })
    }

    /// Whether the wrong one can go on with its producer.
    async fn goes_on(&mut self, error: &KafkaError) -> bool {
        let Some(mut live) = self.live.take().filter(|_| error.kind == KafkaErrorKind::Unknown) else { return false };
        if live.producer.abort().await.is_err() {
            return false;
        }
        let Ok(progress) = self.progress().await else { return false };
        self.live = Some(Live { progress, ..live });
        true
    }

    /// The newest checkpoint that is there, as the newest record of the key says.
    async fn progress(&mut self) -> Result<u64> {
        let bounds = self.cluster.bounds(PROGRESS, 0).await?;
        let end = if self.wrong == Some(Wrong::EndByStableOffset) { bounds.stable_end } else { bounds.end };
        let mut back = BACK;
        loop {
            let from = bounds.beginning.max(end - back);
            let newest = self.newest(from, end).await?;
            if newest.is_some() || from == bounds.beginning {
                return Ok(newest.unwrap_or(0));
            }
            back *= 2;
        }
    }

    async fn newest(&mut self, from: i64, end: i64) -> Result<Option<u64>> {
        let mut consumer = self.cluster.consumer(Isolation::Committed)?;
        let mut reader = consumer.read(&TopicPartition { topic: PROGRESS.into(), partition: 0 }, from)?;
        let (mut newest, mut idle, env) = (None, Duration::ZERO, Env::default());
        while reader.position() < end {
            let mut see = |record: weir_kafka::RecordRef<'_>| {
                if record.key == Some(KEY) {
                    newest = record.value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
                }
            };
            match reader.take(100, &mut see) {
                Ok(0) => {
                    let pause = Duration::from_millis(20);
                    env.sleep(pause).await;
                    idle += pause;
                    if self.wrong == Some(Wrong::EndByTimeout) && idle >= Duration::from_millis(200) {
                        break;
                    }
                }
                Ok(_) => idle = Duration::ZERO,
                Err(error) if error.kind == KafkaErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    async fn pause(&mut self, longest_ms: u64) {
        Env::default().sleep(Duration::from_millis(self.dice.random_range(0..=longest_ms))).await;
    }
}

/// A record without headers.
pub fn record<'a>(topic: &'a str, partition: i32, key: &'a [u8], value: &'a [u8]) -> NewRecord<'a> {
    NewRecord { topic, partition, key: Some(key), value: Some(value), headers: &[], timestamp_ms: None }
}
