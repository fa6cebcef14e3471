//! The rule against what it promises, over random histories; and real files.

use super::*;
use crate::{
    checkpoint::{manifest::checksum, state_file::encode},
    ids::{Attempt, CheckpointId},
    key_group::KeyGroupRange,
    state::{Change, Segment, Snapshot, StateRows},
};
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use std::sync::Arc;

fn part(level: u8, bytes: u64, key_groups: KeyGroupRange) -> FilePart {
    let file = FileRef { path: "f".into(), bytes, checksum: String::new() };
    FilePart { file, first_row_group: 0, row_groups: 1, key_groups, level, part_bytes: bytes }
}

fn levels(levels: &[u8]) -> Vec<FilePart> {
    levels.iter().map(|level| part(*level, 1000, KeyGroupRange::all(128))).collect()
}

#[test]
fn neighbours_of_one_level_are_merged_the_lowest_first() {
    assert_eq!(choose(&levels(&[0, 0, 0]), 0), None);
    assert_eq!(choose(&levels(&[0, 0, 0, 0]), 0), Some(0..4));
    assert_eq!(choose(&levels(&[2, 1, 0, 0, 0, 0, 0]), 0), Some(2..7), "as many as there are");
    assert_eq!(choose(&levels(&[1, 1, 1, 1, 0, 0, 0, 0]), 0), Some(4..8));
    assert_eq!(choose(&levels(&[0, 0, 1, 0, 0]), 0), None, "others are between them");
}

#[test]
fn a_segment_that_rests_becomes_one_part_unless_for_little() {
    assert_eq!(choose(&levels(&[2, 1, 1, 0]), RESTED), Some(0..4));
    assert_eq!(choose(&levels(&[2, 1, 1, 0]), RESTED - 1), None);
    assert_eq!(choose(&levels(&[3, 0]), RESTED), None, "much would be written for little");
    assert_eq!(choose(&levels(&[3, 0, 0]), RESTED), Some(1..3));
    assert_eq!(choose(&levels(&[3]), RESTED), None);
}

#[test]
fn parts_that_count_differently_or_are_full_stay_apart() {
    let half = |start| KeyGroupRange { start, end: start + 64 };
    let mut mixed: Vec<FilePart> = (0..6).map(|n| part(0, 1000, half(if n < 3 { 0 } else { 64 }))).collect();
    assert_eq!(choose(&mixed, 0), None);
    mixed.push(part(0, 1000, half(64)));
    assert_eq!(choose(&mixed, 0), Some(3..7));
    assert_eq!(choose(&mixed, RESTED), Some(0..3), "each kind by itself");
    let full = part(3, FULL_BYTES + 1, half(0));
    assert_eq!(choose(&vec![full; 20], RESTED), None);
    let large = vec![part(1, FULL_BYTES, half(0)); 20];
    assert_eq!(choose(&large, 0), Some(0..4), "no more than fits");
}

/// What becomes of a segment: of its parts the level, and the checkpoints whose rows are in each.
fn grow(appends: usize, mut merges: impl FnMut(usize) -> bool) -> (Vec<FilePart>, Vec<Vec<usize>>, usize) {
    let (mut parts, mut rows, mut rewritten) = (Vec::new(), Vec::<Vec<usize>>::new(), 0);
    for n in 0..appends {
        parts.push(part(0, 1000, KeyGroupRange::all(128)));
        rows.push(vec![n]);
        while let Some(range) = choose(&parts, 0).filter(|_| merges(n)) {
            let level = parts[range.clone()].iter().map(|part| part.level).max().unwrap() + 1;
            let together: Vec<usize> = rows[range.clone()].concat();
            rewritten += together.len();
            parts.splice(range.clone(), [part(level, 1000, KeyGroupRange::all(128))]);
            rows.splice(range, [together]);
        }
    }
    (parts, rows, rewritten)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_and_rewriting_grow_with_the_logarithm(appends in 1usize..3000, late in 1usize..9) {
        // Merging may lag behind by a few checkpoints.
        let (parts, rows, rewritten) = grow(appends, |n| n % late == 0);
        let levels = (appends as f64).log(FAN_IN as f64) as usize + 1;
        prop_assert!(parts.len() <= (FAN_IN - 1) * levels + late, "{} parts after {appends}", parts.len());
        prop_assert!(rewritten <= appends * levels, "{rewritten} written again after {appends}");
        prop_assert_eq!(rows.concat(), (0..appends).collect::<Vec<_>>(), "all rows, in their order");
    }
}

