//! How long a question takes over HTTP, and how many are answered a second, by `weir serve` on a SQLite store that is as full as
//! an hour of clicks makes it and that is written all the while. A sample of the answers is compared with a plain `GROUP BY`.
//!
//! Reading order: [`fill`] (what is in the store), [`writer`] (who writes meanwhile), [`question`] (what is asked).

mod fill;
mod question;
mod writer;

use crate::{
    child,
    common::Common,
    http::{Client, free_address},
    latencies::Latencies,
    processes::wait_for,
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use fill::FillArguments;
use question::{Kind, Questions};
use serde_json::json;
use sqlx::{AnyConnection, Connection};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::runtime::Runtime;
use writer::{Writer, Written};

/// Arguments of `weir-bench queries`.
#[derive(Debug, Args)]
pub struct QueriesArguments {
    #[command(flatten)]
    fill: FillArguments,
    /// Connections that ask at the same time, each one question after the other
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,
    /// How long each kind of question is asked
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u64,
    /// Answers of each kind that are compared; of the slow ones a tenth
    #[arg(long, value_name = "N", default_value_t = 100)]
    sample: usize,
    #[command(flatten)]
    common: Common,
}

/// What one kind of question took.
#[derive(Debug)]
struct Measured {
    kind: Kind,
    latencies: Latencies,
    per_second: f64,
    /// Answers that were compared, all equal.
    compared: usize,
}

/// Measures, and prints what came of it.
pub fn queries(arguments: &QueriesArguments) -> Result<()> {
    let cache = arguments.common.cache()?;
    let binary = arguments.common.binary()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    sqlx::any::install_default_drivers();
    let file = filled(arguments, &cache, &runtime)?;
    // The writer changes it, so every run has a store of its own.
    let folder = cache.join(format!("queries-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
    let used = folder.join("store.sqlite");
    std::fs::copy(&file, &used).with_context(|| format!("cannot copy '{}'", file.display()))?;
    let measured = measure(arguments, &binary, &used, &runtime);
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove '{}'", folder.display()))?;
    let (rows, all, written) = measured?;
    report(arguments, rows, &all, &written);
    Ok(())
}

/// The store with nothing added, made once.
fn filled(arguments: &QueriesArguments, cache: &Path, runtime: &Runtime) -> Result<PathBuf> {
    let FillArguments { minutes, rate, ads, skew } = &arguments.fill;
    let file = cache.join(format!("store-{minutes}-{rate}-{ads}-{skew}.sqlite"));
    if file.exists() {
        return Ok(file);
    }
    eprintln!("filling '{}', once", file.display());
    let unfinished = file.with_extension("unfinished");
    remove(&unfinished)?;
    runtime.block_on(async {
        let mut store = AnyConnection::connect(&format!("sqlite:{}?mode=rwc", unfinished.display())).await?;
        fill::fill(&mut store, &arguments.fill).await?;
        anyhow::Ok(store.close().await?)
    })?;
    std::fs::rename(&unfinished, &file).with_context(|| format!("cannot rename '{}'", unfinished.display()))?;
    Ok(file)
}

/// A database file, and what SQLite keeps beside it.
fn remove(file: &Path) -> Result<()> {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let file = PathBuf::from(format!("{}{ending}", file.display()));
        if file.exists() {
            std::fs::remove_file(&file).with_context(|| format!("cannot remove '{}'", file.display()))?;
        }
    }
    Ok(())
}

fn measure(
    arguments: &QueriesArguments,
    binary: &Path,
    file: &Path,
    runtime: &Runtime,
) -> Result<(i64, Vec<Measured>, Written)> {
    let url = format!("sqlite:{}", file.display());
    let service = Service::start(binary, &url)?;
    wait_for("the queries to be served", || Ok(Client::connect(&service.address).ok().map(drop)))?;
    let mut store = runtime.block_on(AnyConnection::connect(&url))?;
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM ad_counts").fetch_one(&mut store);
    let rows = runtime.block_on(count)?;
    let writer = Writer::begin(file, &arguments.fill);
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let (latencies, per_second) = ask_for(arguments, kind, &service.address)?;
        all.push(Measured { kind, latencies, per_second, compared: 0 });
    }
    let written = writer.end()?;
    // A plain statement reads for long, which would be in the writer's way.
    for measured in &mut all {
        measured.compared = runtime.block_on(compare(arguments, measured.kind, &service.address, &mut store))?;
    }
    Ok((rows, all, written))
}

/// All clients ask questions of one kind. Returns how long each took, and how many were answered a second.
fn ask_for(arguments: &QueriesArguments, kind: Kind, address: &str) -> Result<(Latencies, f64)> {
    let begun = child::now();
    let end = begun + Duration::from_secs(arguments.seconds);
    let clients: Vec<_> = (0..arguments.clients)
        .map(|number| {
            let mut questions = Questions::new(&arguments.fill, number + 1)?;
            let mut client = Client::connect(address)?;
            Ok(std::thread::spawn(move || {
                let mut latencies = Latencies::default();
                while child::now() < end {
                    latencies.add(client.json(&questions.next(kind).path())?.1);
                }
                anyhow::Ok(latencies)
            }))
        })
        .collect::<Result<_>>()?;
    let mut latencies = Latencies::default();
    for client in clients {
        latencies.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    let per_second = latencies.count() as f64 / (child::now() - begun).as_secs_f64();
    Ok((latencies, per_second))
}

/// Compares a sample of answers with what a plain statement says.
async fn compare(arguments: &QueriesArguments, kind: Kind, address: &str, store: &mut AnyConnection) -> Result<usize> {
    let sample = if kind == Kind::AdCount { arguments.sample } else { arguments.sample.div_ceil(10) };
    let (mut questions, mut client) = (Questions::new(&arguments.fill, 0)?, Client::connect(address)?);
    for _ in 0..sample {
        let question = questions.next(kind);
        let (answer, _) = client.json(&question.path())?;
        let right = question.plainly(store).await?;
        ensure!(question.says(&answer) == right, "{}: {answer} instead of {right}", question.path());
    }
    Ok(sample)
}

/// A `weir serve`.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    fn start(binary: &Path, url: &str) -> Result<Self> {
        let address = free_address()?;
        let mut serve = Command::new(binary);
        serve.args(["serve", "--store", url, "--listen", &address]).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Service { process: serve.spawn().context("cannot start weir serve")?, address })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn report(arguments: &QueriesArguments, rows: i64, all: &[Measured], written: &Written) {
    let per_second = written.rows as f64 / written.seconds.max(f64::MIN_POSITIVE);
    if arguments.common.json {
        let of = |one: &Measured| json!({ "kind": one.kind.name(), "per_second": one.per_second, "latency": one.latencies.as_json(), "compared": one.compared });
        let kinds: Vec<_> = all.iter().map(of).collect();
        let writer = json!({ "rows_per_second": per_second, "commits": written.commits.as_json(), "longest_log_bytes": written.longest_log });
        println!("{}", json!({ "counts": rows, "clients": arguments.clients, "kinds": kinds, "writer": writer }));
        return;
    }
    println!(
        "{rows} counts in the store, {} clients; meanwhile {per_second:.0} upserts/s, a commit took {:.0} ms (p50), {:.0} ms (p99), and the write-ahead log had {:.0} MB at most\n\n| question | a second | p50 ms | p99 ms | longest ms | compared, all equal |\n|---|--:|--:|--:|--:|--:|",
        arguments.clients,
        written.commits.percentile(50),
        written.commits.percentile(99),
        written.longest_log as f64 / 1e6
    );
    for Measured { kind, latencies, per_second, compared } in all {
        let [half, most, longest] = [50, 99, 100].map(|percent| latencies.percentile(percent));
        println!("| {} | {per_second:.0} | {half:.2} | {most:.2} | {longest:.2} | {compared} |", kind.name());
    }
}
