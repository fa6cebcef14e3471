//! Requests of one job, one at a time: who comes later waits, and who came before has a moment to finish.
//!
//! Invariant: of a job's requests one at a time is done here, and none goes on for longer than [`GRACE`] after the link to the
//! coordinator that asked for it is gone, or it asks for another one: by then another worker may have been asked. Every request may be
//! ended at any point, as by a crash, and be done again.

use crate::attempt_host::Outbound;
use parking_lot::Mutex;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::sync::watch;
use weir_engine::env::{Env, Moment};

/// Long enough for a commit that gets on, so that it need not be done again.
pub const GRACE: Duration = Duration::from_secs(2);

/// The requests of all jobs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<BTreeMap<String, OfJob>>>);

#[derive(Debug, Default)]
struct OfJob {
    turn: Arc<tokio::sync::Mutex<()>>,
    requests: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    request: u64,
    from: Outbound,
    /// When it is ended.
    ends: watch::Sender<Option<Moment>>,
}

/// A request that is to be done.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    job: String,
    turn: Arc<tokio::sync::Mutex<()>>,
    request: u64,
    from: Outbound,
    ends: watch::Receiver<Option<Moment>>,
}

impl Turns {
    /// A coordinator asks for something. What was asked of the job before has a moment left.
    pub fn begin(&self, env: &Env, job: &str, request: u64, from: &Outbound) -> Turn {
        let mut all = self.0.lock();
        let of_job = all.entry(job.to_owned()).or_default();
        for before in &of_job.requests {
            before.end_at(env.now() + GRACE);
        }
        let (end, ends) = watch::channel(None);
        of_job.requests.push(Asked { request, from: from.clone(), ends: end });
        let turn = of_job.turn.clone();
        Turn { turns: self.clone(), job: job.into(), turn, request, from: from.clone(), ends }
    }

    /// Nobody waits for a request any more: it ends at once.
    pub fn withdraw(&self, env: &Env, request: u64, from: &Outbound) {
        let all = self.0.lock();
        let asked = all.values().flat_map(|of_job| &of_job.requests);
        asked.filter(|asked| asked.is(request, from)).for_each(|asked| asked.end_at(env.now()));
    }

    /// The link to a coordinator is gone from here: what it has asked for has a moment left. (Its other end may stay open for as long as
    /// a request holds this one.)
    pub fn left(&self, env: &Env, from: &Outbound) {
        let all = self.0.lock();
        let asked = all.values().flat_map(|of_job| &of_job.requests);
        asked.filter(|asked| asked.from.same_channel(from)).for_each(|asked| asked.end_at(env.now() + GRACE));
    }
}

impl Asked {
    fn is(&self, request: u64, from: &Outbound) -> bool {
        self.request == request && self.from.same_channel(from)
    }

    fn end_at(&self, moment: Moment) {
        self.ends.send_modify(|ends| *ends = Some(ends.map_or(moment, |ends| ends.min(moment))));
    }
}

impl Turn {
    /// Does the work when it is this request's turn. None: it was ended before it was done.
    pub async fn take<T>(mut self, env: &Env, work: impl Future<Output = T>) -> Option<T> {
        let turn = self.turn.clone();
        let in_turn = async move {
            let _turn = turn.lock().await;
            work.await
        };
        tokio::select! {
            biased;
            done = in_turn => Some(done),
            () = self.is_ended(env) => None,
        }
    }

    async fn is_ended(&mut self, env: &Env) {
        let left_alone = async {
            self.from.closed().await;
            env.sleep(GRACE).await;
        };
        let ends = &mut self.ends;
        let ended = async {
            loop {
                let at = *ends.borrow_and_update();
                let moment = async {
                    match at {
                        Some(at) => env.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    // The sender lives as long as this.
                    _ = ends.changed() => {}
                    () = moment => return,
                }
            }
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = left_alone => {}
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.turns.0.lock();
        if let Some(of_job) = all.get_mut(&self.job) {
            of_job.requests.retain(|asked| !asked.is(self.request, &self.from));
            if of_job.requests.is_empty() {
                all.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{sync::mpsc, task::JoinHandle};

    /// Who does a request, and says in `log` when it begins and when it ends.
    fn work(turns: &Turns, request: u64, from: &Outbound, takes: Duration, log: &Log) -> JoinHandle<Option<()>> {
        let (env, log) = (Env::default(), log.clone());
        let turn = turns.begin(&env, "job", request, from);
        tokio::spawn(async move {
            let told = log.clone();
            let work = async {
                told.lock().push(format!("{request} begins"));
                env.sleep(takes).await;
                told.lock().push(format!("{request} is done"));
            };
            let done = turn.take(&env, work).await;
            if done.is_none() {
                log.lock().push(format!("{request} is ended"));
            }
            done
        })
    }

    type Log = Arc<Mutex<Vec<String>>>;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_next_one_waits_until_the_one_before_is_done_or_ended() {
        let (turns, log, (from, _there)) = (Turns::default(), Log::default(), mpsc::unbounded_channel());
        let first = work(&turns, 1, &from, SHORT, &log);
        Env::default().sleep(Duration::from_millis(1)).await;
        let second = work(&turns, 2, &from, LONG, &log);
        assert_eq!(first.await.unwrap(), Some(()), "it had a moment");
        Env::default().sleep(Duration::from_secs(1800)).await;
        let third = work(&turns, 3, &from, SHORT, &log);
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (None, Some(())));
        let expected = ["1 begins", "1 is done", "2 begins", "2 is ended", "3 begins", "3 is done"];
        assert_eq!(*log.lock(), expected);
        assert!(turns.0.lock().is_empty(), "nothing is kept of jobs that ask for nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_waits_for_is_ended() {
        let (turns, log, env) = (Turns::default(), Log::default(), Env::default());
        let ((from, _there), (other, gone)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let began = env.now();
        let withdrawn = work(&turns, 1, &from, LONG, &log);
        env.sleep(SHORT).await;
        turns.withdraw(&env, 1, &other);
        turns.withdraw(&env, 1, &from);
        assert_eq!(withdrawn.await.unwrap(), None);
        assert_eq!(env.now() - began, SHORT);
        let left_alone = work(&turns, 1, &other, LONG, &log);
        drop(gone);
        assert_eq!(left_alone.await.unwrap(), None);
        assert_eq!(env.now() - began, SHORT + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_link_was_left_ends_soon_although_somebody_listens() {
        let (turns, log, env) = (Turns::default(), Log::default(), Env::default());
        let ((from, _there), (other, _there_too)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let began = env.now();
        let left = work(&turns, 1, &from, LONG, &log);
        let of_another = turns.begin(&env, "other", 1, &other);
        turns.left(&env, &from);
        turns.left(&env, &from);
        assert_eq!(left.await.unwrap(), None);
        assert_eq!(env.now() - began, GRACE);
        assert_eq!(of_another.take(&env, env.sleep(LONG)).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_do_not_wait_for_each_other() {
        let (turns, env, (from, _there)) = (Turns::default(), Env::default(), mpsc::unbounded_channel());
        let began = env.now();
        let jobs = ["a", "b", "c"].map(|job| turns.begin(&env, job, 1, &from));
        futures::future::join_all(jobs.map(|turn| turn.take(&env, env.sleep(LONG)))).await;
        assert_eq!(env.now() - began, LONG);
    }
}
