//! Minutes become hours, hours days, and days go; every click is in one place all the time.

use super::*;
use crate::sink::sql::Retention;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use weir_engine::{element::Batch, env::CrashPlan};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn counting(mut target: Target) -> Target {
    let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
    target.config.columns = vec![
        column("minute", SqlType::BigInt),
        column("ad", SqlType::Text),
        column("count", SqlType::BigInt),
        column("revision", SqlType::BigInt),
    ];
    target.config.key = vec!["minute".into(), "ad".into()];
    target.config.revision = Some("revision".into());
    target.config.retention = Some(Retention {
        time: "minute".into(),
        sum: vec!["count".into()],
        minutes_ms: HOUR,
        hours_ms: 2 * DAY,
        days_ms: 4 * DAY,
    });
    target
}

/// A click of each of some ads in each of some minutes.
async fn write(target: &Target, checkpoint: u64, times: &[i64], ads: i64, revision: i32) -> weir_engine::Result<()> {
    let rows = || times.iter().flat_map(|time| (0..ads).map(move |ad| (*time, ad)));
    let columns: [(&str, ArrayRef); 4] = [
        ("minute", Arc::new(Int64Array::from_iter_values(rows().map(|row| row.0)))),
        ("ad", Arc::new(StringArray::from_iter(rows().map(|row| Some(format!("ad{}", row.1)))))),
        ("count", Arc::new(Int64Array::from_iter_values(rows().map(|_| 1)))),
        ("revision", Arc::new(Int32Array::from_iter_values(rows().map(|_| revision)))),
    ];
    let mut sink = target.sink(&context(1, 0));
    sink.write(Batch::new(RecordBatch::try_from_iter(columns).unwrap())).await?;
    let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await?;
    target.new_committer(JOB, SINK).commit(CheckpointId(checkpoint), &staged).await.map(|_| ())
}

/// Rows and clicks of each table.
async fn held(target: &Target) -> [(i64, i64); 3] {
    let mut held = [(0, 0); 3];
    for (table, held) in ["numbers", "numbers_hours", "numbers_days"].into_iter().zip(&mut held) {
        let count = |what: &str| format!("SELECT CAST(COALESCE({what}, 0) AS BIGINT) FROM {table}");
        *held = (target.query::<i64>(&count("count(*)")).await[0], target.query::<i64>(&count("sum(count)")).await[0]);
    }
    held
}

#[tokio::test]
async fn the_old_is_added_up_and_then_removed() {
    on_each_database(async |target| {
        let target = counting(target);
        target.prepared().await;
        write(&target, 1, &[0, MINUTE, HOUR, HOUR + MINUTE], 3, 0).await.unwrap();
        assert_eq!(held(&target).await, [(12, 12), (0, 0), (0, 0)]);
        // Running counts of an open window say nothing of what is final.
        write(&target, 2, &[30 * DAY], 1, i32::MIN + 2).await.unwrap();
        assert_eq!(held(&target).await, [(13, 13), (0, 0), (0, 0)]);
        // The hour from 0 is an hour old at 2:00, not before.
        write(&target, 3, &[2 * HOUR - MINUTE], 1, 0).await.unwrap();
        assert_eq!(held(&target).await, [(14, 14), (0, 0), (0, 0)]);
        write(&target, 4, &[2 * HOUR], 1, 0).await.unwrap();
        assert_eq!(held(&target).await, [(9, 9), (3, 6), (0, 0)]);
        assert_eq!(target.query::<i64>("SELECT DISTINCT minute FROM numbers_hours").await, [0]);
        // Later all of the day is, in some commits, as each does a bounded piece.
        for checkpoint in 5..15 {
            write(&target, checkpoint, &[3 * DAY], 1, 0).await.unwrap();
        }
        let [minutes, hours, days] = held(&target).await;
        assert_eq!((minutes, hours, days), ((2, 2), (0, 0), (3, 14)));
        for checkpoint in 15..25 {
            write(&target, checkpoint, &[6 * DAY], 1, 0).await.unwrap();
        }
        let [_, hours, days] = held(&target).await;
        assert_eq!((hours, days), ((0, 0), (1, 1)));
    })
    .await;
}

#[tokio::test]
async fn the_tables_for_old_rows_may_be_new_beside_one_that_holds_something() {
    on_each_database(async |target| {
        let mut target = counting(target);
        let retention = target.config.retention.take();
        target.prepared().await;
        write(&target, 1, &[0], 3, 0).await.unwrap();
        target.config.retention = retention;
        target.prepared().await;
        assert_eq!(held(&target).await, [(3, 3), (0, 0), (0, 0)]);
    })
    .await;
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_every_click_in_one_place() {
    for (point, visit) in [("sql_sink.retaining", 1), ("sql_sink.retaining", 3), ("sql_sink.retained", 2)] {
        on_each_database(async |target| {
            let mut target = counting(target);
            target.prepared().await;
            let minutes: Vec<i64> = (0..60).map(|minute| minute * MINUTE).collect();
            write(&target, 1, &minutes, 2, 0).await.unwrap();
            target.env = Env::default().with_crash_plan(CrashPlan::crash_at(point, visit));
            assert!(write(&target, 2, &[3 * HOUR], 1, 0).await.is_err(), "{point}");
            target.env = Env::default();
            let [minutes, hours, days] = held(&target).await;
            assert_eq!(minutes.1 + hours.1 + days.1, 121, "{point}");
            assert!(hours.1 < 120, "{point}");
            for checkpoint in 3..20 {
                write(&target, checkpoint, &[3 * HOUR], 1, 0).await.unwrap();
            }
            assert_eq!(held(&target).await, [(1, 1), (2, 120), (0, 0)], "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_minute_of_many_rows_is_moved_piece_by_piece() {
    let target = counting(Target::sqlite());
    target.prepared().await;
    write(&target, 1, &[0], 33_000, 0).await.unwrap();
    write(&target, 2, &[5 * HOUR], 1, 0).await.unwrap();
    let [minutes, hours, _] = held(&target).await;
    assert!(hours.0 > 0 && minutes.0 > 1, "{minutes:?} {hours:?}");
    assert_eq!(minutes.1 + hours.1, 33_001);
    for checkpoint in 3..6 {
        write(&target, checkpoint, &[5 * HOUR], 1, 0).await.unwrap();
    }
    assert_eq!(held(&target).await, [(1, 1), (33_000, 33_000), (0, 0)]);
}
