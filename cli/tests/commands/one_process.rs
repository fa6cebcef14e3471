//! `weir run` is a coordinator and its workers in one process: the same results, whatever of them there is and wherever the
//! process dies.

use crate::support::{Workplace, ad_click, borrowed, complaint, pause, signal, wait_until};
use serde_json::Value;
use std::{fs, time::Duration};

const CLASSES: [&str; 5] = ["events_in", "duplicates", "late", "filtered_out", "dead_letters"];

/// The arguments of a run of the ad-click job with so many workers.
fn with_workers(workers: &str, clicks: &str, out: &str, data_dir: &str, more: &[&str]) -> Vec<String> {
    let mut arguments = ad_click(clicks, out, data_dir, more);
    arguments.extend(["--parallelism", "2", "--workers", workers].map(String::from));
    arguments
}

#[test]
fn two_workers_give_the_results_of_one() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "20000", "--ads", "300", "--broken-share", "0.001", "--quiet"]);
    let often = ["job.checkpoint.interval=50ms"];
    let one = place.json(&borrowed(&with_workers("1", "clicks", "one", "one-data", &often)));
    let two = with_workers("2", "clicks", "two", "two-data", &often);
    let mut command = place.weir(&[&borrowed(&two)[..], &["--json", "--log", "info"]].concat());
    let output = command.output().unwrap();
    let (two, logs): (Value, String) = (serde_json::from_slice(&output.stdout).unwrap(), complaint(&output));
    for class in CLASSES {
        assert_eq!(one[class], two[class], "{class}");
    }
    assert_eq!(place.counts("one/counts"), place.counts("two/counts"));

    let subtasks = |summary: &Value| summary["this_run"]["subtasks"].as_object().unwrap().clone();
    assert_eq!(subtasks(&one).keys().collect::<Vec<_>>(), ["worker-1"]);
    assert_eq!(subtasks(&two).keys().collect::<Vec<_>>(), ["worker-1", "worker-2"]);
    for told in ["coordinator leads", "worker registered", "job changes state"] {
        assert!(logs.contains(told), "'{told}' in the logs: {logs}");
    }
    assert!(!logs.contains("worker lost"), "the end of a run is no loss: {logs}");
}

/// The points that only a coordinator and a worker pass, and some that all do.
#[test]
fn a_kill_at_a_point_of_coordinator_or_worker_changes_nothing() {
    let place = Workplace::new();
    let often = ["job.checkpoint.interval=20ms"];
    place.json(&borrowed(&ad_click("jobs/data/clicks", "calm", "calm-data", &often)));
    let truth = place.counts("calm/counts");
    let points = [
        ("1", "attempt.claimed"),
        ("2", "worker.deployed:2"),
        ("1", "attempt.deployed"),
        ("2", "source.batch:3"),
        ("1", "manifest.created:1"),
        ("2", "manifest.recorded:1"),
        ("1", "commit.executed:1"),
        ("2", "commit.executed:1"),
        ("1", "run.committed:1"),
    ];
    for (number, (workers, point)) in points.into_iter().enumerate() {
        let (out, data) = (format!("out{number}"), format!("data{number}"));
        let arguments = with_workers(workers, "jobs/data/clicks", &out, &data, &often);
        let crashed = place.weir(&borrowed(&arguments)).env("WEIR_CRASH_AT", point).output().unwrap();
        assert_eq!(crashed.status.code(), None, "{point}: it must die, not end: {}", complaint(&crashed));
        // Whoever comes next may have another number of workers.
        let other = if workers == "1" { "2" } else { "1" };
        place.json(&borrowed(&with_workers(other, "jobs/data/clicks", &out, &data, &often)));
        assert_eq!(place.counts(&format!("{out}/counts")), truth, "{point}");
    }
}

/// A laptop that was closed: none of the parts was silent, for none was there to hear it.
#[test]
fn a_job_that_was_suspended_goes_on() {
    let place = Workplace::new();
    place.done(&["generate", "all", "--events", "4000", "--partitions", "1", "--ads", "50", "--quiet"]);
    let lines = fs::read_to_string(place.path("all/part-0000.log")).unwrap();
    let half = lines.lines().take(2000).map(|line| format!("{line}\n")).collect::<String>();
    fs::create_dir(place.path("clicks")).unwrap();
    fs::write(place.path("clicks/server.log"), &half).unwrap();
    let follow = ["source.clicks.follow=true", "job.checkpoint.interval=50ms"];
    let mut arguments = with_workers("2", "clicks", "out", "data", &follow);
    arguments.push("--json".into());
    let child = place.start(&borrowed(&arguments));
    place.wait_for_events("data", 2000);
    signal(&child, "STOP");
    fs::write(place.path("clicks/server.log"), &lines).unwrap();
    // Longer than a worker in a cluster, a connection between two or a leader may be silent.
    pause(Duration::from_millis(3500));
    signal(&child, "CONT");
    place.wait_for_events("data", 4000);
    signal(&child, "INT");
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(0), "{}", complaint(&stopped));
    let summary: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!((&summary["status"], &summary["events_in"]), (&"stopped".into(), &4000.into()));
    assert_eq!((&summary["attempt"], &summary["this_run"]["restarts"]), (&1.into(), &0.into()));
}

#[test]
fn a_job_begins_again_as_often_as_it_may() {
    let place = Workplace::new();
    // A file where a folder is needed: the sink is refused until somebody removes it.
    fs::write(place.path("blocked"), "").unwrap();
    let mut arguments = ad_click("jobs/data/clicks", "blocked", "data", &[]);
    let told = place.refused(&borrowed(&arguments), 1);
    assert!(told.contains("blocked") && !told.contains("in a row"), "the failure itself: {told}");

    arguments.extend(["--restarts", "30", "--json"].map(String::from));
    let child = place.start(&borrowed(&arguments));
    wait_until("some attempts", || {
        fs::read_dir(place.path("data/storage/jobs/ad-click/attempts")).is_ok_and(|attempts| attempts.count() > 3)
    });
    fs::remove_file(place.path("blocked")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "finished");
    assert!(summary["this_run"]["restarts"].as_u64() > Some(0), "{summary}");
    assert!(!place.counts("blocked/counts").0.is_empty());
}
