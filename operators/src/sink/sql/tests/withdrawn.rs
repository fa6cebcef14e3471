//! What is withdrawn is not in the table, whatever comes in which order, and is remembered beside it.

use super::*;
use crate::sink::sql::Retention;
use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use proptest::{prelude::*, test_runner::TestRunner};
use std::collections::BTreeMap;
use weir_engine::element::Batch;

const HOUR: i64 = 3_600_000;

/// Minute, ad, revision, count; without a count it is withdrawn.
type Row = (i64, u8, i32, Option<i64>);

fn withdrawing(mut target: Target) -> Target {
    let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
    target.config.columns = vec![
        column("minute", SqlType::BigInt),
        column("ad", SqlType::Text),
        column("count", SqlType::BigInt),
        column("revision", SqlType::BigInt),
    ];
    target.config.key = vec!["minute".into(), "ad".into()];
    target.config.revision = Some("revision".into());
    target.config.withdrawn = Some("withdrawn".into());
    target
}

fn batch(rows: &[Row]) -> Batch {
    let columns: [(&str, ArrayRef); 5] = [
        ("minute", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("ad", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("ad{}", row.1))))),
        ("count", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.3)))),
        ("revision", Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ("withdrawn", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.3.is_none()))))),
    ];
    Batch::new(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap())
}

async fn write(target: &Target, checkpoint: u64, rows: &[Row]) {
    let mut sink = target.sink(&context(1, 0));
    sink.write(batch(rows)).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
    target.new_committer(JOB, SINK).commit(CheckpointId(checkpoint), &staged).await.unwrap();
}

async fn counts(target: &Target) -> Vec<i64> {
    target.query::<i64>("SELECT count FROM numbers ORDER BY minute, ad").await
}

async fn remembered(target: &Target) -> Vec<i64> {
    target.query::<i64>("SELECT revision FROM numbers_withdrawn ORDER BY minute, ad").await
}

