//! How old an attributed order is when it can be seen, while orders and clicks come for long; and what a click that is held costs.
//!
//! `weir run` follows logs of clicks and of orders that grow at a steady rate, and joins each order with the last click of its user.
//! Every order is measured: from before it is appended until a file with its answer is there, committed. At the end every order must
//! have been answered once, with the click that it was made after.

use crate::{
    child,
    common::{Common, RunSettings},
    input,
    job::{self, RunningJob},
    latencies::Latencies,
    running, weir,
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::HashSet,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// Logs of each kind, and subtasks of each task.
const PARALLELISM: usize = 2;
/// How often a server appends.
const APPEND_EVERY: Duration = Duration::from_millis(10);
/// How often new answers are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest wait for the last answers.
const PATIENCE: Duration = Duration::from_secs(120);
/// How far the rows that end the measurement are ahead, so that all before them are answered.
const END_AHEAD_MS: i64 = 30_000;

/// Arguments of `weir-bench attribution`.
#[derive(Debug, Args)]
pub struct AttributionArguments {
    /// Clicks a second
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    clicks: u64,
    /// Orders a second
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    orders: u64,
    /// How long they come
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u64,
    /// How long of that is not measured, at the beginning
    #[arg(long, value_name = "N", default_value_t = 10)]
    warm_up_seconds: u64,
    /// Users
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    users: u32,
    /// How unlike the users are: 0 is even, 1 is Zipf's own
    #[arg(long, value_name = "S", default_value_t = 0.8)]
    skew: f64,
    #[command(flatten)]
    run: RunSettings,
    #[command(flatten)]
    common: Common,
}

/// What was measured.
#[derive(Debug)]
struct Measured {
    latencies: Latencies,
    orders: usize,
    clicks: u64,
    /// Orders that had a click before them.
    attributed: usize,
    /// Processors that the process used, on average.
    processors: f64,
    resident_bytes: u64,
    /// Of the files that the last checkpoint refers to, and of the same columns of the clicks as they came.
    state_bytes: u64,
    raw_bytes: u64,
}

/// Measures, and prints what came of it.
pub fn attribution(arguments: &AttributionArguments) -> Result<()> {
    let work = arguments.common.work()?;
    input::empty_folder(&work)?;
    let measured = measure(arguments, &work)?;
    input::empty_folder(&work)?;
    report(arguments, &measured);
    Ok(())
}

fn measure(arguments: &AttributionArguments, work: &Path) -> Result<Measured> {
    let shop = Shop::open(work, arguments)?;
    let answers = work.join("answers");
    let mut settings: Vec<String> =
        ["orders", "clicks"].map(|source| format!("source.{source}.path={}", work.join(source).display())).into();
    settings.push(format!("sink.answers.path={}", answers.display()));
    settings.extend(arguments.run.set.iter().cloned());
    let definition = weir::workspace().join("benches/jobs/attribution.toml");
    let binary = arguments.common.binary()?;
    let mut job = RunningJob::start(&binary, &definition, work, PARALLELISM, &settings)?;
    let pid = job.pid();
    let (begun, used) = (child::now(), running::cpu_seconds(pid)?);
    let measured_from = child::wall_clock_ms() + (arguments.warm_up_seconds * 1_000) as i64;
    let appending = std::thread::spawn({
        let (clicks, orders, seconds) = (arguments.clicks, arguments.orders, arguments.seconds);
        move || shop.append_for(Duration::from_secs(seconds), (clicks, orders))
    });
    let mut seen =
        Seen { folder: answers, files: HashSet::new(), answers: Vec::new(), latencies: Latencies::default() };
    while !appending.is_finished() {
        seen.look(measured_from)?;
        job.check()?;
        child::pause(LOOK_EVERY);
    }
    let sold = appending.join().map_err(|_| anyhow!("the shop panicked"))??;
    let processors = (running::cpu_seconds(pid)? - used) / (child::now() - begun).as_secs_f64();
    let waiting = child::now();
    while seen.answers.len() < sold.expected.len() {
        let late = child::now() - waiting > PATIENCE;
        ensure!(!late, "{} of {} orders are answered", seen.answers.len(), sold.expected.len());
        seen.look(measured_from)?;
        job.check()?;
        child::pause(LOOK_EVERY);
    }
    let resident_bytes = running::resident_bytes(pid)?;
    job.end()?;
    seen.look(measured_from)?;
    let attributed = check(&sold.expected, &seen.answers)?;
    let state_bytes = job::checkpointed_bytes(&binary, &work.join("data"), "attribution")?;
    let Sold { expected, clicks, raw_bytes } = sold;
    let (latencies, orders) = (seen.latencies, expected.len());
    Ok(Measured { latencies, orders, clicks, attributed, processors, resident_bytes, state_bytes, raw_bytes })
}

/// Every order once, and with the right ad. Returns how many have one.
fn check(expected: &[Option<u32>], answers: &[(usize, Option<u32>)]) -> Result<usize> {
    let mut answered = vec![false; expected.len()];
    for (order, ad) in answers {
        let wanted = expected.get(*order).with_context(|| format!("nobody has made order {order}"))?;
        ensure!(ad == wanted, "order {order} is attributed to {ad:?}, not {wanted:?}");
        ensure!(!std::mem::replace(&mut answered[*order], true), "order {order} is answered twice");
    }
    ensure!(answered.iter().all(|is| *is), "{} orders have no answer", answered.iter().filter(|is| !**is).count());
    Ok(expected.iter().flatten().count())
}

/// The answers that were found so far.
struct Seen {
    folder: PathBuf,
    files: HashSet<PathBuf>,
    /// Number of the order, and its ad.
    answers: Vec<(usize, Option<u32>)>,
    latencies: Latencies,
}

/// A row of the answers.
#[derive(Deserialize)]
struct Answer {
    order_id: i64,
    sent_ms: i64,
    ad_id: Option<String>,
}

impl Seen {
    /// Reads the files that are new. Orders that were sent before a moment are not measured.
    fn look(&mut self, measured_from: i64) -> Result<()> {
        let new: Vec<PathBuf> = files_below(&self.folder)?.filter(|path| !self.files.contains(path)).collect();
        let now = child::wall_clock_ms();
        for path in new {
            for line in fs::read_to_string(&path)?.lines() {
                let Answer { order_id, sent_ms, ad_id } =
                    serde_json::from_str(line).with_context(|| format!("'{}': {line}", path.display()))?;
                // That which only moves event time on.
                let Ok(order) = usize::try_from(order_id) else { continue };
                let ad = ad_id.map(|ad| ad.trim_start_matches("ad").parse()).transpose()?;
                self.answers.push((order, ad));
                if sent_ms >= measured_from {
                    self.latencies.add((now - sent_ms) as f64);
                }
            }
            self.files.insert(path);
        }
        Ok(())
    }
}

/// Files of a sink that readers may see.
fn files_below(folder: &Path) -> Result<impl Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")))
}

