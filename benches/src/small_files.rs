//! Many small files beside the same bytes in few: what a file costs that is read once, and ends.
//!
//! The same lines, in the same order, lie in many files and in ten. Both are counted by [`counting.toml`](../jobs/counting.toml),
//! in turn within a round, and must give the same numbers.

use crate::{
    child::{self, Usage},
    common::{Common, RunSettings},
    input, weir,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path, process::Command};

/// The other way to cut the bytes.
const FEW: usize = 10;
/// The clicks are of so many seconds, in each small file from the first to the last: no window closes before the end, however the
/// files are cut, so that nothing is corrected.
const SECONDS: usize = 60;

/// Arguments of `weir-bench small-files`.
#[derive(Debug, Args)]
pub struct SmallFilesArguments {
    /// Small files
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(10..))]
    files: usize,
    /// Clicks in each
    #[arg(long, value_name = "N", default_value_t = 50)]
    lines: usize,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Subtasks of each task
    #[arg(long, value_name = "N", default_value_t = 2)]
    parallelism: usize,
    #[command(flatten)]
    run: RunSettings,
    #[command(flatten)]
    common: Common,
}

/// Both in one round.
#[derive(Debug)]
struct Round {
    many: Usage,
    few: Usage,
}

type Which = fn(&Round) -> &Usage;

/// Measures, and prints what came of it.
pub fn small_files(arguments: &SmallFilesArguments) -> Result<()> {
    let work = arguments.common.work()?;
    let binary = arguments.common.binary()?;
    input::empty_folder(&work)?;
    let (many, few) = (work.join("many"), work.join("few"));
    let bytes = write_clicks(&many, arguments.files, arguments.files, arguments.lines)?;
    ensure!(write_clicks(&few, FEW, arguments.files, arguments.lines)? == bytes, "not the same bytes");
    let mut rounds = Vec::new();
    for round in 0..arguments.rounds {
        let run = |clicks: &Path| run(arguments, &binary, clicks, &work);
        let ((many, counted), (few, expected)) = if round.is_multiple_of(2) {
            let many = run(&many)?;
            (many, run(&few)?)
        } else {
            let few = run(&few)?;
            (run(&many)?, few)
        };
        ensure!(counted == expected, "{counted:?} of many files, {expected:?} of few: events, counted, windows, rows");
        rounds.push(Round { many, few });
    }
    input::empty_folder(&work)?;
    report(arguments, bytes, &rounds);
    Ok(())
}

/// Writes the lines of all small files into so many files; says how many bytes.
fn write_clicks(folder: &Path, files: usize, small_files: usize, lines: usize) -> Result<u64> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
    let (all, mut bytes) = (small_files * lines, 0);
    for number in 0..files {
        let mut text = String::new();
        for click in number * all / files..(number + 1) * all / files {
            let second = click % lines.max(1) * SECONDS / lines.max(1);
            let spread = (click as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "[AdClickEvent] ad{}, 2022-03-04 00:00:{second:02}, user {}, 10.0.0.{}, USA",
                spread % 5_000,
                spread / 5_000 % 100_000,
                click % 250
            );
        }
        let path = folder.join(format!("clicks-{number:06}.log"));
        fs::write(&path, &text).with_context(|| format!("cannot write '{}'", path.display()))?;
        bytes += text.len() as u64;
    }
    Ok(bytes)
}

/// Runs the job, and says what it has used and what it has counted.
fn run(arguments: &SmallFilesArguments, binary: &Path, clicks: &Path, work: &Path) -> Result<(Usage, [u64; 4])> {
    input::empty_folder(&work.join("out"))?;
    input::empty_folder(&work.join("data"))?;
    let mut command = Command::new(binary);
    command.arg("run").arg(weir::workspace().join("benches/jobs/counting.toml")).args(["--json", "--quiet"]);
    command.arg("--parallelism").arg(arguments.parallelism.to_string()).arg("--data-dir").arg(work.join("data"));
    let settings = [
        format!("source.clicks.path={}", clicks.display()),
        "source.clicks.format=click_log".into(),
        format!("sink.counts.path={}", work.join("out/counts").display()),
    ];
    command.args(settings.iter().chain(&arguments.run.set).flat_map(|setting| ["--set", setting]));
    let (usage, printed) = child::measure(&mut command)?;
    let summary: Value = serde_json::from_str(printed.trim()).with_context(|| format!("no JSON: {printed}"))?;
    let number = |at: &str| summary.pointer(at).and_then(Value::as_u64).with_context(|| format!("no {at}: {summary}"));
    let events = number("/events_in")?;
    let lines = (arguments.files * arguments.lines) as u64;
    ensure!(events == lines, "{events} of {lines} clicks were read");
    let (counted, windows) = (number("/aggregates/0/counted")?, number("/aggregates/0/windows")?);
    Ok((usage, [events, counted, windows, number("/outputs/0/rows")?]))
}

fn report(arguments: &SmallFilesArguments, bytes: u64, rounds: &[Round]) {
    let of = |usage: &Usage| json!({ "seconds": usage.wall.as_secs_f64(), "cpu_seconds": usage.cpu.as_secs_f64(), "peak_bytes": usage.peak_bytes });
    if arguments.common.json {
        let all: Vec<Value> =
            rounds.iter().map(|round| json!({ "many": of(&round.many), "few": of(&round.few) })).collect();
        let (files, lines) = (arguments.files, arguments.lines);
        println!("{}", json!({ "files": files, "lines": lines, "bytes": bytes, "few": FEW, "rounds": all }));
        return;
    }
    println!(
        "{} files of {} clicks, and the same {:.0} MB in {FEW} files; medians of {} rounds\n\n\
         | files | s | CPU s | peak MB | µs of CPU a file |\n|--:|--:|--:|--:|--:|",
        arguments.files,
        arguments.lines,
        bytes as f64 / 1e6,
        rounds.len()
    );
    let cpu = |which: Which| median(rounds, |round| which(round).cpu.as_secs_f64());
    let each = (cpu(|round| &round.many) - cpu(|round| &round.few)) / (arguments.files - FEW).max(1) as f64;
    let rows: [(usize, Which, String); 2] = [
        (arguments.files, |round| &round.many, format!("{:.1}", each * 1e6)),
        (FEW, |round| &round.few, String::new()),
    ];
    for (files, which, each) in rows {
        println!(
            "| {files} | {:.2} | {:.2} | {:.0} | {each} |",
            median(rounds, |round| which(round).wall.as_secs_f64()),
            cpu(which),
            median(rounds, |round| which(round).peak_bytes as f64 / 1e6),
        );
    }
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_and_few_have_the_same_lines() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str, files: usize| {
            let folder = folder.path().join(name);
            let bytes = write_clicks(&folder, files, 40, 7).unwrap();
            let mut paths: Vec<std::path::PathBuf> =
                fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            assert_eq!(paths.len(), files);
            let text: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
            assert_eq!(text.len() as u64, bytes);
            text
        };
        let (many, few) = (text("many", 40), text("few", FEW));
        assert!(many == few && many.lines().count() == 280);
    }
}
