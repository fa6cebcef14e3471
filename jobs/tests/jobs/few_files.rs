//! Files stay few, whatever their rows are, and a reader who looks at any moment sees each row once.

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, new_null_array};
use arrow::datatypes::{DataType, Int32Type};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weir_engine::element::{Barrier, Batch};
use weir_engine::graph::{Node, NodeRole};
use weir_engine::ids::CheckpointId;
use weir_engine::operator::{Committer, CommitterContext, Factory, OperatorContext, Sink};
use weir_engine::testing::OperatorHarness;
use weir_jobs::{CompileOptions, Job, load, parse};
use weir_operators::{Registry, memory_stores::memory_store, schema::ColumnSchema};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// 2022-03-04 00:00 UTC.
const MIDNIGHT: i64 = 1_646_352_000_000;
/// Of checkpoints: longer than that of the shipped job, so that a day of them does not take long.
const INTERVAL: i64 = 30 * SECOND;

/// A sink of a compiled job, and what stands before it, in one subtask.
struct Lane {
    name: String,
    hold: OperatorHarness,
    columns: ColumnSchema,
    sink: Box<dyn Sink>,
    committer: Arc<dyn Committer>,
    rows: u64,
}

impl Lane {
    fn new(job: &Job, sink: usize) -> Self {
        let (nodes, node) = (&job.graph.nodes, &job.graph.nodes[sink]);
        let before: Vec<&Node> =
            job.graph.edges.iter().filter(|edge| edge.to == sink).map(|edge| &nodes[edge.from]).collect();
        let [before] = before[..] else { panic!("{} has several inputs", node.id) };
        assert_eq!(before.kind, "hold", "a file a checkpoint, of {}", node.id);
        let context = |node: &Node| OperatorContext::single(&job.graph.name, &node.id);
        Lane {
            name: node.id.clone(),
            hold: OperatorHarness::new(Registry.operator(before, context(before)).unwrap()),
            columns: serde_json::from_value(before.config["columns"].clone()).unwrap(),
            sink: Registry.sink(node, context(node)).unwrap(),
            committer: Registry.committer(node, CommitterContext::single(&job.graph.name, &node.id)).unwrap(),
            rows: 0,
        }
    }

    /// So many rows of one time.
    fn rows(&self, time_ms: i64, rows: usize) -> Batch {
        let column = |data_type: &DataType| -> ArrayRef {
            match data_type {
                DataType::Timestamp(_, zone) => {
                    Arc::new(TimestampMillisecondArray::from_value(time_ms, rows).with_timezone_opt(zone.clone()))
                }
                other => new_null_array(other, rows),
            }
        };
        let columns = self.columns.columns.iter().map(|of| (of.name.as_str(), column(&of.data_type), true));
        Batch::new(RecordBatch::try_from_iter_with_nullable(columns).unwrap())
    }

    /// Rows come, perhaps none; and then a barrier.
    async fn checkpoint(&mut self, number: u64, rows: Option<Batch>, last: bool) {
        let mut passed = Vec::new();
        if let Some(rows) = rows {
            self.rows += rows.len() as u64;
            passed.extend(self.hold.process(rows).unwrap());
        }
        passed.extend(if last { self.hold.last_barrier() } else { self.hold.barrier() }.unwrap());
        let checkpoint = CheckpointId(number);
        for (_, batch) in passed {
            self.sink.write(batch).await.unwrap();
        }
        let staged = self.sink.stage(Barrier { checkpoint, last }).await.unwrap();
        if !staged.is_empty() {
            self.committer.commit(checkpoint, &staged).await.unwrap();
        }
        self.committer.expire(checkpoint).await.unwrap();
    }
}

/// The files of a job in memory: how many rows each has.
async fn files(store: &str, sink: &str) -> Vec<i64> {
    let store = memory_store(store);
    let folder = object_store::path::Path::from(sink);
    let listed: Vec<_> = store.list(Some(&folder)).map_ok(|object| object.location).try_collect().await.unwrap();
    let mut rows = Vec::new();
    for path in listed {
        assert!(path.as_ref().ends_with(".parquet"), "{path} is left behind");
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        rows.push(reader.metadata().file_metadata().num_rows());
    }
    rows
}

