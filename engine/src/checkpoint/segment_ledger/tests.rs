//! What a manifest says of segments that grow, rest, are merged and change hands.

use super::*;
use crate::{
    checkpoint::{manifest::checksum, state_file},
    state::{Change, Segment, Snapshot, StateRows},
};
use arrow::{
    array::{ArrayRef, Int64Array},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use std::sync::Arc;

fn rows(values: &[i64]) -> StateRows {
    let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    StateRows::ready(vec![RecordBatch::try_from_iter([("n", column)]).unwrap()])
}

fn segment(id: &str, change: Change) -> Segment {
    Segment { id: id.into(), change }
}

fn file_ref(path: &str, content: &[u8]) -> FileRef {
    FileRef { path: path.into(), bytes: content.len() as u64, checksum: checksum(content) }
}

fn record(ledger: &mut SegmentLedger, name: &str, segments: Vec<Segment>) -> (Recorded, Option<Bytes>) {
    let mut content = Vec::new();
    let encoded = state_file::encode(Snapshot { segments }, &mut content).unwrap();
    let content = Some(Bytes::from(content)).filter(|content| !content.is_empty());
    let file = content.as_ref().map(|content| file_ref(name, content));
    (ledger.record(&encoded, file.as_ref()).unwrap(), content)
}

fn take(ledger: &mut SegmentLedger, name: &str, segments: Vec<Segment>) -> Vec<SegmentState> {
    record(ledger, name, segments).0.segments
}

fn paths(segment: &SegmentState) -> Vec<&str> {
    segment.parts.iter().map(|part| part.file.path.as_str()).collect()
}

/// What a merge that did its work says.
fn merged(planned: Vec<ToMerge>, name: &str) -> Merged {
    let file = file_ref(name, b"merged");
    let into =
        |from: &ToMerge| FilePart { file: file.clone(), level: from.parts[0].level + 1, ..from.parts[0].clone() };
    Merged { parts: planned.into_iter().map(|from| (from.clone(), into(&from))).collect(), file }
}

/// A ledger whose segment was added to often enough.
fn full() -> SegmentLedger {
    let mut ledger = SegmentLedger::new(KeyGroupRange::all(128));
    for n in 0..merge::FAN_IN {
        assert!(ledger.plan_merge().is_none());
        take(&mut ledger, &n.to_string(), vec![segment("a", Change::Append(rows(&[n as i64])))]);
    }
    ledger
}

#[test]
fn segments_grow_rest_and_go() {
    let mut ledger = SegmentLedger::new(KeyGroupRange::all(128));
    let (_, first) = record(
        &mut ledger,
        "1",
        vec![segment("a", Change::Append(rows(&[1, 2]))), segment("b", Change::Replace(rows(&[3])))],
    );
    let (recorded, second) =
        record(&mut ledger, "2", vec![segment("a", Change::Append(rows(&[4]))), segment("b", Change::Unchanged)]);
    let read = |state: &SegmentState| -> Vec<i64> {
        let content = |part: &FilePart| if part.file.path == "1" { first.clone() } else { second.clone() };
        let batches = state.parts.iter().flat_map(|part| state_file::read_part(part, content(part).unwrap()).unwrap());
        let column =
            |batch: RecordBatch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
        batches.flat_map(|batch| column(batch.unwrap())).collect()
    };
    assert_eq!(recorded.segments.iter().map(read).collect::<Vec<_>>(), [vec![1, 2, 4], vec![3]]);
    let (recorded, content) = record(&mut ledger, "3", vec![segment("b", Change::Unchanged)]);
    assert_eq!((recorded.segments.len(), content), (1, None), "nothing changed, nothing is written, a is gone");
}

#[test]
fn what_is_taken_over_is_narrowed_to_the_own_key_groups() {
    let range = |start, end| KeyGroupRange { start, end };
    let mut whole = SegmentLedger::new(range(0, 8));
    let states = take(&mut whole, "1", vec![segment("a", Change::Replace(rows(&[1, 2])))]);
    let halves = [range(0, 4), range(4, 8)].map(|half| {
        let mut ledger = SegmentLedger::new(half);
        ledger.restore(&states);
        take(&mut ledger, "2", vec![segment("a", Change::Unchanged)])
    });
    let mut again = SegmentLedger::new(range(0, 8));
    halves.iter().for_each(|half| again.restore(half));
    let states = take(&mut again, "3", vec![segment("a", Change::Unchanged)]);
    let ranges: Vec<KeyGroupRange> = states[0].parts.iter().map(|part| part.key_groups).collect();
    assert_eq!(ranges, [range(0, 4), range(4, 8)], "one file in two parts, and every row once");
}

#[test]
fn an_unchanged_segment_must_be_known() {
    let snapshot = Snapshot { segments: vec![segment("a", Change::Unchanged)] };
    let encoded = state_file::encode(snapshot, &mut Vec::new()).unwrap();
    assert!(SegmentLedger::new(KeyGroupRange::all(128)).record(&encoded, None).is_err());
}

#[test]
fn what_was_merged_is_named_by_the_next_checkpoint_with_what_came_meanwhile() {
    let mut ledger = full();
    let planned = ledger.plan_merge().expect("there are enough parts");
    assert!(ledger.plan_merge().is_none(), "one at a time");
    let states = take(&mut ledger, "meanwhile", vec![segment("a", Change::Append(rows(&[9])))]);
    assert_eq!(paths(&states[0]), ["0", "1", "2", "3", "meanwhile"], "it is not done yet");
    ledger.merged(merged(planned, "merged"));
    let (recorded, _) = record(&mut ledger, "after", vec![segment("a", Change::Append(rows(&[10])))]);
    assert_eq!(paths(&recorded.segments[0]), ["merged", "meanwhile", "after"]);
    assert_eq!((recorded.segments[0].parts[0].level, recorded.unused), (1, None));
}

#[test]
fn what_was_merged_of_what_is_gone_is_not_used() {
    for changes in [vec![], vec![segment("a", Change::Replace(rows(&[7])))]] {
        let is_gone = changes.is_empty();
        let mut ledger = full();
        let planned = ledger.plan_merge().unwrap();
        ledger.merged(merged(planned, "merged"));
        let (recorded, _) = record(&mut ledger, "new", changes);
        assert_eq!(recorded.unused, Some("merged".into()));
        assert_eq!(
            recorded.segments.iter().flat_map(paths).collect::<Vec<_>>(),
            if is_gone { vec![] } else { vec!["new"] }
        );
    }
}

#[test]
fn a_merge_that_failed_is_tried_again_later() {
    let mut ledger = full();
    ledger.plan_merge().unwrap();
    ledger.merge_failed("failed".into());
    let mut unused = Vec::new();
    for _ in 0..=WAIT_AFTER_FAILURE {
        assert!(ledger.plan_merge().is_none() && unused.is_empty());
        unused.extend(record(&mut ledger, "", vec![segment("a", Change::Unchanged)]).0.unused);
    }
    assert_eq!(unused, ["failed"], "should it have come late");
    assert_eq!(ledger.plan_merge().unwrap()[0].parts.len(), merge::FAN_IN);
}
