//! `weir checkpoint`: lists, inspects and exports checkpoints; never changes them.

use crate::{
    data_dir::{self, storage_url},
    failure::Failure,
    run, runtime, text,
};
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use object_store::path::Path;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use weir_engine::{
    checkpoint::{
        CheckpointStore, Manifest, committed,
        export::{self, Exported},
        layout::Layout,
        manifest::{FileRef, OperatorState, SubtaskState, checksum},
        pins,
        savepoint::url_of,
        split_files,
    },
    ids::CheckpointId,
};
use weir_operators::source::packs::unpack;
use weir_recalculation::replay::is_replay;

/// What to look at.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// List the checkpoints
    List(ListArguments),
    /// Show what a checkpoint consists of
    Inspect(InspectArguments),
    /// Copy a job's newest checkpoint to another place, verified, as a backup to restore from
    Export(ExportArguments),
}

/// Where jobs keep their checkpoints.
#[derive(Debug, Args)]
struct PlaceArguments {
    /// The data dir that the jobs ran with
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
    /// The storage that the jobs ran with, if it was not in the data dir
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

/// Which checkpoints.
#[derive(Debug, Args)]
struct StoreArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `weir checkpoint list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    store: StoreArguments,
}

/// Arguments of `weir checkpoint inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// The number of the checkpoint [default: the newest]
    #[arg(value_name = "N")]
    checkpoint: Option<u64>,
    #[command(flatten)]
    store: StoreArguments,
    /// Read every file and compare its checksum
    #[arg(long)]
    verify: bool,
}

/// Arguments of `weir checkpoint export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// Destination: a folder, or a URL with file:// or s3://; to restore, pass it as --storage
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    place: PlaceArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a command on checkpoints.
pub fn checkpoint(command: &CheckpointCommand) -> Result<(), Failure> {
    let runtime = runtime()?;
    let shown = runtime.block_on(async {
        match command {
            CheckpointCommand::List(arguments) => list(&arguments.store).await,
            CheckpointCommand::Inspect(arguments) => inspect(arguments).await,
            CheckpointCommand::Export(arguments) => export(arguments).await,
        }
    })?;
    text::print(&shown)
}

impl PlaceArguments {
    fn url(&self) -> Result<String, Failure> {
        // Looking must not make folders: opening a store does.
        if self.storage.is_none() && !self.data_dir.join("storage").is_dir() {
            return Err(Failure::refused(format!(
                "there are no checkpoints in '{}'; pass the --data-dir or --storage that the job ran with",
                self.data_dir.display()
            )));
        }
        storage_url(self.storage.as_deref(), &self.data_dir)
    }
}

impl StoreArguments {
    /// The stores of the jobs that are asked for, by name.
    async fn jobs(&self) -> Result<BTreeMap<String, CheckpointStore>, Failure> {
        let url = self.place.url()?;
        let names = match &self.job {
            Some(job) => BTreeSet::from([job.clone()]),
            None => job_names(&url).await?,
        };
        let open = |name: String| Ok((name.clone(), CheckpointStore::open(&url, &name)?));
        names.into_iter().map(open).collect()
    }

    /// The store of the one job that is meant.
    async fn one_job(&self) -> Result<(String, CheckpointStore), Failure> {
        let jobs = self.jobs().await?;
        let names = jobs.keys().cloned().collect::<Vec<_>>().join(", ");
        match (jobs.len(), jobs.into_iter().next()) {
            (1, Some(job)) => Ok(job),
            (0, _) | (_, None) => Err(Failure::refused("there are no checkpoints")),
            _ => Err(Failure::refused(format!("there are several jobs: choose one with --job ({names})"))),
        }
    }
}

/// The jobs that have anything in a store: the first part of each path below `jobs/`. Of a replay that is over only the claims of
/// its attempts are left, and nobody wants to look at those.
async fn job_names(url: &str) -> Result<BTreeSet<String>, Failure> {
    let store = CheckpointStore::open(url, "any")?;
    let jobs = Layout::jobs();
    let paths = store.list(&jobs).await?;
    let name = |path: &Path| {
        let name = path.prefix_match(&jobs)?.next()?.as_ref().to_string();
        let is_over = is_replay(&name) && path.prefix_matches(&Layout::new(&name).attempts());
        (!is_over).then_some(name)
    };
    Ok(paths.iter().filter_map(name).collect())
}

/// A checkpoint as a line of the list.
struct Listed {
    manifest: Manifest,
    committed: bool,
    /// It is a savepoint: its URL.
    savepoint: Option<String>,
}

