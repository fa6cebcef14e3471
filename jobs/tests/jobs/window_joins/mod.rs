//! Joins of the results of aggregates: what is left of them in the end, and of what is made of them, is what a recount of the input
//! gives, whatever the batches, the parallelism and a stop in the middle; and what of them is refused.

mod definitions;
mod recount;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::{execute, execute_until, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use sqlx::{Connection, Row};
use weir_engine::env::Env;
use weir_jobs::{CompileOptions, Job, parse};

const JOB: &str = r#"
[job]
name = "ads"
checkpoint = { interval = "50ms" }

[source.clicked]
connector = "files"
path = "IN/clicked"
format = "json"
schema = { ad = "string", page = "int", at = "timestamp" }
event_time = "at"
watermark = { delay = "1s" }
batch_rows = BATCH

[source.seen]
connector = "files"
path = "IN/seen"
format = "json"
schema = { shown = "string", page = "int", at = "timestamp" }
event_time = "at"
watermark = { delay = "1s" }
batch_rows = BATCH

[aggregate.clicks]
input = "clicked"
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "2h" }
select = { n = "count(*)" }
emit = { every = "50ms" }

[aggregate.pages]
input = "clicked"
key = ["ad", "page"]
window = { tumbling = "1m", allowed_lateness = "1h" }
select = { n = "count(*)" }

[aggregate.views]
input = "seen"
key = ["shown"]
window = { tumbling = "1m", allowed_lateness = "2h" }
select = { n = "count(*)" }

[aggregate.all_clicks]
input = "clicked"
key = []
window = { tumbling = "1m", allowed_lateness = "2h" }
select = { n = "count(*)" }

[join.inner]
left = "clicks"
right = "views"
on = { ad = "shown" }
type = "inner"
select = { ad = "left.ad", clicks = "left.n", views = "right.n" }

[join.left]
left = "clicks"
right = "views"
on = { ad = "shown" }
type = "left"
select = { ad = "left.ad", clicks = "left.n", views = "right.n" }

[join.right]
left = "clicks"
right = "views"
on = { ad = "shown" }
type = "right"
select = { ad = "left.ad", clicks = "left.n", views = "right.n" }

[join.full]
left = "clicks"
right = "views"
on = { ad = "shown" }
type = "full"
select = { ad = "left.ad", clicks = "left.n", views = "right.n" }

# The right has several results for an ad; a view without any is withdrawn when the first comes.
[join.by_page]
left = "views"
right = "pages"
on = { shown = "ad" }
type = "left"
select = { ad = "left.shown", views = "left.n", page = "right.page", clicks = "right.n" }

# What part of all clicks an ad has.
[join.shares]
left = "clicks"
right = "all_clicks"
on = []
type = "inner"
select = { ad = "left.ad", clicks = "left.n", of = "right.n" }

# Late clicks make an ad one of these, and late views refute it.
[map.good]
input = "left"
where = "clicks * 2 > views and ad is not null"
select = { window_start = "window_start", window_end = "window_end", ad = "ad", clicks = "clicks", views = "views", percent = "clicks * 100 / views" }

# Results of a map and of a join, joined once more.
[join.again]
left = "good"
right = "left"
on = ["ad"]
type = "right"
select = { ad = "left.ad", percent = "left.percent", clicks = "right.clicks" }

[aggregate.fives]
input = "left"
key = ["ad"]
window = { tumbling = "5m" }
select = { clicks = "sum(clicks)", views = "sum(views)", minutes = "count(*)" }

[reduce.top]
input = "left"
top = { n = 2, by = "clicks" }
window = { tumbling = "5m" }

[aggregate.hopping_clicks]
input = "clicks"
key = ["ad"]
window = { hopping = "2m", slide = "1m" }
select = { n = "sum(n)" }

[aggregate.hopping_views]
input = "seen"
key = ["shown"]
window = { hopping = "2m", slide = "1m", allowed_lateness = "2h" }
select = { n = "count(*)" }

[join.hopping]
left = "hopping_clicks"
right = "hopping_views"
on = { ad = "shown" }
type = "left"
select = { ad = "left.ad", clicks = "left.n", views = "right.n" }

