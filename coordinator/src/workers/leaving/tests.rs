use super::{super::Session, *};
use crate::config::CoordinatorSettings;
use tokio::sync::mpsc::UnboundedReceiver;
use weir_engine::{env::Env, ids::Attempt};
use weir_proto::v1::worker_message::Kind as Said;

struct Connected {
    session: Session,
    orders: UnboundedReceiver<pb::CoordinatorMessage>,
}

fn connect(workers: &Workers, worker: &str, slots: u32) -> Connected {
    let registration = pb::Register { worker: worker.into(), slots, ..pb::Register::default() };
    let (session, orders) = workers.register(registration, &CoordinatorSettings::default());
    Connected { session, orders }
}

impl Connected {
    /// Its heartbeat says that it is leaving, and that it runs these.
    fn leaves(&self, workers: &Workers, runs: &[&AttemptKey]) {
        let subtask = |key: &&AttemptKey| pb::SubtaskMetrics { attempt: Some((*key).into()), ..Default::default() };
        let subtasks = runs.iter().map(subtask).collect();
        let heartbeat = pb::Heartbeat { leaving: true, subtasks, ..pb::Heartbeat::default() };
        workers.on_message(&self.session, pb::WorkerMessage { kind: Some(Said::Heartbeat(heartbeat)) }).unwrap();
    }

    fn is_released(&mut self) -> bool {
        let told = std::iter::from_fn(|| self.orders.try_recv().ok());
        told.fold(false, |released, order| released | matches!(order.kind, Some(Kind::Released(_))))
    }
}

fn key(job: &str) -> AttemptKey {
    AttemptKey { job: job.into(), attempt: Attempt(1) }
}

fn on(slots: &[(&str, usize)]) -> BTreeMap<String, usize> {
    slots.iter().map(|(worker, slots)| ((*worker).to_string(), *slots)).collect()
}

/// Places a job of one slot on the first worker that has one.
fn anywhere(free: &BTreeMap<String, usize>) -> Option<BTreeMap<String, usize>> {
    free.iter().find(|(_, free)| **free > 0).map(|(worker, _)| on(&[(worker, 1)]))
}

#[test]
fn a_worker_that_leaves_has_no_free_slots_and_is_released_when_nothing_is_left_there() {
    let workers = Workers::new(Env::default());
    let mut a = connect(&workers, "a", 2);
    let events = workers.open_attempt(&key("j"), on(&[("a", 1)])).unwrap();
    a.leaves(&workers, &[&key("j")]);
    assert_eq!(workers.free("other"), on(&[("a", 0)]));
    assert!(workers.open_attempt(&key("other"), on(&[("a", 1)])).is_none());
    workers.close_attempt(&key("j"));
    a.leaves(&workers, &[&key("j")]);
    assert!(!a.is_released(), "it says itself that something runs there still");
    a.leaves(&workers, &[]);
    assert!(a.is_released());
    workers.on_end(&a.session, "it closed its connection");
    assert!(workers.views().is_empty(), "it is not lost");
    drop(events);
}

#[tokio::test]
async fn it_is_not_released_before_it_has_answered_what_it_was_asked() {
    let workers = Workers::new(Env::default());
    let mut a = connect(&workers, "a", 1);
    let asking = workers.clone();
    let patience = std::time::Duration::from_secs(60);
    let asked = tokio::spawn(async move {
        asking.request("j", None, patience, |request| Kind::Sweep(pb::Sweep { request, ..Default::default() })).await
    });
    while !matches!(a.orders.recv().await.unwrap().kind, Some(Kind::Sweep(_))) {}
    a.leaves(&workers, &[]);
    assert!(!a.is_released());
    let done = Said::Done(pb::Done { request: 1, ..Default::default() });
    workers.on_message(&a.session, pb::WorkerMessage { kind: Some(done) }).unwrap();
    asked.await.unwrap().unwrap();
    a.leaves(&workers, &[]);
    assert!(a.is_released());
}

#[test]
fn others_are_asked_first() {
    let workers = Workers::new(Env::default());
    let (a, mut b) = (connect(&workers, "a", 1), connect(&workers, "b", 1));
    a.leaves(&workers, &[]);
    for _ in 0..3 {
        drop(workers.ask(Some("a"), None, |request| Kind::Sweep(pb::Sweep { request, ..Default::default() })).unwrap());
    }
    let told = std::iter::from_fn(|| b.orders.try_recv().ok());
    assert_eq!(told.filter(|order| matches!(order.kind, Some(Kind::Sweep(_)))).count(), 3);
}

#[test]
fn of_two_jobs_one_moves_to_the_only_slot_and_the_other_one_stays_until_there_is_another() {
    let workers = Workers::new(Env::default());
    let (a, _b) = (connect(&workers, "a", 2), connect(&workers, "b", 1));
    let _first = workers.open_attempt(&key("first"), on(&[("a", 1)])).unwrap();
    let _second = workers.open_attempt(&key("second"), on(&[("a", 1)])).unwrap();
    assert_eq!(workers.reserve(&key("first"), anywhere), Move::NotNeeded);
    a.leaves(&workers, &[]);
    let off = BTreeSet::from(["a".to_string()]);
    assert_eq!(workers.reserve(&key("first"), anywhere), Move::Reserved(off.clone()));
    assert_eq!(workers.reserve(&key("second"), anywhere), Move::NoRoom(off.clone(), 0));
    assert!(workers.open_attempt(&key("third"), on(&[("b", 1)])).is_none(), "nobody else takes it");
    workers.close_attempt(&key("first"));
    let next = AttemptKey { attempt: Attempt(2), ..key("first") };
    let _next = workers.open_attempt(&next, on(&[("b", 1)])).expect("it was reserved for this job");
    let _c = connect(&workers, "c", 1);
    assert_eq!(workers.reserve(&key("second"), anywhere), Move::Reserved(off));
    workers.forget_reserved("second");
    assert_eq!(workers.free("third"), on(&[("a", 0), ("b", 0), ("c", 1)]));
}

#[test]
fn slots_that_a_job_has_on_others_are_its_to_stay_on() {
    let workers = Workers::new(Env::default());
    let (a, _b) = (connect(&workers, "a", 1), connect(&workers, "b", 2));
    let _attempt = workers.open_attempt(&key("j"), on(&[("a", 1), ("b", 1)])).unwrap();
    a.leaves(&workers, &[]);
    let both_on_b = |free: &BTreeMap<String, usize>| (free["b"] == 2 && free["a"] == 0).then(|| on(&[("b", 2)]));
    assert!(matches!(workers.reserve(&key("j"), both_on_b), Move::Reserved(_)));
    assert_eq!(workers.free("other"), on(&[("a", 0), ("b", 0)]), "the one that it has, and the one that it will have");
}

#[test]
fn one_that_registers_with_another_coordinator_leaves_from_the_start() {
    let workers = Workers::new(Env::default());
    let registration = pb::Register { worker: "a".into(), slots: 1, leaving: true, ..pb::Register::default() };
    let (session, orders) = workers.register(registration, &CoordinatorSettings::default());
    assert_eq!(workers.free("j"), on(&[("a", 0)]));
    let mut a = Connected { session, orders };
    assert!(!a.is_released(), "nobody knows yet what runs there");
    a.leaves(&workers, &[]);
    assert!(a.is_released());
}