/// Users that click and order.
struct Shop {
    clicks: Vec<File>,
    orders: Vec<File>,
    users: Zipf<f64>,
    dice: StdRng,
    /// Of each user the last click: when, in milliseconds since the epoch, and on which ad.
    last: Vec<Option<(i64, u32)>>,
}

/// What was sold in the end.
struct Sold {
    /// Of each order, by its number, the ad that it is attributed to.
    expected: Vec<Option<u32>>,
    clicks: u64,
    /// Bytes of the clicks' columns that a join keeps.
    raw_bytes: u64,
}

impl Shop {
    fn open(work: &Path, arguments: &AttributionArguments) -> Result<Self> {
        let logs = |kind: &str| -> Result<Vec<File>> {
            fs::create_dir_all(work.join(kind))?;
            let log = |number| work.join(kind).join(format!("server-{number}.json"));
            let open = |number| Ok(OpenOptions::new().create(true).append(true).open(log(number))?);
            (0..PARALLELISM).map(open).collect()
        };
        let users = Zipf::new(f64::from(arguments.users), arguments.skew).context("--users and --skew")?;
        let last = vec![None; arguments.users as usize + 1];
        Ok(Shop { clicks: logs("clicks")?, orders: logs("orders")?, users, dice: StdRng::seed_from_u64(1), last })
    }

    /// Appends so many clicks and orders a second.
    fn append_for(mut self, duration: Duration, (clicks, orders): (u64, u64)) -> Result<Sold> {
        let begun = child::now();
        let mut sold = Sold { expected: Vec::new(), clicks: 0, raw_bytes: 0 };
        let mut at = 0;
        loop {
            let (now, elapsed) = (child::now(), child::now() - begun);
            if elapsed >= duration {
                break;
            }
            let due = |a_second: u64| a_second * elapsed.as_millis() as u64 / 1_000;
            // Each tick is later than the one before: an order comes after the clicks of its own.
            at = child::wall_clock_ms().max(at + 1);
            let mut texts = vec![String::new(); PARALLELISM];
            while sold.clicks < due(clicks) {
                sold.raw_bytes += self.click(&mut texts[sold.clicks as usize % PARALLELISM], at);
                sold.clicks += 1;
            }
            append(&mut self.clicks, &texts)?;
            let mut texts = vec![String::new(); PARALLELISM];
            while (sold.expected.len() as u64) < due(orders) {
                let number = sold.expected.len();
                let ad = self.order(&mut texts[number % PARALLELISM], number, at);
                sold.expected.push(ad);
            }
            append(&mut self.orders, &texts)?;
            child::pause(APPEND_EVERY.saturating_sub(child::now() - now));
        }
        self.end(at + END_AHEAD_MS)?;
        Ok(sold)
    }

