//! Who counts what, in which order, and who must agree.
//!
//! Within a round the contestants run one after the other, and the rounds follow each other (A B A B), so that a phase in
//! which the machine is slow hits all of them; ratios are taken within a round.

use crate::{
    case::{self, Case},
    common::Common,
    duckdb::DuckDb,
    flink::Flink,
    input,
    report::{Contestant, Report, Run},
    weir,
};
use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `weir-bench replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// Clicks of the Parquet input, duplicates included
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    events: u64,
    /// Clicks of the JSON lines
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    json_events: u64,
    /// How often each contestant runs each case
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// The cases to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Case::Counting, Case::Dedup, Case::AdClick, Case::Json])]
    only: Vec<Case>,
    /// Subtasks of Weir and threads of DuckDB
    #[arg(long, value_name = "N", default_value_t = 2)]
    parallelism: usize,
    /// A Python with the packages of the peers
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

/// Measures all cases that are asked for.
pub fn replay(arguments: &ReplayArguments) -> Result<Report> {
    let cache = arguments.common.cache()?;
    let work = cache.join("work");
    let measurement = Measurement {
        arguments,
        weir: arguments.common.binary()?,
        duckdb: DuckDb::find(&arguments.python, arguments.parallelism, &work.join("duckdb")),
        flink: Flink::find(&arguments.python, arguments.parallelism),
        cache,
        work,
    };
    let mut report = Report::default();
    match &measurement.duckdb {
        Some(duckdb) => report.duckdb = Some(duckdb.version.clone()),
        None => report.skipped.push(format!(
            "DuckDB: '{}' cannot import duckdb, so there are no ratios and results are not compared",
            arguments.python.display()
        )),
    }
    match &measurement.flink {
        Some(flink) => report.flink = Some(flink.version.clone()),
        None => report
            .skipped
            .push(format!("Flink: '{}' cannot import pyflink, or there is no java", arguments.python.display())),
    }
    for case in &arguments.only {
        measurement.case(*case, &mut report)?;
    }
    input::empty_folder(&measurement.work)?;
    Ok(report)
}

struct Measurement<'a> {
    arguments: &'a ReplayArguments,
    weir: PathBuf,
    duckdb: Option<DuckDb>,
    flink: Option<Flink>,
    cache: PathBuf,
    work: PathBuf,
}

/// One round of one case.
#[derive(Clone, Copy)]
struct Heat<'a> {
    case: Case,
    round: u64,
    events: u64,
    input: &'a Path,
}

impl Measurement<'_> {
    fn case(&self, case: Case, report: &mut Report) -> Result<()> {
        let events = match case.format() {
            case::InputFormat::Parquet => self.arguments.events,
            case::InputFormat::Json => self.arguments.json_events,
        };
        let input = input::folder(&self.cache, &self.weir, case.format(), events)?;
        input::read_through(&input)?;
        let counts = case.counts_in_sql(&input);
        let truth = self.digest(&counts)?;
        let truth = truth.as_deref();
        for round in 0..self.arguments.rounds {
            let heat = Heat { case, round, events, input: &input };
            self.weir(&heat, truth, report)?;
            self.duckdb(&heat, &counts, truth, report)?;
            self.flink(&heat, truth, report)?;
        }
        Ok(())
    }

    fn weir(&self, heat: &Heat<'_>, truth: Option<&[String]>, report: &mut Report) -> Result<()> {
        let Heat { case, round, events, input } = *heat;
        let (usage, account) = weir::run(&self.weir, case, input, &self.work, events, self.arguments.parallelism)?;
        let found = self.digest(&case.results_in_sql(&self.work.join("out")))?;
        input::empty_folder(&self.work)?;
        let mut run = Run::new(case, Contestant::Weir, round, events, &usage);
        run.account = Some(account);
        report.add(run, truth, found.as_deref());
        Ok(())
    }

    fn duckdb(&self, heat: &Heat<'_>, counts: &str, truth: Option<&[String]>, report: &mut Report) -> Result<()> {
        let Some(duckdb) = &self.duckdb else { return Ok(()) };
        let (usage, answer) = duckdb.ask(&case::totals_of(counts))?;
        let mut run = Run::new(heat.case, Contestant::DuckDb, heat.round, heat.events, &usage);
        run.seconds = answer.seconds;
        report.add(run, truth.and_then(|row| row.get(..2)), Some(&answer.row));
        Ok(())
    }

    fn flink(&self, heat: &Heat<'_>, truth: Option<&[String]>, report: &mut Report) -> Result<()> {
        let Some(flink) = self.flink.as_ref().filter(|flink| flink.knows(heat.case)) else { return Ok(()) };
        let (usage, seconds) = flink.run(heat.input, &self.work)?;
        let found = self.digest(&flink.results_in_sql(&self.work.join("out")))?;
        input::empty_folder(&self.work)?;
        let mut run = Run::new(heat.case, Contestant::Flink, heat.round, heat.events, &usage);
        run.seconds = seconds;
        report.add(run, truth, found.as_deref());
        Ok(())
    }

    /// What DuckDB makes of some counts; none without DuckDB.
    fn digest(&self, counts: &str) -> Result<Option<Vec<String>>> {
        let Some(duckdb) = &self.duckdb else { return Ok(None) };
        Ok(Some(duckdb.ask(&case::digest_of(counts))?.1.row))
    }
}
