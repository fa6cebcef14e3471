//! Somebody else's clicks, counted by a shipped definition and once more by this test.
//!
//! The sample is not ours to ship. It is looked for beside the repository, or where `WEIR_TALKINGDATA` says; where it is
//! missing the test says so and passes.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMillisecondType};
use support::{execute, rows};
use weir_jobs::{CompileOptions, load};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn sample() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let beside = root.join("shared/data/talkingdata_sample.csv.gz");
    let path = std::env::var_os("WEIR_TALKINGDATA").map_or(beside, PathBuf::from);
    if !path.exists() {
        eprintln!("skipped: {} is missing", path.display());
        return None;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip can be started");
    assert!(unpacked.status.success(), "{} can't be unpacked", path.display());
    Some(String::from_utf8(unpacked.stdout).expect("the sample is text"))
}

/// Milliseconds since the epoch of `2017-11-07 09:30:38`.
fn milliseconds(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("digits");
    // Days since the epoch, for the one month and year of the sample.
    assert_eq!(&text[..8], "2017-11-");
    let days = 17_471 + number(8, 10) - 1;
    (((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1_000
}

/// Ad and start of the hour to different clicks.
type Counts = BTreeMap<(String, i64), i64>;

fn recount(text: &str) -> (Counts, usize) {
    let mut counts = Counts::new();
    let mut seen = HashSet::new();
    let mut duplicates = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (ip, app, device, os, channel, at) = (fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]);
        if !seen.insert((ip, app, device, os, channel, at)) {
            duplicates += 1;
            continue;
        }
        let hour = milliseconds(at) / HOUR_MS * HOUR_MS;
        *counts.entry((format!("app-{app}/{channel}"), hour)).or_default() += 1;
    }
    (counts, duplicates)
}

/// The ten most clicked ads of every day: day, rank, ad, clicks.
fn recount_top(counts: &Counts) -> Vec<(i64, i32, String, i64)> {
    let mut days: BTreeMap<i64, BTreeMap<&str, i64>> = BTreeMap::new();
    for ((ad, hour), clicks) in counts {
        *days.entry(hour / DAY_MS * DAY_MS).or_default().entry(ad).or_default() += clicks;
    }
    let mut top = Vec::new();
    for (day, ads) in days {
        let mut ads: Vec<(&str, i64)> = ads.into_iter().collect();
        ads.sort_by_key(|(ad, clicks)| (-clicks, *ad));
        let ranked = ads.into_iter().take(10).zip(1..);
        top.extend(ranked.map(|((ad, clicks), rank)| (day, rank, ad.to_owned(), clicks)));
    }
    top
}

#[test]
fn the_sample_is_counted_as_by_hand() {
    let Some(text) = sample() else { return };
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("clicks.csv");
    std::fs::write(&input, &text).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        format!("source.clicks.path={}", input.display()),
        format!("sink.clicks_per_hour.path={}", at("counts")),
        "sink.top_ads.connector=files".to_owned(),
        format!("sink.top_ads.path={}", at("top")),
        "job.checkpoint.interval=50ms".to_owned(),
    ];
    let definition = Path::new(env!("CARGO_MANIFEST_DIR")).join("talkingdata.toml");
    let options = CompileOptions { parallelism: Some(3), ..CompileOptions::default() };
    let job = load(&definition, &settings, &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &folder.path().join("checkpoints"));

    let (counts, duplicates) = recount(&text);
    assert_eq!(counts.values().sum::<i64>() as usize + duplicates, text.lines().count() - 1);
    let mut found = Counts::new();
    let mut attributed = 0;
    for batch in rows(Path::new(&at("counts"))) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let (ads, filters) = (column("ad_id").as_string::<i32>(), column("filter_id").as_string::<i32>());
        let hours = column("window_start").as_primitive::<TimestampMillisecondType>();
        let clicks = column("clicks").as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            match filters.value(row) {
                "all" => {
                    let key = (ads.value(row).to_owned(), hours.value(row));
                    assert!(found.insert(key, clicks.value(row)).is_none(), "a window twice");
                }
                _ => attributed += clicks.value(row),
            }
        }
    }
    assert!(found == counts, "{} windows, not the {} that were counted by hand", found.len(), counts.len());
    assert_eq!(attributed, 227);

    let mut top = Vec::new();
    for batch in rows(Path::new(&at("top"))) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let days = column("window_start").as_primitive::<TimestampMillisecondType>();
        let ranks = column("rank").as_primitive::<Int32Type>();
        let ads = cast(column("ad_id"), &DataType::Utf8).unwrap();
        let clicks = column("clicks").as_primitive::<Int64Type>();
        let filters = column("filter_id").as_string::<i32>();
        for row in (0..batch.num_rows()).filter(|row| filters.value(*row) == "all") {
            let ad = ads.as_string::<i32>().value(row).to_owned();
            top.push((days.value(row), ranks.value(row), ad, clicks.value(row)));
        }
    }
    top.sort();
    assert_eq!(top, recount_top(&counts));
}