    /// A click. Returns the bytes of its columns.
    fn click(&mut self, text: &mut String, at: i64) -> u64 {
        let (user, ad) = (self.users.sample(&mut self.dice) as u32, self.dice.random_range(0..2_000_000));
        let begun = text.len();
        // Writing to a string does not fail.
        let _ = writeln!(text, r#"{{"ad_id":"ad{ad:07}","user_id":"user{user:07}","clicked_at":{at}}}"#);
        // Of two at one time, the later one by its columns.
        let last = &mut self.last[user as usize];
        *last = (*last).max(Some((at, ad)));
        let around = r#"{"ad_id":"","user_id":"","clicked_at":}"#.len() + 1 + at.to_string().len();
        (text.len() - begun - around + size_of::<i64>()) as u64
    }

    /// An order. Returns the ad that its user clicked last.
    fn order(&mut self, text: &mut String, number: usize, at: i64) -> Option<u32> {
        let user = self.users.sample(&mut self.dice) as u32;
        let sent = child::wall_clock_ms();
        let _ =
            writeln!(text, r#"{{"order_id":{number},"user_id":"user{user:07}","ordered_at":{at},"sent_ms":{sent}}}"#);
        self.last[user as usize].map(|(_, ad)| ad)
    }

    /// Rows of nobody that move event time on, in each log.
    fn end(&mut self, at: i64) -> Result<()> {
        let click = format!("{}\n", json!({ "ad_id": "ad0", "user_id": "nobody", "clicked_at": at }));
        append(&mut self.clicks, &vec![click; PARALLELISM])?;
        let order = json!({ "order_id": -1, "user_id": "somebody", "ordered_at": at, "sent_ms": 0 });
        append(&mut self.orders, &vec![format!("{order}\n"); PARALLELISM])
    }
}

fn append(logs: &mut [File], texts: &[String]) -> Result<()> {
    for (log, text) in logs.iter_mut().zip(texts) {
        log.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn report(arguments: &AttributionArguments, measured: &Measured) {
    let Measured { latencies, orders, clicks, attributed, processors, resident_bytes, state_bytes, raw_bytes } =
        measured;
    let per_click = |bytes: &u64| *bytes as f64 / (*clicks).max(1) as f64;
    if arguments.common.json {
        let latency = latencies.as_json();
        println!(
            "{}",
            json!({ "seconds": arguments.seconds, "orders": orders, "clicks": clicks, "attributed": attributed,
                    "latency": latency, "processors": processors, "resident_bytes": resident_bytes,
                    "state_bytes_per_click": per_click(state_bytes), "raw_bytes_per_click": per_click(raw_bytes) })
        );
        return;
    }
    let [half, most, longest] = [50, 99, 100].map(|percent| latencies.percentile(percent));
    println!(
        "{orders} orders, {attributed} of them attributed, and {clicks} clicks in {} s; all answered once, and rightly\n\n\
         | from an order to its committed answer, ms: p50 | p99 | longest | processors | resident MB | state, bytes a click | its columns, bytes |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n\
         | {half:.0} | {most:.0} | {longest:.0} | {processors:.2} | {:.0} | {:.1} | {:.1} |",
        arguments.seconds,
        *resident_bytes as f64 / 1e6,
        per_click(state_bytes),
        per_click(raw_bytes)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_belongs_to_the_last_click_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = AttributionArguments {
            clicks: 2_000,
            orders: 500,
            seconds: 1,
            warm_up_seconds: 0,
            users: 20,
            skew: 0.5,
            run: RunSettings::default(),
            common: Common::default(),
        };
        let shop = Shop::open(folder.path(), &arguments).unwrap();
        let sold = shop.append_for(Duration::from_millis(300), (2_000, 500)).unwrap();
        let read = |kind: &str| -> Vec<serde_json::Value> {
            let log = |number| fs::read_to_string(folder.path().join(format!("{kind}/server-{number}.json"))).unwrap();
            let lines = log(0) + &log(1);
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let (clicks, orders) = (read("clicks"), read("orders"));
        assert_eq!((clicks.len(), orders.len()), (sold.clicks as usize + 2, sold.expected.len() + 2));
        assert!(sold.expected.iter().flatten().count() > 0);
        for order in orders.iter().filter(|order| order["order_id"] != -1) {
            let before = clicks.iter().filter(|click| {
                click["user_id"] == order["user_id"]
                    && click["clicked_at"].as_i64().unwrap() <= order["ordered_at"].as_i64().unwrap()
            });
            let last = before.max_by_key(|click| (click["clicked_at"].as_i64(), click["ad_id"].as_str()));
            let ad = last.map(|click| click["ad_id"].as_str().unwrap()[2..].parse().unwrap());
            assert_eq!(sold.expected[order["order_id"].as_u64().unwrap() as usize], ad);
        }
    }

    #[test]
    fn wrong_answers_are_noticed() {
        let expected = [Some(1), None];
        assert_eq!(check(&expected, &[(1, None), (0, Some(1))]).unwrap(), 1);
        for wrong in [vec![(0, Some(1))], vec![(0, Some(2)), (1, None)], vec![(0, Some(1)), (1, None), (1, None)]] {
            assert!(check(&expected, &wrong).is_err(), "{wrong:?}");
        }
    }
}
