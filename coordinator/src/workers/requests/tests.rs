use super::{super::Session, *};
use crate::config::CoordinatorSettings;
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};
use weir_engine::{EngineError, env::Env};
use weir_proto::v1::worker_message::Kind as Said;

const PATIENCE: Duration = Duration::from_secs(60);

struct Connected {
    session: Session,
    orders: UnboundedReceiver<pb::CoordinatorMessage>,
}

fn connect(workers: &Workers, worker: &str) -> Connected {
    let registration = pb::Register { worker: worker.into(), slots: 1, ..pb::Register::default() };
    let (session, orders) = workers.register(registration, &CoordinatorSettings::default());
    Connected { session, orders }
}

impl Connected {
    /// The number of the next commit that it is asked for.
    async fn asked(&mut self) -> u64 {
        loop {
            if let Some(Kind::Commit(commit)) = self.orders.recv().await.unwrap().kind {
                return commit.request;
            }
        }
    }

    /// The number of the next request that it is to end.
    async fn told_to_end(&mut self) -> u64 {
        loop {
            if let Some(Kind::Withdraw(withdraw)) = self.orders.recv().await.unwrap().kind {
                return withdraw.request;
            }
        }
    }

    fn hears_of_nothing(&mut self) -> bool {
        let told = std::iter::from_fn(|| self.orders.try_recv().ok());
        told.filter(|order| matches!(order.kind, Some(Kind::Commit(_) | Kind::Withdraw(_)))).count() == 0
    }

    fn says(&self, workers: &Workers, said: Said) {
        workers.on_message(&self.session, pb::WorkerMessage { kind: Some(said) }).unwrap();
    }

    fn has_done(&self, workers: &Workers, request: u64) {
        self.says(workers, Said::Done(pb::Done { request, ..Default::default() }));
    }

    fn has_ended(&self, workers: &Workers, request: u64) {
        let failure = Some((&EngineError::unavailable("it was ended")).into());
        self.says(workers, Said::Done(pb::Done { request, failure, ..Default::default() }));
    }

    fn waits(&self, workers: &Workers, job: &str, node: &str) {
        let waiting = vec![pb::WaitingSink { job: job.into(), sink: node.into(), ..Default::default() }];
        self.says(workers, Said::Heartbeat(pb::Heartbeat { waiting, ..Default::default() }));
    }
}

/// Asks for a commit, of this worker first. Says who has made it.
fn ask(workers: &Workers, first: &str) -> JoinHandle<Result<String>> {
    let (workers, first) = (workers.clone(), Some(first.to_owned()));
    tokio::spawn(async move {
        let commit = |request| Kind::Commit(pb::Commit { request, ..Default::default() });
        workers.request("j", first, PATIENCE, commit).await.map(|(worker, _)| worker)
    })
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_first_may_take_as_long_as_it_takes_and_nobody_else_is_asked() {
    let workers = Workers::new(Env::default());
    let (mut a, mut b) = (connect(&workers, "a"), connect(&workers, "b"));
    let asked = ask(&workers, "b");
    let request = b.asked().await;
    workers.env().sleep(PATIENCE * 20).await;
    // Of another job, and a source of this one: neither holds the commit up.
    b.waits(&workers, "other", "sink.counts");
    b.waits(&workers, "j", "source.clicks");
    workers.env().sleep(PATIENCE * 20).await;
    assert!(a.hears_of_nothing() && b.hears_of_nothing());
    b.has_done(&workers, request);
    assert_eq!(asked.await.unwrap().unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn where_a_sink_waits_another_one_is_asked_once_it_has_ended_there() {
    let workers = Workers::new(Env::default());
    let (mut a, mut b) = (connect(&workers, "a"), connect(&workers, "b"));
    let asked = ask(&workers, "b");
    let request = b.asked().await;
    b.waits(&workers, "j", "sink.counts");
    assert_eq!(b.told_to_end().await, request);
    workers.env().sleep(PATIENCE / 2).await;
    assert!(a.hears_of_nothing(), "it may be in the midst of it still");
    b.has_ended(&workers, request);
    let request = a.asked().await;
    a.has_done(&workers, request);
    assert_eq!(asked.await.unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_at_the_last_moment_is_done() {
    let workers = Workers::new(Env::default());
    let (mut a, mut b) = (connect(&workers, "a"), connect(&workers, "b"));
    let asked = ask(&workers, "b");
    b.waits(&workers, "j", "sink.counts");
    let request = b.told_to_end().await;
    b.has_done(&workers, request);
    assert_eq!(asked.await.unwrap().unwrap(), "b");
    assert!(a.hears_of_nothing());
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_other_worker_it_waits_for_as_long_as_it_takes() {
    let workers = Workers::new(Env::default());
    let mut a = connect(&workers, "a");
    let asked = ask(&workers, "a");
    let request = a.asked().await;
    a.waits(&workers, "j", "sink.counts");
    workers.env().sleep(PATIENCE * 60).await;
    assert!(a.hears_of_nothing(), "one commit, and not one a minute");
    a.has_done(&workers, request);
    assert_eq!(asked.await.unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_lost_is_not_waited_for() {
    let workers = Workers::new(Env::default());
    let (mut a, mut b) = (connect(&workers, "a"), connect(&workers, "b"));
    let asked = ask(&workers, "b");
    b.asked().await;
    workers.on_end(&b.session, "it closed its connection");
    let request = a.asked().await;
    a.has_done(&workers, request);
    assert_eq!(asked.await.unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_waits_for_is_ended_and_forgotten() {
    let workers = Workers::new(Env::default());
    let mut a = connect(&workers, "a");
    let asked = ask(&workers, "a");
    let request = a.asked().await;
    asked.abort();
    assert_eq!(a.told_to_end().await, request);
    assert!(workers.lock().pending.is_empty());
}
