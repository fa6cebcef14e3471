//! What came of a run.

use super::{
    recovery::{Incident, Summary, summaries},
    watch::Seen,
};
use crate::cluster::{kafka::results::Compared, store_check::StoreCompared};
use serde_json::{Value, json};
use std::fmt;

/// What happened.
#[derive(Clone, Debug)]
pub struct Report {
    /// What picked it.
    pub seed: u64,
    /// When the first fault was due, on the machine's clock.
    pub begun_ms: i64,
    /// Every fault.
    pub incidents: Vec<Incident>,
    /// Faults that were left out, because nobody was there for them.
    pub missed: usize,
    /// Attempts of the job.
    pub attempts: u64,
    /// Number of the last checkpoint.
    pub checkpoints: u64,
    /// What a reader saw.
    pub seen: Seen,
    /// What is wrong with the results. Nothing was compared then, as far as is said here.
    pub wrong: Option<String>,
    /// What was compared in the topics.
    pub compared: Compared,
    /// And in the store.
    pub store: StoreCompared,
}

impl Report {
    /// The recoveries of each kind of fault.
    pub fn recoveries(&self) -> Vec<Summary> {
        summaries(&self.incidents, &self.seen)
    }

    /// The same, for programs. Times are in milliseconds.
    pub fn json(&self) -> Value {
        let recoveries: Vec<Value> = self.recoveries().iter().map(recovery).collect();
        let Compared { clicks, counts, not_counted: [late, dead_letters], .. } = self.compared;
        json!({
            "seed": self.seed,
            "faults": self.incidents.len(),
            "missed": self.missed,
            "attempts": self.attempts,
            "checkpoints": self.checkpoints,
            "wrong": self.wrong,
            "compared": {
                "clicks": clicks,
                "counts": counts,
                "late": late,
                "dead_letters": dead_letters,
                "counts_in_the_store": self.store.counts,
                "places_in_the_store": self.store.places,
                "commits_of_the_store": self.store.commits,
                "answers": self.store.answers,
            },
            "recoveries": recoveries,
        })
    }
}

fn recovery(summary: &Summary) -> Value {
    json!({
        "fault": summary.kind,
        "from": if summary.bridged { "begin" } else { "end" },
        "times": summary.times,
        "p50_ms": summary.p50_ms,
        "p95_ms": summary.p95_ms,
        "max_ms": summary.max_ms,
        "restarts": summary.restarts,
        "with_a_stalled_machine": summary.stalled,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} from  times   p50 ms   p95 ms   max ms  restarts  stalled", "results again after")?;
        for Summary { kind, bridged, times, p50_ms, p95_ms, max_ms, restarts, stalled } in self.recoveries() {
            let from = if bridged { "begin" } else { "end" };
            writeln!(
                f,
                "{kind:<44} {from:<5} {times:>5} {p50_ms:>8} {p95_ms:>8} {max_ms:>8} {restarts:>9} {stalled:>8}"
            )?;
        }
        let verdict = if self.wrong.is_some() { "WRONG" } else { "right" };
        write!(
            f,
            "{verdict}: {} faults, {} left out; {} attempts, {} checkpoints",
            self.incidents.len(),
            self.missed,
            self.attempts,
            self.checkpoints
        )?;
        if let Some(wrong) = &self.wrong {
            return write!(f, "; {wrong}");
        }
        let Compared { clicks, counts, not_counted: [late, dead], .. } = self.compared;
        write!(
            f,
            "; {clicks} clicks, {counts} counts in all revisions, {late} clicks late, {dead} dead letters; in the store {} counts, {} \
             places, {} commits; {} answers",
            self.store.counts, self.store.places, self.store.commits, self.store.answers
        )
    }
}