#[tokio::test]
async fn what_is_withdrawn_goes_and_does_not_come_back() {
    on_each_database(async |target| {
        let target = withdrawing(target);
        target.prepared().await;
        write(&target, 1, &[(0, 1, 0, Some(5)), (0, 2, 0, Some(6))]).await;
        assert_eq!((counts(&target).await, remembered(&target).await), (vec![5, 6], vec![]));
        write(&target, 2, &[(0, 1, 2, None)]).await;
        assert_eq!((counts(&target).await, remembered(&target).await), (vec![6], vec![2]));
        write(&target, 3, &[(0, 1, 1, Some(7)), (0, 1, 2, Some(7)), (0, 2, 1, Some(8))]).await;
        assert_eq!(
            (counts(&target).await, remembered(&target).await),
            (vec![8], vec![2]),
            "older rows do not come back"
        );
        write(&target, 4, &[(0, 1, 3, Some(9)), (0, 2, 0, None)]).await;
        assert_eq!(counts(&target).await, [9, 8], "a newer one does, and an older withdrawal takes nothing");
        write(&target, 5, &[(0, 1, 4, Some(1)), (0, 1, 5, None), (0, 2, 2, None)]).await;
        assert_eq!((counts(&target).await, remembered(&target).await), (vec![], vec![5, 2]), "in one commit, too");
        // Afresh, nothing is remembered.
        target.new_committer(JOB, SINK).reset(Lineage(2)).await.unwrap();
        target.prepared().await;
        assert_eq!(remembered(&target).await, [0i64; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_table_of_before_gets_one_beside_it() {
    on_each_database(async |target| {
        let mut before = withdrawing(target);
        before.config.withdrawn = None;
        before.prepared().await;
        write(&before, 1, &[(0, 1, 0, Some(5))]).await;
        let after = withdrawing(before);
        after.prepared().await;
        write(&after, 2, &[(0, 1, 1, None)]).await;
        assert_eq!((counts(&after).await, remembered(&after).await), (vec![], vec![1]));
    })
    .await;
}

#[tokio::test]
async fn many_at_once_and_a_commit_that_is_repeated() {
    on_each_database(async |target| {
        let target = withdrawing(target);
        target.prepared().await;
        let rows = |of: i32, from: i64, gone: fn(i64) -> bool| -> Vec<Row> {
            (from..from + 1_000).map(|n| (n, 1, of, (!gone(n)).then_some(n))).collect()
        };
        write(&target, 1, &rows(0, 0, |_| false)).await;
        let mut sink = target.sink(&context(1, 0));
        sink.write(batch(&rows(1, 0, |n| n % 3 > 0))).await.unwrap();
        let staged = sink.stage(Barrier::new(CheckpointId(2))).await.unwrap();
        for _ in 0..2 {
            target.new_committer(JOB, SINK).commit(CheckpointId(2), &staged).await.unwrap();
            assert_eq!(counts(&target).await, (0..1_000).filter(|n| n % 3 == 0).collect::<Vec<_>>());
        }
        write(&target, 3, &rows(0, 500, |_| false)).await;
        let expected: Vec<i64> = (0..1_500).filter(|n| n % 3 == 0 || *n >= 1_000).collect();
        assert_eq!(counts(&target).await, expected);
    })
    .await;
}

#[tokio::test]
async fn what_was_withdrawn_is_forgotten_when_its_time_is_over() {
    on_each_database(async |target| {
        let mut target = withdrawing(target);
        target.config.retention = Some(Retention {
            time: "minute".into(),
            sum: vec!["count".into()],
            minutes_ms: HOUR,
            hours_ms: 48 * HOUR,
            days_ms: 96 * HOUR,
        });
        target.prepared().await;
        write(&target, 1, &[(0, 1, 0, Some(5)), (0, 2, 1, None), (HOUR, 1, 1, None)]).await;
        write(&target, 2, &[(2 * HOUR, 1, 0, Some(1))]).await;
        assert_eq!(counts(&target).await, [1]);
        assert_eq!(target.query::<i64>("SELECT count FROM numbers_hours").await, [5]);
        assert_eq!(target.query::<i64>("SELECT minute FROM numbers_withdrawn").await, [HOUR]);
    })
    .await;
}

#[tokio::test]
async fn of_a_key_without_a_window_the_newest_one_stays() {
    on_each_database(async |target| {
        let mut target = withdrawing(target);
        target.config.withdrawn = None;
        target.config.key = vec!["ad".into()];
        target.config.newest_by = Some("minute".into());
        target.prepared().await;
        write(&target, 1, &[(60, 1, 0, Some(2)), (0, 1, 3, Some(1)), (0, 2, 0, Some(7))]).await;
        let by_ad = "SELECT count FROM numbers ORDER BY ad";
        assert_eq!(target.query::<i64>(by_ad).await, [2, 7]);
        write(&target, 2, &[(0, 1, 4, Some(9)), (60, 1, 1, Some(3)), (120, 2, 0, Some(8))]).await;
        assert_eq!(target.query::<i64>(by_ad).await, [3, 8]);
        write(&target, 3, &[(60, 2, 1, Some(1)), (120, 1, i32::MIN + 3, Some(4))]).await;
        assert_eq!(target.query::<i64>(by_ad).await, [4, 8]);
    })
    .await;
}

/// Any rows in any order, cut into any commits: in the table are the newest rows that hold.
#[test]
fn the_table_is_what_holds_in_whatever_order_rows_come() {
    let rows = prop::collection::vec((0i64..3, 0u8..3, 0i32..8, prop::option::weighted(0.6, 0i64..9)), 1..40);
    let input = (rows, prop::collection::vec(1usize..12, 1..8));
    let mut runner = TestRunner::new(ProptestConfig { cases: 12, ..ProptestConfig::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ran = runner.run(&input, |(rows, cuts)| {
        // A record has one row of each revision.
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|(minute, ad, revision, count)| ((minute, ad, revision), count))
            .collect::<std::collections::HashMap<_, _>>()
            .into_iter()
            .map(|((minute, ad, revision), count)| (minute, ad, revision, count))
            .collect();
        let mut newest: BTreeMap<(i64, u8), (i32, Option<i64>)> = BTreeMap::new();
        for (minute, ad, revision, count) in &rows {
            let held = newest.entry((*minute, *ad)).or_insert((*revision, *count));
            *held = (*held).max((*revision, *count));
        }
        let expected: Vec<i64> = newest.into_values().filter_map(|(_, count)| count).collect();
        let found = runtime.block_on(async {
            let target = withdrawing(Target::sqlite());
            target.prepared().await;
            let (mut rest, mut cuts) = (rows.as_slice(), cuts.iter().cycle());
            let mut checkpoint = 0;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().copied().unwrap_or(1).min(rest.len()));
                checkpoint += 1;
                write(&target, checkpoint, now).await;
                rest = later;
            }
            counts(&target).await
        });
        prop_assert_eq!(found, expected);
        Ok(())
    });
    ran.unwrap();
}
