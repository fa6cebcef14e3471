//! Cases one after the other: each is drawn, run and judged; one that fails is made smaller and kept in a folder.

use super::{
    broken::{badly_refused, broken},
    draw::Case,
    job::Body,
    judge::Judge,
    shrink::shrink,
    trial::{Runs, folder},
    written::definition,
};
use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use std::{
    any::Any,
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// What a sequence needs, and what came of it so far.
#[derive(Debug)]
pub struct Sequence {
    /// Who judges.
    pub judge: Judge,
    /// Crash points that runs are ended at.
    pub points: Vec<&'static str>,
    /// Where cases that fail are kept; none: nowhere, and they are not made smaller.
    pub keep: Option<PathBuf>,
    /// How many there were.
    pub counts: Counts,
}

/// How many there were of each.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Jobs that were run and judged.
    pub jobs: u64,
    /// Those with an aggregate of results.
    pub of_results: u64,
    /// Those with a list.
    pub lists: u64,
    /// Those with a dedup.
    pub dedups: u64,
    /// Sinks.
    pub sinks: u64,
    /// Rows that DuckDB has.
    pub rows: u64,
    /// Runs that crashed.
    pub crashes: u64,
    /// Definitions with a mistake.
    pub broken: u64,
    /// Seeds that fail.
    pub failures: Vec<u64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { jobs, of_results, lists, dedups, sinks, rows, crashes, broken, failures } = self;
        write!(
            f,
            "{jobs} jobs ({of_results} with aggregates of results, {lists} with lists, {dedups} with a dedup), {sinks} sinks, \
             {rows} rows, {crashes} crashes, {broken} definitions with a mistake, {} failures",
            failures.len()
        )
    }
}

impl Sequence {
    /// The case of a seed. Returns how it fails, if it does.
    ///
    /// # Errors
    /// When there is no disk to keep it on, or no process to judge it.
    pub async fn next(&mut self, seed: u64) -> Result<Option<String>> {
        let case = Case::draw(seed);
        let runs = Runs::draw(seed, &self.points);
        self.count(&case);
        let wrong = match self.wrong(&case, &runs).await? {
            None => self.badly_refused(&case),
            wrong => wrong,
        };
        let Some(wrong) = wrong else { return Ok(None) };
        self.counts.failures.push(seed);
        let Some(keep) = self.keep.clone() else { return Ok(Some(wrong)) };
        let smallest = self.smaller(case, &runs, &wrong).await;
        let place = keep.join(format!("seed-{seed}"));
        let told = self.kept(&smallest, &runs, &place).await?;
        Ok(Some(format!("{wrong}\nmade smaller, in {}:\n{}", place.display(), told.unwrap_or_default())))
    }

    fn count(&mut self, case: &Case) {
        let has = |is: fn(&Body) -> bool| u64::from(case.job.nodes.iter().any(|node| is(&node.body)));
        let of_results = case.job.nodes.iter().any(|node| {
            matches!(node.body, Body::Aggregate { .. }) && node.inputs.iter().any(|input| case.job.is_of_results(input))
        });
        self.counts.jobs += 1;
        self.counts.of_results += u64::from(of_results);
        self.counts.lists += has(|body| matches!(body, Body::Reduce { .. }));
        self.counts.dedups += has(|body| matches!(body, Body::Dedup { .. }));
        self.counts.sinks += case.job.sinks.len() as u64;
    }

    /// What is wrong with what a case has written.
    async fn wrong(&mut self, case: &Case, runs: &Runs) -> Result<Option<String>> {
        let folder = folder()?;
        let trial = AssertUnwindSafe(case.try_in(folder.path(), runs, &mut self.judge)).catch_unwind().await;
        match trial.unwrap_or_else(|panic| Err(anyhow!("it panics: {}", said(&panic)))) {
            Ok(outcome) => {
                self.counts.rows += outcome.verdict.rows;
                self.counts.crashes += outcome.crashes as u64;
                Ok((!outcome.verdict.differences.is_empty()).then(|| outcome.verdict.differences.join("\n")))
            }
            Err(error) => Ok(Some(format!("{error:#}"))),
        }
    }

    /// What is wrong with how the same definition with a mistake is refused.
    fn badly_refused(&mut self, case: &Case) -> Option<String> {
        let text = definition(&case.job, Path::new("/input"), Path::new("/output"));
        let text = broken(&text, case.seed)?;
        self.counts.broken += 1;
        let wrong =
            catch_unwind(|| badly_refused(&text)).unwrap_or_else(|panic| Some(format!("it panics: {}", said(&panic))));
        wrong.map(|wrong| format!("{wrong}\n{text}"))
    }

    /// As small as it still fails in the same way: with differences, or with the same first words of an error.
    async fn smaller(&mut self, case: Case, runs: &Runs, wrong: &str) -> Case {
        let begins = |text: &str| text.chars().take_while(|character| *character != ':').collect::<String>();
        let is_difference = |text: &str| text.contains("instead of");
        let (first, differs) = (begins(wrong), is_difference(wrong));
        shrink(case, async |smaller: &Case| match self.wrong(smaller, runs).await {
            Ok(Some(found)) if differs => is_difference(&found),
            Ok(Some(found)) => begins(&found) == first,
            _ => false,
        })
        .await
    }

    /// Runs a case in a folder that stays. Returns how it fails there.
    async fn kept(&mut self, case: &Case, runs: &Runs, place: &Path) -> Result<Option<String>> {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
        let found = match case.try_in(place, runs, &mut self.judge).await {
            Ok(outcome) => outcome.verdict.differences.join("\n"),
            Err(error) => format!("{error:#}"),
        };
        let tables = super::sql::tables(&case.job, &place.join("input"), case.span());
        fs::write(place.join("duckdb.sql"), tables.join(";\n\n") + ";\n")?;
        fs::write(place.join("found.txt"), format!("seed {}\n{runs:?}\n\n{found}\n", case.seed))?;
        Ok(Some(found))
    }
}

/// What a panic has said.
fn said(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
