//! `weir checkpoint` on the checkpoints of a real run.

mod support;

use std::fs;
use support::{Workplace, ad_click, borrowed};

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
    for word in ["dedup.unique", "source.clicks", "split", "every checksum is right"] {
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
    let file = format!("/{path}");
    let mut content = fs::read(&file).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&file, content).unwrap();
    let told = place.refused(&["checkpoint", "inspect", &number, "--data-dir", "data", "--verify"], 1);
    assert!(told.contains(path) && told.contains("damaged"), "{told}");
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
