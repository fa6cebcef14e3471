//! `max_drift`: a file that is far ahead waits for one that another subtask reads, on another worker.

use std::{collections::BTreeSet, fs, io::Write, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::Env,
    task::{RunOutcome, StopSignal},
};
use weir_jobs::{CompileOptions, parse};
use weir_local::{Settings, Submission, run};
use weir_operators::Registry;

const EVENTS: &str = r#"
[job]
name = "drift"
checkpoint = { interval = "20ms" }

[source.events]
connector = "files"
path = "FOLDER/in"
format = "json"
follow = true
poll = "5ms"
schema = { file = "string", at = "int" }
event_time = "to_timestamp_seconds(at)"
watermark = { max_drift = "1m" }

[sink.rows]
input = "events"
connector = "files"
format = "json"
roll = "checkpoint"
path = "FOLDER/out"
select = ["file", "at"]
"#;

const BEGIN: i64 = 1_646_352_000;

/// So many that both subtasks read some of them.
const FAST: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Adds rows to files, at seconds after the beginning.
fn write(folder: &Path, files: &[&str], seconds: &[i64]) {
    for file in files {
        let lines = seconds.iter().map(|at| format!("{{\"file\":\"{file}\",\"at\":{}}}\n", BEGIN + at));
        let path = folder.join("in").join(format!("{file}.json"));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(lines.collect::<String>().as_bytes()).unwrap();
    }
}

/// The rows that were committed, with their seconds.
fn committed(folder: &Path) -> BTreeSet<(String, i64)> {
    let mut found = BTreeSet::new();
    let Ok(entries) = folder.join("out").read_dir() else { return found };
    for path in
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
    {
        for line in fs::read_to_string(path).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            found.insert((row["file"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap() - BEGIN));
        }
    }
    found
}

/// Waits until these files' rows at this second are committed.
async fn come(folder: &Path, files: &[&str], second: i64) {
    let coming = async {
        loop {
            let committed = committed(folder);
            if files.iter().all(|file| committed.contains(&((*file).to_owned(), second))) {
                return;
            }
            Env::default().sleep(Duration::from_millis(10)).await;
        }
    };
    let come = tokio::time::timeout(Duration::from_secs(60), coming).await;
    come.unwrap_or_else(|_| panic!("{files:?} at {second}: {:?}", committed(folder)));
}

/// Files that are ten minutes ahead of a slow one are not read, until that one is near.
async fn ahead_and_let_in(folder: &Path) {
    let slow = ["slow"];
    come(folder, &FAST, 2).await;
    come(folder, &slow, 2).await;
    // From within the minute to beyond it; by then each has heard of the slow one.
    for second in [50, 300] {
        write(folder, &FAST, &[second]);
        come(folder, &FAST, second).await;
    }
    write(folder, &FAST, &[600]);
    for second in [10, 20, 30, 40] {
        write(folder, &slow, &[second]);
        come(folder, &slow, second).await;
    }
    let early: Vec<_> = committed(folder).into_iter().filter(|(_, second)| *second == 600).collect();
    assert!(early.is_empty(), "{early:?} came before the slow one was near");
    write(folder, &slow, &[550]);
    come(folder, &FAST, 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_file_waits_for_a_slow_one_of_another_subtask() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    write(folder.path(), &FAST, &[0, 1, 2]);
    write(folder.path(), &["slow"], &[0, 1, 2]);
    let definition = EVENTS.replace("FOLDER", &folder.path().display().to_string());
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = parse("drift.toml", &definition, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    let url = format!("file://{}", folder.path().join("checkpoints").display());
    let store = CheckpointStore::open(&url, &job.graph.name).unwrap();
    let settings = Settings::new(job.graph, store, Env::default(), Arc::new(Registry));
    let settings = Settings { workers: NonZeroUsize::new(2).unwrap(), ..settings };
    let stop = StopSignal::default();
    let testing = async {
        ahead_and_let_in(folder.path()).await;
        stop.stop();
    };
    let (outcome, ()) = tokio::join!(run(settings, Submission::new("test"), stop.clone()), testing);
    let _: RunOutcome = outcome.unwrap();
}
