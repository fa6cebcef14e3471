//! What the coordinator does with transactional ids.

use super::*;

const ID: &str = "id";
const TIMEOUT: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: number }
}

fn write(coordinator: &mut Coordinator, now: Time, markers: &[Marker]) {
    markers.iter().for_each(|marker| coordinator.written(now, &marker.id, &marker.to));
}

fn init(coordinator: &mut Coordinator, now: Time) -> Session {
    coordinator.init(now, ID, TIMEOUT).0.unwrap()
}

#[test]
fn each_init_raises_the_epoch_and_fences_those_before() {
    let mut coordinator = Coordinator::default();
    let (first, second) = (init(&mut coordinator, at(0)), init(&mut coordinator, at(1)));
    assert_eq!((first.producer, second.producer, second.epoch), (1, 1, first.epoch + 1));
    assert_eq!(coordinator.add(at(2), ID, first, partition(0)), Err(Refusal::ProducerFenced));
    assert_eq!(coordinator.end(at(2), ID, first, true), Err(Refusal::ProducerFenced));
    coordinator.add(at(2), ID, second, partition(0)).unwrap();
}

#[test]
fn init_aborts_what_is_open_and_waits_for_its_markers() {
    let mut coordinator = Coordinator::default();
    let first = init(&mut coordinator, at(0));
    coordinator.add(at(1), ID, first, partition(0)).unwrap();
    coordinator.add(at(1), ID, first, partition(1)).unwrap();
    let (answer, markers) = coordinator.init(at(2), ID, TIMEOUT);
    assert_eq!(answer, Err(Refusal::ConcurrentTransactions));
    assert!(markers.len() == 2 && markers.iter().all(|marker| !marker.commits && marker.session.epoch == 1));
    assert_eq!(coordinator.end(at(2), ID, first, true), Err(Refusal::ProducerFenced), "it is fenced at once");
    write(&mut coordinator, at(3), &markers[..1]);
    assert_eq!(coordinator.init(at(3), ID, TIMEOUT).0, Err(Refusal::ConcurrentTransactions));
    write(&mut coordinator, at(3), &markers[1..]);
    assert_eq!(init(&mut coordinator, at(4)).epoch, 2);
}

#[test]
fn an_end_is_decided_once_and_repeated_in_the_same_way_only() {
    let mut coordinator = Coordinator::default();
    let session = init(&mut coordinator, at(0));
    assert_eq!(coordinator.end(at(1), ID, session, true), Err(Refusal::InvalidTransactionState), "none has begun");
    coordinator.add(at(1), ID, session, partition(0)).unwrap();
    let markers = coordinator.end(at(2), ID, session, true).unwrap();
    assert_eq!(coordinator.end(at(2), ID, session, true), Err(Refusal::ConcurrentTransactions));
    assert_eq!(coordinator.end(at(2), ID, session, false), Err(Refusal::InvalidTransactionState));
    assert_eq!(coordinator.add(at(2), ID, session, partition(0)), Err(Refusal::ConcurrentTransactions));
    write(&mut coordinator, at(3), &markers);
    assert_eq!(coordinator.end(at(3), ID, session, true), Ok(vec![]));
    assert_eq!(coordinator.end(at(3), ID, session, false), Err(Refusal::InvalidTransactionState));
}

/// What KIP-890 is about.
#[test]
fn a_delayed_end_of_the_same_epoch_ends_the_next_transaction() {
    let mut coordinator = Coordinator::default();
    let session = init(&mut coordinator, at(0));
    coordinator.add(at(1), ID, session, partition(0)).unwrap();
    let markers = coordinator.end(at(2), ID, session, false).unwrap();
    write(&mut coordinator, at(2), &markers);
    coordinator.add(at(3), ID, session, partition(1)).unwrap();
    let markers = coordinator.end(at(3), ID, session, true).unwrap();
    assert!(markers[0].commits && markers[0].to == partition(1), "the commit of the one before");
}

#[test]
fn records_are_of_an_ongoing_transaction_only() {
    let mut coordinator = Coordinator::default();
    let session = init(&mut coordinator, at(0));
    assert_eq!(coordinator.verify(at(1), ID, session, &partition(0)), Err(Refusal::InvalidTransactionState));
    coordinator.add(at(1), ID, session, partition(0)).unwrap();
    assert_eq!(coordinator.verify(at(1), ID, session, &partition(0)), Ok(()));
    assert_eq!(coordinator.verify(at(1), ID, session, &partition(1)), Err(Refusal::InvalidTransactionState));
}

#[test]
fn what_is_open_for_too_long_is_aborted_and_its_session_fenced() {
    let mut coordinator = Coordinator::default();
    let session = init(&mut coordinator, at(0));
    coordinator.add(at(5), ID, session, partition(0)).unwrap();
    assert_eq!(coordinator.next_timeout(), Some(at(15)));
    assert!(coordinator.time_out(at(14)).is_empty());
    let markers = coordinator.time_out(at(15));
    assert!(markers.len() == 1 && !markers[0].commits);
    assert_eq!(coordinator.end(at(16), ID, session, true), Err(Refusal::ProducerFenced));
    write(&mut coordinator, at(16), &markers);
    assert_eq!(init(&mut coordinator, at(17)).epoch, session.epoch + 2);
}

#[test]
fn an_id_that_is_idle_for_a_week_is_forgotten() {
    let mut coordinator = Coordinator::default();
    let session = init(&mut coordinator, at(0));
    let week = ID_EXPIRES_AFTER;
    assert!(coordinator.verify(week - at(1), ID, session, &partition(0)) == Err(Refusal::InvalidTransactionState));
    assert_eq!(coordinator.add(week, ID, session, partition(0)), Err(Refusal::InvalidProducerIdMapping));
    let again = init(&mut coordinator, week);
    assert!(again.producer != session.producer && again.epoch == 0);
    coordinator.add(week, ID, again, partition(0)).unwrap();
    assert!(coordinator.verify(week + week, ID, again, &partition(0)).is_ok(), "an open one is not");
}

#[test]
fn an_exhausted_epoch_gives_a_new_producer_id() {
    let mut coordinator = Coordinator::default();
    let mut session = init(&mut coordinator, at(0));
    while session.producer == 1 {
        assert!(session.epoch < i16::MAX);
        session = init(&mut coordinator, at(0));
    }
    assert_eq!((session.producer, session.epoch), (2, 0));
}

#[test]
fn a_time_out_is_bounded() {
    let mut coordinator = Coordinator::default();
    let answer = coordinator.init(at(0), ID, LONGEST_TIMEOUT + at(1)).0;
    assert_eq!(answer, Err(Refusal::InvalidTransactionTimeout));
}
