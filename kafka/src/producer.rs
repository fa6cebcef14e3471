//! Writing records.

use crate::{error::Result, record::NewRecord};
use futures::future::BoxFuture;

/// Writes records in transactions under one transactional id, one transaction after another.
///
/// After an error of anything but [`init`](Self::init), and whenever a future was dropped before its end, it is of no use any more:
/// it is dropped, and another one takes its place. Of kind [too large](crate::error::KafkaErrorKind::TooLarge), [not
/// found](crate::error::KafkaErrorKind::NotFound) or [refused](crate::error::KafkaErrorKind::Refused) the error says that nothing of
/// the transaction is there. (Within one producer a delayed request of one transaction could land in the next:
/// before KIP-890 the broker tells transactions apart by the producer's epoch alone, which `init` raises.)
pub trait TransactionalProducer: Send {
    /// Fences all producers of the same id before it, and aborts what they have left open. Before anything else.
    fn init(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Begins a transaction.
    fn begin(&mut self) -> Result<()>;

    /// Hands a record over. Waits where too many are on their way. What became of it is known when the transaction is committed.
    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>>;

    /// Hands a record over if that needs no waiting, which spares a future for each of many records. `false`: it was not taken, and is to
    /// be [sent](Self::send).
    ///
    /// # Errors
    /// As `send`.
    fn try_send(&mut self, record: &NewRecord<'_>) -> Result<bool> {
        let _ = record;
        Ok(false)
    }

    /// Commits: all records of the transaction are there, or an error says that they are not, or that it is unknown.
    fn commit(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Whether the broker may have been asked more than once to end the transaction that was committed last. An earlier request may
    /// still be under way then, and would end the next transaction of this producer in its midst: another producer has to be
    /// initialised for that. (A record that comes once more does no harm: records are numbered.)
    fn may_have_repeated(&self) -> bool;

    /// Aborts the transaction.
    fn abort(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// Writes records, each at least once.
pub trait Producer: Send {
    /// Hands a record over. Waits where too many are on their way.
    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>>;

    /// Hands a record over if that needs no waiting. `false`: it was not taken, and is to be [sent](Self::send).
    ///
    /// # Errors
    /// As `send`.
    fn try_send(&mut self, record: &NewRecord<'_>) -> Result<bool> {
        let _ = record;
        Ok(false)
    }

    /// Returns when all that was handed over is there.
    ///
    /// # Errors
    /// When something may not be: all since the last flush has to be sent again.
    fn flush(&mut self) -> BoxFuture<'_, Result<()>>;
}
