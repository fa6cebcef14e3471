//! What is shown while somebody waits for a target that is away: in [`Waits`], and in the log.

use super::{Wait, Waits};
use crate::{
    env::{Env, Moment},
    retry,
};
use backon::Retryable;
use std::{fmt::Display, time::Duration};

/// A warning comes at once, and then not more often than this.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// The first pause between two tries; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause: so long after its return a target may go unnoticed.
const LONGEST: Duration = Duration::from_secs(2);

/// Who may have to wait, for whatever it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Time and chance.
    pub env: Env,
    /// Where it is said.
    pub waits: Waits,
    /// The job.
    pub job: String,
    /// What `waits` calls it: a node by its id, or [`Wait::STORAGE`].
    pub node: String,
}

impl Patience {
    /// For a piece of work for which the target, as the log is to call it (`the database`), may have to be waited for.
    pub fn waiting(&self, target: &'static str) -> Waiting {
        Waiting { who: self.clone(), target, began: None, warned: None }
    }

    /// Does something again, up to two seconds apart, until its outcome is one that `passes` does not say waiting can heal. Whoever no
    /// longer wants the outcome ends the waiting.
    ///
    /// # Errors
    /// What stays.
    pub async fn until_answered<T, E: Display, F: Future<Output = Result<T, E>>>(
        &self,
        target: &'static str,
        passes: impl FnMut(&E) -> bool,
        request: impl FnMut() -> F,
    ) -> Result<T, E> {
        let mut waiting = self.waiting(target);
        let answer = request
            .retry(retry::jittered(&self.env, FIRST, LONGEST))
            .sleep(retry::sleeper(&self.env))
            .when(passes)
            .notify(|error, _| waiting.goes_on(&error.to_string()))
            .await;
        waiting.is_over();
        answer
    }
}

/// Somebody who may have to wait. When it is dropped, nobody waits any more.
#[derive(Debug)]
pub struct Waiting {
    who: Patience,
    /// What is waited for, as the log has it.
    target: &'static str,
    began: Option<Moment>,
    warned: Option<Moment>,
}

impl Waiting {
    /// How long it has waited.
    pub fn seconds(&self) -> u64 {
        self.began.map_or(0, |began| (self.who.env.now() - began).as_secs())
    }

    /// The target said this.
    pub fn goes_on(&mut self, cause: &str) {
        let (now, target) = (self.who.env.now(), self.target);
        self.began.get_or_insert(now);
        self.who.waits.begin(&self.who.node, self.who.env.cluster_clock_ms(), cause);
        if self.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
            self.warned = Some(now);
            let (waited_s, job, who) = (self.seconds(), &self.who.job, Wait::who(&self.who.node));
            tracing::warn!(
                job,
                node = self.who.node,
                cause,
                waited_s,
                "{who} waits for {target}; nothing is lost meanwhile"
            );
        }
    }

    /// The target does what it is asked again.
    pub fn is_over(&mut self) {
        if self.began.is_some() {
            tracing::info!(
                job = self.who.job,
                node = self.who.node,
                waited_s = self.seconds(),
                "{} is back",
                self.target
            );
            self.end();
        }
    }

    fn end(&mut self) {
        if self.began.take().is_some() {
            self.warned = None;
            self.who.waits.end(&self.who.node);
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
        let (env, job, node) = (Env::default(), "job".into(), "sink.a".into());
        let mut waiting = Patience { env, waits: waits.clone(), job, node }.waiting("the database");
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
