//! An interval join from files, beside Flink's: orders with all clicks that their users made within a minute before them.
//!
//! The generator keeps the clicks of the last minute, and so knows all pairs. A run whose pairs are not these, by number and by a
//! hash over all, makes the whole measurement fail.

use crate::{
    child::{self, Usage},
    common::Common,
    flink::Flink,
    input, weir,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// Files of each kind, and subtasks of each task.
const PARALLELISM: usize = 2;
/// How long before its order a click may be, in milliseconds.
const BEFORE_MS: i64 = 60_000;
/// 2022-03-04 00:00 UTC, in milliseconds since the epoch: when all begins.
const START_MS: i64 = 1_646_352_000_000;
/// Arguments of `weir-bench join`.
#[derive(Debug, Args)]
pub struct JoinArguments {
    /// Clicks
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    clicks: u64,
    /// Orders
    #[arg(long, value_name = "N", default_value_t = 800_000)]
    orders: u64,
    /// Users, each as active as any other
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// A Python with the package apache-flink; without one there is no ratio
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// All pairs of orders and clicks, as far as they are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pairs {
    count: u64,
    /// Of all of them, in whatever order.
    hash: u64,
}

impl Pairs {
    fn add(&mut self, order: u64, click: u64) {
        self.count += 1;
        // The finalizer of SplitMix64, whose sum over all pairs depends on each.
        let mut mixed = (order << 32 ^ click).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.hash = self.hash.wrapping_add(mixed ^ mixed >> 31);
    }
}

/// Measures, and prints what came of it.
pub fn join(arguments: &JoinArguments) -> Result<()> {
    let (work, binary) = (arguments.common.work()?, arguments.common.binary()?);
    let input = arguments.common.cache()?.join("joined");
    input::empty_folder(&input)?;
    let expected = write_input(arguments, &input)?;
    let flink = Flink::find(&arguments.python, PARALLELISM);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        let usage = run_weir(&binary, &input, &work)?;
        same(&read_pairs(&work.join("pairs"))?, &expected, "Weir")?;
        ours.push((usage.wall.as_secs_f64(), usage));
        if let Some(flink) = &flink {
            let (usage, seconds) = flink.join(&input, &work)?;
            same(&read_pairs(&work.join("out/pairs"))?, &expected, "Flink")?;
            theirs.push((seconds, usage));
        }
    }
    input::empty_folder(&work)?;
    fs::remove_dir_all(&input)?;
    report(arguments, expected, flink.as_ref(), (&ours, &theirs));
    Ok(())
}

fn same(found: &Pairs, expected: &Pairs, whose: &str) -> Result<()> {
    ensure!(found == expected, "{whose} has found {found:?}, and there are {expected:?}");
    Ok(())
}

fn run_weir(binary: &Path, input: &Path, work: &Path) -> Result<Usage> {
    input::empty_folder(work)?;
    let mut run = Command::new(binary);
    run.arg("run").arg(weir::workspace().join("benches/jobs/join.toml")).args(["--json", "--quiet"]);
    run.arg("--parallelism").arg(PARALLELISM.to_string()).arg("--data-dir").arg(work.join("data"));
    for (name, path) in [
        ("source.orders.path", input.join("orders")),
        ("source.clicks.path", input.join("clicks")),
        ("sink.pairs.path", work.join("pairs")),
    ] {
        run.arg("--set").arg(format!("{name}={}", path.display()));
    }
    Ok(child::measure(&mut run)?.0)
}

/// Orders and clicks in order of time, and the pairs that they make.
fn write_input(arguments: &JoinArguments, folder: &Path) -> Result<Pairs> {
    let files = |kind: &str| -> Result<Vec<BufWriter<File>>> {
        fs::create_dir_all(folder.join(kind))?;
        let file = |number| Ok(BufWriter::new(File::create(folder.join(kind).join(format!("{number}.json")))?));
        (0..PARALLELISM).map(file).collect()
    };
    let (mut click_files, mut order_files) = (files("clicks")?, files("orders")?);
    let mut dice = StdRng::seed_from_u64(1);
    // Of each user the clicks that may still have an order.
    let mut newest: Vec<VecDeque<(i64, u64)>> = vec![VecDeque::new(); arguments.users as usize];
    let (mut pairs, mut order) = (Pairs::default(), 0);
    for click in 0..arguments.clicks {
        // Each at a time of its own, so that an order comes after all clicks of its time.
        let at = START_MS + click as i64;
        let user = dice.random_range(0..arguments.users);
        let line = json!({ "click_id": click, "user_id": format!("user{user:06}"), "clicked_at": at });
        writeln!(click_files[click as usize % PARALLELISM], "{line}")?;
        newest[user as usize].push_back((at, click));
        while order * arguments.clicks < (click + 1) * arguments.orders {
            let user = dice.random_range(0..arguments.users);
            let line = json!({ "order_id": order, "user_id": format!("user{user:06}"), "ordered_at": at });
            writeln!(order_files[order as usize % PARALLELISM], "{line}")?;
            order += 1;
            let clicks = &mut newest[user as usize];
            while clicks.front().is_some_and(|(then, _)| *then < at - BEFORE_MS) {
                clicks.pop_front();
            }
            clicks.iter().for_each(|(_, click)| pairs.add(order - 1, *click));
        }
    }
    click_files.iter_mut().chain(&mut order_files).try_for_each(Write::flush)?;
    Ok(pairs)
}

