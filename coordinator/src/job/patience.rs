//! A job's wait for something that waiting heals: since when, logged once at first and then rarely.

use super::Waiting;
use std::time::Duration;
use weir_engine::env::{Env, Moment};

/// A warning comes at once, and then not more often than this.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// The wait of one job, if it waits. It lasts over all tries until one of them has made progress: an attempt that fails again at
/// once has not brought it to an end.
#[derive(Debug, Default)]
pub struct Patience(Option<Wait>);

#[derive(Debug)]
struct Wait {
    shown: Waiting,
    began: Moment,
    warned: Moment,
}

impl Patience {
    /// It failed once more, for this cause. What is to be shown of it.
    pub fn wait(&mut self, env: &Env, job: &str, cause: &str) -> Waiting {
        let (now, is_first) = (env.now(), self.0.is_none());
        let wait = self.0.get_or_insert_with(|| {
            let shown = Waiting { what: String::new(), since_ms: env.wall_clock_ms() };
            Wait { shown, began: now, warned: now }
        });
        if is_first || now - wait.warned >= WARN_EVERY {
            wait.warned = now;
            let waited_s = (now - wait.began).as_secs();
            tracing::warn!(job, cause, waited_s, "the job waits, and resumes by itself; nothing is lost meanwhile");
        }
        let since = Waiting::since(wait.shown.since_ms);
        wait.shown.what = format!("waits since {since}, and resumes by itself: {cause}");
        wait.shown.clone()
    }

    /// What is to be shown of it, while it waits.
    pub fn waiting(&self) -> Option<Waiting> {
        self.0.as_ref().map(|wait| wait.shown.clone())
    }

    /// There was progress.
    pub fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_one_over_all_of_its_tries_until_there_is_progress() {
        let env = Env::simulated(1, Arc::new(|| 1_772_000_000_000));
        let mut patience = Patience::default();
        assert_eq!(patience.waiting(), None);
        let first = patience.wait(&env, "j", "the storage is away");
        assert_eq!(first.what, "waits since 2026-02-25 06:13:20 UTC, and resumes by itself: the storage is away");
        env.sleep(Duration::from_secs(86_400)).await;
        let second = patience.wait(&env, "j", "the disk is full");
        assert_eq!(second.since_ms, first.since_ms);
        assert!(second.what.ends_with("the disk is full"), "{}", second.what);
        assert_eq!(patience.waiting(), Some(second));
        patience.over();
        assert_eq!(patience.waiting(), None);
    }
}
