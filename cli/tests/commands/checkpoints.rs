//! `weir checkpoint` on the checkpoints of a real run.

use crate::support::{Workplace, ad_click, borrowed, complaint, signal, wait_until};
use serde_json::Value;
use std::{fs, io::Write, path::Path};

/// A finished job of which all checkpoints are kept, and the number of one with state.
fn with_checkpoints() -> (Workplace, String) {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "30000", "--quiet"]);
    let often = ["job.checkpoint.interval=20ms", "job.checkpoint.retain=1000"];
    place.json(&borrowed(&ad_click("clicks", "out", "data", &often)));
    let listed = place.json(&["checkpoint", "list", "--data-dir", "data"]);
    let with_state = listed["ad-click"].as_array().unwrap().iter().find(|one| one["files"].as_u64() > Some(0));
    let number = with_state.expect("a checkpoint with state")["checkpoint"].to_string();
    (place, number)
}

#[test]
fn what_is_there_is_listed_and_shown() {
    let (place, number) = with_checkpoints();
    let listed = place.done(&["checkpoint", "list", "--data-dir", "data"]);
    assert!(listed.contains("ad-click") && listed.contains("last, committed"), "{listed}");
    let listed = place.json(&["checkpoint", "list", "--data-dir", "data"]);
    let listed = listed["ad-click"].as_array().unwrap();
    let last = listed.last().unwrap();
    assert!(last["last"] == true && last["committed"] == true && last["bytes"].as_u64() >= last["new_bytes"].as_u64());

    let shown = place.done(&["checkpoint", "inspect", &number, "--data-dir", "data", "--verify"]);
    for word in ["dedup.unique", "source.clicks", "split", "all checksums match"] {
        assert!(shown.contains(word), "'{word}' is missing in:\n{shown}");
    }
    let manifest = place.json(&["checkpoint", "inspect", &number, "--data-dir", "data"]);
    assert_eq!(manifest["checkpoint"].to_string(), number);
    // By its storage instead of its data dir.
    let storage = place.path("data/storage").display().to_string();
    assert_eq!(place.json(&["checkpoint", "inspect", &number, "--storage", &storage]), manifest);
}

#[test]
fn damage_is_found_and_named() {
    let (place, number) = with_checkpoints();
    let manifest = place.json(&["checkpoint", "inspect", &number, "--data-dir", "data"]);
    let subtasks = manifest["operators"].as_array().unwrap().iter().flat_map(|one| one["subtasks"].as_array().unwrap());
    let files = subtasks.filter_map(|subtask| subtask["files"].as_array()).flatten();
    let path = files.filter_map(|file| file["path"].as_str()).next().expect("a state file");
    let file = place.path("data/storage").join(path);
    let mut content = fs::read(&file).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&file, content).unwrap();
    let told = place.refused(&["checkpoint", "inspect", &number, "--data-dir", "data", "--verify"], 1);
    assert!(told.contains(path) && told.contains("damaged"), "{told}");
}

/// Everything in a folder to another place, as `cp -r` does it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_copy_is_read_and_gone_on_from_where_it_is() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "300000", "--quiet"]);
    let often = ["job.checkpoint.interval=20ms", "source.clicks.batch_rows=200"];
    let run = ad_click("clicks", "out", "data", &often);
    // The newest checkpoint is complete, and nothing of it is committed yet.
    let killed = place.weir(&borrowed(&run)).env("WEIR_CRASH_AT", "commit.started:2").output().unwrap();
    assert!(!killed.status.success());
    let told = place.done(&["checkpoint", "export", "ad-click", "--to", "backup", "--data-dir", "data"]);
    assert!(told.contains("all checksums match") && told.contains("--storage backup"), "{told}");
    let refused = place.refused(&["checkpoint", "export", "ad-click", "--to", "backup", "--data-dir", "data"], 2);
    assert!(refused.contains("backup/jobs/ad-click"), "{refused}");
    copy(&place.path("data/storage"), &place.path("moved/storage"));
    copy(&place.path("out"), &place.path("out-then"));
    let finished = place.json(&borrowed(&run));
    let counts = place.counts("out/counts");
    fs::remove_dir_all(place.path("data")).unwrap();

    // Neither reads anything of the original.
    let verified = place.json(&["checkpoint", "inspect", "--verify", "--storage", "backup"]);
    assert!(verified["verified_files"].as_u64() > Some(0), "{verified}");
    place.done(&["checkpoint", "inspect", "--verify", "--data-dir", "moved"]);

    // The results are those of the end, and both copies are older.
    let mut restored = run.clone();
    restored.extend(["--storage".into(), "backup".into()]);
    let refused = place.refused(&borrowed(&restored), 2);
    for word in ["has results up to checkpoint", "are newer", "--fresh"] {
        assert!(refused.contains(word), "'{word}' is missing in: {refused}");
    }
    let moved = ad_click("clicks", "out", "moved", &often);
    let refused = place.refused(&borrowed(&moved), 2);
    assert!(refused.contains("are newer"), "{refused}");

    // With the results of that time it goes on, and comes to the same end: what was refused has committed nothing.
    fs::remove_dir_all(place.path("out")).unwrap();
    fs::rename(place.path("out-then"), place.path("out")).unwrap();
    let again = place.json(&borrowed(&moved));
    assert!(again["restored_from"].as_u64() > Some(0), "{again}");
    assert_eq!((&again["events_in"], place.counts("out/counts")), (&finished["events_in"], counts));
}

