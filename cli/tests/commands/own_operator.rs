//! A program of another crate, with an operator, a source and a sink of its own: checked, explained, run, killed, and run by a cluster
//! of such programs.

use crate::support::{
    Workplace, complaint,
    own_program::{CRATE, program, root},
    wait_until,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn own(place: &Workplace, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.current_dir(place.path("")).args(arguments).stdin(Stdio::null());
    command.env_remove("WEIR_LOG").env_remove("WEIR_CRASH_AT");
    command
}

fn output(place: &Workplace, arguments: &[&str]) -> Output {
    own(place, arguments).output().expect("the program can be started")
}

fn done(place: &Workplace, arguments: &[&str]) -> String {
    let output = output(place, arguments);
    assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

const JOB: &str = "jobs/examples/own_operator/pauses.toml";

/// What the sink has written, which must hold no row twice.
fn pauses(folder: &Path) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        for line in fs::read_to_string(&file).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            assert!(row["seconds"].as_f64().unwrap() >= 300.0, "{row}");
            assert!(rows.insert(line.to_owned()), "{line} twice, the second time in {}", file.display());
        }
    }
    rows
}

/// Recounted here: three of each sensor are longer than five minutes, those of 361, 481 and 601 seconds.
fn check(rows: &BTreeSet<String>) {
    let of = |seconds: f64| {
        let is_so = |row: &&String| serde_json::from_str::<Value>(row).unwrap()["seconds"] == seconds;
        rows.iter().filter(is_so).count()
    };
    assert_eq!((rows.len(), of(361.0), of(481.0), of(601.0)), (12, 4, 4, 4), "{rows:#?}");
}

#[test]
fn it_is_a_crate_outside_of_the_workspace() {
    let manifest = root().join(CRATE).join("Cargo.toml");
    let located = Command::new(env!("CARGO"))
        .args(["locate-project", "--workspace", "--message-format", "plain", "--manifest-path"])
        .arg(&manifest)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&located.stdout).trim(),
        manifest.display().to_string(),
        "{}",
        complaint(&located)
    );
    let formatted =
        Command::new(env!("CARGO")).args(["fmt", "--check", "--manifest-path"]).arg(&manifest).output().unwrap();
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stdout));
}

#[test]
fn its_own_nodes_are_checked_and_explained_like_any_others() {
    let place = Workplace::new();
    let told = done(&place, &["explain", JOB]);
    for part in [
        "source.readings",
        "3600 readings of each of 4 sensors",
        "pauses: sensor silent for 5m to 1d, up to 1m late",
        "the last event of each key",
        "late: 1m or more behind",
        "lines of JSON in out/pauses",
    ] {
        assert!(told.contains(part), "'{part}' is not in\n{told}");
    }
    let refused = |set: &str| {
        let output = output(&place, &["explain", JOB, "--set", set]);
        assert_eq!(output.status.code(), Some(2), "{set}");
        complaint(&output)
    };
    let told = refused("operator.pauses.kind=pause");
    assert!(told.contains("there is no kind called `pause`") && told.contains("did you mean `pauses`"), "{told}");
    let told = refused("operator.pauses.key=[\"senser\"]");
    assert!(told.contains("there is no column `senser`"), "{told}");
    let told = refused("operator.pauses.at_most=1m");
    assert!(told.contains("at least 300000 ms"), "{told}");
    let told = refused("operator.pauses.shorter_than=1m");
    assert!(told.contains("the key `shorter_than` is unknown"), "{told}");
    // What is no part of plain `weir` is not known there.
    let plain = place.refused(&["explain", JOB], 2);
    assert!(plain.contains("there is no connector called `readings`"), "{plain}");
}

#[test]
fn it_runs_at_any_parallelism_and_through_crashes() {
    let place = Workplace::new();
    let mut all = Vec::new();
    for (parallelism, workers) in [("1", "1"), ("3", "2")] {
        let path = format!("sink.lines.path=out{parallelism}");
        let data = format!("data{parallelism}");
        let arguments =
            ["run", JOB, "--parallelism", parallelism, "--workers", workers, "--set", &path, "--data-dir", &data];
        let summary: Value =
            serde_json::from_str(&done(&place, &[&arguments[..], &["--json", "--quiet"]].concat())).unwrap();
        assert_eq!(summary["events_in"], 4 * 3600, "{summary}");
        all.push(pauses(&place.path(&format!("out{parallelism}"))));
    }
    check(&all[0]);
    assert_eq!(all[0], all[1]);
    for point in ["manifest.created", "source.opened", "commit.marked"] {
        let _ = fs::remove_dir_all(place.path("out"));
        let run = ["run", JOB, "--fresh", "--parallelism", "2", "--set", "job.checkpoint.interval=5ms", "--quiet"];
        let killed = own(&place, &run).env("WEIR_CRASH_AT", point).output().unwrap();
        let resume = ["run", JOB, "--parallelism", "4", "--set", "job.checkpoint.interval=5ms", "--quiet"];
        assert!(!killed.status.success(), "{point} is never reached");
        done(&place, &resume);
        assert_eq!(pauses(&place.path("out/pauses")), all[0], "killed at {point}");
    }
}

#[test]
fn a_change_of_what_its_state_means_is_refused() {
    let place = Workplace::new();
    let killed = own(&place, &["run", JOB, "--quiet"]).env("WEIR_CRASH_AT", "manifest.created").output().unwrap();
    assert!(!killed.status.success());
    let output = output(&place, &["run", JOB, "--quiet", "--set", "operator.pauses.at_most=2h"]);
    let told = complaint(&output);
    assert!(!output.status.success() && told.contains("`at_most_ms` of `operator.pauses` was 86400000"), "{told}");
}

/// A process of a cluster, which ends with the test.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_cluster_of_such_programs_runs_it_and_confines_it() {
    let place = Workplace::new();
    let allowed = place.path("out").display().to_string();
    let ports = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", "cluster"];
    let mut coordinator = own(&place, &[&["coordinator", "--allow-path", &allowed], &ports[..]].concat());
    let mut coordinator = Member(coordinator.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(coordinator.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next()).expect(&line).to_owned();
    let worker = ["worker", "--coordinator", &address, "--slots", "2", "--allow-path", &allowed];
    let worker = || Member(own(&place, &worker).spawn().unwrap());
    let _workers = [worker(), worker()];
    let submit = |folder: &str| {
        let set = format!("sink.lines.path={}", place.path(folder).display());
        output(&place, &["submit", JOB, "--coordinator", &address, "--parallelism", "4", "--set", &set])
    };
    // What its sink writes to, the sink says itself.
    let told = complaint(&submit("elsewhere"));
    assert!(told.contains("'sink.lines' may not use `path`") && told.contains("--allow-path"), "{told}");
    let submitted = submit("out/pauses");
    assert_eq!(String::from_utf8_lossy(&submitted.stdout).trim(), "pauses", "{}", complaint(&submitted));
    wait_until("the job to end", || {
        let status = done(&place, &["status", "pauses", "--coordinator", &address, "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_ne!(status["state"], "FAILED", "{status}");
        status["state"] == "FINISHED"
    });
    check(&pauses(&place.path("out/pauses")));
}
