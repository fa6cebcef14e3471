//! What of brokers is waited for, before a job starts and in a commit.

use crate::sink::patience::{AT_A_START, LONGEST, Obstacle, pauses, until_done};
use std::time::Duration;
use weir_engine::{
    error::{EngineError, Result},
    operator::{CommitterContext, Waiting},
};
use weir_kafka::{KafkaError, KafkaErrorKind};

/// Being fenced, or in doubt, so many times in a row is nothing to speak of: another worker commits now.
const UNSPOKEN: u32 = 3;

/// Why a piece of work was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// The brokers, or their client.
    Kafka(KafkaError),
    /// Everything else.
    Lasting(EngineError),
}

impl From<KafkaError> for Fault {
    fn from(error: KafkaError) -> Self {
        Fault::Kafka(error)
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Fault::Lasting(error)
    }
}

impl Obstacle for Fault {
    fn message(&self) -> &str {
        match self {
            Fault::Kafka(error) => &error.message,
            Fault::Lasting(error) => &error.message,
        }
    }

    fn into_error(self) -> EngineError {
        match self {
            Fault::Kafka(error) => error.into(),
            Fault::Lasting(error) => error,
        }
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        fault.into_error()
    }
}

/// Result of work that brokers may not do.
pub(super) type Tried<T> = Result<T, Fault>;

/// Whether a new producer, or a little patience, may heal an error.
fn passes(error: &KafkaError) -> bool {
    match error.kind {
        KafkaErrorKind::Unavailable
        | KafkaErrorKind::Unknown
        | KafkaErrorKind::Fenced
        | KafkaErrorKind::NotFound
        | KafkaErrorKind::OutOfRange
        | KafkaErrorKind::Truncated => true,
        KafkaErrorKind::TooLarge | KafkaErrorKind::Refused => false,
    }
}

/// Does a piece of work before anything of an attempt runs, again and again until it is done or fails for good.
///
/// # Errors
/// With what lasts, or with what did not pass in time.
pub(super) async fn at_a_start<T, F>(context: &CommitterContext, work: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Tried<T>>,
{
    let heals = |fault: &Fault| matches!(fault, Fault::Kafka(error) if passes(error));
    until_done(context, "Kafka", Some(AT_A_START), heals, work).await
}

/// The pauses of one commit, which is decided and must be done: there are as many as it takes.
pub(super) struct Pauses<'a> {
    context: &'a CommitterContext,
    wait: Waiting,
    lengths: Box<dyn Iterator<Item = Duration> + Send>,
    silent: u32,
}

impl<'a> Pauses<'a> {
    pub fn new(context: &'a CommitterContext) -> Self {
        let wait = context.waiting("Kafka");
        Pauses { context, wait, lengths: lengths(context), silent: 0 }
    }

    /// Waits a little because of an error.
    pub async fn pause(&mut self, error: &KafkaError) {
        let is_common = matches!(error.kind, KafkaErrorKind::Fenced | KafkaErrorKind::Unknown);
        if is_common && self.silent < UNSPOKEN {
            self.silent += 1;
            tracing::debug!(sink = self.context.sink, cause = error.message, "begins again with a new producer");
        } else {
            self.wait.goes_on(&error.message);
        }
        self.context.env.sleep(self.lengths.next().unwrap_or(LONGEST)).await;
    }

    /// Something was done.
    pub fn are_over(&mut self) {
        self.wait.is_over();
        (self.lengths, self.silent) = (lengths(self.context), 0);
    }
}

fn lengths(context: &CommitterContext) -> Box<dyn Iterator<Item = Duration> + Send> {
    Box::new(pauses(&context.env))
}
