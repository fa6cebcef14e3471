//! What is in the tables: types, revisions, indexes, and what is refused at the start.

use super::*;
use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMillisecondArray, UInt64Array,
};
use weir_engine::{ErrorKind, element::Batch};

fn columns() -> Vec<SqlColumn> {
    let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
    vec![
        column("record_id", SqlType::Bytes),
        column("ad_id", SqlType::Text),
        column("minute", SqlType::BigInt),
        column("share", SqlType::Double),
        column("flag", SqlType::BigInt),
        column("revision", SqlType::BigInt),
    ]
}

fn with_revisions(mut target: Target) -> Target {
    target.config.columns = columns();
    target.config.key = vec!["record_id".into()];
    target.config.revision = Some("revision".into());
    target.config.indexes =
        vec![super::super::SqlIndex { columns: vec!["minute".into()], condition: Some("share >= 0.5".into()) }];
    target
}

fn batch(of: &[(u8, Option<&str>, Option<f64>, i32)]) -> Batch {
    let ids = FixedSizeBinaryArray::try_from_iter(of.iter().map(|row| [row.0; 16])).unwrap();
    let minutes = TimestampMillisecondArray::from_iter_values(of.iter().map(|row| i64::from(row.0) * 60_000));
    let columns: [(&str, ArrayRef); 6] = [
        ("record_id", Arc::new(ids)),
        ("ad_id", Arc::new(StringArray::from_iter(of.iter().map(|row| row.1)))),
        ("minute", Arc::new(minutes.with_timezone("UTC"))),
        ("share", Arc::new(Float64Array::from_iter(of.iter().map(|row| row.2)))),
        ("flag", Arc::new(BooleanArray::from_iter(of.iter().map(|row| row.2.map(|_| true))))),
        ("revision", Arc::new(Int32Array::from_iter_values(of.iter().map(|row| row.3)))),
    ];
    Batch::new(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap())
}

async fn write(target: &Target, checkpoint: u64, batches: Vec<Batch>) {
    let mut sink = target.sink(&context(1, 0));
    for batch in batches {
        sink.write(batch).await.unwrap();
    }
    let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
    target.prepared().await.commit(CheckpointId(checkpoint), &staged).await.unwrap();
}

#[tokio::test]
async fn the_highest_revision_stays_in_whatever_order_they_come() {
    on_each_database(async |target| {
        let target = with_revisions(target);
        let first = batch(&[(1, Some("a"), Some(0.25), i32::MIN + 1), (2, Some("b"), None, 0)]);
        write(&target, 1, vec![first, batch(&[(1, Some("a'\u{1F600}"), None, i32::MIN + 2)])]).await;
        let text = |column: &str| format!("SELECT CAST({column} AS TEXT) FROM numbers ORDER BY record_id");
        assert_eq!(target.query::<String>(&text("ad_id")).await, ["a'\u{1F600}", "b"]);
        write(&target, 2, vec![batch(&[(1, Some("c"), Some(1e300), 1), (2, None, Some(0.1), -7)])]).await;
        assert_eq!(target.query::<String>("SELECT ad_id FROM numbers ORDER BY record_id").await, ["c", "b"]);
        assert_eq!(target.query::<f64>("SELECT share FROM numbers WHERE share IS NOT NULL").await, [1e300]);
        assert_eq!(target.query::<i64>("SELECT minute FROM numbers ORDER BY minute").await, [60_000, 120_000]);
        assert_eq!(target.query::<i64>("SELECT flag FROM numbers WHERE flag IS NOT NULL").await, [1]);
        assert_eq!(target.query::<Vec<u8>>("SELECT record_id FROM numbers ORDER BY record_id").await[0], [1; 16]);
        assert_eq!(target.query::<i64>("SELECT revision FROM numbers ORDER BY revision").await, [0, 1]);
        assert_eq!(target.query::<i64>("SELECT checkpoint FROM weir_sinks").await, [2]);
        assert_eq!(target.query::<i64>("SELECT rows FROM weir_commits ORDER BY checkpoint").await, [3, 2]);
        let description = target.query::<String>("SELECT description FROM weir_sinks").await;
        assert_eq!(description, [target.config.description.to_string()]);
    })
    .await;
}

