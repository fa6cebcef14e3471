//! Requests that any worker may do, again and again: commits, sweeps, looks and resets of a job's sinks.
//!
//! Invariant: a request is done by one worker at a time. Another one is asked when the one before says that it has ended it, or is
//! lost; and nobody goes on with a request that nobody waits for. (A worker that is cut off ends it by itself, see its `commits`.) So
//! a target without transactions is not sent the rows of one checkpoint after those of the next.

use super::{State, Workers, give};
use std::time::Duration;
use tokio::sync::oneshot;
use weir_engine::{error::Result, operator::Wait};
use weir_proto::v1::{self as pb, coordinator_message::Kind};

/// A request that a worker has not answered yet.
pub(super) struct Pending {
    pub worker: String,
    pub reply: oneshot::Sender<Answer>,
}

/// What came of a request.
pub(super) enum Answer {
    /// The worker has done it, or could not.
    Done(Box<Result<pb::Done>>),
    /// The worker was lost before it answered.
    Lost,
}

/// A request to a worker. When it is dropped before its answer is there, the worker is told to end it.
pub(super) struct Asked {
    workers: Workers,
    request: u64,
    worker: String,
    answer: oneshot::Receiver<Answer>,
}

impl Workers {
    /// Asks a worker for something of a job that may be done again and again: `first` if it is there, and another one if that is lost, or
    /// if a sink waits there for its target for longer than `patience`, which others may reach. Waits while there is none. Returns who
    /// has answered.
    ///
    /// # Errors
    /// The worker's own.
    pub async fn request(
        &self,
        job: &str,
        first: Option<String>,
        patience: Duration,
        order: impl Fn(u64) -> Kind,
    ) -> Result<(String, pb::Done)> {
        let (mut changed, mut first, mut but) = (self.0.changed.subscribe(), first, None);
        loop {
            changed.mark_unchanged();
            let Some(mut asked) = self.ask(first.take().as_deref(), but.as_deref(), &order) else {
                // The sender lives as long as self.
                let _ = changed.changed().await;
                continue;
            };
            if let Some(done) = asked.done(job, patience).await {
                return done.map(|done| (asked.worker.clone(), done));
            }
            but = Some(asked.worker.clone());
        }
    }

    /// Asks `first` if it is there, or the next one in turn, but for one of whom another is to be preferred.
    pub(super) fn ask(&self, first: Option<&str>, but: Option<&str>, order: impl Fn(u64) -> Kind) -> Option<Asked> {
        let mut state = self.lock();
        let request = state.requests + 1;
        let all = state.willing(but);
        // Else in turn, so that one that is stuck is not asked again and again.
        let in_turn = || all.get((request % all.len().max(1) as u64) as usize);
        let worker = String::clone(all.iter().find(|worker| Some(worker.as_str()) == first).or_else(in_turn)?);
        let (reply, answer) = oneshot::channel();
        give(&state.workers[&worker].orders, order(request));
        state.requests = request;
        state.pending.insert(request, Pending { worker: worker.clone(), reply });
        drop(state);
        Some(Asked { workers: self.clone(), request, worker, answer })
    }

    /// Whether a sink of the job waits on this worker for its target, and there are others.
    fn others_may_reach_more(&self, job: &str, worker: &str) -> bool {
        let state = self.lock();
        let waiting = state.workers.get(worker).into_iter().flat_map(|there| &there.heartbeat.waiting);
        let mut of_sinks = waiting.filter(|wait| wait.job == job && !Wait::is_of_source(&wait.sink));
        of_sinks.next().is_some() && state.willing(Some(worker)).iter().any(|other| other.as_str() != worker)
    }
}

impl Asked {
    /// What the worker says when it has done it, or could not. None: it has not, and does not any more.
    async fn done(&mut self, job: &str, patience: Duration) -> Option<Result<pb::Done>> {
        let env = self.workers.env().clone();
        loop {
            tokio::select! {
                biased;
                answer = &mut self.answer => return done(answer),
                () = env.sleep(patience) => if self.workers.others_may_reach_more(job, &self.worker) {
                    break;
                }
            }
        }
        tracing::info!(
            job,
            worker = self.worker,
            "a sink waits there for its target: another worker is asked to commit"
        );
        self.workers.order(&self.worker, Kind::Withdraw(pb::Withdraw { request: self.request }));
        tokio::select! {
            biased;
            // It may just have done it.
            answer = &mut self.answer => done(answer).filter(Result::is_ok),
            // One that is stuck does not say so, and is not waited for for ever.
            () = env.sleep(patience) => None,
        }
    }
}

fn done(answer: Result<Answer, oneshot::error::RecvError>) -> Option<Result<pb::Done>> {
    match answer {
        Ok(Answer::Done(done)) => Some(*done),
        Ok(Answer::Lost) | Err(_) => None,
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.workers.lock().pending.remove(&self.request).is_some() {
            self.workers.order(&self.worker, Kind::Withdraw(pb::Withdraw { request: self.request }));
        }
    }
}

impl State {
    /// A worker has answered a request. Whoever asked may have given up.
    pub(super) fn answered(&mut self, done: pb::Done) {
        if let Some(pending) = self.pending.remove(&done.request) {
            let answer = match done.failure {
                Some(failure) => Err(failure.into()),
                None => Ok(done),
            };
            let _ = pending.reply.send(Answer::Done(Box::new(answer)));
        }
    }

    /// Who is to be asked: those that stay, if there are any, and one of them only if there is no other.
    fn willing(&self, but: Option<&str>) -> Vec<&String> {
        let stay: Vec<&String> = self.staying().collect();
        let all = if stay.is_empty() { self.workers.keys().collect() } else { stay };
        let others: Vec<&String> = all.iter().copied().filter(|worker| Some(worker.as_str()) != but).collect();
        if others.is_empty() { all } else { others }
    }
}

#[cfg(test)]
mod tests;
