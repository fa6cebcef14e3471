//! What is shown while a sink waits for its target: where waits are looked up, and in the log.

use std::time::Duration;
use weir_engine::{env::Moment, operator::CommitterContext};

/// A warning comes at once, and then not more often than this.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// A sink that may have to wait. When it is dropped, the sink waits no more.
pub(super) struct Wait<'a> {
    context: &'a CommitterContext,
    /// What is waited for, as the log has it: `the database`.
    target: &'static str,
    began: Option<Moment>,
    warned: Option<Moment>,
}

impl<'a> Wait<'a> {
    pub fn new(context: &'a CommitterContext, target: &'static str) -> Self {
        Wait { context, target, began: None, warned: None }
    }

    /// How long it has waited.
    pub fn seconds(&self) -> u64 {
        self.began.map_or(0, |began| (self.context.env.now() - began).as_secs())
    }

    /// The target said this.
    pub fn goes_on(&mut self, cause: &str) {
        let CommitterContext { job, sink, env, waits, .. } = self.context;
        let (now, target) = (env.now(), self.target);
        self.began.get_or_insert(now);
        waits.begin(sink, env.cluster_clock_ms(), cause);
        if self.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
            self.warned = Some(now);
            let waited_s = self.seconds();
            tracing::warn!(job, sink, cause, waited_s, "the sink waits for {target}; nothing is lost meanwhile");
        }
    }

    /// The target does what it is asked again.
    pub fn is_over(&mut self) {
        if self.began.is_some() {
            let CommitterContext { job, sink, .. } = self.context;
            tracing::info!(job, sink, waited_s = self.seconds(), "{} is back", self.target);
            self.end();
        }
    }

    fn end(&mut self) {
        if self.began.take().is_some() {
            self.warned = None;
            self.context.waits.end(&self.context.sink);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