[sink.stored]
input = "good"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "good"
key = ["window_start", "ad"]

[sink.running]
input = "clicks"
connector = "sql"
url = "sqlite:OUT/store.sqlite"
table = "clicks"
running = true
"#;

/// The outputs that go to files.
const OUTPUTS: [&str; 11] =
    ["inner", "left", "right", "full", "by_page", "shares", "good", "again", "fives", "top", "hopping"];

const START: i64 = 1_646_352_000_000;
const MINUTE: i64 = 60_000;

/// An event of either side: when it was, of which ad, on which page.
type Event = (i64, Option<u8>, u8);

/// The events of a side; some are late.
fn events(seed: u64, count: i64) -> Vec<Event> {
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut events = Vec::new();
    for n in 0..count {
        let on_time = n * 1_200_000 / count;
        let at = if below(3) == 0 { on_time - below(700_000) as i64 } else { on_time };
        let ad = (below(15) > 0).then(|| below(12) as u8);
        events.push((START + at.max(0), ad, below(3) as u8));
    }
    events
}

fn write(folder: &Path, ad_name: &str, events: &[Event]) {
    std::fs::create_dir_all(folder).unwrap();
    for file in 0..2 {
        let mut lines = String::new();
        for (at, ad, page) in events.iter().skip(file).step_by(2) {
            let ad = ad.map_or("null".to_owned(), |ad| format!("\"ad{ad}\""));
            let _ = writeln!(lines, r#"{{"{ad_name}":{ad},"page":{page},"at":{at}}}"#);
        }
        std::fs::write(folder.join(format!("{file}.json")), lines).unwrap();
    }
}

fn job(folder: &Path, out: &Path, batch_rows: usize, parallelism: usize) -> Job {
    let mut text = JOB
        .replace("IN", folder.join("in").to_str().unwrap())
        .replace("OUT", out.to_str().unwrap())
        .replace("BATCH", &batch_rows.to_string());
    for output in OUTPUTS {
        let path = out.join(output).display().to_string();
        let _ = write!(text, "[sink.{output}]\ninput = {output:?}\nconnector = \"files\"\npath = {path:?}\n");
    }
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    let job = parse("ads.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    job
}

/// A result: the start of its window, its ad, and its values.
type Held = (i64, Option<String>, Vec<Option<i64>>);

/// What holds in the end, sorted: the highest revision of each record, unless it is withdrawn.
fn holds(batches: &[RecordBatch], columns: &[&str]) -> Vec<Held> {
    let mut records: BTreeMap<Vec<u8>, BTreeMap<i32, Option<Held>>> = BTreeMap::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}: {}", batch.schema()));
        for row in 0..batch.num_rows() {
            let int = |name: &&str| {
                let values = arrow::compute::cast(column(name), &arrow::datatypes::DataType::Int64).unwrap();
                values.is_valid(row).then(|| values.as_primitive::<Int64Type>().value(row))
            };
            let start = column("window_start").as_primitive::<TimestampMillisecondType>().value(row);
            let ads = column("ad").as_string::<i32>();
            let held = (start, ads.is_valid(row).then(|| ads.value(row).to_owned()), columns.iter().map(int).collect());
            let withdrawn = column("withdrawn").as_boolean().value(row);
            let id = column("record_id").as_fixed_size_binary().value(row).to_vec();
            let revision = column("revision").as_primitive::<Int32Type>().value(row);
            let before = records.entry(id).or_default().insert(revision, (!withdrawn).then_some(held));
            assert!(before.is_none(), "a revision is there twice");
        }
    }
    let mut held: Vec<Held> =
        records.into_values().filter_map(|revisions| revisions.into_values().next_back()?).collect();
    held.sort();
    held
}

fn columns(output: &str) -> &'static [&'static str] {
    match output {
        "by_page" => &["views", "page", "clicks"],
        "shares" => &["clicks", "of"],
        "good" => &["clicks", "views", "percent"],
        "again" => &["percent", "clicks"],
        "fives" => &["clicks", "views", "minutes"],
        "top" => &["clicks", "rank"],
        _ => &["clicks", "views"],
    }
}

