//! Tests of archives: nothing is behind, time follows the hours, every row comes out once whatever the restarts.

use crate::hour_partition::{HOUR_MS, folder};
use crate::source::files::source;
use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray},
    datatypes::{Int64Type, TimestampMillisecondType},
};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc};
use weir_engine::{
    element::Port,
    operator::{OperatorContext, Source, SourceEvent, SplitState},
};

/// An hour with plausible times.
const FIRST_HOUR: i64 = 457_320;

fn write(root: &Path, hour: i64, name: &str, rows: &[(i64, i64)]) {
    let folder = root.join(folder(Some(hour)));
    fs::create_dir_all(&folder).unwrap();
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.0)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    let rows = RecordBatch::try_from_iter([("at", times), ("n", numbers)]).unwrap();
    let file = fs::File::create(folder.join(format!("{name}.parquet"))).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

fn config(root: &Path) -> Value {
    json!({
        "path": root.display().to_string(), "format": "parquet", "by_partition": true, "event_time": "at",
        "columns": [{"name": "at", "type": "Timestamp(ms, \"UTC\")"}, {"name": "n", "type": "Int64"}],
    })
}

fn context(subtask: usize, parallelism: usize) -> OperatorContext {
    OperatorContext { subtask, parallelism, ..OperatorContext::single("job", "source.archive") }
}

/// What a source said, and what it must never have said.
#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<i64>,
    dead: Vec<String>,
    watermarks: Vec<i64>,
}

impl Seen {
    fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Rows(Port::MAIN, batch) => {
                assert_eq!(batch.split_watermarks, None, "nothing is behind");
                let times = batch.columns.column(0).as_primitive::<TimestampMillisecondType>();
                let watermark = self.watermarks.last().copied().unwrap_or(i64::MIN);
                assert!(times.values().iter().all(|time| *time >= watermark), "older than the watermark");
                self.numbers.extend(batch.columns.column(1).as_primitive::<Int64Type>().values());
            }
            SourceEvent::Rows(_, batch) => {
                let reasons = batch.columns.column(3).as_string::<i32>();
                self.dead.extend(reasons.iter().flatten().map(str::to_owned));
            }
            SourceEvent::Watermark(watermark) => self.watermarks.push(watermark),
            SourceEvent::Idle | SourceEvent::EndOfInput => {}
        }
    }
}

async fn opened(config: &Value, subtask: usize, parallelism: usize, states: &[SplitState]) -> Box<dyn Source> {
    let mut source = source(config, &context(subtask, parallelism)).unwrap();
    source.restore(states.to_vec()).await.unwrap();
    source
}

async fn read(config: &Value, parallelism: usize, states: &[SplitState]) -> Seen {
    let mut all = Seen::default();
    for subtask in 0..parallelism {
        let mut source = opened(config, subtask, parallelism, states).await;
        let mut seen = Seen::default();
        loop {
            match source.next().await.unwrap() {
                SourceEvent::EndOfInput => break,
                event => seen.take(event),
            }
        }
        assert!(seen.watermarks.is_sorted());
        all.numbers.extend(seen.numbers);
        all.dead.extend(seen.dead);
        all.watermarks.extend(seen.watermarks);
    }
    all.numbers.sort_unstable();
    all
}

fn at(hour: i64, minute: i64) -> i64 {
    (FIRST_HOUR + hour) * HOUR_MS + minute * 60_000
}

#[tokio::test]
async fn time_follows_the_hours_and_no_order_makes_a_row_late() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), FIRST_HOUR + 1, "a", &[(at(1, 59), 4), (at(1, 0), 5)]);
    write(root.path(), FIRST_HOUR, "b", &[(at(0, 50), 2), (at(0, 1), 3)]);
    write(root.path(), FIRST_HOUR, "a", &[(at(0, 59), 1)]);
    let seen = read(&config(root.path()), 1, &[]).await;
    assert_eq!(seen.numbers, [1, 2, 3, 4, 5]);
    assert_eq!(seen.watermarks, [at(0, 0), at(1, 0)]);
    for parallelism in [2, 3, 7] {
        assert_eq!(read(&config(root.path()), parallelism, &[]).await.numbers, [1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn a_range_opens_only_its_hours_and_keeps_only_its_rows() {
    let root = tempfile::tempdir().unwrap();
    for hour in 0..3 {
        write(root.path(), FIRST_HOUR + hour, "a", &[(at(hour, 0), hour * 10), (at(hour, 30), hour * 10 + 1)]);
    }
    // Whatever is in an hour that is not asked for, nobody looks.
    fs::write(root.path().join(folder(Some(FIRST_HOUR + 2))).join("b.parquet"), "no Parquet").unwrap();
    let mut config = config(root.path());
    config["range"] = json!({ "from_ms": at(0, 30), "to_ms": at(1, 30) });
    let seen = read(&config, 2, &[]).await;
    assert_eq!(seen.numbers, [1, 10]);
    config["range"] = json!({ "from_ms": at(9, 0), "to_ms": at(9, 30) });
    assert_eq!(read(&config, 2, &[]).await.numbers, Vec::<i64>::new());
}

#[tokio::test]
async fn rows_in_the_wrong_folder_are_dead_letters() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), FIRST_HOUR, "a", &[(at(0, 1), 1), (at(1, 0), 2), (at(0, 2), 3)]);
    let seen = read(&config(root.path()), 1, &[]).await;
    assert_eq!(seen.numbers, [1, 3]);
    assert!(seen.dead[0].contains("a.parquet: the event time at is 2022-03-04T01:00:00Z, not in the hour"), "{seen:?}");
}

