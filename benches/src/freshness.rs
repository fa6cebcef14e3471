//! How old a count is when it can be seen: from a line that is appended to a log to its ad's count over HTTP.
//!
//! `weir run --serve` follows two logs that grow at a steady rate, with exactly-once on, as the job is shipped. Among the lines
//! are markers: clicks on ads that have no other. The oldest marker that has not been seen is asked for again and again; so one
//! that is visible before an older one is counted as late as that.

use crate::{
    child,
    common::{Common, RunSettings},
    http::{Client, free_address},
    input,
    latencies::Latencies,
    processes::wait_for,
    weir,
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde_json::json;
use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

/// Logs, and subtasks of each task.
const PARALLELISM: usize = 2;
/// How often a server appends.
const APPEND_EVERY: Duration = Duration::from_millis(10);
/// How often a marker is asked for.
const ASK_EVERY: Duration = Duration::from_millis(4);
/// The longest wait for a marker.
const PATIENCE: Duration = Duration::from_secs(60);
/// 2022-03-04 00:00 UTC, in Unix seconds: when the clicks begin.
const START_S: u64 = 1_646_352_000;

/// Arguments of `weir-bench freshness`.
#[derive(Debug, Args)]
pub struct FreshnessArguments {
    /// Clicks a second, in both logs together; several are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10000,50000")]
    rate: Vec<u64>,
    /// How long each is measured
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// How long each runs before that
    #[arg(long, value_name = "N", default_value_t = 10)]
    warm_up_seconds: u64,
    /// Markers a second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    markers: u64,
    /// Ads
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    ads: u64,
    /// Skew of the clicks: 0 is even, 1 is Zipf's own
    #[arg(long, value_name = "S", default_value_t = 1.1)]
    skew: f64,
    #[command(flatten)]
    run: RunSettings,
    #[command(flatten)]
    common: Common,
}

/// What was measured at one rate.
#[derive(Debug)]
struct Measured {
    rate: u64,
    latencies: Latencies,
    /// Clicks a second that were appended, in truth.
    appended: f64,
    /// Processors that the process used, on average.
    processors: f64,
}

/// A click on an ad of its own.
#[derive(Clone, Copy, Debug)]
struct Marker {
    number: u64,
    /// Start of its minute, in Unix seconds.
    minute: u64,
    /// Before it was appended.
    appended: Instant,
}

impl Marker {
    fn path(&self) -> String {
        let (number, from, to) = (self.number, self.minute, self.minute + 60);
        format!("/v1/ads/marker{number}/aggregated_count?from={from}&to={to}")
    }
}

/// Measures, and prints what came of it.
pub fn freshness(arguments: &FreshnessArguments) -> Result<()> {
    let work = arguments.common.work()?;
    let binary = arguments.common.binary()?;
    let mut all = Vec::new();
    for rate in &arguments.rate {
        input::empty_folder(&work)?;
        all.push(measure(arguments, *rate, &binary, &work)?);
    }
    input::empty_folder(&work)?;
    report(arguments, &all);
    Ok(())
}

fn measure(arguments: &FreshnessArguments, rate: u64, binary: &Path, work: &Path) -> Result<Measured> {
    let servers = Servers::create(&work.join("clicks"), arguments, rate)?;
    let mut job = ServedJob::start(binary, work, &arguments.run.set)?;
    let begun = child::now();
    let (told, markers) = channel();
    let duration = Duration::from_secs(arguments.warm_up_seconds + arguments.seconds);
    let appending = std::thread::spawn(move || servers.append_for(duration, &told));
    let warm = begun + Duration::from_secs(arguments.warm_up_seconds);
    let (latencies, seen) = watch(&mut job, &markers, warm)?;
    let lines = appending.join().map_err(|_| anyhow!("the servers panicked"))??;
    let elapsed = (child::now() - begun).as_secs_f64();
    // Exactly once: no marker is counted twice, or not any more.
    let mut client = Client::connect(&job.address)?;
    for marker in &seen {
        let (answer, _) = client.json(&marker.path())?;
        ensure!(answer["count"] == 1, "marker {} was appended once: {answer}", marker.number);
    }
    let processors = job.end()? / elapsed;
    Ok(Measured { rate, latencies, appended: lines as f64 / duration.as_secs_f64(), processors })
}

/// Asks for one marker after the other, until there are no more. Those that are appended before `warm` are not measured.
fn watch(job: &mut ServedJob, markers: &Receiver<Marker>, warm: Instant) -> Result<(Latencies, Vec<Marker>)> {
    let mut client = wait_for("the queries to be served", || {
        job.check()?;
        Ok(Client::connect(&job.address).ok())
    })?;
    let (mut latencies, mut seen) = (Latencies::default(), Vec::new());
    loop {
        let marker = match markers.recv_timeout(PATIENCE) {
            Ok(marker) => marker,
            Err(RecvTimeoutError::Disconnected) => return Ok((latencies, seen)),
            Err(RecvTimeoutError::Timeout) => return Err(anyhow!("no marker is appended any more")),
        };
        loop {
            let answer = client.get(&marker.path())?;
            let now = child::now();
            if answer.status == 200 && count(&answer.body) == Some(1) {
                if marker.appended >= warm {
                    latencies.add((now - marker.appended).as_secs_f64() * 1e3);
                }
                seen.push(marker);
                break;
            }
            let text = String::from_utf8_lossy(&answer.body);
            ensure!(matches!(answer.status, 200 | 503), "marker {}: {} {text}", marker.number, answer.status);
            ensure!(now - marker.appended < PATIENCE, "marker {} is not to be seen: {text}", marker.number);
            job.check()?;
            child::pause(ASK_EVERY);
        }
    }
}

fn count(body: &[u8]) -> Option<i64> {
    serde_json::from_slice::<serde_json::Value>(body).ok()?["count"].as_i64()
}

/// A `weir run --serve`.
struct ServedJob {
    process: Child,
    address: String,
    log: PathBuf,
}

impl ServedJob {
    fn start(binary: &Path, work: &Path, settings: &[String]) -> Result<Self> {
        let (address, log, out) = (free_address()?, work.join("weir.err"), work.join("out"));
        let mut run = Command::new(binary);
        run.arg("run").arg(weir::workspace().join("jobs/ad_click.toml")).args(["--quiet", "--serve", &address]);
        run.arg("--parallelism").arg(PARALLELISM.to_string()).arg("--data-dir").arg(work.join("data"));
        let set = |name: &str, value: &str| ["--set".to_string(), format!("{name}={value}")];
        run.args(set("source.clicks.path", &work.join("clicks").display().to_string()));
        run.args(set("source.clicks.follow", "true"));
        for sink in ["counts", "top_ads", "late", "dead_letters", "raw"] {
            run.args(set(&format!("sink.{sink}.path"), &out.join(sink).display().to_string()));
        }
        for sink in ["store", "store_top"] {
            run.args(set(&format!("sink.{sink}.url"), &format!("sqlite:{}", out.join("store.sqlite").display())));
        }
        run.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let process = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn();
        Ok(ServedJob { process: process.context("cannot start weir")?, address, log })
    }

    /// # Errors
    /// When it has ended.
    fn check(&mut self) -> Result<()> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        Err(anyhow!("weir run has ended, {status}: {}", std::fs::read_to_string(&self.log)?))
    }

    /// Ends it as Ctrl-C does. Returns the processor seconds that it used.
    fn end(self) -> Result<f64> {
        let asked = Command::new("kill").args(["-s", "INT", &self.process.id().to_string()]).status()?;
        ensure!(asked.success(), "weir run is gone");
        child::processor_seconds(self.process.id())
    }
}

