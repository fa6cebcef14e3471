//! Rows that the database refuses at a commit that is decided: they are set aside, once, and hold nobody up.

use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use conformance::{numbers, visible};
use weir_engine::{
    element::Batch,
    env::CrashPlan,
    operator::{CommitOutcome, SweepScope},
};

/// Has the database refuse two numbers, in whatever way it knows.
async fn refuse_13_and_17(target: &Target) {
    let sql = if target.config.url.starts_with("sqlite:") {
        "CREATE TRIGGER luck BEFORE INSERT ON numbers WHEN NEW.n IN (13, 17) BEGIN SELECT RAISE(ABORT, 'bad luck'); END"
    } else {
        "ALTER TABLE numbers ADD CONSTRAINT luck CHECK (n NOT IN (13, 17))"
    };
    target.execute(sql).await;
}

async fn aside(target: &Target) -> Vec<String> {
    target.query("SELECT raw FROM numbers_rejected ORDER BY raw").await
}

fn with_luck() -> Vec<i64> {
    numbers(0..20).into_iter().filter(|n| ![13, 17].contains(n)).collect()
}

#[tokio::test]
async fn a_row_that_the_database_refuses_is_set_aside_and_the_others_are_in() {
    on_each_database(async |target| {
        let committer = target.prepared().await;
        refuse_13_and_17(&target).await;
        let first = target.staged(1, 0..20, 1).await;
        assert_eq!(committer.commit(CheckpointId(1), &first).await.unwrap(), CommitOutcome::Done);
        assert_eq!(visible(&target).await, with_luck());
        let rows = aside(&target).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].starts_with("{\"n\":13,") && rows[1].starts_with("{\"n\":17,"), "{rows:?}");
        let told = |target: &Target| target.waits.rejected().get(SINK).copied();
        assert_eq!(told(&target), Some(2));
        let reasons: Vec<String> = target.query("SELECT reason FROM numbers_rejected").await;
        assert!(reasons.iter().all(|reason| reason.contains("luck")), "{reasons:?}");
        // It is committed like any other, and holds up none that follows.
        assert_eq!(committer.commit(CheckpointId(1), &first).await.unwrap(), CommitOutcome::AlreadyDone);
        let second = target.staged(1, 20..30, 2).await;
        committer.commit(CheckpointId(2), &second).await.unwrap();
        assert_eq!((visible(&target).await.len(), aside(&target).await.len()), (28, 2));
        assert_eq!(committer.transactions(), 2, "one for each checkpoint");
        // Whoever comes next counts what others have set aside.
        target.waits.set_rejected(SINK, 0);
        target.prepared().await;
        assert_eq!(told(&target), Some(2));
        // A start-over begins without them.
        committer.reset(Lineage(2)).await.unwrap();
        assert!(visible(&target).await.is_empty());
        target.prepared().await;
        assert_eq!(told(&target), Some(0));
        let tables = match target.config.url.starts_with("sqlite:") {
            true => target.query::<i64>("SELECT count(*) FROM sqlite_master WHERE name = 'numbers_rejected'").await,
            false => target.query::<i64>("SELECT count(*) FROM pg_class WHERE relname = 'numbers_rejected'").await,
        };
        assert_eq!(tables, [0]);
    })
    .await;
}

