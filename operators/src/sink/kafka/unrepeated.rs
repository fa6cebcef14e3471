//! A commit without transactions, for `delivery = "at_least_once"`: records are sent until brokers have confirmed them all, and what
//! is not confirmed is sent again.
//!
//! Invariant: staged files are removed when all of their checkpoint's records are confirmed, and not before. One that is gone says
//! that this was done.

use super::{
    committable::StagedCheckpoint,
    committer::KafkaCommitter,
    patience::{Fault, Pauses, Tried},
    protocol::TRANSACTION_BYTES,
    transaction::{LOADED_BYTES, Outlet, Sending, Sent, load},
};
use std::sync::atomic::Ordering;
use weir_engine::{error::Result, operator::CommitOutcome};
use weir_kafka::KafkaErrorKind;

impl KafkaCommitter {
    pub(super) async fn commit_unrepeated(&self, staged: &StagedCheckpoint) -> Result<CommitOutcome> {
        let mut pauses = Pauses::new(&self.context);
        let mut done = 0;
        while done < staged.rows {
            match self.send_some(staged, done).await {
                Ok(Some(sent)) => {
                    self.tell_refused(staged, &sent);
                    self.count_refused(sent.refused);
                    done = sent.until;
                    self.context.waits.step();
                    pauses.are_over();
                }
                Ok(None) => return Ok(CommitOutcome::AlreadyDone),
                Err(Fault::Kafka(error)) => {
                    if error.kind == KafkaErrorKind::TooLarge {
                        self.is_small.store(true, Ordering::Relaxed);
                    }
                    pauses.pause(&error).await;
                }
                Err(Fault::Lasting(error)) => return Err(error),
            }
        }
        Ok(CommitOutcome::Done)
    }

    /// Sends rows from this one on, some of them, and returns when they are there. None: a staged file is gone.
    async fn send_some(&self, staged: &StagedCheckpoint, from: u64) -> Tried<Option<Sent>> {
        let topics = self.topics().await?;
        let Some(loaded) = load(&self.context, staged, from, LOADED_BYTES).await? else { return Ok(None) };
        let sending = Sending { config: &self.config, topics: &topics, checkpoint: staged.checkpoint.to_string() };
        let is_small = self.is_small.load(Ordering::Relaxed);
        let most_bytes = if is_small { topics.main.max_message_bytes } else { TRANSACTION_BYTES };
        let mut producer = self.cluster.producer()?;
        let sent = sending.send(&mut Outlet::Plain(producer.as_mut()), &loaded, from, (0, most_bytes)).await?;
        self.context.env.crash_point("kafka.sent")?;
        producer.flush().await?;
        self.context.env.crash_point("kafka.committed")?;
        Ok(Some(sent))
    }
}
