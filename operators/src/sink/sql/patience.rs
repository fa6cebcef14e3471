//! Waiting for a database that is down or busy: ever longer, up to some seconds, and not in silence.

use std::time::Duration;
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
    operator::CommitterContext,
};

/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// A warning comes at once, and then not more often than this.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// The waits of one piece of work. When it is dropped, the sink waits no more.
pub(super) struct Patience<'a> {
    context: &'a CommitterContext,
    /// Until when it waits at all; none: for as long as it takes.
    enough: Option<Moment>,
    next: Duration,
    began: Option<Moment>,
    warned: Option<Moment>,
}

impl<'a> Patience<'a> {
    /// With a limit, or without.
    pub fn new(context: &'a CommitterContext, limit: Option<Duration>) -> Self {
        let enough = limit.map(|limit| context.env.now() + limit);
        Patience { context, enough, next: FIRST, began: None, warned: None }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// With the cause, when it has waited for long enough.
    pub async fn wait(&mut self, cause: &str) -> Result<()> {
        let env = &self.context.env;
        let now = env.now();
        let began = *self.began.get_or_insert(now);
        if self.enough.is_some_and(|enough| now >= enough) {
            let waited = (now - began).as_secs();
            return Err(EngineError::unavailable(format!("{cause} (after {waited} s of trying)")));
        }
        self.context.waits.begin(&self.context.sink, env.cluster_clock_ms(), cause);
        if self.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
            self.warned = Some(now);
            let waited_s = (now - began).as_secs();
            tracing::warn!(
                job = self.context.job,
                sink = self.context.sink,
                cause,
                waited_s,
                "the sink waits for its database; nothing is lost meanwhile"
            );
        }
        env.sleep(self.jittered()).await;
        self.next = (self.next * 2).min(LONGEST);
        Ok(())
    }

    /// Half of the wait to all of it, so that those who were cut off together don't come back together.
    fn jittered(&self) -> Duration {
        let share = env_share(&self.context.env);
        self.next.mul_f64(0.5 + share / 2.0)
    }

    /// The work is done.
    pub fn done(self) {
        if let Some(began) = self.began {
            let waited_s = (self.context.env.now() - began).as_secs();
            tracing::info!(job = self.context.job, sink = self.context.sink, waited_s, "the database is back");
        }
    }
}

/// A number from 0 to 1.
fn env_share(env: &Env) -> f64 {
    (env.nonce() % 1024) as f64 / 1024.0
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if self.began.is_some() {
            self.context.waits.end(&self.context.sink);
        }
    }
}
