//! The consumer that paces budgets, as its users run it.

use crate::region::Region;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The consumer, its budgets and its state in the region's folder.
pub struct Pacing {
    python: PathBuf,
    folder: PathBuf,
    brokers: String,
    topic: String,
    child: Option<Child>,
}

impl Pacing {
    /// Budgets and the cost of a click are in cents.
    pub fn new(python: &Path, region: &Region, budgets: &BTreeMap<String, i64>, cost: i64) -> Self {
        let pacing = Pacing {
            python: python.into(),
            folder: region.place.path(""),
            brokers: region.brokers.clone(),
            topic: region.running_counts.clone(),
            child: None,
        };
        pacing.set_budgets(budgets, cost);
        pacing
    }

    pub fn set_budgets(&self, budgets: &BTreeMap<String, i64>, cost: i64) {
        let mut text = "ad_id,budget,cost_per_click\n".to_owned();
        let euros = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
        for (ad, budget) in budgets {
            let _ = writeln!(text, "{ad},{},{}", euros(*budget), euros(cost));
        }
        fs::write(self.folder.join("budgets.csv"), text).unwrap();
    }

    pub fn start(&mut self) {
        let log = |name: &str| fs::File::options().append(true).create(true).open(self.folder.join(name)).unwrap();
        let mut command = Command::new(&self.python);
        command.arg(self.folder.join("jobs/examples/budget_pacing/pacing.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.args(["--budgets", "budgets.csv", "--state", "pacing.sqlite"]);
        command.args(["--brokers", &self.brokers, "--topic", &self.topic]).current_dir(&self.folder);
        let command = command.stdin(Stdio::null()).stdout(log("told.jsonl")).stderr(log("pacing.log"));
        self.child = Some(command.spawn().unwrap());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "it ended by itself: {}",
                fs::read_to_string(self.folder.join("pacing.log")).unwrap()
            );
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What is paid for, by ad.
    pub fn clicks(&self) -> BTreeMap<String, i64> {
        let sql = "SELECT ad_id, clicks FROM ads WHERE ad_id IN (SELECT ad_id FROM records)";
        let rows = asked(&self.python, &self.folder.join("pacing.sqlite"), sql);
        let read = |row: &Value| (row[0].as_str().unwrap().to_owned(), row[1].as_i64().unwrap());
        rows.as_array().into_iter().flatten().map(read).collect()
    }

    /// The ads that are to stop, by what was told last, and when that was.
    pub fn stopped(&self) -> BTreeMap<String, f64> {
        let told = fs::read_to_string(self.folder.join("told.jsonl")).unwrap_or_default();
        let mut stopped = BTreeMap::new();
        for line in told.lines() {
            // The last line may have been cut off by the kill, and comes again.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let ad = line["ad_id"].as_str().unwrap().to_owned();
            match line["is"].as_str() {
                Some("stopped") => stopped.insert(ad, line["at"].as_f64().unwrap()),
                _ => stopped.remove(&ad),
            };
        }
        stopped
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The rows of a statement, as lists. Null where the database has no such table yet, or is busy.
pub fn asked(python: &Path, database: &Path, sql: &str) -> Value {
    const SCRIPT: &str = "import json, sqlite3, sys\n\
        db = sqlite3.connect(f'file:{sys.argv[1]}?mode=rw', uri=True, timeout=30)\n\
        print(json.dumps(db.execute(sys.argv[2]).fetchall()))";
    let output = Command::new(python).args(["-c", SCRIPT]).arg(database).arg(sql).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}
