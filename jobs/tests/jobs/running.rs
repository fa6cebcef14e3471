//! Running counts, what came on time, and sinks that are left out: as definitions, and as jobs that run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::{execute, execute_until, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use weir_jobs::{CompileOptions, Job, parse};
use weir_operators::ports;

const CLICKS: &str = r#"
[job]
name = "running"
checkpoint = { interval = "20ms" }

[source.clicks]
connector = "generator"
events = 4000
ads = 30
rate = 20
duplicate_share = 0.1
event_time = "click_timestamp"
watermark = { delay = "1s" }
clicks_per_second = 2000

[dedup.unique]
input = "clicks"
key = ["event_id"]
same_event_time = true
ttl = "1h"

[aggregate.minutes]
input = "unique"
key = ["ad_id"]
window = { WINDOW, allowed_lateness = "1s" }
select = { count = "count(*)" }
EMIT

[reduce.top]
input = "minutes"
top = { n = 3, by = "count" }

[sink.closed]
input = "minutes"
connector = "files"
roll = "checkpoint"
path = "OUT/closed"

[sink.live]
input = "minutes"
connector = "files"
roll = "checkpoint"
path = "OUT/live"
select = ["record_id", "ad_id", "window_end", "count", "revision"]
LIVE

[sink.top]
input = "top"
connector = "files"
roll = "checkpoint"
path = "OUT/top"

[sink.late]
input = "minutes.late"
connector = "files"
roll = "checkpoint"
path = "OUT/late"

[sink.on_time]
input = "minutes.on_time"
connector = "files"
roll = "checkpoint"
path = "OUT/on_time"

[sink.all]
input = "clicks"
connector = "files"
roll = "checkpoint"
path = "OUT/all"
"#;

