//! The consumer of the docs that paces budgets, as a process: what it has paid for, and which ads it has told to stop.

use super::{business::ADS, store::rows};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::Row;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What a click costs, in cents.
const COST: i64 = 10;
/// Lines of its log that are shown.
const SHOWN_LINES: usize = 10;

/// The consumer of a topic, with its budgets and its state in a folder.
#[derive(Debug)]
pub struct Pacing {
    python: PathBuf,
    folder: PathBuf,
    brokers: String,
    topic: String,
    child: Option<Child>,
}

/// The budget of an ad in cents: one that is spent at once, up to one that is never.
fn budget(ad: u32) -> i64 {
    COST * 40 * i64::from(ad).pow(2)
}

impl Pacing {
    /// Not yet started.
    ///
    /// # Errors
    /// When its budgets cannot be written.
    pub fn new(python: &Path, folder: PathBuf, brokers: String, topic: String) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut budgets = "ad_id,budget,cost_per_click\n".to_owned();
        let euros = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
        for ad in 0..ADS {
            writeln!(budgets, "ad{ad},{},{}", euros(budget(ad)), euros(COST))?;
        }
        std::fs::write(folder.join("budgets.csv"), budgets)?;
        Ok(Pacing { python: python.into(), folder, brokers, topic, child: None })
    }

    /// Starts it, again or for the first time.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let log = |name: &str| File::options().append(true).create(true).open(self.folder.join(name));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/examples/budget_pacing/pacing.py");
        let mut command = Command::new(&self.python);
        command.args([script, "--budgets", "budgets.csv", "--state", "pacing.sqlite"]);
        command.args(["--brokers", &self.brokers, "--topic", &self.topic]).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log("told.jsonl")?).stderr(log("log")?);
        self.child = Some(command.spawn().context("cannot start the consumer that paces")?);
        Ok(())
    }

    /// Whether it was started, and not killed since.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it has ended by itself.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the consumer that paces does not run")?;
        let ended = child.try_wait()?;
        ensure!(ended.is_none(), "the consumer that paces has ended by itself: {}", self.log());
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// What it has complained about last.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Clicks that are paid for, by ad.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn paid(&self) -> Result<BTreeMap<String, i64>> {
        let sql = "SELECT ad_id, clicks FROM ads WHERE ad_id IN (SELECT ad_id FROM records)";
        let rows = rows(&self.folder.join("pacing.sqlite"), sql)?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// The ads that are to stop, by what was told last.
    ///
    /// # Errors
    /// When it has told nothing yet.
    pub fn stopped(&self) -> Result<BTreeMap<String, ()>> {
        let mut stopped = BTreeMap::new();
        for line in std::fs::read_to_string(self.folder.join("told.jsonl"))?.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("it told {line:?}"))?;
            let ad = line["ad_id"].as_str().context("a line about no ad")?.to_owned();
            match line["is"].as_str() {
                Some("stopped") => stopped.insert(ad, ()),
                _ => stopped.remove(&ad),
            };
        }
        Ok(stopped)
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The ads that are to stop after these clicks.
pub fn to_stop(clicks: &BTreeMap<String, i64>) -> BTreeMap<String, ()> {
    let spent = |ad: &str| COST * clicks.get(ad).copied().unwrap_or(0);
    let ads = (0..ADS).map(|ad| (format!("ad{ad}"), budget(ad)));
    ads.filter(|(ad, budget)| spent(ad) >= *budget).map(|(ad, _)| (ad, ())).collect()
}