impl Drop for ServedJob {
    fn drop(&mut self) {
        // One that was waited for is another's.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Servers that append clicks to their logs.
struct Servers {
    logs: Vec<File>,
    rate: u64,
    markers: u64,
    ads: Zipf<f64>,
    dice: StdRng,
}

impl Servers {
    fn create(folder: &Path, arguments: &FreshnessArguments, rate: u64) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut logs = Vec::new();
        for number in 0..PARALLELISM {
            let path = folder.join(format!("server-{number}.log"));
            // A followed file is known by its first line.
            std::fs::write(&path, format!("# server {number}\n"))?;
            logs.push(OpenOptions::new().append(true).open(path)?);
        }
        let ads = Zipf::new(arguments.ads as f64, arguments.skew).context("--ads and --skew")?;
        Ok(Servers { logs, rate, markers: arguments.markers, ads, dice: StdRng::seed_from_u64(1) })
    }

    /// Appends at the rate, and tells of each marker. Returns how many lines were appended.
    fn append_for(mut self, duration: Duration, told: &Sender<Marker>) -> Result<u64> {
        let (begun, mut lines, mut number) = (child::now(), 0, 0);
        loop {
            let now = child::now();
            let elapsed = now - begun;
            if elapsed >= duration {
                return Ok(lines);
            }
            let milliseconds = elapsed.as_millis() as u64;
            let due = self.rate * milliseconds / 1_000;
            let mut texts = vec![String::new(); PARALLELISM];
            while lines < due {
                let at = lines * 1_000 / self.rate.max(1);
                self.click(&mut texts[lines as usize % PARALLELISM], None, lines, at);
                lines += 1;
            }
            // Any moment between two checkpoints may be a marker's.
            let per_tick = self.markers as f64 * APPEND_EVERY.as_secs_f64();
            let marker = self.dice.random_bool(per_tick.min(1.0)).then(|| {
                number += 1;
                self.click(&mut texts[number as usize % PARALLELISM], Some(number), number, milliseconds);
                Marker { number, minute: START_S + milliseconds / 60_000 * 60, appended: child::now() }
            });
            for (log, text) in self.logs.iter_mut().zip(&texts) {
                log.write_all(text.as_bytes())?;
            }
            if marker.is_some_and(|marker| told.send(marker).is_err()) {
                return Err(anyhow!("nobody looks for markers any more"));
            }
            child::pause(APPEND_EVERY.saturating_sub(child::now() - now));
        }
    }

    /// A line of a click so many milliseconds after the start, on a marker's ad or on any.
    fn click(&mut self, text: &mut String, marker: Option<u64>, click: u64, milliseconds: u64) {
        let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        let ad = match marker {
            Some(number) => format!("marker{number}"),
            None => format!("ad{:07}", self.ads.sample(&mut self.dice) as u64),
        };
        let (user, country) =
            (self.dice.random_range(0..1_000_000), if click.is_multiple_of(3) { "USA" } else { "Japan" });
        let (third, fourth) = (click / 250 % 250, click % 250);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "[AdClickEvent] {ad}, 2022-03-04 {hour:02}:{minute:02}:{second:02}.{rest:03}, user {user}, 10.0.{third}.{fourth}, {country}"
        );
    }
}

