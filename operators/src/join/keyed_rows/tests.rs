//! Look-ups against a walk over all rows.

use super::*;
use arrow::array::{Int64Array, StringArray};
use proptest::prelude::*;
use std::sync::Arc;

/// A key, a time, two columns.
type Row = (u8, i64, Option<i64>, String);

fn rows_of(batches: &[Vec<Row>], sealed_after: usize) -> KeyedRows {
    let mut kept = KeyedRows::new([DataType::Int64, DataType::Utf8].iter(), true).unwrap();
    for (n, batch) in batches.iter().enumerate() {
        let hashes: Vec<u128> = batch.iter().map(|row| hash_of(row.0)).collect();
        let times: Vec<i64> = batch.iter().map(|row| row.1).collect();
        let columns: [ArrayRef; 2] = [
            Arc::new(Int64Array::from_iter(batch.iter().map(|row| row.2))),
            Arc::new(StringArray::from_iter_values(batch.iter().map(|row| &row.3))),
        ];
        let incoming = Incoming { hashes: &hashes, times: &times, row_hashes: &hashes, columns: &columns };
        kept.add(incoming, Rows::All(batch.len())).unwrap();
        if n == sealed_after {
            kept.seal();
        }
    }
    kept
}

/// Keys at both ends, and near each other.
fn hash_of(key: u8) -> u128 {
    match key {
        0 => 0,
        1 => u128::MAX,
        2 => u128::MAX - 1,
        key => u128::from(key) << 120,
    }
}

fn row() -> impl Strategy<Value = Row> {
    (0u8..6, 0i64..8, prop::option::of(-1i64..2), "[ab]?")
}

/// Nulls are behind all values.
fn order(row: &Row) -> (i64, bool, Option<i64>, &str) {
    (row.1, row.2.is_none(), row.2, &row.3)
}

proptest! {
    #[test]
    fn look_ups_find_what_a_walk_finds(
        batches in prop::collection::vec(prop::collection::vec(row(), 0..20), 0..12),
        sealed_after in 0usize..12,
        asked in prop::collection::vec((0u8..6, -1i64..9, -1i64..9), 20),
    ) {
        let kept = rows_of(&batches, sealed_after);
        let all: Vec<Row> = batches.concat();
        prop_assert_eq!(kept.len(), all.len());
        for (key, from, to) in asked {
            let mut walked: Vec<u32> = (0..all.len() as u32)
                .filter(|row| all[*row as usize].0 == key && (from..=to).contains(&all[*row as usize].1))
                .collect();
            walked.sort_by(|one, other| order(&all[*one as usize]).cmp(&order(&all[*other as usize])));
            let first_of = |row: u32| {
                walked.iter().copied().filter(|other| order(&all[*other as usize]) == order(&all[row as usize])).min()
            };
            prop_assert_eq!(kept.all(hash_of(key), from, to), walked.clone());
            prop_assert_eq!(kept.first(hash_of(key), from, to), walked.first().copied());
            prop_assert_eq!(kept.last(hash_of(key), from, to), walked.last().and_then(|last| first_of(*last)));
        }
    }
}

#[test]
fn runs_are_few_and_a_look_up_among_many_rows_of_one_key_is_short() {
    let batch = |n: i64| (0..100).map(|row| (3, n * 100 + row, None, String::new())).collect::<Vec<Row>>();
    let batches: Vec<Vec<Row>> = (0..500).map(batch).collect();
    let kept = rows_of(&batches, usize::MAX);
    assert!(kept.runs.len() <= 10, "{} runs", kept.runs.len());
    assert_eq!(kept.last(hash_of(3), 0, i64::MAX), Some(49_999));
    assert_eq!(kept.first(hash_of(3), 25_000, 60_000), Some(25_000));
    let sealed = rows_of(&batches, 499);
    assert_eq!(sealed.runs.len(), 1);
    let compared = std::cell::Cell::new(0);
    let run = &sealed.runs[0];
    let found = sealed.position(run, hash_of(3), |row| {
        compared.set(compared.get() + 1);
        sealed.time(row) < 31_234
    });
    assert_eq!(run[found], 31_234);
    assert!(compared.get() < 50, "{} rows were looked at", compared.get());
}