async fn list(arguments: &StoreArguments) -> Result<String, Failure> {
    let mut jobs = BTreeMap::new();
    for (name, store) in arguments.jobs().await? {
        let (mut listed, store) = (Vec::new(), store.current().await?);
        let lineage = store.layout().lineage();
        let savepoints = pins::list(&store).await?;
        // Savepoints outlive start-overs.
        let mut all: BTreeSet<_> = savepoints.iter().copied().collect();
        all.extend(store.checkpoints().await?.into_iter().map(|number| (lineage, number)));
        for (lineage, number) in all {
            let store = store.clone().in_lineage(lineage);
            let manifest = match store.manifest(number).await {
                // A job that runs has retired it meanwhile.
                Err(_) if !store.exists(&store.layout().manifest(number)).await? => continue,
                manifest => manifest?,
            };
            let committed = committed::is_marked(&store, number, manifest.attempt).await?;
            let savepoint = savepoints.contains(&(lineage, number)).then(|| url_of(&store, lineage, number));
            listed.push(Listed { manifest, committed, savepoint });
        }
        jobs.insert(name, listed);
    }
    if arguments.json {
        let jobs: BTreeMap<&String, Vec<Value>> =
            jobs.iter().map(|(name, listed)| (name, listed.iter().map(Listed::as_json).collect())).collect();
        return Ok(format!("{}\n", json!(jobs)));
    }
    if jobs.values().all(Vec::is_empty) {
        return Ok("no checkpoints\n".into());
    }
    Ok(jobs.iter().map(|(name, listed)| format!("{name}\n{}\n", list_as_text(listed))).collect())
}

fn list_as_text(listed: &[Listed]) -> String {
    let header = ["checkpoint", "attempt", "completed", "took", "files", "size", "of it new", ""];
    let rows = listed.iter().map(|listed| {
        let manifest = &listed.manifest;
        let remark = match (manifest.last, listed.committed) {
            (true, true) => "last, committed",
            (true, false) => "last, not yet committed",
            (false, true) => "committed",
            (false, false) => "not yet committed",
        };
        let remark = match listed.savepoint {
            Some(_) => format!("{remark}, savepoint"),
            None => remark.into(),
        };
        let files = files(manifest);
        vec![
            manifest.checkpoint.to_string(),
            manifest.attempt.to_string(),
            text::moment(manifest.completed_at_ms),
            text::span(Duration::from_millis(manifest.duration_ms)),
            text::number(files.len() as u64),
            text::bytes(files.iter().map(|file| file.bytes).sum()),
            text::bytes(new_bytes(manifest)),
            remark,
        ]
    });
    table(&header, &[0, 1, 3, 4, 5, 6], rows)
}

impl Listed {
    fn as_json(&self) -> Value {
        let manifest = &self.manifest;
        let files = files(manifest);
        json!({
            "checkpoint": manifest.checkpoint,
            "attempt": manifest.attempt,
            "completed_at_ms": manifest.completed_at_ms,
            "duration_ms": manifest.duration_ms,
            "files": files.len(),
            "bytes": files.iter().map(|file| file.bytes).sum::<u64>(),
            "new_bytes": new_bytes(manifest),
            "last": manifest.last,
            "committed": self.committed,
            "savepoint": self.savepoint,
        })
    }
}

/// The files that a checkpoint refers to, each once.
fn files(manifest: &Manifest) -> BTreeSet<&FileRef> {
    manifest.files().collect()
}

/// Bytes that were written for this checkpoint: the rest was there already.
fn new_bytes(manifest: &Manifest) -> u64 {
    let number = |path: &str| path.rsplit('/').nth(1).and_then(|folder| folder.parse::<u64>().ok());
    let new = files(manifest).into_iter().filter(|file| number(&file.path) == Some(manifest.checkpoint.0));
    new.map(|file| file.bytes).sum()
}

async fn inspect(arguments: &InspectArguments) -> Result<String, Failure> {
    let (name, store) = arguments.store.one_job().await?;
    let there = store.checkpoints().await?;
    let number = match arguments.checkpoint.map(CheckpointId).or(there.last().copied()) {
        Some(number) if there.contains(&number) => number,
        None => return Err(Failure::refused(format!("job '{name}' has no checkpoints"))),
        Some(number) => {
            let kept = there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Failure::refused(format!("job '{name}' has no checkpoint {number}; there are: {kept}")));
        }
    };
    let manifest = store.manifest(number).await?;
    let verified = if arguments.verify { Some(verify(&store, &manifest).await?) } else { None };
    if arguments.store.json {
        let mut shown = json!(manifest);
        shown["verified_files"] = json!(verified);
        return Ok(format!("{shown}\n"));
    }
    let mut out = inspect_as_text(&manifest, &store).await?;
    if let Some(verified) = verified {
        out.push_str(&match verified {
            0 => "\nit has no state files, so there is nothing to verify\n".to_string(),
            files => format!("\n{}, all checksums match\n", text::count_of(files, "state file")),
        });
    }
    Ok(out)
}

