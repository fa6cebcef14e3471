//! What a reader of the store sees, from beginning to end: when which commit became visible, and how many clicks were counted then.
//!
//! Invariant: of clicks that were committed none is taken back, so their number never falls. A database that does not answer is
//! asked again.

use crate::cluster::beside::Beside;
use anyhow::{Result, ensure};
use parking_lot::Mutex;
use sqlx::{AnyConnection, Connection, Row, any::AnyRow};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use weir_engine::env::Env;

/// How often it is asked for commits: recovery times are as exact as that.
const COMMITS_EVERY: Duration = Duration::from_millis(20);
/// How often it is asked for the number of clicks.
const CLICKS_EVERY_MS: i64 = 1_000;
/// A machine that lets nobody sleep for so much longer than asked for stands still: everybody else waits, too.
const STALL_MS: i64 = 300;
/// After so long it is not there.
const PATIENCE: Duration = Duration::from_secs(1);

const COMMITS: &str = "SELECT checkpoint, attempt, staged_at_ms FROM weir_commits WHERE sink = 'sink.store' AND checkpoint > $1 \
                       ORDER BY checkpoint";
const CLICKS: &str = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM ad_counts WHERE filter_id = 'all'";

/// A commit with results. All times are of the machine's clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// When it was seen.
    pub seen_ms: i64,
    /// When its results had been staged.
    pub staged_ms: i64,
    /// Number of its checkpoint.
    pub checkpoint: i64,
    /// The attempt that took it.
    pub attempt: i64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All commits, one after the other.
    pub commits: Vec<Commit>,
    /// When, and how many clicks were counted then.
    pub clicks: Vec<(i64, i64)>,
    /// When the machine itself stood still, busy with something else: from when to when.
    pub stalls: Vec<(i64, i64)>,
}

impl Seen {
    /// The first commit of results that were staged after a moment.
    pub fn first_after(&self, moment_ms: i64) -> Option<Commit> {
        let later = self.commits.partition_point(|commit| commit.staged_ms <= moment_ms);
        self.commits.get(later).copied()
    }

    /// For how long the machine stood still between two moments.
    pub fn stalled_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        let within = self.stalls.iter().map(|(from, to)| (*to.min(&to_ms) - *from.max(&from_ms)).max(0));
        within.sum()
    }
}

/// Watches from a thread of its own until it is told to finish.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    beside: Beside,
}

impl Watch {
    /// Begins.
    pub fn begin(url: String) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = seen.clone();
        let beside = Beside::begin(move |stop| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(watch(&url, &noted, stop))
        });
        Watch { seen, beside }
    }

    /// What it has seen until now.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// The first commit of results that were staged after a moment, if it is there.
    pub fn first_after(&self, moment_ms: i64) -> Option<Commit> {
        self.seen.lock().first_after(moment_ms)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When fewer clicks were counted than before.
    pub fn finish(self) -> Result<Seen> {
        self.beside.finish()?;
        let seen = self.seen.lock().clone();
        Ok(seen)
    }
}

/// What an answer of the database says.
struct Found {
    commits: Vec<AnyRow>,
    clicks: Option<i64>,
}

async fn watch(url: &str, seen: &Mutex<Seen>, stop: &AtomicBool) -> Result<()> {
    sqlx::any::install_default_drivers();
    let env = Env::default();
    let mut open = None;
    while !stop.load(Ordering::SeqCst) {
        let newest = seen.lock().commits.last().map_or(0, |commit| commit.checkpoint);
        let wants_clicks = seen.lock().clicks.last().is_none_or(|(at, _)| at + CLICKS_EVERY_MS <= env.wall_clock_ms());
        match tokio::time::timeout(PATIENCE, look(&mut open, url, newest, wants_clicks)).await {
            Ok(Ok(found)) => note(&mut seen.lock(), &found, env.wall_clock_ms())?,
            // Away, or not asked for yet.
            Ok(Err(_)) | Err(_) => open = None,
        }
        let before = env.wall_clock_ms();
        env.sleep(COMMITS_EVERY).await;
        if env.wall_clock_ms() > before + STALL_MS {
            seen.lock().stalls.push((before, env.wall_clock_ms()));
        }
    }
    Ok(())
}

async fn look(open: &mut Option<AnyConnection>, url: &str, newest: i64, wants_clicks: bool) -> sqlx::Result<Found> {
    let mut connection = match open.take() {
        Some(connection) => connection,
        None => AnyConnection::connect(url).await?,
    };
    let commits = sqlx::query(COMMITS).bind(newest).fetch_all(&mut connection).await?;
    let clicks = match wants_clicks {
        true => Some(sqlx::query(CLICKS).fetch_one(&mut connection).await?.try_get(0)?),
        false => None,
    };
    *open = Some(connection);
    Ok(Found { commits, clicks })
}

fn note(seen: &mut Seen, found: &Found, now_ms: i64) -> Result<()> {
    for row in &found.commits {
        let (checkpoint, attempt, staged_ms) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        seen.commits.push(Commit { seen_ms: now_ms, staged_ms, checkpoint, attempt });
    }
    if let Some(clicks) = found.clicks {
        let before = seen.clicks.last().map_or(0, |(_, clicks)| *clicks);
        ensure!(clicks >= before, "{before} clicks were counted, and then {clicks}");
        seen.clicks.push((now_ms, clicks));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_results_after_a_moment_are_those_that_were_staged_after_it() {
        let commit = |checkpoint, staged_ms| Commit { seen_ms: staged_ms + 500, staged_ms, checkpoint, attempt: 1 };
        let seen = Seen { commits: vec![commit(1, 100), commit(2, 300), commit(4, 700)], ..Seen::default() };
        let number = |moment_ms| seen.first_after(moment_ms).map(|commit| commit.checkpoint);
        assert_eq!([50, 100, 299, 300, 700].map(number), [Some(1), Some(2), Some(2), Some(4), None]);
    }

    #[test]
    fn a_stall_counts_where_it_overlaps() {
        let seen = Seen { stalls: vec![(1_000, 1_500), (3_000, 4_000)], ..Seen::default() };
        assert_eq!(seen.stalled_ms(1_200, 3_100), 400);
        assert_eq!(seen.stalled_ms(1_600, 2_900), 0);
    }

    #[test]
    fn clicks_that_are_taken_back_are_noticed() {
        let counted = |clicks| Found { commits: Vec::new(), clicks: Some(clicks) };
        let mut seen = Seen::default();
        note(&mut seen, &counted(5), 1_000).unwrap();
        note(&mut seen, &counted(5), 2_000).unwrap();
        assert!(note(&mut seen, &counted(4), 3_000).is_err());
    }
}
