//! What it costs to follow files that nobody writes to: processor time, memory, descriptors, and bytes of a manifest.
//!
//! The job is the shipped one. Every file has some clicks in it when the job starts and gets no more; when all are read and the
//! process works evenly, it is measured for a while. At the end it must have read every line.

use crate::{
    child,
    common::{Common, RunSettings},
    input,
    job::{self, RunningJob},
    running, weir,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path, time::Duration};

/// Subtasks of each task.
const PARALLELISM: usize = 2;
/// How long reading all files may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Files of a folder, as servers have folders of their own.
const FILES_A_FOLDER: usize = 100;

/// Arguments of `weir-bench followed`.
#[derive(Debug, Args)]
pub struct FollowedArguments {
    /// Files; several numbers are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "100,1000,10000")]
    files: Vec<usize>,
    /// Clicks in each
    #[arg(long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// How long each is measured
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    #[command(flatten)]
    run: RunSettings,
    #[command(flatten)]
    common: Common,
}

/// What was measured with so many files.
#[derive(Debug)]
struct Measured {
    files: usize,
    /// Seconds until the process worked evenly, and the processor seconds until then.
    settled: f64,
    cpu_until_settled: f64,
    /// Processor seconds a second since then.
    processors: f64,
    resident_bytes: u64,
    descriptors: usize,
    manifest_bytes: u64,
}

/// Measures, and prints what came of it.
pub fn followed(arguments: &FollowedArguments) -> Result<()> {
    let work = arguments.common.work()?;
    let binary = arguments.common.binary()?;
    let mut all = Vec::new();
    for files in &arguments.files {
        input::empty_folder(&work)?;
        all.push(measure(arguments, *files, &binary, &work)?);
    }
    input::empty_folder(&work)?;
    report(arguments, &all);
    Ok(())
}

fn measure(arguments: &FollowedArguments, files: usize, binary: &Path, work: &Path) -> Result<Measured> {
    write_logs(&work.join("clicks"), files, arguments.lines)?;
    let mut settings = job::outputs(&work.join("out"));
    settings.push(format!("source.clicks.path={}", work.join("clicks").display()));
    settings.push("source.clicks.follow=true".into());
    settings.extend(arguments.run.set.iter().cloned());
    let definition = weir::workspace().join("jobs/ad_click.toml");
    let mut job = RunningJob::start(binary, &definition, work, PARALLELISM, &settings)?;
    let pid = job.pid();
    let settled = running::settle(pid, PATIENCE, || job.check())?.as_secs_f64();
    let (begun, cpu_until_settled) = (child::now(), running::cpu_seconds(pid)?);
    child::pause(Duration::from_secs(arguments.seconds));
    job.check()?;
    let used = running::cpu_seconds(pid)? - cpu_until_settled;
    let processors = used / (child::now() - begun).as_secs_f64();
    let (resident_bytes, descriptors) = (running::resident_bytes(pid)?, running::descriptors(pid)?);
    let manifest = job::newest_manifest(&work.join("data/storage"), "ad-click")?.context("no checkpoint")?;
    let summary = job.end()?;
    let lines = (files * arguments.lines) as u64;
    let read = summary["events_in"].as_u64();
    ensure!(read == Some(lines), "{read:?} of {lines} lines were read: {summary}");
    let manifest_bytes = manifest.1;
    Ok(Measured { files, settled, cpu_until_settled, processors, resident_bytes, descriptors, manifest_bytes })
}

/// Logs of as many servers, some in a folder, with clicks of one minute.
fn write_logs(folder: &Path, files: usize, lines: usize) -> Result<()> {
    for number in 0..files {
        let folder = folder.join(format!("rack-{}", number / FILES_A_FOLDER));
        if number % FILES_A_FOLDER == 0 {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
        }
        let mut text = String::new();
        for line in 0..lines {
            let (second, ad) = (line * 60 / lines.max(1), (number + line) % 5_000);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "[AdClickEvent] ad{ad}, 2022-03-04 00:00:{second:02}.{:03}, user {number}-{line}, 10.0.{}.{}, USA",
                line % 1_000,
                number / 250 % 250,
                number % 250
            );
        }
        let path = folder.join(format!("server-{number}.log"));
        fs::write(&path, text).with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    Ok(())
}

fn report(arguments: &FollowedArguments, all: &[Measured]) {
    if arguments.common.json {
        let of = |one: &Measured| -> Value {
            json!({
                "files": one.files, "settled_after_seconds": one.settled, "cpu_seconds_until_settled": one.cpu_until_settled,
                "processors": one.processors, "resident_bytes": one.resident_bytes, "descriptors": one.descriptors,
                "manifest_bytes": one.manifest_bytes,
            })
        };
        println!("{}", json!({ "seconds": arguments.seconds, "measured": all.iter().map(of).collect::<Vec<_>>() }));
        return;
    }
    println!(
        "followed files that nobody writes to, {} clicks in each, measured for {} s when all are read\n\n\
         | files | all read after, s | CPU s until then | processors since | memory, MB | descriptors | manifest, kB |\n\
         |--:|--:|--:|--:|--:|--:|--:|",
        arguments.lines, arguments.seconds
    );
    for one in all {
        println!(
            "| {} | {:.0} | {:.1} | {:.3} | {:.0} | {} | {:.0} |",
            one.files,
            one.settled,
            one.cpu_until_settled,
            one.processors,
            one.resident_bytes as f64 / 1e6,
            one.descriptors,
            one.manifest_bytes as f64 / 1e3
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_has_clicks_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        write_logs(folder.path(), 150, 3).unwrap();
        let mut lines = Vec::new();
        for rack in fs::read_dir(folder.path()).unwrap() {
            for log in fs::read_dir(rack.unwrap().path()).unwrap() {
                let text = fs::read_to_string(log.unwrap().path()).unwrap();
                lines.extend(text.lines().map(str::to_owned));
            }
        }
        let all = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!((all, lines.len()), (450, 450));
        assert!(lines.iter().all(|line| line.split(',').count() == 5), "{}", lines[0]);
    }
}
