//! What of a database is waited for: that it is back or free again, and, where something is decided, that somebody mends it.

use crate::sink::patience::{Obstacle, until_done};
use std::time::Duration;
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitterContext,
};
use weir_store::{Fault, Tried};

/// What is waited for, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// What passes, up to a limit: then the attempt ends, and the job waits without one.
    Limited(Duration),
    /// What passes, and what somebody has to mend, for as long as it takes: what is decided must be done.
    Endless,
}

impl Obstacle for Fault {
    fn message(&self) -> &str {
        Fault::message(self)
    }

    fn into_error(self) -> EngineError {
        Fault::into_error(self)
    }
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
        until_done(context, "the database", self.limit(), |fault| self.waits_for(fault), work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::patience::LONGEST;
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