/// The shipped job as it runs live for a day: each minute the results of a window and, at any time, corrections, late clicks,
/// broken lines.
#[tokio::test]
async fn the_shipped_job_writes_few_files_a_day() {
    let sinks = ["counts", "top_ads", "late", "dead_letters", "raw"];
    let mut settings: Vec<String> =
        sinks.iter().map(|sink| format!("sink.{sink}.path=memory://few_files/{sink}")).collect();
    settings.push("source.clicks.follow=true".into());
    settings.push(format!("job.checkpoint.interval={INTERVAL}ms"));
    settings.push("sink.counts.retention=30d".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ad_click.toml");
    let options = CompileOptions { parallelism: Some(1), ..CompileOptions::default() };
    let job = load(&path, &settings, &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut lanes: Vec<Lane> = (0..job.graph.nodes.len())
        .filter(|index| job.graph.nodes[*index].role == NodeRole::Sink)
        .map(|index| Lane::new(&job, index))
        .collect();
    assert_eq!(lanes.len(), sinks.len());

    let day = 24 * HOUR / INTERVAL;
    for number in 1..=day {
        let now = MIDNIGHT + number * INTERVAL;
        for lane in &mut lanes {
            // Event time goes on with each checkpoint, fifteen seconds behind.
            lane.hold.watermark(now - 15 * SECOND).unwrap();
            let rows = match lane.name.as_str() {
                "sink.counts" | "sink.top_ads" if number % 2 == 1 => 40,
                "sink.late" | "sink.dead_letters" if number % 3 == 0 => 0,
                "sink.raw" => 2,
                _ => 1,
            };
            let rows = (rows > 0).then(|| lane.rows(now - SECOND, rows));
            lane.checkpoint(number.unsigned_abs(), rows, number == day).await;
        }
    }
    for lane in &lanes {
        let name = lane.name.trim_start_matches("sink.");
        let files = files("few_files", name).await;
        assert_eq!(files.iter().sum::<i64>().unsigned_abs(), lane.rows, "{name}: each row once");
        // One an hour more where an hour ends, and the last one.
        let most = if matches!(name, "counts" | "top_ads") { 60 * 24 + 1 } else { 7 * 24 + 1 };
        assert!((most / 2..=most).contains(&files.len()), "{name}: {} files, expected {most}", files.len());
    }
}

/// All kinds of files that a job writes while it runs: with every checkpoint, held for a while, in folders by hour.
const READ: &str = r#"
[job]
name = "read"
checkpoint = { interval = "15ms" }

[source.clicks]
connector = "generator"
events = 6000
ads = 20
users = 60
rate = 3
late_share = 0.02
event_time = "click_timestamp"
watermark = { delay = "10s" }
clicks_per_second = 4000

[aggregate.minutes]
input = "clicks"
key = ["ad_id"]
window = { tumbling = "1m", allowed_lateness = "10m" }
select = { count = "count(*)" }

[sink.held]
input = "minutes"
connector = "files"
path = "OUT/held"
retention = "30d"

[sink.at_once]
input = "minutes"
connector = "files"
path = "OUT/at_once"
roll = "checkpoint"

[sink.hourly]
input = "minutes"
connector = "files"
path = "OUT/hourly"
partition_by = "hour"
roll = { every = "5m", bytes = 4000 }
"#;

/// The record and the revision of a row: never twice.
type Row = (Vec<u8>, i32);

/// What a reader of `**/*.parquet` sees.
#[derive(Default)]
struct Reader {
    /// What was in each file when it was seen first.
    seen: BTreeMap<PathBuf, (Vec<u8>, Vec<Row>)>,
    looks: usize,
}

impl Reader {
    /// Reads all that is there, and compares it with what was there before.
    fn look(&mut self, folder: &Path) {
        let mut found = BTreeSet::new();
        list(folder, &mut found);
        for path in self.seen.keys() {
            assert!(found.contains(path), "{} has vanished", path.display());
        }
        let mut rows = BTreeSet::new();
        for path in found {
            let bytes = std::fs::read(&path).unwrap();
            let (first, records) = self.seen.entry(path.clone()).or_insert_with(|| (bytes.clone(), records(&bytes)));
            assert!(*first == bytes, "{} has changed", path.display());
            for (record, revision) in records {
                assert!(rows.insert((record.clone(), *revision)), "{} has a row twice", path.display());
            }
        }
        self.looks += 1;
    }
}

fn list(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.extension().is_some_and(|extension| extension == "parquet") {
            true => _ = found.insert(path),
            false => list(&path, found),
        }
    }
}

fn records(file: &[u8]) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(file)).unwrap();
    let mut records = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        records.extend((0..batch.num_rows()).map(|row| (ids.value(row).to_vec(), revisions.value(row))));
    }
    records
}

