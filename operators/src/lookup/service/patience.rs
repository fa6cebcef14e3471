//! How long a service is waited for, and how often it is asked again.

use super::{LookupConfig, OnFailure, Retries};
use std::time::Duration;
use weir_engine::{
    EngineError, Result,
    env::Env,
    operator::{OperatorContext, Waits},
    retry,
};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may come if the question is asked again; not before so long, if the service says so.
    Passing { cause: String, after: Option<Duration> },
    /// It will not, for what is asked about.
    Refused(String),
    /// It will not, whatever is asked about: somebody has to mend the job or the service.
    Lasting(EngineError),
}

impl Trouble {
    pub(super) fn passing(cause: impl Into<String>) -> Self {
        Trouble::Passing { cause: cause.into(), after: None }
    }
}

/// Asks again. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub env: Env,
    node: String,
    timeout: Duration,
    retries: Retries,
    /// Asks for as long as it takes, and says that it waits.
    is_endless: bool,
    waits: Waits,
}

impl Patience {
    pub fn new(config: &LookupConfig, context: &OperatorContext) -> Self {
        Patience {
            env: context.env.clone(),
            node: context.operator.clone(),
            timeout: Duration::from_millis(config.timeout_ms),
            retries: config.retries,
            is_endless: config.on_failure == OnFailure::Fail,
            waits: context.waits.clone(),
        }
    }

    /// The answer, or why there is none after all that was tried.
    ///
    /// # Errors
    /// With what lasts.
    pub async fn ask<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<Result<T, String>>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let Retries { times, pause_ms, longest_ms } = self.retries;
        let longest = Duration::from_millis(longest_ms);
        let mut pauses = retry::jittered(&self.env, Duration::from_millis(pause_ms), longest);
        let mut asked = 0;
        loop {
            let (cause, after) = match ask().await {
                Err(Trouble::Passing { cause, after }) => (cause, after),
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Refused(reason)) => {
                    self.has_answered();
                    return Ok(Err(reason));
                }
                Ok(answer) => {
                    self.has_answered();
                    return Ok(Ok(answer));
                }
            };
            asked += 1;
            if self.is_endless {
                self.waits.begin(&self.node, self.env.cluster_clock_ms(), &cause);
            } else if asked > times {
                let again = if asked == 1 { String::new() } else { format!(" (asked {asked} times)") };
                return Ok(Err(format!("{cause}{again}")));
            }
            let pause = pauses.next().unwrap_or(longest);
            self.env.sleep(after.map_or(pause, |after| after.max(pause).min(longest))).await;
        }
    }

    /// The answer to one request, waited for as long as an answer may take.
    pub async fn in_time<T>(&self, asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            answer = asking => answer,
            () = self.env.sleep(self.timeout) => {
                Err(Trouble::passing(format!("no answer within {:?}", self.timeout)))
            }
        }
    }

    fn has_answered(&self) {
        if self.is_endless {
            self.waits.end(&self.node);
        }
    }
}
