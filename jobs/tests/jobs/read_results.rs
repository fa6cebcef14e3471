//! Results of other jobs, read back and added up: what is left in the end is a recount of the highest revisions, whatever comes
//! twice, late or in the wrong order, however the input is cut, at whatever parallelism, and over a stop in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::{execute, execute_until, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use sqlx::{Connection, Row as _};
use weir_engine::env::Env;
use weir_jobs::{CompileOptions, Job, JobBuilder, Map, ReadResults, Sink, Source, Window, parse};
use weir_operators::sink::console::ConsoleSinkConfig;
use weir_operators::source::files::FilesConfig;

/// The columns of the second region come in another order.
const JOB: &str = r#"
[job]
name = "union"
checkpoint = { interval = "40ms" }

[source.east]
connector = "files"
path = "IN/east"
format = "json"
schema = { record_id = "string", ad_id = "string", click_minute = "timestamp", clicks = "int", revision = "int", withdrawn = "bool" }
event_time = "click_minute"
batch_rows = BATCH

[source.west]
connector = "files"
path = "IN/west"
format = "json"
schema = { withdrawn = "bool", revision = "int", clicks = "int", click_minute = "timestamp", ad_id = "string", record_id = "string" }
event_time = "click_minute"
batch_rows = BATCH

[results.east_counts]
input = "east"
key = ["ad_id"]
window = { tumbling = "1m", allowed_lateness = "30m" }

[results.west_counts]
input = "west"
key = ["ad_id"]
window = { tumbling = "1m", allowed_lateness = "30m" }

[aggregate.ads_per_minute]
input = ["east_counts", "west_counts"]
key = ["ad_id"]
window = { tumbling = "1m" }
select = { clicks = "sum(clicks)", regions = "count(*)" }

[aggregate.per_hour]
input = ["west_counts", "east_counts"]
key = []
window = { tumbling = "1h" }
select = { clicks = "sum(clicks)" }

[sink.counts]
input = "ads_per_minute"
connector = "files"
path = "OUT/counts"

[sink.both]
input = ["east_counts", "west_counts"]
connector = "files"
path = "OUT/both"

[sink.per_hour]
input = "per_hour"
connector = "files"
path = "OUT/per_hour"

[sink.store]
input = "ads_per_minute"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "ad_counts"
key = ["window_start", "ad_id"]

[sink.late]
input = ["east_counts.late", "west_counts.late"]
connector = "files"
path = "OUT/late"
"#;

const START: i64 = 1_646_352_000_000;
const MINUTE: i64 = 60_000;
const LATENESS: i64 = 30;

/// A line of a topic: minute, ad, revision, clicks; none: withdrawn.
type Line = (i64, u8, i64, Option<i64>);

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % n
    }
}

/// What a region has written: two hours of minutes, each corrected up to twenty minutes later, or withdrawn; some lines come twice,
/// some revisions are overtaken, running counts are among them. And counts that come an hour late.
fn region(seed: u64) -> Vec<Line> {
    let mut chance = Chance(seed);
    let mut coming: BTreeMap<(i64, usize), Line> = BTreeMap::new();
    let mut put = |at: i64, line: Line| coming.insert((at, coming.len()), line);
    for minute in 0..120 {
        for ad in 0..5 {
            if chance.below(4) == 0 {
                continue;
            }
            put(minute, (minute, ad, i64::from(i32::MIN) + minute, Some(1)));
            let mut at = minute + 1;
            for revision in 0..=chance.below(3) {
                let clicks = (chance.below(8) > 0 || revision == 0).then(|| chance.below(50));
                put(at, (minute, ad, revision, clicks));
                if chance.below(5) == 0 {
                    put(at + chance.below(3), (minute, ad, revision, clicks));
                }
                at += chance.below(10);
            }
        }
        if minute > 70 && minute % 10 == 0 {
            put(minute, (minute - 65, 9, 0, Some(1_000)));
        }
    }
    coming.into_values().collect()
}

fn write(folder: &Path, lines: &[Line]) {
    std::fs::create_dir_all(folder).unwrap();
    let mut text = String::new();
    for (minute, ad, revision, clicks) in lines {
        let at = START + minute * MINUTE;
        let clicks = clicks.map_or(("null".to_owned(), true), |clicks| (clicks.to_string(), false));
        // Both regions run the same job, and give the same ids.
        let _ = writeln!(
            text,
            r#"{{"record_id":"{minute:08x}-{ad:04x}","ad_id":"ad{ad}","click_minute":{at},"clicks":{},"revision":{revision},"withdrawn":{}}}"#,
            clicks.0, clicks.1
        );
    }
    std::fs::write(folder.join("topic.json"), text).unwrap();
}