#[test]
fn a_reader_sees_each_row_once_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let job =
        parse("read.toml", &READ.replace("OUT", folder.path().to_str().unwrap()), &[], &CompileOptions::default());
    let job = job.unwrap_or_else(|refusal| panic!("{refusal}"));
    let sinks = ["held", "at_once", "hourly"];
    let over = AtomicBool::new(false);
    let readers = std::thread::scope(|scope| {
        let watch = |sink: &'static str| {
            let (folder, over) = (folder.path().join(sink), &over);
            scope.spawn(move || {
                let mut reader = Reader::default();
                while !over.load(Ordering::SeqCst) {
                    reader.look(&folder);
                    std::thread::yield_now();
                }
                reader.look(&folder);
                reader
            })
        };
        let watching = sinks.map(watch);
        crate::support::execute(job, &folder.path().join("checkpoints"));
        over.store(true, Ordering::SeqCst);
        watching.map(|watching| watching.join().unwrap())
    });
    let [held, at_once, hourly] = &readers;
    let rows = |reader: &Reader| -> BTreeSet<Row> {
        reader.seen.values().flat_map(|(_, records)| records.iter().cloned()).collect()
    };
    assert!(rows(at_once).len() > 500 && readers.iter().all(|reader| reader.looks > 3));
    assert!(rows(held) == rows(at_once) && rows(hourly) == rows(at_once), "the same rows, whenever they go into files");
    // Half an hour of event time: a file a minute at most, one every five minutes and for each 4 kB.
    assert!(held.seen.len() <= 35, "{} files", held.seen.len());
    for sink in sinks {
        assert!(!folder.path().join(sink).join("_staging").exists(), "{sink}: an empty folder is left behind");
    }
}

/// A job stops, and goes on forty days later: the first commit is followed by the end of what was kept for thirty.
#[test]
fn what_is_past_its_retention_goes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let job = || {
        let text = READ.replace("OUT", folder.path().to_str().unwrap());
        parse("read.toml", &text, &[], &CompileOptions::default()).unwrap_or_else(|refusal| panic!("{refusal}"))
    };
    let files = |sink: &str| {
        let mut found = BTreeSet::new();
        list(&folder.path().join(sink), &mut found);
        found
    };
    crate::support::execute_until(job(), &folder.path().join("checkpoints"), |stop| {
        let files = &files;
        async move {
            while files("at_once").is_empty() {
                weir_engine::env::Env::default().sleep(Duration::from_millis(10)).await;
            }
            stop.stop();
        }
    });
    let first = files("held");
    let of_first: BTreeSet<_> = first.iter().flat_map(|path| records(&std::fs::read(path).unwrap())).collect();
    assert!(!of_first.is_empty(), "nothing is held back at the end");
    for path in first.iter().chain(&files("at_once")) {
        let file = std::fs::File::options().append(true).open(path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(40 * 24 * 3_600)).unwrap();
    }
    crate::support::execute(job(), &folder.path().join("checkpoints"));
    let (held, at_once) = (files("held"), files("at_once"));
    assert!(held.is_disjoint(&first) && !held.is_empty(), "{held:?}");
    let rows = |files: &BTreeSet<PathBuf>| -> BTreeSet<Row> {
        files.iter().flat_map(|path| records(&std::fs::read(path).unwrap())).collect()
    };
    let mut all = rows(&held);
    all.extend(of_first);
    assert!(all == rows(&at_once), "what is kept for ever has every row, and the rest went with the first files only");
}