#[tokio::test]
async fn exact_numbers_keep_all_their_digits() {
    on_each_database(async |mut target| {
        let column = |name: &str, sql_type| SqlColumn { name: name.into(), sql_type };
        target.config.columns = vec![column("price", SqlType::Numeric), column("big", SqlType::Numeric)];
        target.config.key = vec!["price".into()];
        let most = 10i128.pow(38) - 1;
        let prices = Decimal128Array::from(vec![most, 150, -5]).with_precision_and_scale(38, 2).unwrap();
        let big = UInt64Array::from(vec![Some(u64::MAX), None, Some(7)]);
        let columns: [(&str, ArrayRef); 2] = [("price", Arc::new(prices)), ("big", Arc::new(big))];
        let rows = Batch::new(RecordBatch::try_from_iter(columns).unwrap());
        // Twice: of two rows with the same key the first stays.
        write(&target, 1, vec![rows.clone(), rows.clone()]).await;
        write(&target, 2, vec![rows]).await;
        let text = |column: &str| format!("SELECT CAST({column} AS TEXT) FROM numbers WHERE {column} IS NOT NULL");
        let mut prices = target.query::<String>(&text("price")).await;
        prices.sort();
        assert_eq!(prices, ["-0.05", "1.50", "999999999999999999999999999999999999.99"]);
        let mut big = target.query::<String>(&text("big")).await;
        big.sort();
        assert_eq!(big, ["18446744073709551615", "7"]);
    })
    .await;
}

#[tokio::test]
async fn more_rows_than_fit_into_a_statement_or_a_part_are_all_there() {
    on_each_database(async |target| {
        let committer = target.prepared().await;
        let mut sinks = [target.sink(&context(1, 0)), target.sink(&context(1, 1))];
        let mut staged = Vec::new();
        for (k, sink) in sinks.iter_mut().enumerate() {
            for part in 0..40 {
                let from = (k as i64 * 40 + part) * 30_001;
                sink.write(conformance::rows(from..from + 30_001)).await.unwrap();
            }
            staged.extend(sink.stage(Barrier::new(CheckpointId(1))).await.unwrap());
        }
        assert!(target.leftovers().await > 2, "rows are staged before the barrier, too");
        // A table of so many rows takes its time in a build that is not optimised: one subtask's are enough.
        committer.commit(CheckpointId(1), &staged[..1]).await.unwrap();
        assert_eq!(target.query::<i64>("SELECT count(*) FROM numbers").await, [40 * 30_001]);
    })
    .await;
}