fn job(out: &std::path::Path, changes: &[(&str, &str)]) -> Job {
    let mut text = CLICKS.replace("OUT", out.to_str().unwrap());
    let standard =
        [("WINDOW", "tumbling = \"1m\""), ("EMIT", "emit = { every = \"40ms\" }"), ("LIVE", "running = true")];
    for (name, value) in changes.iter().chain(&standard) {
        text = text.replace(name, value);
    }
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    parse("running.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Every row of a sink of the aggregate: record, revision, count.
fn versions(batches: &[RecordBatch]) -> BTreeMap<(Vec<u8>, i32), i64> {
    let mut versions = BTreeMap::new();
    for batch in batches {
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        let counts = batch.column_by_name("count").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let before = versions.insert((ids.value(row).to_vec(), revisions.value(row)), counts.value(row));
            assert_eq!(before, None, "revision {} is there twice", revisions.value(row));
        }
    }
    versions
}

/// The count of the highest revision of every record.
fn newest(versions: &BTreeMap<(Vec<u8>, i32), i64>) -> BTreeMap<&Vec<u8>, i64> {
    versions.iter().map(|((id, _), count)| (id, *count)).collect()
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines: Vec<String> = batches
        .iter()
        .flat_map(|batch| {
            let columns = ["event_id", "ad_id", "user_id", "ip", "country"];
            let columns = columns.map(|name| batch.column_by_name(name).unwrap().as_string::<i32>().clone());
            let line = |row: usize| columns.iter().map(|column| column.value(row)).collect::<Vec<_>>().join(" ");
            (0..batch.num_rows()).map(line).collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn running_counts_come_beside_the_results_and_change_none() {
    for window in ["tumbling = \"1m\"", "hopping = \"2m\", slide = \"30s\""] {
        let folder = tempfile::tempdir().unwrap();
        let with = job_over(folder.path().join("with").as_path(), window, true);
        execute(with, &folder.path().join("with-checkpoints"));
        let without = job_over(folder.path().join("without").as_path(), window, false);
        execute(without, &folder.path().join("without-checkpoints"));

        let of = |run: &str, sink: &str| versions(&rows(&folder.path().join(run).join(sink)));
        let (closed, live) = (of("with", "closed"), of("with", "live"));
        // How often a window is corrected on the way depends on when time moves on.
        let without = of("without", "closed");
        assert!(newest(&closed) == newest(&without), "the same results");
        assert!(without == of("without", "live"));
        let results: BTreeMap<_, _> = live.iter().filter(|((_, revision), _)| *revision >= 0).collect();
        assert!(results == closed.iter().collect(), "a sink that takes running counts gets all results too");
        let running: Vec<_> = live.iter().filter(|((_, revision), _)| *revision < 0).collect();
        let ids: BTreeSet<&Vec<u8>> = running.iter().map(|((id, _), _)| id).collect();
        assert!(running.len() > ids.len() && ids.len() > 10, "{} of {}", running.len(), ids.len());
        for ((id, _), count) in &running {
            assert!(**count <= closed[&(id.clone(), 0)], "more than when it was closed");
        }
        // Every click is read once, whatever becomes of it.
        let of = |sink: &str| texts(&rows(&folder.path().join("with").join(sink)));
        let mut parted = of("on_time");
        parted.extend(of("late"));
        parted.sort();
        assert!(!of("late").is_empty());
        assert!(parted == of("all"), "{} of {}", parted.len(), of("all").len());
    }
}

/// The job over a kind of window; a reduce ranks tumbling ones only.
fn job_over(out: &std::path::Path, window: &str, live: bool) -> Job {
    let top = "[reduce.top]\ninput = \"minutes\"\ntop = { n = 3, by = \"count\" }\n";
    let sink = "[sink.top]\ninput = \"top\"";
    let of_aggregate = "[sink.top]\ninput = \"minutes\"";
    let mut changes = vec![("WINDOW", window), ("LIVE", if live { "running = true" } else { "" })];
    if window.starts_with("hopping") {
        changes.extend([(top, ""), (sink, of_aggregate)]);
    }
    job(out, &changes)
}

#[test]
fn a_stopped_job_shows_all_that_it_has_read() {
    let folder = tempfile::tempdir().unwrap();
    // Only the last checkpoint is one that emits.
    let changes = [
        ("EMIT", "emit = { every = \"1h\" }"),
        ("events = 4000", "events = 400000\nlate_share = 0.0"),
        // No correction waits for time to move on.
        ("delay = \"1s\"", "delay = \"1m\""),
    ];
    let job = job(folder.path(), &changes);
    execute_until(job, &folder.path().join("checkpoints"), |stop| async move {
        weir_engine::env::Env::default().sleep(Duration::from_millis(600)).await;
        stop.stop();
    });
    let live = versions(&rows(&folder.path().join("live")));
    let revisions: BTreeSet<i32> =
        live.keys().map(|(_, revision)| *revision).filter(|revision| *revision < 0).collect();
    assert_eq!(revisions.len(), 1, "one checkpoint emitted: {revisions:?}");
    let ids: BTreeSet<String> = rows(&folder.path().join("on_time"))
        .iter()
        .flat_map(|batch| {
            let ids = batch.column_by_name("event_id").unwrap().as_string::<i32>().clone();
            (0..ids.len()).map(|row| ids.value(row).to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert!(!ids.is_empty());
    assert_eq!(newest(&live).values().sum::<i64>(), ids.len() as i64, "every click that was read is in a count");
}

#[test]
fn what_nobody_reads_is_not_computed() {
    let folder = tempfile::tempdir().unwrap();
    let config = |job: &Job| {
        let node = job.graph.nodes.iter().find(|node| node.id == "aggregate.minutes").unwrap();
        node.config.get("running").cloned()
    };
    let running = |job: &Job| job.graph.edges.iter().filter(|edge| edge.port == ports::RUNNING).count();
    let read = job(folder.path(), &[]);
    assert_eq!((config(&read), running(&read)), (Some(serde_json::json!({ "every_checkpoints": 2 })), 1));
    let rounded = job(folder.path(), &[("EMIT", "emit = { every = \"50ms\" }")]);
    assert_eq!(config(&rounded), Some(serde_json::json!({ "every_checkpoints": 3 })));
    for unread in ["", "running = false", "running = true\nenabled = false"] {
        let job = job(folder.path(), &[("LIVE", unread)]);
        assert_eq!((config(&job), running(&job)), (None, 0), "{unread}");
    }
}

#[test]
fn a_sink_that_is_not_enabled_is_no_part_of_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), &[("LIVE", "enabled = false")]);
    assert!(job.graph.nodes.iter().all(|node| !node.id.contains("live")));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
}

/// What a map makes of running counts, and of results.
const MAPPED: &str = r#"
[map.some]
input = "minutes"
where = "count % 10 < 5"

[map.doubled]
input = "some"
select = { ad_id = "ad_id", window_end = "window_end", count = "count * 2" }

[sink.some_closed]
input = "some"
connector = "files"
roll = "checkpoint"
path = "OUT/some_closed"

[sink.some_live]
input = "some"
connector = "files"
roll = "checkpoint"
running = true
path = "OUT/some_live"

[sink.doubled_live]
input = "doubled"
connector = "files"
roll = "checkpoint"
running = true
path = "OUT/doubled_live"
"#;

/// Of each record the newest revision: none for one that is withdrawn.
fn holding(batches: &[RecordBatch]) -> BTreeMap<Vec<u8>, (i32, Option<i64>)> {
    let mut newest = BTreeMap::new();
    for batch in batches {
        let ids = batch.column_by_name("record_id").unwrap().as_fixed_size_binary();
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        let counts = batch.column_by_name("count").unwrap().as_primitive::<Int64Type>();
        let withdrawn = batch.column_by_name("withdrawn").unwrap().as_boolean();
        for row in 0..batch.num_rows() {
            let revision = revisions.value(row);
            let held = newest.entry(ids.value(row).to_vec()).or_insert((revision, None));
            if revision >= held.0 {
                *held = (revision, (!withdrawn.value(row)).then(|| counts.value(row)));
            }
        }
    }
    newest
}

#[test]
fn running_counts_go_through_maps_and_what_holds_in_the_end_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mapped = MAPPED.replace("OUT", folder.path().to_str().unwrap());
    // They stand behind the section that the change is made in.
    let emit = format!("emit = {{ every = \"40ms\" }}\n{mapped}");
    let job = job(folder.path(), &[("EMIT", &emit)]);
    execute(job, &folder.path().join("checkpoints"));
    let of = |sink: &str| rows(&folder.path().join(sink));
    let counts = versions(&of("closed"));
    let expected = |factor: i64| -> BTreeMap<Vec<u8>, i64> {
        let some = newest(&counts).into_iter().filter(|(_, count)| count % 10 < 5);
        some.map(|(id, count)| (id.clone(), count * factor)).collect()
    };
    let held = |sink: &str| -> BTreeMap<Vec<u8>, i64> {
        holding(&of(sink)).into_iter().filter_map(|(id, (_, count))| Some((id, count?))).collect()
    };
    assert!(expected(1).len() > 10 && expected(1).len() < newest(&counts).len());
    assert_eq!(held("some_closed"), expected(1));
    assert_eq!(held("some_live"), expected(1));
    assert_eq!(held("doubled_live"), expected(2));
    let revisions = |sink: &str| -> Vec<i32> {
        let of_batch = |batch: &RecordBatch| {
            batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>().values().to_vec()
        };
        of(sink).iter().flat_map(of_batch).collect()
    };
    assert!(
        revisions("some_closed").iter().all(|revision| *revision >= 0),
        "no running counts where none are asked for"
    );
    for live in ["some_live", "doubled_live"] {
        assert!(revisions(live).iter().filter(|revision| **revision < 0).count() > 10, "{live}");
    }
}