fn table(out: &Path) -> Vec<Held> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", out.join("store.sqlite").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        let query = sqlx::query("SELECT window_start, ad, clicks, views, percent FROM good ORDER BY 1, 2");
        query.fetch_all(&mut connection).await.unwrap()
    });
    let held = |row: &sqlx::any::AnyRow| {
        (row.get(0), row.get(1), (2..5).map(|at| row.get::<Option<i64>, _>(at)).collect::<Vec<_>>())
    };
    rows.iter().map(held).collect()
}

#[test]
fn what_is_left_is_what_a_recount_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (clicked, seen) = (events(5, 500), events(6, 700));
    write(&folder.path().join("in/clicked"), "ad", &clicked);
    write(&folder.path().join("in/seen"), "shown", &seen);
    let expected = recount::recount(&clicked, &seen);
    let (mut corrected, mut withdrawn) = (0, 0);
    for (run, (batch_rows, parallelism)) in [(7, 1), (3, 2), (10_000, 3)].into_iter().enumerate() {
        let out = folder.path().join(format!("out{run}"));
        let checkpoints = folder.path().join(format!("checkpoints{run}"));
        if run == 1 {
            // It is stopped on its way, and goes on with another parallelism.
            let begun = out.join("left");
            execute_until(job(folder.path(), &out, batch_rows, 3), &checkpoints, |stop| async move {
                while !begun.exists() {
                    Env::default().sleep(Duration::from_millis(5)).await;
                }
                stop.stop();
            });
        }
        execute(job(folder.path(), &out, batch_rows, parallelism), &checkpoints);
        for (output, expected) in &expected {
            let batches = rows(&out.join(output));
            let found = holds(&batches, columns(output));
            assert_eq!(&found, expected, "{output}, batches of {batch_rows}, parallelism {parallelism}");
            for batch in batches {
                let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
                corrected += revisions.values().iter().filter(|revision| **revision > 0).count();
                withdrawn += batch.column_by_name("withdrawn").unwrap().as_boolean().true_count();
            }
        }
        assert_eq!(table(&out), expected["good"], "batches of {batch_rows}, parallelism {parallelism}");
    }
    assert!(corrected > 1_000 && withdrawn > 50, "{corrected} corrections, {withdrawn} withdrawals");
}

/// The example of the docs, of clicks beside the same clicks: each ad has as many of both.
#[test]
fn the_example_of_the_docs_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let written = std::fs::read_to_string(root.join("docs/job-definition.md")).unwrap();
    let section = written.split("### Joins of results").nth(1).unwrap();
    let example = section.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut text = "[job]\nname = \"docs\"\n".to_owned() + example;
    for side in ["clicks", "impressions"] {
        let path = root.join("jobs/data/clicks").display().to_string();
        let format = "format = \"click_log\"\nevent_time = \"click_timestamp\"";
        let _ = write!(text, "[source.{side}]\nconnector = \"files\"\npath = {path:?}\n{format}\n");
    }
    let _ =
        write!(text, "[sink.out]\ninput = \"rates\"\nconnector = \"files\"\npath = {:?}\n", out.display().to_string());
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = parse("docs.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &folder.path().join("checkpoints"));
    // On the way one side may have been corrected before the other.
    let mut newest: BTreeMap<Vec<u8>, (i32, Option<f64>)> = BTreeMap::new();
    for batch in rows(&out) {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}: {}", batch.schema()));
        let rates = column("rate").as_primitive::<Float64Type>();
        for (row, rate) in rates.iter().enumerate() {
            let id = column("record_id").as_fixed_size_binary().value(row).to_vec();
            let revision = column("revision").as_primitive::<Int32Type>().value(row);
            if newest.get(&id).is_none_or(|known| known.0 < revision) {
                newest.insert(id, (revision, rate));
            }
        }
    }
    let rates: Vec<Option<f64>> = newest.into_values().map(|(_, rate)| rate).collect();
    assert!(rates.len() > 100 && rates.iter().all(|rate| *rate == Some(1.0)), "{rates:?}");
}