async fn write(store: &CheckpointStore, env: &Env, n: u64, segments: &[(&str, Vec<i64>)]) -> Vec<FilePart> {
    let path = store.layout().state_file(Attempt(1), CheckpointId(n), "op", 0);
    let segment = |(id, values): &(&str, Vec<i64>)| {
        let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        Segment { id: (*id).into(), change: Change::Append(StateRows::ready(vec![batch])) }
    };
    let mut content = Vec::new();
    let encoded = encode(Snapshot { segments: segments.iter().map(segment).collect() }, &mut content).unwrap();
    let file = FileRef { path: path.to_string(), bytes: content.len() as u64, checksum: checksum(&content) };
    assert!(store.create(env, &path, content.into()).await.unwrap());
    let part = |written: &state_file::EncodedSegment| FilePart {
        file: file.clone(),
        first_row_group: written.first_row_group,
        row_groups: written.row_groups,
        key_groups: KeyGroupRange { start: 0, end: 64 },
        level: 0,
        part_bytes: written.bytes,
    };
    encoded.segments.iter().map(part).collect()
}

async fn read(store: &CheckpointStore, env: &Env, part: &FilePart) -> Vec<i64> {
    let content = store.read_state(env, &part.file).await.unwrap();
    let batches = state_file::read_part(part, content).unwrap();
    batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[tokio::test]
async fn merged_files_hold_the_rows_of_their_sources_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["memory:///".to_string(), format!("file://{}", folder.path().display())] {
        let (store, env) = (CheckpointStore::open(&url, "job").unwrap(), Env::default());
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for n in 0..4 {
            let first = n as i64 * 10;
            let parts =
                write(&store, &env, n, &[("a", vec![first, first + 1]), ("b", (first..first + 7).collect())]).await;
            a.push(parts[0].clone());
            b.push(parts[1].clone());
        }
        let planned = vec![
            ToMerge { segment: "a".into(), parts: a[1..].to_vec() },
            ToMerge { segment: "b".into(), parts: b.clone() },
        ];
        let path = store.layout().merged_file(Attempt(1), CheckpointId(4), "op", 0);
        let merged = merge(&store, &env, planned.clone(), &path).await.unwrap();
        let (from, into): (Vec<_>, Vec<_>) = merged.parts.into_iter().unzip();
        assert_eq!(from, planned);
        assert_eq!(read(&store, &env, &into[0]).await, [10, 11, 20, 21, 30, 31]);
        assert_eq!(read(&store, &env, &into[1]).await.len(), 28);
        assert!(into.iter().all(|part| part.level == 1 && part.key_groups == a[0].key_groups && part.part_bytes > 0));

        let again = merge(&store, &env, planned[..1].to_vec(), &path).await.unwrap_err();
        assert_eq!(again.kind, crate::ErrorKind::Fenced, "{again}");
        let damaged = FilePart { file: FileRef { checksum: "0".into(), ..a[0].file.clone() }, ..a[0].clone() };
        let planned = vec![ToMerge { segment: "a".into(), parts: vec![damaged] }];
        let other = store.layout().merged_file(Attempt(1), CheckpointId(5), "op", 0);
        let error = merge(&store, &env, planned, &other).await.unwrap_err();
        assert_eq!(error.kind, crate::ErrorKind::Corrupt, "{error}");
        assert!(!store.exists(&other).await.unwrap());
    }
}
