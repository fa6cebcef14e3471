//! The same job in one process and on a cluster of one machine: a coordinator and workers with one slot each, whose batches
//! go over TCP. They take turns within a round, and ratios are taken within a round.

use crate::{
    case::{self, Case, InputFormat},
    child,
    common::Common,
    duckdb::DuckDb,
    input,
    processes::{Cluster, wait_for},
    report::median,
    weir,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Workers tell how much they have sent with their heartbeats, which come twice a second.
const LAST_HEARTBEAT: Duration = Duration::from_millis(1_500);
/// How often the job is looked at: it tells itself when it was finished.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `weir-bench cluster`.
#[derive(Debug, Args)]
pub struct ClusterArguments {
    /// Clicks of the Parquet input, duplicates included
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    events: u64,
    /// How often each form runs each case
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// The cases to measure; `json` is not one of them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Case::Counting, Case::Dedup, Case::AdClick])]
    only: Vec<Case>,
    /// Workers, of one slot each, and subtasks of the one process
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// A Python with DuckDB, which compares the results
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// One run of one form.
#[derive(Clone, Copy, Debug)]
struct Run {
    seconds: f64,
    cpu_seconds: f64,
}

/// Both forms in one round.
#[derive(Clone, Debug)]
struct Round {
    case: Case,
    one_process: Run,
    cluster: Run,
    network_bytes: u64,
}

/// Measures all cases, and prints what came of it. False: results differ.
pub fn cluster(arguments: &ClusterArguments) -> Result<bool> {
    let cache = arguments.common.cache()?;
    let work = cache.join("work");
    let binary = arguments.common.binary()?;
    let duckdb = DuckDb::find(&arguments.python, arguments.workers, &work.join("duckdb"));
    let bench = Bench { arguments, weir: binary, work, duckdb };
    let (mut rounds, mut agree) = (Vec::new(), true);
    for case in &arguments.only {
        ensure!(case.format() == InputFormat::Parquet, "'{}' does not read Parquet", case.name());
        let clicks = input::folder(&cache, &bench.weir, case.format(), arguments.events)?;
        input::read_through(&clicks)?;
        for round in 0..arguments.rounds {
            let (round, same) = bench.round(*case, &clicks, round)?;
            agree &= same;
            rounds.push(round);
        }
    }
    input::empty_folder(&bench.work)?;
    if arguments.common.json {
        println!("{}", Value::from(rounds.iter().map(|round| round.as_json(arguments.events)).collect::<Vec<_>>()));
    } else {
        print!("{}", as_text(&rounds, arguments, bench.duckdb.is_some()));
    }
    Ok(agree)
}

struct Bench<'a> {
    arguments: &'a ClusterArguments,
    weir: PathBuf,
    work: PathBuf,
    duckdb: Option<DuckDb>,
}

impl Bench<'_> {
    /// Each form once; who begins, changes with the round.
    fn round(&self, case: Case, clicks: &Path, number: u64) -> Result<(Round, bool)> {
        let one_process = || {
            let (usage, _) =
                weir::run(&self.weir, case, clicks, &self.work, self.arguments.events, self.arguments.workers)?;
            let run = Run { seconds: usage.wall.as_secs_f64(), cpu_seconds: usage.cpu.as_secs_f64() };
            anyhow::Ok((run, self.digest(case)?))
        };
        let on_cluster = || {
            let (run, network_bytes) = self.on_cluster(case, clicks)?;
            anyhow::Ok((run, network_bytes, self.digest(case)?))
        };
        let ((alone, its_digest), (run, network_bytes, digest)) = if number.is_multiple_of(2) {
            let alone = one_process()?;
            (alone, on_cluster()?)
        } else {
            let cluster = on_cluster()?;
            (one_process()?, cluster)
        };
        let same = its_digest == digest;
        if !same {
            eprintln!("results of '{}' differ: {its_digest:?} in one process, {digest:?} on the cluster", case.name());
        }
        Ok((Round { case, one_process: alone, cluster: run, network_bytes }, same))
    }

    /// From before `weir submit` is started until the job is FINISHED, all results committed.
    fn on_cluster(&self, case: Case, clicks: &Path) -> Result<(Run, u64)> {
        input::empty_folder(&self.work)?;
        let cluster = Cluster::start(&self.weir, &self.work.join("cluster"), self.arguments.workers)?;
        let mut submit = cluster.weir(&["submit"]);
        submit.arg(case.definition()).arg("--parallelism").arg(self.arguments.workers.to_string());
        for setting in case.settings(clicks, &self.work.join("out")) {
            submit.arg("--set").arg(setting);
        }
        let begun_ms = child::wall_clock_ms();
        let job = cluster.submit(&mut submit)?;
        let finished = loop {
            let status = cluster.job(&job)?;
            match status["state"].as_str() {
                Some("FINISHED") => break status,
                Some("FAILED" | "CANCELED") => anyhow::bail!("the job is {}: {}", status["state"], status["cause"]),
                _ => child::pause(LOOK_EVERY),
            }
        };
        ensure!(finished["restart_count"] == 0, "the job was restarted: {}", finished["restarts"]);
        let last = finished["transitions"].as_array().and_then(|all| all.last()).context("no transitions")?;
        let finished_ms = last["at_ms"].as_i64().context("a transition without a time")?;
        child::pause(LAST_HEARTBEAT);
        let network_bytes = sent_bytes(&cluster)?;
        let cpu_seconds = cluster.end()?;
        Ok((Run { seconds: (finished_ms - begun_ms) as f64 / 1e3, cpu_seconds }, network_bytes))
    }

    /// What DuckDB makes of the results; none without DuckDB.
    fn digest(&self, case: Case) -> Result<Option<Vec<String>>> {
        let Some(duckdb) = &self.duckdb else { return Ok(None) };
        let results = case.results_in_sql(&self.work.join("out"));
        Ok(Some(duckdb.ask(&case::digest_of(&results))?.1.row))
    }
}