#[tokio::test]
async fn what_is_no_archive_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let refused = async |config: &Value| {
        let mut source = source(config, &context(0, 1)).unwrap();
        source.restore(Vec::new()).await.unwrap_err().message
    };
    assert!(refused(&config(root.path())).await.contains("there are no files that end in .parquet"));
    write(root.path(), FIRST_HOUR, "a", &[(at(0, 1), 1)]);
    let (from, to) = (root.path().join(folder(Some(FIRST_HOUR))).join("a.parquet"), root.path().join("a.parquet"));
    fs::rename(from, to).unwrap();
    assert!(refused(&config(root.path())).await.contains("is in no folder such as hour=2022-03-04T00"));
    let mut lines = config(root.path());
    lines["format"] = "click_log".into();
    assert!(source(&lines, &context(0, 1)).err().unwrap().message.contains("needs Parquet files"));
}

#[tokio::test]
async fn a_file_that_was_replaced_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), FIRST_HOUR, "a", &[(at(0, 1), 1), (at(0, 2), 2)]);
    let mut config = config(root.path());
    config["batch_rows"] = 1.into();
    let mut first = opened(&config, 0, 1, &[]).await;
    while !matches!(first.next().await.unwrap(), SourceEvent::Rows(..)) {}
    let states = first.snapshot().unwrap();
    write(root.path(), FIRST_HOUR, "a", &(0..500).map(|n| (at(0, 1), n)).collect::<Vec<_>>());
    let mut second = opened(&config, 0, 1, &states).await;
    let failed = loop {
        match second.next().await {
            Ok(_) => {}
            Err(error) => break error.message,
        }
    };
    assert!(failed.contains("the file has changed"), "{failed}");
    fs::remove_dir_all(root.path().join(folder(Some(FIRST_HOUR)))).unwrap();
    let mut third = source(&config, &context(0, 1)).unwrap();
    assert!(third.restore(states).await.unwrap_err().message.contains("is not there any more"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn restarts_at_any_parallelism_lose_and_repeat_nothing(
        files in prop::collection::vec((0i64..4, prop::collection::vec(0i64..60, 0..6)), 1..8),
        stops in prop::collection::vec((1usize..4, 0usize..9), 0..4),
        batch_rows in 1u64..4,
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for (index, (hour, minutes)) in files.iter().enumerate() {
            let number = |row: usize| (index * 100 + row) as i64;
            let rows: Vec<_> = minutes.iter().enumerate().map(|(row, minute)| (at(*hour, *minute), number(row))).collect();
            expected.extend(rows.iter().map(|row| row.1));
            write(root.path(), FIRST_HOUR + hour, &format!("part-{index}"), &rows);
        }
        expected.sort_unstable();
        let mut config = config(root.path());
        config["batch_rows"] = batch_rows.into();
        let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (mut states, mut found) = (Vec::new(), Vec::new());
            for (parallelism, steps) in stops {
                let mut next = Vec::new();
                for subtask in 0..parallelism {
                    let mut source = opened(&config, subtask, parallelism, &states).await;
                    let mut seen = Seen::default();
                    for _ in 0..steps {
                        match source.next().await.unwrap() {
                            SourceEvent::EndOfInput => break,
                            event => seen.take(event),
                        }
                    }
                    next.extend(source.snapshot().unwrap());
                    found.extend(seen.numbers);
                }
                states = next;
            }
            found.extend(read(&config, 2, &states).await.numbers);
            found
        });
        let mut found = found;
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}

fn damage(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_a_dead_letter_and_the_others_are_read() {
    let root = tempfile::tempdir().unwrap();
    let rows = |from: i64| -> Vec<(i64, i64)> { (from..from + 40).map(|n| (at(n / 100, n % 60), n)).collect() };
    for (name, from) in [("a", 0), ("b", 40), ("c", 0)] {
        write(root.path(), FIRST_HOUR, name, &rows(from));
    }
    write(root.path(), FIRST_HOUR + 1, "d", &rows(100));
    let path = |name: &str| root.path().join(folder(Some(FIRST_HOUR))).join(name);
    damage(&path("b.parquet"), |bytes| bytes.truncate(bytes.len() - 9));
    damage(&path("c.parquet"), |bytes| bytes[6..200].fill(0xff));
    let seen = read(&config(root.path()), 1, &[]).await;
    assert_eq!(seen.numbers, [(0..40).collect::<Vec<_>>(), (100..140).collect()].concat());
    assert_eq!(seen.dead.len(), 2, "{:?}", seen.dead);
    assert!(seen.dead[0].contains("b.parquet") && seen.dead[1].contains("c.parquet"), "{:?}", seen.dead);
    assert!(seen.dead[1].contains("40 rows from this one on are not read"), "{}", seen.dead[1]);
}

#[tokio::test]
async fn where_all_is_to_be_counted_a_damaged_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), FIRST_HOUR, "a", &[(at(0, 1), 1)]);
    write(root.path(), FIRST_HOUR, "b", &[(at(0, 2), 2)]);
    let file = root.path().join(folder(Some(FIRST_HOUR))).join("b.parquet");
    let mut config = config(root.path());
    config["all_or_nothing"] = true.into();
    assert_eq!(read(&config, 1, &[]).await.numbers, [1, 2]);
    damage(&file, |bytes| bytes.truncate(bytes.len() - 9));
    let mut source = opened(&config, 0, 1, &[]).await;
    let error = loop {
        match source.next().await {
            Ok(SourceEvent::EndOfInput) => panic!("the file was left out"),
            Ok(_) => {}
            Err(error) => break error.message,
        }
    };
    assert!(error.contains("b.parquet") && error.contains("bring the file back"), "{error}");
}
