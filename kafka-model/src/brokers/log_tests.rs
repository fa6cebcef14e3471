//! What the log of a partition does with records, transactions and their markers.

use super::*;

fn record(key: &str, value: &str) -> Arc<Record> {
    let (key, value) = (Some(key.as_bytes().to_vec()), Some(value.as_bytes().to_vec()));
    Arc::new(Record { key, value, headers: Vec::new(), timestamp_ms: 0 })
}

fn session(producer: i64, epoch: i16) -> Session {
    Session { producer, epoch }
}

fn offsets(log: &Log, isolation: Isolation) -> (Vec<i64>, i64) {
    let fetched = log.fetch(log.bounds().beginning, isolation, usize::MAX).unwrap();
    (fetched.records.iter().map(|(offset, _)| *offset).collect(), fetched.next)
}

#[test]
fn committed_records_end_at_the_first_open_transaction_and_markers_take_up_offsets() {
    let mut log = Log::default();
    log.append(session(1, 0), 0, &[record("a", "1"), record("b", "1")]).unwrap();
    log.append(session(2, 0), 0, &[record("a", "2")]).unwrap();
    log.append_plain(&[record("c", "1")]);
    log.end_transaction(session(2, 0), true);
    assert_eq!(log.bounds(), Bounds { beginning: 0, stable_end: 0, end: 5 });
    assert_eq!(offsets(&log, Isolation::Committed), (vec![], 0), "another one's open transaction hides it");
    assert_eq!(offsets(&log, Isolation::Uncommitted), (vec![0, 1, 2, 3], 5), "no marker is given out");
    log.end_transaction(session(1, 0), false);
    assert_eq!(log.bounds(), Bounds { beginning: 0, stable_end: 6, end: 6 });
    assert_eq!(offsets(&log, Isolation::Committed), (vec![2, 3], 6), "the aborted are hidden");
    assert_eq!(offsets(&log, Isolation::Uncommitted), (vec![0, 1, 2, 3], 6));
}

#[test]
fn a_fetch_goes_on_where_the_one_before_ended() {
    let mut log = Log::default();
    log.append(session(1, 0), 0, &[record("a", "1"), record("b", "1"), record("c", "1")]).unwrap();
    log.end_transaction(session(1, 0), true);
    let first = log.fetch(0, Isolation::Committed, 2).unwrap();
    assert_eq!((first.records.len(), first.next, first.end), (2, 2, 4));
    let second = log.fetch(2, Isolation::Committed, 2).unwrap();
    assert_eq!((second.records.len(), second.next), (1, 4));
    assert_eq!(log.fetch(4, Isolation::Committed, 2).unwrap().next, 4);
    assert_eq!(log.fetch(5, Isolation::Committed, 2), Err(Refusal::OffsetOutOfRange));
}

#[test]
fn what_came_already_is_acknowledged_and_what_leaves_a_gap_is_refused() {
    let mut log = Log::default();
    let batch = [record("a", "1"), record("b", "1")];
    log.append(session(1, 0), 0, &batch).unwrap();
    log.append(session(1, 0), 0, &batch).unwrap();
    assert_eq!(log.bounds().end, 2);
    assert_eq!(log.append(session(1, 0), 3, &batch), Err(Refusal::OutOfOrderSequence));
    log.append(session(1, 0), 2, &batch).unwrap();
    assert_eq!(log.append(session(1, 1), 4, &batch), Err(Refusal::OutOfOrderSequence), "a new epoch begins at 0");
}

#[test]
fn a_marker_of_a_higher_epoch_fences_the_lower_ones() {
    let mut log = Log::default();
    log.append(session(1, 0), 0, &[record("a", "1")]).unwrap();
    log.end_transaction(session(1, 1), false);
    assert_eq!(log.append(session(1, 0), 1, &[record("a", "2")]), Err(Refusal::InvalidProducerEpoch));
    log.append(session(1, 2), 0, &[record("a", "3")]).unwrap();
    assert!(log.is_open(session(1, 2)) && !log.is_open(session(1, 0)));
}

#[test]
fn compaction_keeps_the_newest_committed_of_each_key_and_moves_no_offset() {
    let mut log = Log::default();
    for (nth, (key, commits)) in [("a", true), ("a", true), ("b", true), ("a", false)].into_iter().enumerate() {
        log.append(session(1, 0), nth as i32, &[record(key, "1")]).unwrap();
        log.end_transaction(session(1, 0), commits);
    }
    // Open, and not to be touched: nor is what is behind it.
    log.append(session(2, 0), 0, &[record("a", "open")]).unwrap();
    log.append_plain(&[record("b", "2")]);
    log.compact(1);
    assert_eq!(offsets(&log, Isolation::Committed), (vec![2, 4], 8), "the aborted one does not count");
    assert_eq!(offsets(&log, Isolation::Uncommitted), (vec![2, 4, 8, 9], 10));
    log.end_transaction(session(2, 0), true);
    log.compact(1);
    assert_eq!(offsets(&log, Isolation::Committed), (vec![8, 9], 11));
    assert_eq!(log.bounds(), Bounds { beginning: 0, stable_end: 11, end: 11 });
}

#[test]
fn retention_raises_the_beginning() {
    let mut log = Log::default();
    log.append_plain(&[record("a", "1"), record("b", "1"), record("c", "1")]);
    log.retain_from(2);
    assert_eq!(log.bounds(), Bounds { beginning: 2, stable_end: 3, end: 3 });
    assert_eq!(log.fetch(1, Isolation::Committed, 9), Err(Refusal::OffsetOutOfRange));
    assert_eq!(offsets(&log, Isolation::Committed), (vec![2], 3));
    log.retain_from(100);
    assert_eq!(log.bounds(), Bounds { beginning: 3, stable_end: 3, end: 3 });
}

#[test]
fn what_was_cut_off_is_known_by_the_epoch_of_what_was_read() {
    let mut log = Log::default();
    log.append_plain(&[record("a", "1"), record("b", "1"), record("c", "1")]);
    let holds = |log: &Log, offset, leader_epoch| log.holds(Behind { offset, leader_epoch });
    assert!(holds(&log, 3, 0) && !holds(&log, 4, 0));
    log.lose_from(2);
    log.append_plain(&[record("d", "1"), record("e", "1")]);
    assert_eq!(offsets(&log, Isolation::Uncommitted), (vec![0, 1, 2, 3], 4));
    assert!(holds(&log, 2, 0) && !holds(&log, 3, 0), "offset 2 is another record now");
    assert!(holds(&log, 3, 1) && holds(&log, 4, 1));
    let fetched = log.fetch(0, Isolation::Uncommitted, 9).unwrap();
    assert_eq!([0, 1, 2, 3].map(|offset| fetched.epoch_of(offset)), [0, 0, 1, 1]);
    log.lose_from(1);
    assert!(holds(&log, 1, 0) && !holds(&log, 2, 0) && !holds(&log, 3, 1), "nothing is left of the second leader's");
}