fn sent_bytes(cluster: &Cluster) -> Result<u64> {
    let workers = wait_for("the workers", || {
        let workers = cluster.rest("/api/v1/workers")?;
        Ok(workers["workers"].as_array().cloned())
    })?;
    workers.iter().map(|worker| worker["network_sent_bytes"].as_u64().context("no bytes sent")).sum()
}

impl Round {
    /// How fast the cluster was, in shares of the one process.
    fn ratio(&self) -> f64 {
        self.one_process.seconds / self.cluster.seconds
    }

    fn as_json(&self, events: u64) -> Value {
        let run = |run: Run| json!({ "seconds": run.seconds, "cpu_seconds": run.cpu_seconds });
        json!({
            "case": self.case.name(), "events": events, "one_process": run(self.one_process),
            "cluster": run(self.cluster), "ratio": self.ratio(), "network_bytes": self.network_bytes,
        })
    }
}

fn as_text(rounds: &[Round], arguments: &ClusterArguments, compared: bool) -> String {
    let mut text = format!(
        "{} clicks, one process with --parallelism {} and a coordinator with {} workers of one slot; medians of {} rounds\n\n\
         | case | one process, s | CPU s | cluster, s | CPU s | over the network, MB | bytes a click | ratio, rounds | median |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        arguments.events, arguments.workers, arguments.workers, arguments.rounds
    );
    for case in &arguments.only {
        let of_case: Vec<&Round> = rounds.iter().filter(|round| round.case == *case).collect();
        let middle = |of: fn(&Round) -> f64| median(of_case.iter().map(|round| of(round)).collect());
        let ratios: Vec<String> = of_case.iter().map(|round| format!("{:.2}", round.ratio())).collect();
        let bytes = middle(|round| round.network_bytes as f64);
        text += &format!(
            "| {} | {:.2} | {:.1} | {:.2} | {:.1} | {:.0} | {:.1} | {} | {:.2} |\n",
            case.name(),
            middle(|round| round.one_process.seconds),
            middle(|round| round.one_process.cpu_seconds),
            middle(|round| round.cluster.seconds),
            middle(|round| round.cluster.cpu_seconds),
            bytes / 1e6,
            bytes / arguments.events as f64,
            ratios.join(" "),
            middle(Round::ratio),
        );
    }
    text + match compared {
        true => "\nResults were compared by DuckDB.\n",
        false => "\nWithout DuckDB results were not compared.\n",
    }
}
