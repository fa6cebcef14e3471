//! Runs → medians and ratios, for people and as JSON.

use crate::{case::Case, child::Usage, weir::Account};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// `weir run`, exactly once, results written.
    Weir,
    /// One query, nothing written.
    DuckDb,
    /// A streaming job with checkpoints, results written.
    Flink,
}

impl Contestant {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Weir => "weir",
            Contestant::DuckDb => "duckdb",
            Contestant::Flink => "flink",
        }
    }
}

/// One process.
#[derive(Clone, Debug)]
pub struct Run {
    case: Case,
    contestant: Contestant,
    round: u64,
    events: u64,
    /// What speed and ratios are taken from: the wall time of the process, or of the query alone where that is less.
    pub seconds: f64,
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_mb: f64,
    /// What Weir says about its checkpoints.
    pub account: Option<Account>,
}

impl Run {
    /// A run timed as a whole process.
    pub fn new(case: Case, contestant: Contestant, round: u64, events: u64, usage: &Usage) -> Self {
        Run {
            case,
            contestant,
            round,
            events,
            seconds: usage.wall.as_secs_f64(),
            wall_seconds: usage.wall.as_secs_f64(),
            cpu_seconds: usage.cpu.as_secs_f64(),
            peak_mb: usage.peak_bytes as f64 / 1e6,
            account: None,
        }
    }

    fn as_json(&self) -> Value {
        let mut run = json!({
            "case": self.case.name(), "contestant": self.contestant.name(), "round": self.round + 1,
            "events": self.events, "seconds": self.seconds, "events_per_second": self.events as f64 / self.seconds,
            "wall_seconds": self.wall_seconds, "cpu_seconds": self.cpu_seconds, "peak_mb": self.peak_mb,
        });
        if let Some(account) = &self.account {
            run["checkpoints"] = account.checkpoints.into();
            run["longest_checkpoint_ms"] = account.longest_checkpoint_ms.into();
            run["longest_pause_ms"] = account.longest_pause_ms.into();
            run["state_bytes"] = account.state_bytes.into();
        }
        run
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    /// DuckDB's version.
    pub duckdb: Option<String>,
    /// Flink's version.
    pub flink: Option<String>,
    /// Every run, in the order in which they ran.
    pub runs: Vec<Run>,
    /// Who did not take part, and why.
    pub skipped: Vec<String>,
    /// Results that are not what they should be; empty is good.
    pub disagreements: Vec<String>,
}

/// The runs of one contestant in one case.
struct Series<'a>(Vec<&'a Run>);

impl Series<'_> {
    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.0.iter().map(|run| of(run)).collect())
    }

    fn account(&self, of: impl Fn(&Account) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.0.iter().filter_map(|run| run.account.as_ref()).map(of).collect();
        (!values.is_empty()).then(|| median(values))
    }

    fn slowest_and_fastest(&self) -> (f64, f64) {
        let seconds = self.0.iter().map(|run| run.seconds);
        seconds.fold((0.0, f64::INFINITY), |(most, least), value| (value.max(most), value.min(least)))
    }
}

impl Report {
    /// Adds a run, and says so on standard error. `found` are its results, which should be `truth`.
    pub fn add(&mut self, run: Run, truth: Option<&[String]>, found: Option<&[String]>) {
        let what = format!("{}, round {}: {}", run.case.name(), run.round + 1, run.contestant.name());
        eprintln!("{what} took {:.2} s", run.seconds);
        if truth != found {
            let shown = |row: Option<&[String]>| row.map_or("nothing".into(), |row| row.join(", "));
            self.disagreements.push(format!(
                "{what}: groups, sum of counts and hash should be {}, and are {}",
                shown(truth),
                shown(found)
            ));
        }
        self.runs.push(run);
    }

