//! The tables against the standard library's, over random batches, with growth, reuse and deltas in between.

use super::*;
use arrow::buffer::ScalarBuffer;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

/// A key hash with few distinct values, whose slots and tags collide far more often than a real hash's would.
fn colliding_hash() -> impl Strategy<Value = u128> {
    (0u128..4, 0u128..3, 0u128..200).prop_map(|(slot, middle, rest)| slot << 118 | middle << 96 | rest)
}

fn spread_hash() -> impl Strategy<Value = u128> {
    (0u128..1500).prop_map(|n| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn batches() -> impl Strategy<Value = Vec<Vec<u128>>> {
    prop::collection::vec(
        prop_oneof![prop::collection::vec(colliding_hash(), 0..200), prop::collection::vec(spread_hash(), 0..500),],
        0..8,
    )
}

fn flatten(parts: Vec<ScalarBuffer<u128>>) -> Vec<u128> {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_id_log_keeps_the_first_of_equal_ids(batches in batches(), by_rows in any::<bool>(), deltas in any::<u16>(), rounds in 1usize..3) {
        let mut log = IdLog::with_capacity(0);
        for _ in 0..rounds {
            let (mut known, mut in_order, mut handed_over) = (HashSet::new(), Vec::new(), Vec::new());
            for (number, batch) in batches.iter().enumerate() {
                let mut kept = RowMask::none(batch.len());
                if by_rows {
                    let (even, odd): (Vec<u32>, Vec<u32>) = (0..batch.len() as u32).partition(|row| row % 2 == 0);
                    log.insert_rows(batch, &even, &mut kept).unwrap();
                    log.insert_rows(batch, &odd, &mut kept).unwrap();
                    for row in even.iter().chain(&odd) {
                        let is_new = known.insert(batch[*row as usize]);
                        prop_assert_eq!(kept.contains(*row as usize), is_new);
                        in_order.extend(is_new.then_some(batch[*row as usize]));
                    }
                } else {
                    log.insert_all(batch, &mut kept).unwrap();
                    for (row, hash) in batch.iter().enumerate() {
                        let is_new = known.insert(*hash);
                        prop_assert_eq!(kept.contains(row), is_new);
                        in_order.extend(is_new.then_some(*hash));
                    }
                }
                if deltas >> number & 1 == 1 {
                    handed_over.extend(flatten(log.take_delta()));
                    prop_assert_eq!(&handed_over, &in_order);
                    prop_assert_eq!(log.new_ids(), 0);
                }
            }
            prop_assert_eq!(log.len(), known.len());
            prop_assert_eq!(flatten(log.ids()), in_order);
            prop_assert!(known.iter().all(|hash| log.contains(*hash)));
            log.reset(known.len());
            prop_assert!(log.is_empty() && log.take_delta().is_empty());
        }
    }

    #[test]
    fn rows_are_parted_by_bucket_in_order(batches in prop::collection::vec(prop::collection::vec(-2000i64..2000, 0..100), 0..4), width in 1i64..3000) {
        let mut parted = RowsByBucket::default();
        for times in batches {
            parted.part(&times, width);
            let mut expected: Vec<(i64, Vec<usize>)> = Vec::new();
            for (row, time) in times.iter().enumerate() {
                let start = time.div_euclid(width) * width;
                match expected.iter_mut().find(|bucket| bucket.0 == start) {
                    Some(bucket) => bucket.1.push(row),
                    None => expected.push((start, vec![row])),
                }
            }
            let found: Vec<(i64, Vec<usize>)> =
                parted.iter().map(|(start, rows)| (start, (0..rows.len()).map(|n| rows.row(n)).collect())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_group_table_numbers_keys_in_order_of_arrival(batches in batches(), shared in any::<u16>(), rounds in 1usize..3) {
        let mut table = GroupTable::with_capacity(0);
        for _ in 0..rounds {
            let (mut numbers, mut in_order, mut snapshots) = (HashMap::new(), Vec::new(), Vec::new());
            let (mut groups, mut opened) = (Vec::new(), Vec::new());
            for (number, batch) in batches.iter().enumerate() {
                let before = table.len();
                table.assign(batch, &mut groups, &mut opened).unwrap();
                let mut expected_opened = Vec::new();
                for (row, hash) in batch.iter().enumerate() {
                    let next = numbers.len() as u32;
                    let group = *numbers.entry(*hash).or_insert_with(|| {
                        expected_opened.push(row as u32);
                        in_order.push(*hash);
                        next
                    });
                    prop_assert_eq!(groups[row], group);
                }
                prop_assert_eq!(&opened, &expected_opened);
                prop_assert_eq!(table.len(), before + opened.len());
                if shared >> number & 1 == 1 {
                    snapshots.push((table.shared_hashes(), in_order.clone()));
                }
            }
            prop_assert_eq!(table.hashes(), &in_order[..]);
            for hash in &in_order {
                prop_assert_eq!(table.find(*hash), numbers.get(hash).copied());
            }
            for (snapshot, expected) in snapshots {
                prop_assert_eq!(&*snapshot, &expected);
            }
            table.reset(in_order.len());
            prop_assert!(table.is_empty());
        }
    }
}

#[test]
fn a_log_of_many_chunks_hands_over_each_id_once() {
    let mut log = IdLog::with_capacity(10);
    let id = |n: u128| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let mut handed_over = Vec::new();
    for step in 0..10u128 {
        let batch: Vec<u128> = (step * 9_000..step * 9_000 + 10_000).map(id).collect();
        let mut kept = RowMask::none(batch.len());
        log.insert_all(&batch, &mut kept).unwrap();
        assert_eq!(kept.count(), if step == 0 { 10_000 } else { 9_000 });
        handed_over.extend(flatten(log.take_delta()));
    }
    assert_eq!(handed_over, (0..91_000).map(id).collect::<Vec<_>>());
}

#[test]
fn a_delta_survives_the_reset_of_its_log() {
    let mut log = IdLog::with_capacity(40_000);
    let mut kept = RowMask::none(40_000);
    let id = |n: u128| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let first: Vec<u128> = (0..40_000).map(id).collect();
    log.insert_all(&first, &mut kept).unwrap();
    let delta = log.take_delta();
    log.reset(40_000);
    let second: Vec<u128> = (40_000..80_000).map(id).collect();
    log.insert_all(&second, &mut RowMask::none(40_000)).unwrap();
    assert_eq!(flatten(delta), first);
}

#[test]
fn a_mask_becomes_a_filter() {
    let mut mask = RowMask::none(70);
    mask.insert(0);
    mask.insert_if(69, true);
    mask.insert_if(5, false);
    assert_eq!((mask.count(), mask.rows()), (2, 70));
    let bits = mask.into_boolean_buffer();
    assert_eq!(bits.set_indices().collect::<Vec<_>>(), vec![0, 69]);
}