/// Which lines are late where nothing is delayed: their window was over for so long when the newest minute before them had begun.
fn is_late(newest: Option<i64>, minute: i64) -> bool {
    newest.is_some_and(|newest| minute + 1 + LATENESS <= newest)
}

/// Clicks and regions by minute and ad.
type Totals = BTreeMap<(i64, u8), (i64, i64)>;

/// The totals, and how many lines are late.
fn recount(regions: &[Vec<Line>]) -> (Totals, usize) {
    let (mut totals, mut late) = (BTreeMap::new(), 0);
    for lines in regions {
        let mut newest: BTreeMap<(i64, u8), (i64, Option<i64>)> = BTreeMap::new();
        // Event time begins with the third line, where most of three agree; all of these do.
        let mut latest = None;
        for (minute, ad, revision, clicks) in lines {
            if is_late(latest, *minute) {
                late += 1;
                continue;
            }
            latest = latest.max(Some(*minute));
            if *revision < 0 {
                continue;
            }
            let known = newest.entry((*minute, *ad)).or_insert((*revision, *clicks));
            if known.0 < *revision {
                *known = (*revision, *clicks);
            }
        }
        for (group, (_, clicks)) in newest {
            let Some(clicks) = clicks else { continue };
            let total = totals.entry(group).or_insert((0, 0));
            *total = (total.0 + clicks, total.1 + 1);
        }
    }
    (totals, late)
}

fn job(folder: &Path, out: &Path, batch_rows: usize, parallelism: usize) -> Job {
    let text = JOB
        .replace("IN", folder.to_str().unwrap())
        .replace("OUT", out.to_str().unwrap())
        .replace("BATCH", &batch_rows.to_string());
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    let job = parse("union.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    job
}

fn int(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(name).unwrap().as_primitive::<Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}

fn minute(batch: &RecordBatch, row: usize) -> i64 {
    (batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMillisecondType>().value(row) - START)
        / MINUTE
}

fn ad(batch: &RecordBatch, row: usize) -> u8 {
    let text = batch.column_by_name("ad_id").unwrap().as_string::<i32>().value(row).to_owned();
    text.trim_start_matches("ad").parse().unwrap()
}

/// The rows of the highest revisions that hold. No revision comes twice.
fn holds<T: Clone>(batches: &[RecordBatch], read: impl Fn(&RecordBatch, usize) -> T) -> Vec<T> {
    let mut newest: BTreeMap<Vec<u8>, (i32, Option<T>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for batch in batches {
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        let withdrawn = batch.column_by_name("withdrawn").unwrap().as_boolean();
        for row in 0..batch.num_rows() {
            let (id, revision) = (ids.value(row).to_vec(), revisions.value(row));
            assert!(seen.insert((id.clone(), revision)), "a revision comes twice");
            assert!(revision >= 0, "a running count");
            let value = (!withdrawn.value(row)).then(|| read(batch, row));
            let known = newest.entry(id).or_insert((revision, value.clone()));
            if known.0 < revision {
                *known = (revision, value);
            }
        }
    }
    newest.into_values().filter_map(|(_, value)| value).collect()
}

fn check(out: &Path, regions: &[Vec<Line>]) {
    let (expected, late) = recount(regions);
    assert!(late > 5, "the input has late lines");
    let counted = holds(&rows(&out.join("counts")), |batch, row| {
        let values = (int(batch, "clicks", row).unwrap(), int(batch, "regions", row).unwrap());
        ((minute(batch, row), ad(batch, row)), values)
    });
    assert_eq!(counted.into_iter().collect::<BTreeMap<_, _>>(), expected);

    // Each region's results have ids of their own, whatever theirs were.
    let both = holds(&rows(&out.join("both")), |batch, row| {
        ((minute(batch, row), ad(batch, row)), int(batch, "clicks", row).unwrap())
    });
    let mut sums = Totals::new();
    for (group, clicks) in both {
        let sum = sums.entry(group).or_default();
        *sum = (sum.0 + clicks, sum.1 + 1);
    }
    assert_eq!(sums, expected);

    let hours =
        holds(&rows(&out.join("per_hour")), |batch, row| (minute(batch, row), int(batch, "clicks", row).unwrap()));
    let mut wanted: BTreeMap<i64, i64> = BTreeMap::new();
    for ((minute, _), (clicks, _)) in &expected {
        *wanted.entry(minute / 60 * 60).or_default() += clicks;
    }
    assert_eq!(hours.into_iter().collect::<BTreeMap<_, _>>(), wanted);
    assert_eq!(rows(&out.join("late")).iter().map(RecordBatch::num_rows).sum::<usize>(), late);
    assert_eq!(stored(out), expected);
}

/// What the table holds.
fn stored(out: &Path) -> Totals {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}", out.join("store.sqlite").display());
        let mut store = sqlx::AnyConnection::connect(&url).await.unwrap();
        let sql = "SELECT window_start, ad_id, clicks, regions FROM ad_counts";
        let found = sqlx::query(sql).fetch_all(&mut store).await.unwrap();
        let read = |row: &sqlx::any::AnyRow| {
            let ad: String = row.get(1);
            let minute = (row.get::<i64, _>(0) - START) / MINUTE;
            ((minute, ad.trim_start_matches("ad").parse().unwrap()), (row.get(2), row.get(3)))
        };
        found.iter().map(read).collect()
    })
}

