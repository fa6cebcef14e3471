//! The shipped job of ad events over its sample: every line is counted, a duplicate, or a dead letter with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::{execute, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use serde_json::Value;
use sqlx::{Connection, Row as _};
use weir_jobs::{CompileOptions, load};

/// A minute in milliseconds, a filter, an ad.
type Group = (i64, String, String);

/// What the sample holds, line by line.
#[derive(Default)]
struct Recount {
    /// Clicks and impressions.
    counts: BTreeMap<Group, (i64, i64)>,
    /// How many dead letters have a reason.
    reasons: BTreeMap<String, usize>,
    duplicates: usize,
}

fn millis(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    // 2022-03-04T00:10:58.000Z, of the sample's two days.
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let days = 19_055 + number(8, 10) - 4;
    assert_eq!(&text[..8], "2022-03-");
    (((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1_000 + number(20, 23)
}

fn recount(folder: &Path) -> Recount {
    let (mut found, mut seen) = (Recount::default(), BTreeSet::new());
    for file in ["server-0000.jsonl", "server-0001.jsonl"] {
        for line in std::fs::read_to_string(folder.join(file)).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let at = millis(&event["event_at"]);
            let reason = match (event["ad_id"].as_str(), event["event_type"].as_str().unwrap()) {
                (None, _) => Some("it has no ad_id"),
                (_, "hover") => Some("its event_type is neither click nor impression"),
                _ if millis(&event["arrived_at"]) - at > 86_400_000 => {
                    Some("it is more than a day older than its arrival")
                }
                _ => None,
            };
            if let Some(reason) = reason {
                *found.reasons.entry(reason.to_owned()).or_default() += 1;
                continue;
            }
            if !seen.insert(event["event_id"].as_str().unwrap().to_owned()) {
                found.duplicates += 1;
                continue;
            }
            let filters = if event["country"] == "USA" { &["0000", "0012"][..] } else { &["0000"] };
            for filter in filters {
                let ad = event["ad_id"].as_str().unwrap().to_owned();
                let count = found.counts.entry((at / 60_000 * 60_000, (*filter).to_owned(), ad)).or_default();
                match event["event_type"].as_str() {
                    Some("click") => count.0 += 1,
                    _ => count.1 += 1,
                }
            }
        }
    }
    found
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> String {
    batch.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned()
}

#[test]
fn every_event_of_the_sample_is_in_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = root.join("data/ad_events");
    let out = tempfile::tempdir().unwrap();
    let set = |key: &str, value: &str| format!("{key}={}", out.path().join(value).display());
    let settings = vec![
        format!("source.events.path={}", sample.display()),
        set("sink.counts.path", "counts"),
        set("sink.late.path", "late"),
        set("sink.dead_letters.path", "dead_letters"),
        set("sink.raw.path", "raw"),
        format!("sink.store.url=sqlite:{}", out.path().join("store.sqlite").display()),
        "sink.store.enabled=true".into(),
        "sink.dead_letters.format=parquet".into(),
    ];
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = load(&root.join("ad_events.toml"), &settings, &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &out.path().join("data"));
    let expected = recount(&sample);
    assert!(expected.reasons.len() == 3 && expected.duplicates > 3, "{:?}", expected.reasons);

    let mut counts = BTreeMap::new();
    for batch in rows(&out.path().join("counts")) {
        let int = |name: &str, row| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row);
        let rates = batch.column_by_name("ctr").unwrap().as_primitive::<Float64Type>();
        let minutes = batch.column_by_name("click_minute").unwrap().as_primitive::<TimestampMillisecondType>();
        for row in 0..batch.num_rows() {
            let (clicks, shown) = (int("clicks", row), int("impressions", row));
            let rate = rates.is_valid(row).then(|| rates.value(row));
            assert_eq!(rate, (shown > 0).then(|| clicks as f64 / shown as f64));
            let group = (minutes.value(row), text(&batch, "filter_id", row), text(&batch, "ad_id", row));
            assert_eq!(counts.insert(group, (clicks, shown)), None, "nothing is corrected");
        }
    }
    assert_eq!(counts, expected.counts);
    assert_eq!(stored(out.path()), expected.counts);

    let mut reasons = BTreeMap::new();
    for batch in rows(&out.path().join("dead_letters")) {
        for row in 0..batch.num_rows() {
            assert_eq!(text(&batch, "source", row), "map.valid");
            assert!(text(&batch, "raw", row).contains("\"event_id\":\"s"));
            *reasons.entry(text(&batch, "reason", row)).or_default() += 1;
        }
    }
    assert_eq!(reasons, expected.reasons);
    let late = out.path().join("late");
    assert!(!late.exists() || rows(&late).is_empty(), "nothing is late");
}

fn stored(out: &Path) -> BTreeMap<Group, (i64, i64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}", out.join("store.sqlite").display());
        let mut store = sqlx::AnyConnection::connect(&url).await.unwrap();
        let sql = "SELECT click_minute, filter_id, ad_id, count, impressions FROM ad_counts";
        let found = sqlx::query(sql).fetch_all(&mut store).await.unwrap();
        found.iter().map(|row| ((row.get(0), row.get(1), row.get(2)), (row.get(3), row.get(4)))).collect()
    })
}
