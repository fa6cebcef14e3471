//! Waiting for brokers: ever longer, up to some seconds, and not in silence.

use crate::sink::wait::Wait;
use backon::Retryable;
use std::time::Duration;
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitterContext,
    retry,
};
use weir_kafka::{KafkaError, KafkaErrorKind};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// How long brokers are waited for before a job starts. Then the attempt ends, and the job waits without one: it says what for.
const AT_A_START: Duration = Duration::from_secs(15);

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

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Kafka(error) => error.into(),
            Fault::Lasting(error) => error,
        }
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
        | KafkaErrorKind::OutOfRange => true,
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
    let env = &context.env;
    let enough = env.now() + AT_A_START;
    let mut wait = Wait::new(context, "Kafka");
    let done = work
        .retry(retry::jittered(env, FIRST, LONGEST))
        .sleep(retry::sleeper(env))
        .when(|fault| matches!(fault, Fault::Kafka(error) if passes(error)) && env.now() < enough)
        .notify(|fault, _| {
            if let Fault::Kafka(error) = fault {
                wait.goes_on(&error.message);
            }
        })
        .await;
    match done {
        Ok(done) => {
            wait.is_over();
            Ok(done)
        }
        Err(Fault::Kafka(error)) if passes(&error) => {
            let waited_s = wait.seconds();
            Err(EngineError::unavailable(format!("{} (after {waited_s} s of trying)", error.message)))
        }
        Err(fault) => Err(fault.into()),
    }
}

/// The pauses of one commit, which is decided and must be done: there are as many as it takes.
pub(super) struct Pauses<'a> {
    context: &'a CommitterContext,
    wait: Wait<'a>,
    lengths: Box<dyn Iterator<Item = Duration> + Send>,
    silent: u32,
}

impl<'a> Pauses<'a> {
    pub fn new(context: &'a CommitterContext) -> Self {
        let wait = Wait::new(context, "Kafka");
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
    Box::new(retry::jittered(&context.env, FIRST, LONGEST))
}
