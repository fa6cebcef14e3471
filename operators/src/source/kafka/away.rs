//! Brokers that are away: waited for, and said to be.
//!
//! Invariant: what is said ends when records come again, or when the brokers have answered and no reader has met them away since
//! they answered before; and with the attempt at the latest.

use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use weir_engine::{
    env::{Env, Moment},
    operator::{OperatorContext, Waits},
};

/// A warning comes at once, and then not more often than this.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// What one subtask knows of the brokers.
pub(super) struct Away {
    job: String,
    source: String,
    env: Env,
    waits: Waits,
    is_away: AtomicBool,
    met: Mutex<Met>,
}

/// How the brokers were met.
#[derive(Default)]
struct Met {
    began: Option<Moment>,
    warned: Option<Moment>,
    /// A reader has met them away since they answered last.
    since_answer: bool,
}

impl Away {
    /// Of one subtask.
    pub(super) fn new(context: &OperatorContext) -> Self {
        Away {
            job: context.job.clone(),
            source: context.operator.clone(),
            env: context.env.clone(),
            waits: context.waits.clone(),
            is_away: AtomicBool::new(false),
            met: Mutex::default(),
        }
    }

    /// Whether they are waited for.
    pub(super) fn is_waited_for(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// They are away, for this cause.
    pub(super) fn met(&self, cause: &str) {
        let (mut met, now) = (self.met.lock(), self.env.now());
        met.since_answer = true;
        met.began.get_or_insert(now);
        self.is_away.store(true, Ordering::Relaxed);
        self.waits.begin(&self.source, self.env.cluster_clock_ms(), format!("Kafka: {cause}"));
        if met.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
            met.warned = Some(now);
            let (job, source, waited_s) = (&self.job, &self.source, seconds(&met, now));
            tracing::warn!(job, source, cause, waited_s, "the source waits for Kafka; nothing is lost meanwhile");
        }
    }

    /// They have answered what was asked of them, though perhaps not for every partition.
    pub(super) fn answered(&self) {
        if self.is_waited_for() && !std::mem::take(&mut self.met.lock().since_answer) {
            self.is_over();
        }
    }

    /// Records have come.
    #[inline]
    pub(super) fn came(&self) {
        if self.is_waited_for() {
            self.is_over();
        }
    }

    fn is_over(&self) {
        let met = std::mem::take(&mut *self.met.lock());
        self.is_away.store(false, Ordering::Relaxed);
        self.waits.end(&self.source);
        let (job, source, waited_s) = (&self.job, &self.source, seconds(&met, self.env.now()));
        tracing::info!(job, source, waited_s, "Kafka is back");
    }
}

fn seconds(met: &Met, now: Moment) -> u64 {
    met.began.map_or(0, |began| (now - began).as_secs())
}

impl Drop for Away {
    fn drop(&mut self) {
        if self.is_waited_for() {
            self.waits.end(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_until_they_are_back_for_all() {
        let context = OperatorContext::single("job", "source.clicks");
        let said = || context.waits.now().get("source.clicks").map(|wait| wait.cause.clone());
        let away = Away::new(&context);
        away.answered();
        away.met("no broker answers");
        assert_eq!(said().as_deref(), Some("Kafka: no broker answers"));
        away.answered();
        assert!(said().is_some(), "one broker answered, and a reader had met another one away");
        away.answered();
        assert!(said().is_none() && !away.is_waited_for());
        away.met("again");
        away.came();
        assert!(said().is_none(), "records have come");
        away.met("again");
        drop(away);
        assert!(said().is_none(), "the attempt has ended");
    }
}
