//! Logs that grow while the simulated job follows them: servers write, rotate, copy and truncate real files on virtual time.
//!
//! What is written is kept a second time, a file for each that a server has ever begun: that is what the recount reads. So all
//! that a server writes must be counted exactly once, under whatever name it lies, and nothing may ever be lost; what may
//! really be lost with a file, because it is written anew, waits until all of it has been read. A log is not copied and truncated
//! before something of it has been read: else nobody could tell that the copy is of this log, and its end would be reported as a loss,
//! although the copy is read.

use crate::workload::{InputFormat, Line, Workload, line_bytes};
use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a server does to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAct {
    /// It writes so many lines; `torn`: and half of the next one.
    Write {
        /// Whole lines.
        lines: usize,
        /// Whether a piece of the next one is written, too.
        torn: bool,
    },
    /// The log is renamed, and those before it, too. Some lines still go into the renamed one; the next ones into a new one.
    Rename {
        /// Lines that the server writes before it notices.
        lines: usize,
    },
    /// The log is copied, and cut off at its beginning, once something of it has been read.
    CopyAndTruncate,
    /// The log is written anew, once all of it has been read.
    WriteAnew,
    /// The oldest rotated log is removed, once all of it has been read.
    RemoveOldest,
}

/// What a server does, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStep {
    /// When.
    pub at: Duration,
    /// Which server, from 0.
    pub server: usize,
    /// What.
    pub act: LogAct,
}

/// Which ways of rotating logs servers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotations {
    /// By renaming.
    pub rename: bool,
    /// By copying and truncating.
    pub copy_and_truncate: bool,
    /// By writing anew.
    pub write_anew: bool,
    /// Whether old ones are removed.
    pub remove: bool,
    /// Whether all logs begin with the same line.
    pub same_beginning: bool,
}

impl Rotations {
    /// All of them.
    pub const ALL: Rotations =
        Rotations { rename: true, copy_and_truncate: true, write_anew: true, remove: true, same_beginning: true };
}