#[test]
fn a_results_folder_has_one_job_until_it_is_started_afresh() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "3000", "--quiet"]);
    place.json(&borrowed(&ad_click("clicks", "out", "data", &[])));
    let counts = place.counts("out/counts");
    let elsewhere = ad_click("clicks", "out", "other", &[]);
    let refused = place.refused(&borrowed(&elsewhere), 2);
    assert!(refused.contains("out/") && refused.contains("another run") && refused.contains("--fresh"), "{refused}");
    let mut afresh = elsewhere.clone();
    afresh.push("--fresh".into());
    for _ in 0..2 {
        let summary = place.json(&borrowed(&afresh));
        assert!(summary["restored_from"].is_null(), "{summary}");
        assert_eq!(place.counts("out/counts"), counts);
    }
    // Who had it before is told.
    let refused = place.refused(&borrowed(&ad_click("clicks", "out", "data", &[])), 2);
    assert!(refused.contains("another run"), "{refused}");
    let mut renamed = ad_click("clicks", "out", "data", &["job.name=other"]);
    renamed.push("--fresh".into());
    // It had begun to start over.
    let refused = place.refused(&borrowed(&renamed), 1);
    assert!(refused.contains("job 'ad-click'"), "{refused}");
}

#[test]
fn what_is_not_there_is_said_and_nothing_is_made() {
    let place = Workplace::new();
    let told = place.refused(&["checkpoint", "list", "--data-dir", "nowhere"], 2);
    assert!(told.contains("nowhere") && !place.path("nowhere").exists(), "{told}");
    let (place, _) = with_checkpoints();
    let told = place.refused(&["checkpoint", "inspect", "999999", "--data-dir", "data"], 2);
    assert!(told.contains("there are"), "{told}");
    place.refused(&["checkpoint", "inspect", "--data-dir", "data", "--job", "another"], 2);
}

/// The source's positions in a checkpoint that lie in files of their own.
fn split_files(manifest: &Value) -> usize {
    let operators = manifest["operators"].as_array().into_iter().flatten();
    let sources = operators.filter(|operator| operator["operator"] == "source.clicks");
    let subtasks = sources.flat_map(|source| source["subtasks"].as_array().into_iter().flatten());
    subtasks.filter_map(|subtask| subtask["split_files"].as_array()).map(Vec::len).sum()
}

#[test]
fn positions_in_files_at_rest_are_referred_to_and_gone_on_from() {
    let place = Workplace::new();
    place.done(&["generate", "clicks", "--events", "4000", "--partitions", "400", "--quiet"]);
    let mut run = ad_click("clicks", "out", "data", &["source.clicks.follow=true", "job.checkpoint.interval=50ms"]);
    run.extend(["--parallelism", "1", "--json"].map(String::from));
    let inspect = ["checkpoint", "inspect", "--data-dir", "data"];
    let child = place.start(&borrowed(&run));
    place.wait_for_events("data", 4000);
    wait_until("positions that a checkpoint refers to", || {
        // The newest may retire before it is read.
        let output = place.output(&[&inspect[..], &["--json"]].concat());
        serde_json::from_slice(&output.stdout).is_ok_and(|manifest| split_files(&manifest) > 0)
    });
    signal(&child, "INT");
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(0), "{}", complaint(&stopped));

    let manifest = place.json(&inspect);
    assert!(split_files(&manifest) > 0, "{manifest}");
    let shown = place.done(&[&inspect[..], &["--verify"]].concat());
    assert_eq!(shown.matches(": split ").count(), 400, "{shown}");
    assert!(shown.contains("all checksums match"), "{shown}");

    let log = place.path("clicks/part-0000.log");
    let more = fs::read_to_string(&log).unwrap().lines().last().expect("a click").to_owned();
    writeln!(fs::File::options().append(true).open(&log).unwrap(), "{more}").unwrap();
    let child = place.start(&borrowed(&run));
    place.wait_for_events("data", 4001);
    signal(&child, "INT");
    let stopped = child.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(summary["this_run"]["events"], 1, "what was read before is not read again: {summary}");
}
