//! The metrics: whether the text follows the OpenMetrics grammar, and whether it says what the board says.

use super::{fixture, serve_snapshot};
use crate::{http::metrics::registry, status::Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use weir_http::{metrics::text, testing::get};

type Labels = BTreeMap<String, String>;

/// All samples of a text, by name and labels. What breaks the grammar is an error that names the line.
fn parse(text: &str) -> Result<BTreeMap<(String, Labels), f64>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("the text does not end in '# EOF'")?;
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        let fail = |what: &str| Err(format!("{what}: {line}"));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let Some((name, words)) = help.split_once(' ') else { return fail("help without words") };
            if words.is_empty() || !is_name(name) || !families.insert(name.to_string()) {
                return fail("a family's name is wrong or comes twice, or it lacks words");
            }
            (family, kind) = (name.to_string(), String::new());
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            match typed.split_once(' ') {
                Some((name, named)) if name == family && ["counter", "gauge", "info"].contains(&named) => {
                    kind = named.into();
                }
                _ => return fail("a type that is unknown or of another family"),
            }
        } else {
            let (name, labels, value) = sample(line)?;
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                "gauge" => "",
                _ => return fail("a sample before its type"),
            };
            if name != format!("{family}{suffix}") {
                return fail("a sample of another family, or without its suffix");
            }
            if kind == "counter" && value < 0.0 {
                return fail("a counter below 0");
            }
            if samples.insert((name, labels), value).is_some() {
                return fail("the same labels twice");
            }
        }
    }
    Ok(samples)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or_else(|| format!("a line without a value: {line}"))?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").ok_or_else(|| format!("a label without a value: {line}"))?;
            let (value, after) = quoted(after).ok_or_else(|| format!("a label without an end: {line}"))?;
            if !is_name(label) || labels.insert(label.into(), value).is_some() {
                return Err(format!("a label's name is wrong or comes twice: {line}"));
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    let value: f64 = value.ok_or_else(|| format!("a value that is no number: {line}"))?;
    Ok((name.into(), labels, value))
}

/// A label's value up to its closing quote, without its escapes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

fn of(samples: &BTreeMap<(String, Labels), f64>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
    samples.get(&(name.to_string(), labels)).copied()
}

#[tokio::test]
async fn they_say_what_the_board_says() {
    let answer = get(&serve_snapshot(fixture::snapshot(), |_, _| Ok(())), "/metrics").await;
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let samples = parse(&answer.text).unwrap();
    let job: &[(&str, &str)] = &[("job_id", "ad-click")];
    for (name, labels, expected) in [
        ("weir_build_info", &[("version", "0.1.0")][..], 1.0),
        ("weir_coordinator_leader", &[], 1.0),
        ("weir_jobs", &[("state", "RUNNING")], 1.0),
        ("weir_jobs", &[("state", "RESTARTING")], 0.0),
        ("weir_job_state", &[("job_id", "revenue"), ("state", "FAILED")], 1.0),
        ("weir_job_waiting", &[("job_id", "talkingdata")], 1.0),
        ("weir_job_restarts_total", job, 2.0),
        ("weir_job_attempt", job, 3.0),
        ("weir_job_checkpoints_total", job, 1840.0),
        ("weir_job_checkpoint_duration_seconds_total", job, 237.36),
        ("weir_job_checkpoint_written_bytes_total", job, 13_340_220_112.0),
        ("weir_job_last_checkpoint_number", job, 1840.0),
        ("weir_job_committed_checkpoint_number", job, 1839.0),
        ("weir_operator_records_in_total", &[("job_id", "ad-click"), ("operator", "dedup.unique")], 711_180_000.0),
        ("weir_operator_backpressure_ratio", &[("job_id", "ad-click"), ("operator", "source.clicks")], 0.57),
        ("weir_operator_watermark_lag_seconds", &[("job_id", "ad-click"), ("operator", "source.clicks")], 15.2),
        (
            "weir_source_lag_records",
            &[("job_id", "ad-click"), ("operator", "source.clicks"), ("split", "clicks-3")],
            1_204.0,
        ),
        (
            "weir_source_lag_seconds",
            &[("job_id", "ad-click"), ("operator", "source.clicks"), ("split", "clicks-3")],
            1.5,
        ),
        ("weir_sink_commits_total", &[("job_id", "ad-click"), ("operator", "sink.counts")], 1_822.0),
        ("weir_sink_transactions_total", &[("job_id", "ad-click"), ("operator", "sink.counts")], 1_904.0),
        ("weir_sink_transactions_total", &[("job_id", "ad-click"), ("operator", "sink.raw")], 0.0),
        ("weir_sink_commit_duration_seconds_total", &[("job_id", "ad-click"), ("operator", "sink.counts")], 80.168),
        ("weir_sink_last_commit_duration_seconds", &[("job_id", "ad-click"), ("operator", "sink.counts")], 0.0412),
        ("weir_sink_longest_commit_duration_seconds", &[("job_id", "ad-click"), ("operator", "sink.counts")], 0.312),
        (
            "weir_operator_counted_total",
            &[("job_id", "ad-click"), ("operator", "dedup.unique"), ("counter", "duplicates")],
            60_120_881.0,
        ),
        (
            "weir_subtask_busy_ratio",
            &[("job_id", "ad-click"), ("task", "1"), ("subtask", "0"), ("worker", "w-1f3a90")],
            0.81,
        ),
        ("weir_worker_slots_free", &[("worker", "w-b0d518")], 4.0),
        ("weir_worker_heartbeat_age_seconds", &[("worker", "w-b0d518")], 48.3),
        ("weir_worker_state", &[("worker", "w-b0d518"), ("state", "lost")], 1.0),
    ] {
        assert_eq!(of(&samples, name, labels), Some(expected), "{name} {labels:?}");
    }
}

#[tokio::test]
async fn a_watermark_that_is_not_there_or_at_its_end_has_no_lag() {
    let samples = parse(&text(&registry(Arc::new(fixture::snapshot()))).unwrap()).unwrap();
    for job in ["talkingdata", "backfill-2025-10"] {
        let labels = [("job_id", job), ("operator", "source.clicks")];
        assert_eq!(of(&samples, "weir_operator_watermark_lag_seconds", &labels), None, "{job}");
        assert_eq!(of(&samples, "weir_operator_records_in_total", &labels), Some(0.0), "{job}");
    }
}

#[test]
fn hostile_names_stay_within_their_quotes() {
    let samples = parse(&text(&registry(Arc::new(fixture::hostile_snapshot()))).unwrap()).unwrap();
    assert_eq!(of(&samples, "weir_job_restarts_total", &[("job_id", fixture::HOSTILE)]), Some(2.0));
}

#[test]
fn an_empty_cluster_has_metrics_too() {
    let samples = parse(&text(&registry(Arc::new(Snapshot::default()))).unwrap()).unwrap();
    assert_eq!(of(&samples, "weir_jobs", &[("state", "RUNNING")]), Some(0.0));
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let good = "# HELP a_bytes Words.\n# TYPE a_bytes counter\na_bytes_total{x=\"1\"} 3\n# EOF\n";
    parse(good).unwrap();
    for (right, wrong) in [
        ("a_bytes_total", "a_bytes"),
        ("counter", "countre"),
        ("x=\"1\"", "x=\"1"),
        ("x=\"1\"", "x=\"1\",x=\"2\""),
        (" 3", " three"),
        (" 3", " -3"),
        ("# EOF\n", ""),
        ("# TYPE a_bytes counter\n", ""),
    ] {
        assert!(parse(&good.replacen(right, wrong, 1)).is_err(), "{wrong}");
    }
}
