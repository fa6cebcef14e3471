//! `weir generate` as a user runs it.

mod support;

use std::fs;
use support::{Workplace, signal};

#[test]
fn the_same_seed_gives_the_same_files() {
    let place = Workplace::new();
    let arguments = |folder: &'static str, seed: &'static str| {
        ["generate", folder, "--events", "3000", "--partitions", "3", "--broken-share", "0.01", "--seed", seed]
    };
    let report = place.json(&arguments("a", "7"));
    assert_eq!((&report["clicks"], report["files"].as_array().unwrap().len()), (&3000.into(), 3));
    assert!(report["broken_lines"].as_u64() > Some(0) && report["duplicates"].as_u64() > Some(0));
    place.done(&arguments("b", "7"));
    place.done(&arguments("c", "8"));
    let read = |folder: &str| fs::read(place.path(folder).join("part-0000.log")).unwrap();
    assert_eq!(read("a"), read("b"));
    assert_ne!(read("a"), read("c"));
}

#[test]
fn every_format_holds_the_same_clicks() {
    let place = Workplace::new();
    let mut counts = Vec::new();
    for format in ["click_log", "json", "parquet"] {
        place.done(&["generate", format, "--events", "2000", "--ads", "40", "--format", format]);
        let mut arguments = support::ad_click(format, &format!("out-{format}"), &format!("data-{format}"), &[]);
        arguments.extend(["--set".into(), format!("source.clicks.format={format}")]);
        if format == "json" {
            let schema = "source.clicks.schema={ ad_id = \"string\", click_timestamp = \"timestamp\", user_id = \"string\", \
                          ip = \"string\", country = \"string\" }";
            arguments.extend(["--set".into(), schema.into()]);
        }
        place.json(&support::borrowed(&arguments));
        counts.push(place.counts(&format!("out-{format}/counts")));
    }
    assert!(!counts[0].0.is_empty());
    assert_eq!(counts[0], counts[1], "click log and JSON");
    assert_eq!(counts[0], counts[2], "click log and Parquet");
}

#[test]
fn paced_files_grow_by_whole_lines_until_stopped() {
    let place = Workplace::new();
    let child = place.start(&["generate", "clicks", "--rate", "2000", "--endless", "--start", "now"]);
    let log = place.path("clicks/server-0001.log");
    support::wait_until("the log to grow", || fs::metadata(&log).is_ok_and(|log| log.len() > 10_000));
    signal(&child, "INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let text = fs::read_to_string(log).unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("[AdClickEvent] ")));
}

#[test]
fn wrong_arguments_are_refused_with_what_would_be_right() {
    let place = Workplace::new();
    let told = |arguments: &[&str]| place.refused(&[&["generate", "x"], arguments].concat(), 2);
    assert!(told(&["--out-of-orderness", "10"]).contains("\"15s\""));
    assert!(told(&["--start", "yesterday"]).contains("2022-03-04"));
    assert!(told(&["--late-share", "2"]).contains("from 0 to 1"));
    assert!(told(&["--format", "parquet", "--rate", "10"]).contains("Parquet"));
    assert!(told(&["--endless"]).contains("--rate"));
    place.done(&["generate", "there", "--events", "10"]);
    assert!(place.refused(&["generate", "there", "--events", "10"], 1).contains("there already"));
}
