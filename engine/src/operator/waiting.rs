//! What is shown while somebody waits for a target that is away: in [`Waits`], and in the log.

use super::{Wait, Waits};
use crate::env::{Env, Moment};
use std::time::Duration;

/// A warning comes at once, and then not more often than this.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// Somebody who may have to wait. When it is dropped, nobody waits any more.
#[derive(Debug)]
pub struct Waiting {
    env: Env,
    waits: Waits,
    job: String,
    node: String,
    /// What is waited for, as the log has it: `the database`.
    target: &'static str,
    began: Option<Moment>,
    warned: Option<Moment>,
}

impl Waiting {
    /// Of a node of a job, or of what [`Waits`] is to call it; for a target as the log is to call it: `the database`.
    pub fn new(env: &Env, waits: &Waits, job: &str, node: &str, target: &'static str) -> Self {
        let (env, waits) = (env.clone(), waits.clone());
        Waiting { env, waits, job: job.into(), node: node.into(), target, began: None, warned: None }
    }

    /// How long it has waited.
    pub fn seconds(&self) -> u64 {
        self.began.map_or(0, |began| (self.env.now() - began).as_secs())
    }

    /// The target said this.
    pub fn goes_on(&mut self, cause: &str) {
        let (now, target) = (self.env.now(), self.target);
        self.began.get_or_insert(now);
        self.waits.begin(&self.node, self.env.cluster_clock_ms(), cause);
        if self.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
            self.warned = Some(now);
            let (waited_s, job, who) = (self.seconds(), &self.job, Wait::who(&self.node));
            tracing::warn!(
                job,
                node = self.node,
                cause,
                waited_s,
                "{who} waits for {target}; nothing is lost meanwhile"
            );
        }
    }

    /// The target does what it is asked again.
    pub fn is_over(&mut self) {
        if self.began.is_some() {
            tracing::info!(job = self.job, node = self.node, waited_s = self.seconds(), "{} is back", self.target);
            self.end();
        }
    }

    fn end(&mut self) {
        if self.began.take().is_some() {
            self.warned = None;
            self.waits.end(&self.node);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seen_while_it_lasts_and_not_after() {
        let waits = Waits::default();
        let mut waiting = Waiting::new(&Env::default(), &waits, "job", "sink.a", "the database");
        assert!(waits.now().is_empty());
        waiting.goes_on("it is down");
        waiting.goes_on("it starts");
        assert_eq!(waits.now()["sink.a"].cause, "it starts");
        waiting.is_over();
        assert!(waits.now().is_empty());
        waiting.goes_on("down again");
        drop(waiting);
        assert!(waits.now().is_empty(), "whoever is gone waits no more");
    }
}
