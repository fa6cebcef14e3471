//! What failed, by who can do something about it.

use weir_engine::error::{EngineError, ErrorKind};

/// Why a broker did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KafkaError {
    /// What can be done about it.
    pub kind: KafkaErrorKind,
    /// The whole sentence: what was asked for, of which topic and partition, and what the broker or the client said.
    pub message: String,
}

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaErrorKind {
    /// The brokers are away or overloaded, and nothing that was asked for may have been done: waiting heals it.
    Unavailable,
    /// What was asked for within a transaction may have been done, or may still be: the producer is of no use any more. Another
    /// one with the same id has to be [initialised](crate::producer::TransactionalProducer::init), and to look what there is.
    Unknown,
    /// Another producer of the same transactional id has been initialised since, or the broker has given this one up.
    Fenced,
    /// There is no such topic or partition.
    NotFound,
    /// There is no record at that offset any more, or not yet.
    OutOfRange,
    /// Records that were read are no longer part of the log, and others stand in their place.
    Truncated,
    /// The record is larger than the topic takes.
    TooLarge,
    /// Credentials, permissions or settings: waiting does not heal it.
    Refused,
}

/// Result of anything asked of a broker.
pub type Result<T, E = KafkaError> = std::result::Result<T, E>;

impl KafkaError {
    /// An error of a kind.
    pub fn of(kind: KafkaErrorKind, message: impl Into<String>) -> Self {
        KafkaError { kind, message: message.into() }
    }

    /// The same error, with what was being done in front.
    pub fn context(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl From<KafkaError> for EngineError {
    fn from(error: KafkaError) -> Self {
        let kind = match error.kind {
            KafkaErrorKind::Unavailable | KafkaErrorKind::Unknown => ErrorKind::Unavailable,
            KafkaErrorKind::Fenced => ErrorKind::Fenced,
            KafkaErrorKind::NotFound
            | KafkaErrorKind::OutOfRange
            | KafkaErrorKind::Truncated
            | KafkaErrorKind::TooLarge
            | KafkaErrorKind::Refused => ErrorKind::Io,
        };
        EngineError::of(kind, error.message)
    }
}
