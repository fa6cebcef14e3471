//! Somebody else's clicks, counted by a shipped definition and once more by this test: made-up ones of the same shape, and
//! the sample itself where it is at hand. It is not ours to ship; it is looked for beside the repository, or where
//! `WEIR_TALKINGDATA` says.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{execute, rows};
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMillisecondType};
use weir_jobs::{CompileOptions, load};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// So many lines of the sample's shape, under its header: clicks of four days in no order, of a few popular ads and many
/// others, some of them sent twice, a few followed by an installation. The same in every run.
fn made_up(lines: usize) -> String {
    let mut state = 2017_u64;
    // Knuth's multiplier; the upper bits are the good ones.
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let time = |seconds: u64| {
        let (minutes, hours) = (seconds / 60, seconds / 3_600);
        format!("2017-11-{:02} {:02}:{:02}:{:02}", 6 + hours / 24, hours % 24, minutes % 60, seconds % 60)
    };
    let mut text = String::from("ip,app,device,os,channel,click_time,attributed_time,is_attributed\n");
    let mut sent: Vec<String> = Vec::new();
    while sent.len() < lines {
        if sent.len() % 25 == 24 {
            let again = sent[below(sent.len() as u64) as usize].clone();
            sent.push(again);
            continue;
        }
        let (ip, device, os) = (1 + below(300_000), below(3), below(40));
        // The smaller of two numbers is more often a small one.
        let (app, channel) = (1 + below(20).min(below(20)), 101 + below(6));
        // So many ads in half a day that hours have several clicks on one.
        let clicked = below(3) * 86_400 + 36_000 + below(14_400);
        let (attributed, is_attributed) = match below(40) {
            0 => (time(clicked + 5 + below(7_200)), 1),
            _ => (String::new(), 0),
        };
        sent.push(format!("{ip},{app},{device},{os},{channel},{},{attributed},{is_attributed}\n", time(clicked)));
    }
    text.extend(sent);
    text
}

fn sample() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let beside = root.join("shared/data/talkingdata_sample.csv.gz");
    let path = std::env::var_os("WEIR_TALKINGDATA").map_or(beside, PathBuf::from);
    if !path.exists() {
        eprintln!("{} is missing: made-up clicks alone are counted", path.display());
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

/// What is in a text.
#[derive(Default)]
struct Recount {
    counts: Counts,
    /// Clicks that were there before.
    duplicates: usize,
    /// Different clicks that an installation followed.
    attributed: i64,
}

fn recount(text: &str) -> Recount {
    let mut found = Recount::default();
    let mut seen = HashSet::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (ip, app, device, os, channel, at) = (fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]);
        if !seen.insert((ip, app, device, os, channel, at)) {
            found.duplicates += 1;
            continue;
        }
        let hour = milliseconds(at) / HOUR_MS * HOUR_MS;
        *found.counts.entry((format!("app-{app}/{channel}"), hour)).or_default() += 1;
        found.attributed += i64::from(fields[7] == "1");
    }
    found
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
fn made_up_clicks_are_counted_as_by_hand() {
    let text = made_up(1_000);
    let found = recount(&text);
    assert_eq!(found.duplicates, 40, "clicks that were sent twice");
    assert!(found.attributed > 10 && found.counts.values().any(|clicks| *clicks > 3), "they have something to count");
    check(&text, &found);
}

#[test]
fn the_sample_is_counted_as_by_hand() {
    let Some(text) = sample() else { return };
    let found = recount(&text);
    assert_eq!(found.attributed, 227);
    check(&text, &found);
}

/// The shipped definition counts in a text what was counted by hand.
fn check(text: &str, expected: &Recount) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("clicks.csv");
    std::fs::write(&input, text).unwrap();
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

    let counts = &expected.counts;
    assert_eq!(counts.values().sum::<i64>() as usize + expected.duplicates, text.lines().count() - 1);
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
    assert!(found == *counts, "{} windows, not the {} that were counted by hand", found.len(), counts.len());
    assert_eq!(attributed, expected.attributed);

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
    assert_eq!(top, recount_top(counts));
}