#[derive(Deserialize)]
struct Pair {
    order_id: u64,
    click_id: u64,
}

/// The pairs in all files below a folder that readers see.
fn read_pairs(folder: &Path) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    let failed = || format!("cannot read '{}'", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !path.is_file() || !(name.ends_with(".jsonl") || name.starts_with("part-")) {
            continue;
        }
        for line in BufReader::new(File::open(&path)?).lines() {
            let Pair { order_id, click_id } = serde_json::from_str(&line?).with_context(failed)?;
            pairs.add(order_id, click_id);
        }
    }
    Ok(pairs)
}

/// The one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

type Runs = [(f64, Usage)];

fn report(arguments: &JoinArguments, pairs: Pairs, flink: Option<&Flink>, (ours, theirs): (&Runs, &Runs)) {
    let seconds = |runs: &Runs| median(runs.iter().map(|(seconds, _)| *seconds).collect());
    let cpu = |runs: &Runs| median(runs.iter().map(|(_, usage)| usage.cpu.as_secs_f64()).collect());
    let peak = |runs: &Runs| median(runs.iter().map(|(_, usage)| usage.peak_bytes as f64 / 1e6).collect());
    let ratios = ours.iter().zip(theirs).map(|((ours, _), (theirs, _))| theirs / ours);
    let ratio = median(ratios.collect());
    let rows = [("Weir", ours), ("Flink", theirs)].map(|(name, runs)| (name, seconds(runs), cpu(runs), peak(runs)));
    if arguments.common.json {
        let all = rows.map(|(name, seconds, cpu, peak)| {
            json!({ "name": name, "seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak })
        });
        println!(
            "{}",
            json!({ "clicks": arguments.clicks, "orders": arguments.orders, "pairs": pairs.count, "runs": all, "times_flink": ratio })
        );
        return;
    }
    println!(
        "{} orders with {} clicks, {} pairs, medians of {}; all runs have found these pairs\n\n| | s | processor s | peak MB |\n|---|--:|--:|--:|",
        arguments.orders, arguments.clicks, pairs.count, arguments.rounds
    );
    for (name, seconds, cpu, peak) in rows.iter().filter(|(_, seconds, ..)| !seconds.is_nan()) {
        println!("| {name} | {seconds:.2} | {cpu:.2} | {peak:.0} |");
    }
    match flink {
        Some(flink) => println!("\n{ratio:.1} times as fast as Flink {}", flink.version),
        None => println!("\nno Flink: pass a --python with the package apache-flink"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn pairs_are_those_of_one_user_within_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = JoinArguments {
            clicks: 70_000,
            orders: 500,
            users: 1_000,
            rounds: 1,
            python: PathBuf::new(),
            common: Common::default(),
        };
        let pairs = write_input(&arguments, folder.path()).unwrap();
        let rows = |kind: &str| -> Vec<serde_json::Value> {
            let text = |number| fs::read_to_string(folder.path().join(format!("{kind}/{number}.json"))).unwrap();
            (text(0) + &text(1)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let mut clicks: HashMap<String, Vec<serde_json::Value>> = HashMap::new();
        rows("clicks")
            .into_iter()
            .for_each(|click| clicks.entry(click["user_id"].to_string()).or_default().push(click));
        let mut expected = Pairs::default();
        for order in rows("orders") {
            for click in clicks.get(&order["user_id"].to_string()).into_iter().flatten() {
                let since = order["ordered_at"].as_i64().unwrap() - click["clicked_at"].as_i64().unwrap();
                if (0..=BEFORE_MS).contains(&since) {
                    expected.add(order["order_id"].as_u64().unwrap(), click["click_id"].as_u64().unwrap());
                }
            }
        }
        assert!(expected.count > 1_000);
        assert_eq!(pairs, expected);
    }
}