#[tokio::test]
async fn what_can_never_work_is_told_at_the_start() {
    on_each_database(async |target| {
        let refused = async |target: &Target, job: &str, words: &[&str]| {
            let error = target.new_committer(job, SINK).prepare().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Definition, "{error}");
            assert!(words.iter().all(|word| error.message.contains(word)), "{error}");
        };
        target.execute("CREATE TABLE numbers (n TEXT PRIMARY KEY)").await;
        refused(&target, JOB, &["the columns (n TEXT) with the key (n)", "n BIGINT, time BIGINT", "--fresh"]).await;
        target.execute("DROP TABLE numbers").await;
        target.execute("CREATE TABLE numbers (n BIGINT NOT NULL, time BIGINT)").await;
        refused(&target, JOB, &["with the key ()"]).await;
        target.execute("DROP TABLE numbers").await;
        target.execute("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY, time BIGINT)").await;
        target.execute("INSERT INTO numbers VALUES (1, 2)").await;
        refused(&target, JOB, &["rows in it that Weir did not write"]).await;
        target.execute("DELETE FROM numbers").await;
        target.prepared().await;
        refused(&target, "other-job", &["is written by 'sink.counts' of job 'ad-click'"]).await;
        // The checkpoints were lost, or there are others.
        refused(&target.elsewhere(), JOB, &["another run of job 'ad-click'", "--fresh"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_gone_with_what_was_in_it_is_made_anew_by_a_start_over_alone() {
    on_each_database(async |target| {
        target.prepared().await;
        target.execute("DROP TABLE numbers").await;
        // Nothing was in it.
        let committer = target.prepared().await;
        committer.commit(CheckpointId(1), &target.staged(1, 0..10, 1).await).await.unwrap();
        target.execute("DROP TABLE numbers").await;
        let error = target.new_committer(JOB, SINK).prepare().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        for words in ["the table 'numbers' in", "is gone", "up to checkpoint 1:", "--fresh"] {
            assert!(error.message.contains(words), "{error}");
        }
        assert_eq!(target.visible().await, [0i64; 0]);
        target.new_committer(JOB, SINK).reset(Lineage(2)).await.unwrap();
        assert_eq!(target.query::<i64>("SELECT count(*) FROM numbers").await, [0]);
        target.prepared().await.commit(CheckpointId(1), &target.staged(3, 20..25, 1).await).await.unwrap();
        assert_eq!(target.query::<i64>("SELECT count(*) FROM numbers").await, [5]);
    })
    .await;
}

#[tokio::test]
async fn a_place_that_is_not_there_is_told_at_the_start() {
    let target = Target::at("sqlite:/proc/nowhere/store.sqlite".into(), None);
    let error = target.new_committer(JOB, SINK).prepare().await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("/proc/nowhere"), "{error}");
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let missing = Target::at(server.url("missing"), None);
    let error = missing.new_committer(JOB, SINK).prepare().await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("createdb"), "{error}");
    let stranger = Target::at(server.url("postgres").replace("t@", "stranger:secret@"), None);
    let error = stranger.new_committer(JOB, SINK).prepare().await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("stranger:***@"), "{error}");
    // Nor does anything say it that has it.
    let trusted = Target::at(server.url("postgres").replace("t@", "t:secret@"), None);
    let committer = trusted.prepared().await;
    let database = Database::new(&trusted.config.url, Role::Sink, &trusted.env).unwrap();
    let connection = database.connect().await.unwrap();
    let printed = format!("{committer:?} {connection:?} {database:?} {:?} {error:?}", trusted.config);
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn a_fresh_start_takes_the_table_from_whom_it_was() {
    on_each_database(async |target| {
        let committer = target.prepared().await;
        let staged = target.staged(1, 0..10, 1).await;
        committer.commit(CheckpointId(1), &staged).await.unwrap();
        // Another storage, other columns, another table: it is the job's all the same.
        let mut afresh = with_revisions(target.elsewhere());
        afresh.config.table = "renamed".into();
        afresh.new_committer(JOB, SINK).reset(Lineage(2)).await.unwrap();
        afresh.prepared().await;
        assert_eq!(afresh.query::<i64>("SELECT count(*) FROM renamed").await, [0]);
        assert_eq!(afresh.visible().await, [0i64; 0]);
        let refused = committer.commit(CheckpointId(2), &target.staged(1, 10..20, 2).await).await.unwrap_err();
        assert!(refused.message.contains("another run"), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_table_hears_that_a_job_begins_lives_and_ends_though_there_are_no_rows() {
    on_each_database(async |target| {
        let clock = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let now = clock.clone();
        let env = Env::simulated(1, Arc::new(move || now.load(std::sync::atomic::Ordering::SeqCst)));
        let target = Target { env, ..target };
        let committer = target.prepared().await;
        let mut sink = target.sink(&context(1, 0));
        let row = "SELECT checkpoint * 100 + ended * 10 + staged_at_ms / 1000 FROM weir_sinks";
        let mut commit = async |barrier: Barrier, seconds: i64| {
            clock.store(seconds * 1000, std::sync::atomic::Ordering::SeqCst);
            let staged = sink.stage(barrier).await.unwrap();
            if !staged.is_empty() {
                committer.commit(barrier.checkpoint, &staged).await.unwrap();
            }
            (staged.len(), target.query::<i64>(row).await[0])
        };
        assert_eq!(commit(Barrier::new(CheckpointId(1)), 1).await, (1, 101), "it begins");
        let last = Barrier { checkpoint: CheckpointId(2), last: true };
        assert_eq!(commit(last, 2).await, (1, 212), "it ends");
        assert_eq!(target.query::<i64>("SELECT rows FROM weir_commits ORDER BY checkpoint").await, [0, 0]);

        target.prepared().await;
        assert_eq!(target.query::<i64>(row).await, [212], "looking again is not going on");
        let mut again = target.sink(&context(2, 0));
        let staged = again.stage(Barrier::new(CheckpointId(3))).await.unwrap();
        target.prepared().await.commit(CheckpointId(3), &staged).await.unwrap();
        assert_eq!(target.query::<i64>(row).await, [302], "it goes on");
    })
    .await;
}

#[tokio::test]
async fn a_store_of_the_first_days_gets_what_it_lacks() {
    on_each_database(async |target| {
        target.prepared().await;
        target.execute("ALTER TABLE weir_sinks DROP COLUMN ended").await;
        target.prepared().await;
        assert_eq!(target.query::<i64>("SELECT ended FROM weir_sinks").await, [0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_silence_is_broken() {
    let target = Target::sqlite();
    let mut sink = target.sink(&context(1, 0));
    let mut staged = Vec::new();
    for (number, pause_ms) in [(1, 0), (2, 500), (3, 1_400), (4, 200), (5, 1_900), (6, 200)] {
        tokio::time::advance(Duration::from_millis(pause_ms)).await;
        staged.push(sink.stage(Barrier::new(CheckpointId(number))).await.unwrap().len());
    }
    assert_eq!(staged, [1, 0, 0, 1, 0, 1]);
}
