//! A folder to work in as a user would, the real binary to work with, and the truth read back from its results.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod own_program;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int32Type,
    util::display::{ArrayFormatter, FormatOptions},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// How long anything may take before a test gives up. Generous: test machines are slow and shared.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with the repository's `jobs` in it.
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let jobs = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs")).expect("the folder jobs");
        std::os::unix::fs::symlink(jobs, folder.path().join("jobs")).expect("a link to jobs");
        Workplace { folder }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// `weir` with these arguments, in this folder.
    pub fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        command.env_remove("WEIR_LOG").env_remove("WEIR_CRASH_AT");
        command
    }

    /// Runs it to its end.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.weir(arguments).output().expect("weir can be started")
    }

    /// Runs it, which must succeed, and takes what it printed.
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "weir {arguments:?}: {}\n{}", output.status, complaint(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same, with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("weir {arguments:?}: {error}: {printed}"))
    }

    /// Runs it, which must fail with this code, and takes its complaint.
    pub fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(code), "weir {arguments:?}: {}", complaint(&output));
        complaint(&output)
    }

    /// Starts it, its output for the taking.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.weir(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("weir can be started")
    }

    /// Waits until the newest checkpoint of the ad-click job says that so many events came in.
    pub fn wait_for_events(&self, data_dir: &str, events: u64) {
        let mut seen = None;
        wait_until(&format!("{events} events in a checkpoint (seen: {seen:?})"), || {
            let output = self.output(&["checkpoint", "inspect", "--data-dir", data_dir, "--job", "ad-click", "--json"]);
            let manifest: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            seen = manifest.map(|manifest| counter(&manifest, "events_in"));
            seen.is_some_and(|seen| seen >= events)
        });
    }

    /// The counts of a folder of results.
    pub fn counts(&self, folder: &str) -> Counts {
        Counts::read(&self.path(folder))
    }
}

/// The sum of a counter over all operators of a manifest.
pub fn counter(manifest: &Value, name: &str) -> u64 {
    let operators = manifest["operators"].as_array().into_iter().flatten();
    let subtasks = operators.flat_map(|operator| operator["subtasks"].as_array().into_iter().flatten());
    subtasks.filter_map(|subtask| subtask["counters"][name].as_u64()).sum()
}

pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a signal by its name.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill can be started");
    assert!(sent.success(), "signal {name} to {}", child.id());
}

#[allow(clippy::disallowed_methods, reason = "tests of real processes wait in real time")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[allow(clippy::disallowed_methods, reason = "tests of real processes wait in real time")]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        pause(Duration::from_millis(30));
    }
}

/// Counts as a consumer takes them: of each record the highest revision, unless that one is withdrawn.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<String, String>);

impl Counts {
    /// Reads all files, and checks the contract: no (record, revision) twice.
    pub fn read(folder: &Path) -> Self {
        let mut newest: BTreeMap<String, (i32, Option<String>)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for batch in rows(folder) {
            let ids = batch.column_by_name("record_id").expect("record_id").as_fixed_size_binary();
            let revisions = batch.column_by_name("revision").expect("revision").as_primitive::<Int32Type>();
            for row in 0..batch.num_rows() {
                let id: String = ids.value(row).iter().map(|byte| format!("{byte:02x}")).collect();
                let revision = revisions.value(row);
                assert!(seen.insert((id.clone(), revision)), "record {id} revision {revision} is there twice");
                let withdrawn =
                    batch.column_by_name("withdrawn").is_some_and(|withdrawn| withdrawn.as_boolean().value(row));
                let text = (!withdrawn).then(|| row_text(&batch, row));
                let held = newest.entry(id).or_insert((revision, text.clone()));
                if revision > held.0 {
                    *held = (revision, text);
                }
            }
        }
        Counts(newest.into_iter().filter_map(|(id, (_, text))| Some((id, text?))).collect())
    }
}

/// All columns of a row but its revision.
fn row_text(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default();
    let schema = batch.schema();
    let columns = schema.fields().iter().enumerate().filter(|(_, field)| field.name() != "revision");
    columns
        .map(|(index, field)| {
            let cell = ArrayFormatter::try_new(batch.column(index), &options).expect("a column that can be shown");
            format!("{}={} ", field.name(), cell.value(row))
        })
        .collect()
}

/// The rows of all committed files below a folder.
pub fn rows(folder: &Path) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "_staging" {
            batches.extend(rows(&path));
        } else if name.ends_with(".parquet") {
            let file = File::open(&path).expect("a committed file");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a whole Parquet file").build().unwrap();
            batches.extend(reader.map(|batch| batch.expect("a whole Parquet file")));
        }
    }
    batches
}

/// The `--set`s that point the ad-click job at a folder of clicks, and its results below another folder.
pub fn settings(clicks: &str, out: &str, more: &[&str]) -> Vec<String> {
    let mut settings = vec![format!("source.clicks.path={clicks}")];
    for sink in ["counts", "top_ads", "late", "dead_letters", "raw"] {
        settings.push(format!("sink.{sink}.path={out}/{sink}"));
    }
    settings.extend(more.iter().map(|one| (*one).to_string()));
    settings.into_iter().flat_map(|setting| ["--set".to_string(), setting]).collect()
}

/// The arguments of a run of the ad-click job.
pub fn ad_click(clicks: &str, out: &str, data_dir: &str, more: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["run", "jobs/ad_click.toml", "--data-dir", data_dir, "--quiet"].map(String::from).into();
    arguments.extend(settings(clicks, out, more));
    arguments
}

/// Borrowed, as the functions above want arguments.
pub fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
