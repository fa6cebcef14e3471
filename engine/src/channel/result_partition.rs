//! The output of a subtask on one edge: its partitioner, and a channel to each subtask of the consumer.

use super::{ChannelSender, RowPartitioner};
use crate::{
    element::{Batch, StreamElement},
    error::{EngineError, Result},
};

/// One output of one subtask.
pub struct ResultPartition {
    partitioner: RowPartitioner,
    /// The columns that the consumer needs; `None`: all.
    columns: Option<Vec<String>>,
    /// By the consumer's subtask; `None` where the edge has no channel (a forward edge has only one).
    channels: Vec<Option<ChannelSender>>,
}

impl ResultPartition {
    /// Over these channels.
    pub fn new(
        partitioner: RowPartitioner,
        columns: Option<Vec<String>>,
        channels: Vec<Option<ChannelSender>>,
    ) -> Self {
        ResultPartition { partitioner, columns, channels }
    }

    /// Sends rows where they belong, dropping the columns that the consumer does not need.
    ///
    /// # Errors
    /// When a consumer is gone or a column is missing.
    pub async fn emit(&mut self, batch: Batch) -> Result<()> {
        let batch = self.partitioner.hash(batch)?;
        let batch = self.project(batch)?;
        for (subtask, part) in self.partitioner.split(batch)? {
            let channel = self
                .channels
                .get(subtask)
                .and_then(Option::as_ref)
                .ok_or_else(|| EngineError::internal(format!("no channel to subtask {subtask} of the consumer")))?;
            channel.send(StreamElement::Batch(part)).await?;
        }
        Ok(())
    }

    /// Sends a signal to every consumer.
    ///
    /// # Errors
    /// When a consumer is gone.
    pub async fn signal(&mut self, signal: &StreamElement) -> Result<()> {
        for channel in self.channels.iter().flatten() {
            channel.send(signal.clone()).await?;
        }
        Ok(())
    }

    fn project(&self, batch: Batch) -> Result<Batch> {
        let Some(columns) = &self.columns else { return Ok(batch) };
        let schema = batch.columns.schema_ref();
        let indices: Vec<usize> = columns.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?;
        let columns = batch.columns.project(&indices)?;
        Ok(batch.with_columns(columns))
    }
}