#[tokio::test]
async fn a_refused_row_of_checkpoints_that_waited_is_set_aside_with_its_own() {
    on_each_database(async |target| {
        let committer = target.prepared().await;
        refuse_13_and_17(&target).await;
        let several = conformance::stage_several(&target, 3).await;
        assert_eq!(committer.commit_together(&several).await.unwrap(), (3, CommitOutcome::Done));
        let expected: Vec<i64> = numbers(0..30).into_iter().filter(|n| ![13, 17].contains(n)).collect();
        assert_eq!((visible(&target).await, target.leftovers().await), (expected, 0));
        let of: Vec<i64> = target.query("SELECT checkpoint FROM numbers_rejected").await;
        assert_eq!(of, [2i64, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_crash_on_the_way_sets_nothing_aside_twice() {
    for point in ["sql_sink.written", "sql_sink.remembered", "sql_sink.committed"] {
        let mut target = Target::sqlite();
        target.prepared().await;
        refuse_13_and_17(&target).await;
        let staged = target.staged(1, 0..20, 1).await;
        target.env = Env::default().with_crash_plan(CrashPlan::crash_at(point, 1));
        target.new_committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap_err();
        target.env = Env::default();
        let committer = target.new_committer(JOB, SINK);
        committer.commit(CheckpointId(1), &staged).await.unwrap();
        committer.sweep(&SweepScope { attempt: Attempt(2), keep: staged.clone(), results: None }).await.unwrap();
        assert_eq!((visible(&target).await, aside(&target).await.len()), (with_luck(), 2), "{point}");
    }
}

#[tokio::test]
async fn a_correction_that_is_refused_leaves_nothing_that_it_corrects() {
    on_each_database(async |mut target| {
        target.config.columns.push(SqlColumn { name: "revision".into(), sql_type: SqlType::BigInt });
        target.config.revision = Some("revision".into());
        let committer = target.prepared().await;
        refuse_large(&target).await;
        for (checkpoint, (value, revision)) in (1..).zip([(5, 0), (500, 1), (6, 2)]) {
            let column = |values: [i64; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
            let columns =
                [("n", column([1, 2])), ("time", column([value, 7])), ("revision", column([revision, revision]))];
            let mut sink = target.sink(&context(1, 0));
            sink.write(Batch::new(RecordBatch::try_from_iter(columns).unwrap())).await.unwrap();
            let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
            committer.commit(CheckpointId(checkpoint), &staged).await.unwrap();
            let expected = if revision == 1 { vec![7] } else { vec![value, 7] };
            assert_eq!(target.query::<i64>("SELECT time FROM numbers ORDER BY n").await, expected);
        }
    })
    .await;
}

async fn refuse_large(target: &Target) {
    if target.config.url.starts_with("sqlite:") {
        for event in ["INSERT", "UPDATE"] {
            let sql = format!(
                "CREATE TRIGGER large_{event} BEFORE {event} ON numbers WHEN NEW.time > 100 BEGIN SELECT RAISE(ABORT, 'large'); END"
            );
            target.execute(&sql).await;
        }
    } else {
        target.execute("ALTER TABLE numbers ADD CONSTRAINT large CHECK (time <= 100)").await;
    }
}

#[tokio::test]
async fn postgresql_takes_every_text_that_the_rule_lets_through() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let mut target = Target::postgres(&server);
    target.config.columns[0].sql_type = SqlType::Text;
    let committer = target.prepared().await;
    let rule = super::super::TableRule {
        table: "numbers".into(),
        dialect: super::super::Dialect::Postgres,
        needed: vec!["n".into()],
        key: vec!["n".into()],
        indexes: vec![],
    };
    // Nothing about these texts can be compressed, which PostgreSQL would do.
    let noise = |length: u64| -> String {
        let mut state = 88_172_645_463_325_252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'!' + (state % 90) as u8)
        };
        (0..length).map(|_| next()).collect()
    };
    let texts: Vec<String> =
        (2_500..2_900).step_by(7).map(noise).chain(["é\u{10ffff}\u{1}".into(), String::new()]).collect();
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    let rows =
        RecordBatch::try_from_iter([("n", Arc::new(StringArray::from(texts)) as ArrayRef), ("time", times)]).unwrap();
    let kept = rule.with_key(&rows).unwrap().unwrap();
    let batch = Batch::new(rows).filter(&kept).unwrap();
    assert!((20..rows_of(&kept)).contains(&batch.len()), "some are too long");
    let mut sink = target.sink(&context(1, 0));
    sink.write(batch.clone()).await.unwrap();
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    committer.commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!(target.query::<i64>("SELECT count(*) FROM numbers").await, [batch.len() as i64]);
}

fn rows_of(kept: &arrow::array::BooleanArray) -> usize {
    arrow::array::Array::len(kept)
}