fn regions(folder: &Path) -> Vec<Vec<Line>> {
    let regions = vec![region(7), region(11)];
    write(&folder.join("east"), &regions[0]);
    write(&folder.join("west"), &regions[1]);
    regions
}

#[test]
fn counts_of_two_regions_add_up_whatever_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let regions = regions(folder.path());
    for (batch_rows, parallelism) in [(1, 1), (13, 3), (10_000, 2)] {
        let out = folder.path().join(format!("out-{batch_rows}"));
        execute(job(folder.path(), &out, batch_rows, parallelism), &out.join("data"));
        check(&out, &regions);
    }
}

#[test]
fn a_stop_in_the_middle_and_another_parallelism_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let regions = regions(folder.path());
    let out = folder.path().join("out");
    for (pause, parallelism) in [(60, 3), (120, 1), (200, 4)] {
        execute_until(job(folder.path(), &out, 5, parallelism), &out.join("data"), |stop| async move {
            Env::default().sleep(Duration::from_millis(pause)).await;
            stop.stop();
        });
    }
    execute(job(folder.path(), &out, 50, 2), &out.join("data"));
    check(&out, &regions);
}

#[test]
fn they_are_read_in_rust_too() {
    let clicks = Source::of(FilesConfig::at("no/such/folder")).event_time("click_timestamp");
    let rows = Map::over("clicks").select("id", "user_id").select("ad_id", "ad_id").select("at", "click_timestamp");
    let results = ReadResults::of("rows", ["ad_id"], Window::Tumbling { size: Duration::from_secs(60) })
        .allowed_lateness(Duration::from_secs(1800))
        .record_id("id")
        .revision("number");
    let job = JobBuilder::new("union")
        .source("clicks", clicks)
        .map("rows", rows.select("number", "length(ip)"))
        .results("counts", results)
        .sink("counts", Sink::of("counts", ConsoleSinkConfig::default()))
        .build(&CompileOptions::default())
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    let node = job.graph.nodes.iter().find(|node| node.id == "results.counts").unwrap();
    let expected = serde_json::json!({ "key": ["ad_id"], "record_id": "id", "revision": "number", "time_column": "at",
        "window": { "tumbling": { "size_ms": 60_000 } }, "allowed_lateness_ms": 1_800_000, "output": ["ad_id"] });
    let config: BTreeMap<&str, _> =
        expected.as_object().unwrap().keys().map(|key| (key.as_str(), &node.config[key])).collect();
    assert_eq!(serde_json::json!(config), expected);
    assert!(node.config.get("withdrawn").is_none(), "nothing is ever withdrawn");
}

/// What is wrong, and what is said of it.
#[test]
fn what_are_no_results_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = JOB.replace("IN", folder.path().to_str().unwrap()).replace("BATCH", "5");
    let out = folder.path().join("out");
    let text = text.replace("OUT", out.to_str().unwrap());
    let first = |text: &str, from: &str, to: &str| text.replacen(from, to, 1);
    for (from, to, said) in [
        ("record_id = \"string\", ad_id", "id = \"string\", ad_id", "no column `record_id`, so they are no results"),
        ("revision = \"int\", withdrawn", "revision = \"string\", withdrawn", "`revision` is a string"),
        ("event_time = \"click_minute\"\n", "", "no event time"),
        ("window = { tumbling = \"1m\", allowed", "window = { session = \"1m\", allowed", "in one window only"),
        ("key = [\"ad_id\"]", "key = [\"ad\"]", "there is no column `ad`"),
        (
            "input = \"east\"\nkey",
            "input = \"east\"\nrecord_id = \"ad_id\"\nkey",
            "results have a column `record_id` of their own",
        ),
    ] {
        let wrong = first(&text, from, to);
        assert_ne!(wrong, text, "{from}");
        let refusal = parse("union.toml", &wrong, &[], &CompileOptions::default()).unwrap_err().to_string();
        assert!(refusal.contains(said), "{to}: {refusal}");
    }
    let twice = text.replacen("input = \"west\"\nkey", "input = \"east_counts\"\nkey", 1);
    let refusal = parse("union.toml", &twice, &[], &CompileOptions::default()).unwrap_err().to_string();
    assert!(refusal.contains("its rows are results already"), "{refusal}");
}