fn report(arguments: &FreshnessArguments, all: &[Measured]) {
    if arguments.common.json {
        let of = |one: &Measured| json!({ "rate": one.rate, "appended_per_second": one.appended, "processors": one.processors, "latency": one.latencies.as_json() });
        println!("{}", json!({ "seconds": arguments.seconds, "rates": all.iter().map(of).collect::<Vec<_>>() }));
        return;
    }
    println!(
        "from a line appended to its count over HTTP, {} s each; milliseconds\n\n| clicks/s | appended/s | markers | p50 | p99 | longest | processors |\n|--:|--:|--:|--:|--:|--:|--:|",
        arguments.seconds
    );
    for Measured { rate, latencies, appended, processors } in all {
        let [half, most, longest] = [50, 99, 100].map(|percent| latencies.percentile(percent));
        println!(
            "| {rate} | {appended:.0} | {} | {half:.0} | {most:.0} | {longest:.0} | {processors:.2} |",
            latencies.count()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_is_a_line_of_its_own_among_the_clicks() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = FreshnessArguments {
            rate: vec![2_000],
            seconds: 1,
            warm_up_seconds: 0,
            markers: 50,
            ads: 100,
            skew: 1.1,
            run: RunSettings::default(),
            common: Common::default(),
        };
        let (told, markers) = channel();
        let servers = Servers::create(folder.path(), &arguments, 2_000).unwrap();
        let lines = servers.append_for(Duration::from_millis(300), &told).unwrap();
        drop(told);
        let markers: Vec<Marker> = markers.iter().collect();
        assert!(lines > 0 && !markers.is_empty());
        let log = |number| std::fs::read_to_string(folder.path().join(format!("server-{number}.log"))).unwrap();
        let text = log(0) + &log(1);
        assert_eq!(text.lines().count(), lines as usize + markers.len() + PARALLELISM);
        for marker in markers {
            assert_eq!(text.matches(&format!("] marker{},", marker.number)).count(), 1);
            assert!(marker.path().ends_with("?from=1646352000&to=1646352060"));
        }
    }
}
