//! Reading partitions.

use crate::{cluster::TopicPartition, error::Result, record::RecordRef};
use std::sync::Arc;
use tokio::sync::Notify;

/// Reads partitions, of any number, over the same connections. Belongs to no group.
pub trait Consumer: Send {
    /// Begins to read a partition at an offset. What comes is fetched ahead, within bounds.
    ///
    /// # Errors
    /// When the partition is being read already, or the client refuses.
    fn read(&mut self, partition: &TopicPartition, offset: i64) -> Result<Box<dyn PartitionReader>> {
        self.read_on(partition, offset, None)
    }

    /// The same behind a record that was read before, and that a leader of this epoch had written. Where the log was cut off
    /// before that record since, as by an unclean election of its leader, taking fails as
    /// [truncated](crate::error::KafkaErrorKind::Truncated), whatever stands at the offset now. Without an epoch, or with brokers
    /// that know none, that is not looked at.
    ///
    /// # Errors
    /// When the partition is being read already, or the client refuses.
    fn read_on(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        leader_epoch: Option<i32>,
    ) -> Result<Box<dyn PartitionReader>>;

    /// Is told when a partition may have something, after [`PartitionReader::take`] found nothing.
    fn woken(&self) -> Arc<Notify>;
}

/// Reads one partition, in order, from an offset on. Dropped, it reads no more.
pub trait PartitionReader: Send {
    /// Gives out what has been fetched, at most `most` records, without waiting. How many it were; 0: nothing is there for now.
    ///
    /// # Errors
    /// When the brokers are away ([unavailable](crate::error::KafkaErrorKind::Unavailable): reading goes on by itself when they
    /// are back), or the partition cannot be read any further from here: it is gone, or its records at this offset are.
    fn take(&mut self, most: usize, each: &mut dyn FnMut(RecordRef<'_>)) -> Result<usize>;

    /// The next offset that will be read: behind the last record given out, and behind what else lies there (markers of
    /// transactions, aborted records), as far as that is known. Never falls.
    fn position(&self) -> i64;

    /// The offset that the next record of the partition gets (the high watermark), as far as it is known; for lag.
    fn end(&self) -> Option<i64>;
}
