//! A coordinator and its workers as processes on this machine.
//!
//! Invariant: all of them are ended when this is dropped.

use crate::child;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long anything may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    weir: PathBuf,
    folder: PathBuf,
    /// Where users reach the coordinator.
    pub address: String,
    http: String,
    coordinator: Child,
    workers: Vec<Child>,
    started: usize,
}

impl Cluster {
    /// Starts a coordinator and so many workers of one slot each, all below `folder`.
    pub fn start(weir: &Path, folder: &Path, workers: usize) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
        let said = folder.join("coordinator.out");
        let mut command = Command::new(weir);
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"]);
        command.arg(folder.join("coordinator")).stdin(Stdio::null());
        command.stdout(File::create(&said)?).stderr(File::create(folder.join("coordinator.err"))?);
        let coordinator = command.spawn().context("cannot start the coordinator")?;
        let (weir, folder, workers_wanted) = (weir.to_path_buf(), folder.to_path_buf(), workers);
        let (address, http) = (String::new(), String::new());
        let mut cluster = Cluster { weir, folder, address, http, coordinator, workers: vec![], started: 0 };
        let (address, http) = wait_for("the coordinator to listen", || {
            let text = std::fs::read_to_string(&said)?;
            let words = text
                .lines()
                .next()
                .unwrap_or_default()
                .strip_prefix("listening on ")
                .and_then(|rest| rest.split_once(", page at http://"));
            Ok(words.map(|(address, http)| (address.to_string(), http.trim_end_matches('/').to_string())))
        })?;
        (cluster.address, cluster.http) = (address, http);
        for _ in 0..workers_wanted {
            cluster.add_worker()?;
        }
        cluster.wait_for_workers(workers_wanted)?;
        Ok(cluster)
    }

    /// One worker more, which comes when it comes.
    pub fn add_worker(&mut self) -> Result<()> {
        self.started += 1;
        let log = File::create(self.folder.join(format!("worker-{}.err", self.started)))?;
        let mut command = self.weir(&["worker", "--slots", "1"]);
        let worker = command.stdout(Stdio::null()).stderr(log).spawn().context("cannot start a worker")?;
        self.workers.push(worker);
        Ok(())
    }

    /// Waits until so many workers are registered.
    pub fn wait_for_workers(&self, workers: usize) -> Result<()> {
        wait_for("the workers to register", || {
            let cluster = self.rest("/api/v1/cluster")?;
            let all = cluster["workers"].as_array().into_iter().flatten();
            Ok((all.filter(|worker| worker["state"] == "available").count() == workers).then_some(()))
        })
    }

    /// `weir` with these arguments, for this cluster.
    pub fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.weir);
        command.args(arguments).env("WEIR_COORDINATOR", &self.address).stdin(Stdio::null());
        command
    }

    /// The process of the coordinator.
    pub fn coordinator(&self) -> u32 {
        self.coordinator.id()
    }

    /// The processes of the workers.
    pub fn workers(&self) -> impl Iterator<Item = u32> + '_ {
        self.workers.iter().map(Child::id)
    }

    /// Kills the worker with this process id, as `kill -9` does.
    pub fn kill_worker(&mut self, pid: u32) -> Result<()> {
        let place = self.workers.iter().position(|worker| worker.id() == pid);
        let place = place.with_context(|| format!("no worker is process {pid}"))?;
        self.workers[place].kill()?;
        self.workers.swap_remove(place).wait()?;
        Ok(())
    }

    /// Ends all processes. Returns the seconds of processor time that they took, all together.
    pub fn end(self) -> Result<f64> {
        let mut seconds = 0.0;
        for process in self.workers.iter().chain([&self.coordinator]) {
            let asked = Command::new("kill").arg(process.id().to_string()).status()?;
            ensure!(asked.success(), "process {} is gone", process.id());
            seconds += child::processor_seconds(process.id())?;
        }
        Ok(seconds)
    }

    /// What REST says at a path.
    pub fn rest(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.http).with_context(|| format!("cannot reach {}", self.http))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("no HTTP: {answer}") };
        ensure!(head.contains(" 200 "), "{path}: {head} {body}");
        serde_json::from_str(body).with_context(|| format!("{path} is no JSON: {body}"))
    }

    /// Hands a job in. Returns its id, when it is known everywhere.
    pub fn submit(&self, submit: &mut Command) -> Result<String> {
        let (_, printed) = child::measure(submit)?;
        let job = printed.trim().to_string();
        // What REST shows may be a moment old.
        wait_for("the job to be known", || Ok(self.job(&job).ok().map(drop)))?;
        Ok(job)
    }

    /// A job as REST shows it.
    pub fn job(&self, job: &str) -> Result<Value> {
        self.rest(&format!("/api/v1/jobs/{job}"))
    }

    /// Where the checkpoints of all jobs lie.
    pub fn storage(&self) -> PathBuf {
        self.folder.join("coordinator/storage")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.workers.iter_mut().chain([&mut self.coordinator]) {
            // One that has ended cannot be killed, and one that was waited for is another's.
            if matches!(process.try_wait(), Ok(None)) {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

/// Looks until something is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let enough = child::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(child::now() < enough, "waited in vain for {what}");
        child::pause(Duration::from_millis(5));
    }
}