/// A schedule by chance: each server writes for some seconds, and rotates its log in one way.
pub fn schedule(seed: u64, servers: usize, lines_per_server: usize, rotations: Rotations) -> Vec<LogStep> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x1095);
    let mut steps = Vec::new();
    for server in 0..servers {
        let mut ways = Vec::new();
        for (way, allowed) in [
            (LogAct::Rename { lines: 0 }, rotations.rename),
            (LogAct::CopyAndTruncate, rotations.copy_and_truncate),
            (LogAct::WriteAnew, rotations.write_anew),
        ] {
            ways.extend(allowed.then_some(way));
        }
        let way = (!ways.is_empty()).then(|| ways[dice.random_range(0..ways.len())]);
        let mut at = Duration::from_millis(dice.random_range(0..1_500));
        let mut left = lines_per_server;
        while left > 0 {
            let lines = dice.random_range(1..=12.min(left));
            steps.push(LogStep { at, server, act: LogAct::Write { lines, torn: dice.random_range(0..3) == 0 } });
            left -= lines;
            at += Duration::from_millis([3, 90, 700][dice.random_range(0..3)]);
            if dice.random_range(0..4) == 0 {
                let act = match way {
                    Some(LogAct::Rename { .. }) => LogAct::Rename { lines: dice.random_range(0..3) },
                    Some(other) => other,
                    None => continue,
                };
                steps.push(LogStep { at, server, act });
                at += Duration::from_millis([0, 20, 900][dice.random_range(0..3)]);
            }
            if dice.random_range(0..12) == 0 && rotations.remove {
                steps.push(LogStep { at, server, act: LogAct::RemoveOldest });
            }
        }
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// The servers of a simulation.
pub struct Logs {
    format: InputFormat,
    folder: PathBuf,
    truth: PathBuf,
    servers: Vec<Server>,
    /// Steps to come, in order.
    steps: VecDeque<LogStep>,
    /// The line that each log begins with.
    beginning: Option<Vec<u8>>,
    written: u64,
    read: u64,
}

struct Server {
    name: String,
    lines: VecDeque<Line>,
    /// The rest of a line whose beginning is written.
    torn: Vec<u8>,
    /// How many logs it has begun.
    begun: usize,
    /// Rotated logs that lie there, by the numbers in their names from the newest.
    rotated: Vec<PathBuf>,
    /// Whether there is a log to write to.
    is_open: bool,
    /// Whole lines in it.
    lines_in_log: u64,
}

impl Logs {
    /// Servers that will write the lines of a workload into `folder`, and what they wrote into `truth`.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn new(
        workload: Workload,
        format: InputFormat,
        steps: &[LogStep],
        rotations: Rotations,
        folder: &Path,
        truth: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::create_dir_all(truth)?;
        let server = |(name, lines): (String, Vec<Line>)| Server {
            name,
            lines: lines.into(),
            torn: Vec::new(),
            begun: 0,
            rotated: Vec::new(),
            is_open: false,
            lines_in_log: 0,
        };
        Ok(Logs {
            format,
            folder: folder.into(),
            truth: truth.into(),
            servers: workload.files.into_iter().map(server).collect(),
            steps: steps.iter().copied().collect(),
            beginning: rotations.same_beginning.then(|| b"# written by a server\n".to_vec()),
            written: 0,
            read: 0,
        })
    }

    /// Lines that are written, the last one to its end.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether all is written.
    pub fn is_over(&self) -> bool {
        self.steps.is_empty() && self.servers.iter().all(|server| server.torn.is_empty() && server.lines.is_empty())
    }

    /// Whether somebody waits for what was read.
    pub fn is_waiting(&self, now: Duration) -> bool {
        self.is_over() || self.steps.front().is_some_and(|step| step.at <= now)
    }

    /// So many lines are in a checkpoint that is complete.
    pub fn set_read(&mut self, lines: u64) {
        self.read = lines;
    }

    /// Does what is due. Returns what was done.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn go_on(&mut self, now: Duration) -> Result<Vec<LogStep>> {
        let mut done = Vec::new();
        while let Some(step) = self.steps.front().copied().filter(|step| step.at <= now) {
            let Server { rotated, is_open, .. } = &self.servers[step.server];
            let (waits_for_all, waits_for_some) = match step.act {
                LogAct::WriteAnew => (true, false),
                LogAct::RemoveOldest => (!rotated.is_empty(), false),
                LogAct::CopyAndTruncate => (false, *is_open),
                _ => (false, false),
            };
            if waits_for_all || waits_for_some {
                // Nothing half of which may be lost.
                self.finish_line(step.server)?;
                // More than all other logs have: some of it is of this one.
                let others = self.written - self.servers[step.server].lines_in_log;
                if waits_for_all && self.read < self.written || waits_for_some && self.read <= others {
                    break;
                }
            }
            self.act(step.server, step.act).with_context(|| format!("{step:?}"))?;
            self.steps.pop_front();
            done.push(step);
        }
        if self.steps.is_empty() && !self.is_over() {
            for server in 0..self.servers.len() {
                self.write(server, usize::MAX)?;
            }
        }
        Ok(done)
    }

    fn act(&mut self, server: usize, act: LogAct) -> Result<()> {
        match act {
            LogAct::Write { lines, torn } => {
                self.write(server, lines)?;
                if torn {
                    self.tear(server)?;
                }
            }
            LogAct::Rename { lines } => {
                if self.servers[server].is_open {
                    self.rename(server)?;
                    let renamed = self.servers[server].rotated[0].clone();
                    self.finish_line_in(server, &renamed)?;
                    for _ in 0..lines {
                        self.write_line(server, &renamed)?;
                    }
                    self.servers[server].is_open = false;
                }
            }
            LogAct::CopyAndTruncate => {
                self.finish_line(server)?;
                if self.servers[server].is_open {
                    self.make_room(server)?;
                    let (log, copy) = (self.log(server), self.rotated(server, 1));
                    fs::copy(&log, &copy)?;
                    File::options().write(true).open(&log)?.set_len(0)?;
                    self.servers[server].rotated.insert(0, copy);
                    self.servers[server].is_open = false;
                }
            }
            LogAct::WriteAnew => {
                if self.servers[server].is_open {
                    File::options().write(true).open(self.log(server))?.set_len(0)?;
                    self.servers[server].is_open = false;
                    self.write(server, 2)?;
                }
            }
            LogAct::RemoveOldest => {
                if let Some(oldest) = self.servers[server].rotated.pop() {
                    fs::remove_file(oldest)?;
                }
            }
        }
        Ok(())
    }

    fn log(&self, server: usize) -> PathBuf {
        self.folder.join(format!("{}.log", self.servers[server].name))
    }

    fn rotated(&self, server: usize, number: usize) -> PathBuf {
        self.folder.join(format!("{}.log.{number}", self.servers[server].name))
    }

    /// Moves the log into the first place of the rotated ones.
    fn rename(&mut self, server: usize) -> Result<()> {
        self.make_room(server)?;
        let renamed = self.rotated(server, 1);
        fs::rename(self.log(server), &renamed)?;
        self.servers[server].rotated.insert(0, renamed);
        Ok(())
    }

    /// Moves every rotated log one place on.
    fn make_room(&mut self, server: usize) -> Result<()> {
        for place in (0..self.servers[server].rotated.len()).rev() {
            let next = self.rotated(server, place + 2);
            fs::rename(&self.servers[server].rotated[place], &next)?;
            self.servers[server].rotated[place] = next;
        }
        Ok(())
    }

    fn write(&mut self, server: usize, lines: usize) -> Result<()> {
        let log = self.log(server);
        self.finish_line(server)?;
        for _ in 0..lines.min(self.servers[server].lines.len()) {
            self.write_line(server, &log)?;
        }
        Ok(())
    }

    fn write_line(&mut self, server: usize, log: &Path) -> Result<()> {
        let Some(line) = self.servers[server].lines.pop_front() else { return Ok(()) };
        self.begin_if_new(server)?;
        self.append(server, log, &line_bytes(&line, self.format))?;
        self.count_line(server);
        Ok(())
    }

    fn begin_if_new(&mut self, server: usize) -> Result<()> {
        if std::mem::replace(&mut self.servers[server].is_open, true) {
            return Ok(());
        }
        self.servers[server].begun += 1;
        self.servers[server].lines_in_log = 0;
        if let Some(beginning) = self.beginning.clone() {
            self.append(server, &self.log(server), &beginning)?;
            self.count_line(server);
        }
        Ok(())
    }

    fn count_line(&mut self, server: usize) {
        self.written += 1;
        self.servers[server].lines_in_log += 1;
    }

    /// Writes half of the next line.
    fn tear(&mut self, server: usize) -> Result<()> {
        let Some(line) = self.servers[server].lines.pop_front() else { return Ok(()) };
        self.begin_if_new(server)?;
        let bytes = line_bytes(&line, self.format);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.append(server, &self.log(server), first)?;
        self.servers[server].torn = rest.to_vec();
        Ok(())
    }

    fn finish_line(&mut self, server: usize) -> Result<()> {
        self.finish_line_in(server, &self.log(server))
    }

    fn finish_line_in(&mut self, server: usize, log: &Path) -> Result<()> {
        let rest = std::mem::take(&mut self.servers[server].torn);
        if !rest.is_empty() {
            self.append(server, log, &rest)?;
            self.count_line(server);
        }
        Ok(())
    }

    fn append(&self, server: usize, log: &Path, bytes: &[u8]) -> Result<()> {
        let Server { name, begun, .. } = &self.servers[server];
        for path in [log, &self.truth.join(format!("{name}-{begun}.log"))] {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(bytes).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::WorkloadConfig;

    #[test]
    fn all_that_is_written_is_kept_a_second_time_whatever_becomes_of_the_logs() {
        let config = WorkloadConfig { files: 3, lines_per_file: 40, ..WorkloadConfig::default() };
        for seed in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let (logs, truth) = (folder.path().join("logs"), folder.path().join("truth"));
            let steps = schedule(seed, 3, 40, Rotations::ALL);
            let workload = Workload::generate(&config);
            let lines = workload.line_count();
            let mut servers =
                Logs::new(workload, InputFormat::ClickLog, &steps, Rotations::ALL, &logs, &truth).unwrap();
            servers.set_read(u64::MAX);
            servers.go_on(Duration::MAX).unwrap();
            assert!(servers.is_over());
            let files: Vec<_> = fs::read_dir(&truth).unwrap().map(|file| file.unwrap().path()).collect();
            let kept: usize = files.iter().map(|file| fs::read(file).unwrap().split(|b| *b == b'\n').count() - 1).sum();
            assert_eq!(kept as u64, servers.written());
            assert_eq!(kept, lines + files.len());
        }
    }
}
