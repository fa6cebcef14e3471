//! Retrying what a database did not do because it is down or busy: ever later, up to some seconds, and not in silence.

use crate::sink::wait::Wait;
use backon::Retryable;
use std::time::Duration;
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitterContext,
    retry,
};
use weir_store::{Fault, Tried};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// What is waited for, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// What passes, up to a limit: then the attempt ends, and the job waits without one.
    Limited(Duration),
    /// What passes, and what somebody has to mend, for as long as it takes: what is decided must be done.
    Endless,
}

impl Patience {
    fn waits_for(self, fault: &Fault) -> bool {
        fault.passes() || (matches!(self, Patience::Endless) && matches!(fault, Fault::Denied(_)))
    }

    fn limit(self) -> Option<Duration> {
        match self {
            Patience::Limited(limit) => Some(limit),
            Patience::Endless => None,
        }
    }

    /// Does a piece of work, again and again until it is done or fails for good.
    ///
    /// # Errors
    /// With what lasts, or with what did not pass in time.
    pub async fn retry<T, F>(self, context: &CommitterContext, work: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Tried<T>>,
    {
        let env = &context.env;
        let enough = self.limit().map(|limit| env.now() + limit);
        let mut wait = Wait::new(context, "the database");
        let done = work
            .retry(retry::jittered(env, FIRST, LONGEST))
            .sleep(retry::sleeper(env))
            .when(|fault| self.waits_for(fault) && enough.is_none_or(|enough| env.now() < enough))
            .notify(|fault, _| wait.goes_on(fault.message()))
            .await;
        match done {
            Ok(done) => {
                wait.is_over();
                Ok(done)
            }
            Err(fault) if self.waits_for(&fault) => {
                let waited_s = wait.seconds();
                Err(EngineError::unavailable(format!("{} (after {waited_s} s of trying)", fault.message())))
            }
            Err(fault) => Err(fault.into_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, sync::Arc};
    use weir_engine::{ErrorKind, env::Env};

    fn context() -> CommitterContext {
        CommitterContext { env: Env::simulated(1, Arc::new(|| 0)), ..CommitterContext::single("job", "sink") }
    }

    fn down() -> Fault {
        Fault::Passing("it is down".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_a_while() {
        let (context, began) = (context(), context().env.now());
        let patience = Patience::Limited(Duration::from_secs(15));
        let error = patience.retry::<(), _>(&context, async || Err(down())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.starts_with("it is down (after 1"), "{error}");
        let waited = (context.env.now() - began).as_secs();
        assert!((15..=20).contains(&waited), "{waited} s");
        assert!(context.waits.now().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_decided_commit_waits_a_day_and_for_whoever_must_mend_something() {
        let (context, began) = (context(), context().env.now());
        let tries = Cell::new(0);
        let work = async || {
            tries.set(tries.get() + 1);
            if tries.get() > 1 {
                assert!(context.waits.now().contains_key("sink"), "it says that it waits");
            }
            match context.env.now() - began {
                passed if passed >= Duration::from_secs(86_400) => Ok(passed),
                _ if tries.get() % 2 == 0 => Err(Fault::Denied(EngineError::definition("read-only"))),
                _ => Err(down()),
            }
        };
        let waited = Patience::Endless.retry(&context, work).await.unwrap();
        assert!(waited < Duration::from_secs(86_400) + LONGEST, "{waited:?}");
        assert!(tries.get() < 40_000, "it asks every few seconds: {}", tries.get());
        assert!(context.waits.now().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_not_waited_for() {
        let context = context();
        let denied = || Fault::Denied(EngineError::definition("read-only"));
        let lasting = || Fault::Lasting(EngineError::corrupt("damaged"));
        let began = context.env.now();
        let patience = Patience::Limited(Duration::from_secs(15));
        let error = patience.retry::<(), _>(&context, async || Err(denied())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Definition);
        let error = Patience::Endless.retry::<(), _>(&context, async || Err(lasting())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert_eq!(context.env.now(), began);
    }
}