/// Reads every file of a checkpoint and compares length and checksum; all that are wrong are named.
async fn verify(store: &CheckpointStore, manifest: &Manifest) -> Result<u64, Failure> {
    let mut wrong = Vec::new();
    let files = files(manifest);
    for file in &files {
        match store.read(&Path::from(file.path.as_str())).await {
            Ok(content) if checksum(&content) == file.checksum => {}
            Ok(content) => wrong.push(format!(
                "'{}' is damaged: {} and checksum {} instead of {} and {}",
                file.path,
                text::count_of(content.len() as u64, "byte"),
                checksum(&content),
                text::count_of(file.bytes, "byte"),
                file.checksum
            )),
            Err(error) => wrong.push(error.message),
        }
    }
    match wrong.is_empty() {
        true => Ok(files.len() as u64),
        false => Err(Failure::failed(format!("checkpoint {}:\n  {}", manifest.checkpoint, wrong.join("\n  ")))),
    }
}

async fn inspect_as_text(manifest: &Manifest, store: &CheckpointStore) -> Result<String, Failure> {
    let mut out = format!(
        "checkpoint {} of {}, attempt {}, completed {} after {}{}\n{}\n",
        manifest.checkpoint,
        manifest.job,
        manifest.attempt,
        text::moment(manifest.completed_at_ms),
        text::span(Duration::from_millis(manifest.duration_ms)),
        if manifest.last { ", the last one" } else { "" },
        place(store, manifest),
    );
    for operator in &manifest.operators {
        out.push_str(&operator_as_text(manifest, operator, store).await?);
    }
    let committables = manifest.to_commit().count();
    if committables > 0 {
        let mut sinks: BTreeMap<&str, u64> = BTreeMap::new();
        manifest.to_commit().for_each(|committable| *sinks.entry(&committable.sink).or_default() += 1);
        let sinks: Vec<String> = sinks.iter().map(|(sink, count)| format!("{sink} {count}")).collect();
        out.push_str(&format!("\nto commit with it: {}\n", sinks.join(", ")));
    }
    Ok(out)
}

/// Where the manifest lies, as something that can be opened.
fn place(store: &CheckpointStore, manifest: &Manifest) -> String {
    let layout = store.layout().clone().in_lineage(manifest.lineage);
    store.describe(&layout.manifest(manifest.checkpoint))
}

async fn operator_as_text(
    manifest: &Manifest,
    operator: &OperatorState,
    store: &CheckpointStore,
) -> Result<String, Failure> {
    let counters = manifest.counters(&operator.operator);
    let counters: Vec<String> = counters
        .iter()
        .filter(|(_, value)| **value > 0)
        .map(|(name, value)| format!("{name} {}", text::number(*value)))
        .collect();
    let mut out = format!("\n{}, {}\n", operator.operator, text::count_of(operator.subtasks.len() as u64, "subtask"));
    if !counters.is_empty() {
        out.push_str(&format!("  {}\n", counters.join(", ")));
    }
    for subtask in &operator.subtasks {
        out.push_str(&subtask_as_text(subtask, store).await?);
    }
    Ok(out)
}

async fn subtask_as_text(subtask: &SubtaskState, store: &CheckpointStore) -> Result<String, Failure> {
    let mut out = String::new();
    let stored = split_files::read(store, &run::environment()?, subtask).await?;
    let splits = unpack(stored.clone()).unwrap_or(stored);
    for split in &splits {
        out.push_str(&format!("  subtask {}: split {}: {}\n", subtask.subtask, split.id, split.state));
    }
    for segment in &subtask.segments {
        for part in &segment.parts {
            out.push_str(&format!(
                "  subtask {}: {}: {} ({}, {} from {})\n",
                subtask.subtask,
                segment.id,
                store.describe(&Path::from(part.file.path.as_str())),
                text::bytes(part.file.bytes),
                text::count_of(part.row_groups as u64, "row group"),
                part.first_row_group,
            ));
        }
    }
    Ok(out)
}

async fn export(arguments: &ExportArguments) -> Result<String, Failure> {
    let job = &arguments.job;
    let from = CheckpointStore::open(&arguments.place.url()?, job)?;
    if from.newest_attempt().await?.is_none() {
        return Err(Failure::refused(format!("there are no checkpoints of job '{job}' in '{}'", from.url())));
    }
    let url = storage_url(Some(&arguments.to), &arguments.place.data_dir)?;
    let to = CheckpointStore::open(&url, job)?;
    let Exported { manifest, files, bytes } = export::export(&from, &to, &run::environment()?).await?;
    if arguments.json {
        let shown = json!({
            "job": job,
            "checkpoint": manifest.checkpoint,
            "completed_at_ms": manifest.completed_at_ms,
            "files": files,
            "bytes": bytes,
            "storage": url,
        });
        return Ok(format!("{shown}\n"));
    }
    Ok(format!(
        "checkpoint {} of {job}, completed {}: {}, {}, all checksums match\nto restore it: weir run DEFINITION --storage {}\n",
        manifest.checkpoint,
        text::moment(manifest.completed_at_ms),
        text::count_of(files, "state file"),
        text::bytes(bytes),
        arguments.to,
    ))
}

fn table(header: &[&str], right: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
