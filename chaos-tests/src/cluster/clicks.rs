//! Click logs that grow while a job follows them: servers that append a few bytes at a time, which may end in the middle of a
//! line.
//!
//! The content follows from the seed alone, chapter after chapter for as long as it is asked for; how much of it there is
//! when, depends on the clock. Every log begins with a line that no other has, before the job does: a followed file is known
//! by its first line, and one that is found while others have been read joins them late.

use super::beside::Beside;
use crate::workload::{InputFormat, Line, Workload, WorkloadConfig, line_bytes};
use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

/// How often servers append.
const TICK: Duration = Duration::from_millis(30);
/// Bytes that a server appends at a time, at most.
const MOST_BYTES: usize = 600;

/// The servers' logs.
#[derive(Debug)]
pub struct ClickLogs {
    seed: u64,
    chapters: u64,
    dice: StdRng,
    servers: Vec<(PathBuf, VecDeque<u8>)>,
}

impl ClickLogs {
    /// Logs with one line each in a folder.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn create(folder: &Path, seed: u64) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let dice = StdRng::seed_from_u64(seed ^ 0xc11c);
        let mut logs = ClickLogs { seed, chapters: 0, dice, servers: Vec::new() };
        for (name, _) in logs.next_chapter().files {
            let path = folder.join(format!("{name}.log"));
            std::fs::write(&path, format!("# log of {name}\n"))
                .with_context(|| format!("cannot make '{}'", path.display()))?;
            logs.servers.push((path, VecDeque::new()));
        }
        logs.chapters = 0;
        Ok(logs)
    }

    /// Appends a little to each.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn append(&mut self) -> Result<()> {
        for server in 0..self.servers.len() {
            let bytes = self.dice.random_range(0..=MOST_BYTES);
            if self.servers[server].1.len() < bytes {
                self.begin_chapter();
            }
            let (path, rest) = &mut self.servers[server];
            let end = bytes.min(rest.len());
            let piece: Vec<u8> = rest.drain(..end).collect();
            append(path, &piece)?;
        }
        Ok(())
    }

    /// Appends what is left of the chapters that have begun.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        for (path, rest) in &mut self.servers {
            append(path, &std::mem::take(rest).into_iter().collect::<Vec<u8>>())?;
        }
        Ok(())
    }

    fn begin_chapter(&mut self) {
        for ((_, lines), (_, rest)) in self.next_chapter().files.iter().zip(&mut self.servers) {
            rest.extend(lines.iter().flat_map(|line| line_bytes(line, InputFormat::ClickLog)));
        }
    }

    /// Some minutes of clicks, after those of the chapter before.
    fn next_chapter(&mut self) -> Workload {
        let config = WorkloadConfig { lines_per_file: 400, minutes: 8, ..WorkloadConfig::default() };
        let later = self.chapters as i64 * config.minutes * 60_000;
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.chapters);
        self.chapters += 1;
        let mut chapter = Workload::generate(&WorkloadConfig { seed, ..config });
        for line in chapter.files.iter_mut().flat_map(|(_, lines)| lines) {
            if let Line::Click(click) = line {
                click.click_timestamp += later;
            }
        }
        chapter
    }
}

fn append(path: &Path, piece: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(path).with_context(|| format!("no '{}'", path.display()))?;
    file.write_all(piece).with_context(|| format!("cannot write '{}'", path.display()))
}

/// Appends from a thread of its own until it is told to finish.
#[derive(Debug)]
pub struct Appending(Beside);

impl Appending {
    /// Begins.
    pub fn begin(mut logs: ClickLogs) -> Self {
        Appending(Beside::begin(move |stop| {
            while !stop.load(Ordering::SeqCst) {
                logs.append()?;
                super::waiting::pause(TICK);
            }
            logs.finish()
        }))
    }

    /// Has the servers complete what they have begun, and waits for that.
    ///
    /// # Errors
    /// When a file could not be written.
    pub fn finish(self) -> Result<()> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seed: u64, rounds: usize) -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = ClickLogs::create(folder.path(), seed).unwrap();
        (0..rounds).for_each(|_| logs.append().unwrap());
        logs.finish().unwrap();
        logs.servers.iter().map(|(path, _)| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn the_same_seed_writes_the_same_lines() {
        let (few, many) = (written(7, 100), written(7, 300));
        assert!(few.len() > 1);
        for (few, many) in few.iter().zip(&many) {
            assert!(!few.is_empty() && many.len() > few.len() && many.starts_with(few));
            assert!(few.ends_with(b"\n"), "the last line is whole");
        }
        assert_ne!(few, written(8, 100));
    }
}