    fn series(&self, case: Case, contestant: Contestant) -> Option<Series<'_>> {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.case == case && run.contestant == contestant).collect();
        (!runs.is_empty()).then_some(Series(runs))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for run in &self.runs {
            if !cases.contains(&run.case) {
                cases.push(run.case);
            }
        }
        cases
    }

    /// How many times as fast as a peer, in each round.
    fn ratios(&self, case: Case, contestant: Contestant, peer: Contestant) -> Vec<f64> {
        let (Some(own), Some(peer)) = (self.series(case, contestant), self.series(case, peer)) else {
            return Vec::new();
        };
        own.0.iter().zip(&peer.0).map(|(own, peer)| peer.seconds / own.seconds).collect()
    }

    /// A row for each case and contestant: medians, and ratios by round.
    pub fn as_text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header([
            "case",
            "who",
            "M events/s",
            "s (min..max)",
            "CPU s",
            "peak MB",
            "checkpoints",
            "longest ms",
            "state MB",
            "pause ms",
            "x DuckDB, rounds",
            "median",
            "x Flink",
        ]);
        for case in self.cases() {
            for contestant in [Contestant::Weir, Contestant::DuckDb, Contestant::Flink] {
                if let Some(series) = self.series(case, contestant) {
                    let duckdb = self.ratios(case, contestant, Contestant::DuckDb);
                    let flink = self.ratios(case, contestant, Contestant::Flink);
                    table.add_row(row(case, contestant, &series, &duckdb, &flink));
                }
            }
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = table.to_string();
        for skipped in &self.skipped {
            text.push_str(&format!("\nskipped: {skipped}"));
        }
        match (&self.duckdb, self.disagreements.is_empty()) {
            (Some(version), true) => text.push_str(&format!("\nAll results equal those of DuckDB {version}.")),
            (_, true) => {}
            (_, false) => text.push_str(&format!("\nWRONG RESULTS\n{}", self.disagreements.join("\n"))),
        }
        text
    }

    /// Every run, and the ratios.
    pub fn as_json(&self) -> Value {
        let ratios = self.cases().into_iter().map(|case| {
            let to = |peer| {
                let rounds = self.ratios(case, Contestant::Weir, peer);
                let median = (!rounds.is_empty()).then(|| median(rounds.clone()));
                json!({ "rounds": rounds, "median": median })
            };
            json!({ "case": case.name(), "duckdb": to(Contestant::DuckDb), "flink": to(Contestant::Flink) })
        });
        json!({
            "duckdb": self.duckdb,
            "flink": self.flink,
            "runs": self.runs.iter().map(Run::as_json).collect::<Vec<_>>(),
            "times_as_fast_as": ratios.collect::<Vec<_>>(),
            "skipped": self.skipped,
            "disagreements": self.disagreements,
        })
    }
}

fn row(case: Case, contestant: Contestant, series: &Series<'_>, duckdb: &[f64], flink: &[f64]) -> Vec<String> {
    let (most, least) = series.slowest_and_fastest();
    let middle =
        |ratios: &[f64]| if ratios.is_empty() { String::new() } else { format!("{:.2}", median(ratios.to_vec())) };
    let account = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
    vec![
        case.name().into(),
        contestant.name().into(),
        format!("{:.2}", series.median(|run| run.events as f64 / run.seconds / 1e6)),
        format!("{:.2} ({least:.2}..{most:.2})", series.median(|run| run.seconds)),
        format!("{:.1}", series.median(|run| run.cpu_seconds)),
        format!("{:.0}", series.median(|run| run.peak_mb)),
        account(series.account(|account| account.checkpoints as f64)),
        account(series.account(|account| account.longest_checkpoint_ms)),
        account(series.account(|account| account.state_bytes as f64 / 1e6)),
        account(series.account(|account| account.longest_pause_ms)),
        duckdb.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(" "),
        middle(duckdb),
        middle(flink),
    ]
}

/// The middle one, or the mean of the two in the middle; NaN of nothing.
/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(upper), 0) => values.get(middle.wrapping_sub(1)).map_or(*upper, |lower| (lower + upper) / 2.0),
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run(contestant: Contestant, round: u64, seconds: f64) -> Run {
        let usage = Usage { wall: Duration::from_secs_f64(seconds), cpu: Duration::ZERO, peak_bytes: 0 };
        Run::new(Case::Dedup, contestant, round, 1_000_000, &usage)
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut report = Report::default();
        for (round, (weir, duckdb)) in [(1.0, 2.0), (4.0, 2.0), (1.0, 3.0)].into_iter().enumerate() {
            report.add(run(Contestant::Weir, round as u64, weir), None, None);
            report.add(run(Contestant::DuckDb, round as u64, duckdb), None, None);
        }
        assert_eq!(report.ratios(Case::Dedup, Contestant::Weir, Contestant::DuckDb), [2.0, 0.5, 3.0]);
        assert_eq!(report.as_json()["times_as_fast_as"][0]["duckdb"]["median"], 2.0);
        assert!(report.as_text().contains("2.00 0.50 3.00"), "{}", report.as_text());
    }

    #[test]
    fn other_results_are_told() {
        let (truth, wrong) = (["1".to_string(), "2".to_string()], ["1".to_string(), "3".to_string()]);
        let mut report = Report::default();
        report.add(run(Contestant::Weir, 0, 1.0), Some(&truth), Some(&truth));
        assert_eq!(report.disagreements, Vec::<String>::new());
        report.add(run(Contestant::Weir, 1, 1.0), Some(&truth), Some(&wrong));
        assert_eq!(report.disagreements.len(), 1);
        let text = report.as_text();
        assert!(text.contains("WRONG RESULTS\ndedup, round 2: weir: ") && text.contains("1, 3"), "{text}");
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
