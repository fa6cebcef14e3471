//! The summary of a run: from the counters in the last manifest, so exact over any number of restarts.
//!
//! Every event that came in is in exactly one class: counted, duplicate, late, filtered out, dead letter; with several aggregates,
//! for each of them. What concerns this
//! process alone (speed, pauses) comes from the observer, and is left out when the job was finished before.

use crate::{results::last_window::LastResults, text};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use weir_engine::{
    checkpoint::Manifest,
    graph::{JobGraph, Node, NodeRole},
    task::{Observers, RunOutcome},
};
use weir_operators::{Extensions, map::MapConfig, ports, source::settings::SourceSettings};

/// A run in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The job's name.
    pub job: String,
    /// How it ended.
    pub status: Status,
    /// The attempt that took the last checkpoint.
    pub attempt: u64,
    /// The checkpoint that this run resumed from.
    pub restored_from: Option<u64>,
    /// Records read, dead letters included.
    pub events_in: u64,
    /// Records that could not be read, or that an expression failed on.
    pub dead_letters: u64,
    /// Results that are dead letters: sums that no type holds, corrections that an expression failed on. Their events are in one
    /// of the classes.
    pub results_refused: u64,
    /// Outputs of dead letters that no node reads, with the number of rows: they are counted and kept nowhere.
    pub unread_dead_letters: BTreeMap<String, u64>,
    /// Files that were found and not read; the log names them.
    pub files_passed_over: u64,
    /// Records whose key was seen before.
    pub duplicates: u64,
    /// Records that a dedup let pass because their key had a null; they are in one of the classes, too.
    pub without_key: u64,
    /// Records that came after their windows' allowed lateness; one that is late for several nodes is in it for each of them.
    pub late: u64,
    /// Of them, those that each node found late, by its name in the definition.
    pub late_for: BTreeMap<String, u64>,
    /// Records that a `where` or all filters turned down.
    pub filtered_out: u64,
    /// What may be wrong with the input or the definition, in words.
    pub hints: Vec<String>,
    /// What each aggregate has counted.
    pub aggregates: Vec<AggregateSummary>,
    /// Where results are.
    pub outputs: Vec<Output>,
    /// The last checkpoint.
    pub checkpoint: u64,
    /// What this process did; none when the job was finished before.
    pub this_run: Option<ThisRun>,
    /// The last window of what is shown first.
    pub last_results: Option<LastResults>,
    /// Every counter of every operator.
    pub operators: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All input was read and all results are committed.
    Finished,
    /// Asked to stop; it resumes from there.
    Stopped,
    /// An earlier run had finished it and was killed before its last results were visible. Now they are.
    Recovered,
    /// An earlier run had finished it, and nothing was done.
    FinishedBefore,
}

/// An aggregate in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct AggregateSummary {
    /// Its name in the definition.
    pub name: String,
    /// Events that are in its windows.
    pub counted: u64,
    /// Distinct windows that results were emitted for; of sessions, one per key.
    pub windows: u64,
    /// Results that a late event replaced by a new revision.
    pub corrections: u64,
}

/// Where a sink's results are.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// Its name in the definition.
    pub sink: String,
    /// Folder or URL, a table and its database, or a topic and its brokers; none for a console.
    pub path: Option<String>,
    /// Rows written.
    pub rows: u64,
    /// Rows that were not, because an expression of the sink's `select` failed on them, or its table cannot take them.
    pub dead_letters: u64,
    /// Rows that the database, the topic or the server has refused, as far as is known.
    pub rejected: u64,
}

/// What one process did.
#[derive(Clone, Debug, Serialize)]
pub struct ThisRun {
    /// Milliseconds from the start to the last commit.
    pub elapsed_ms: u64,
    /// Events read by this run.
    pub events: u64,
    /// Of them, per second.
    pub events_per_second: u64,
    /// How often it failed and began again.
    pub restarts: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// The longest from trigger to completion, in milliseconds.
    pub longest_checkpoint_ms: f64,
    /// The longest that one step blocked its input, in milliseconds.
    pub longest_pause_ms: f64,
    /// State written to checkpoints, in bytes.
    pub state_bytes: u64,
    /// Subtasks of the last attempt, by the worker that ran them.
    pub subtasks: BTreeMap<String, usize>,
}

impl Summary {
    /// Gathers the numbers. `before` is the checkpoint that the run began with, `was_visible` whether its results had all been
    /// committed.
    pub fn new(
        graph: &JobGraph,
        extensions: &Extensions,
        outcome: &RunOutcome,
        before: Option<&Manifest>,
        was_visible: bool,
        observers: &Observers,
        elapsed: Duration,
    ) -> Self {
        let manifest = &outcome.manifest;
        let sum = |name: &str| sum_of(manifest, name);
        let status = match (outcome.was_finished, manifest.last) {
            (true, _) if was_visible => Status::FinishedBefore,
            (true, _) => Status::Recovered,
            (false, true) => Status::Finished,
            (false, false) => Status::Stopped,
        };
        let this_run = (!outcome.was_finished).then(|| {
            let events = sum("events_in") - before.map_or(0, |before| sum_of(before, "events_in"));
            this_run(observers, events, elapsed)
        });
        Summary {
            job: manifest.job.clone(),
            status,
            attempt: manifest.attempt.0,
            restored_from: observers.began_from().map(|checkpoint| checkpoint.0),
            events_in: sum("events_in"),
            dead_letters: dead_letters(graph, manifest),
            results_refused: results_refused(graph, manifest),
            unread_dead_letters: unread_dead_letters(graph, manifest),
            files_passed_over: sum("files_passed_over"),
            duplicates: sum("duplicates"),
            without_key: sum("without_key"),
            hints: hints(graph, extensions, manifest),
            late: sum("late"),
            late_for: late_for(graph, manifest),
            filtered_out: sum("filtered_out"),
            aggregates: aggregates(graph, manifest),
            outputs: outputs(graph, extensions, manifest, &observers.waits().rejected()),
            checkpoint: manifest.checkpoint.0,
            this_run,
            last_results: None,
            operators: graph.nodes.iter().map(|node| (node.id.clone(), manifest.counters(&node.id))).collect(),
        }
    }

    /// As a table for people.
    pub fn as_text(&self) -> String {
        let mut out = format!("{}\n\n", self.headline());
        out.push_str(&text::pairs(&self.classes()));
        for (output, rows) in &self.unread_dead_letters {
            let rows = text::count_of(*rows, "dead letter");
            out.push_str(&format!("\n{rows} not written anywhere: nothing reads `{output}`\n"));
        }
        for hint in &self.hints {
            out.push_str(&format!("\n{hint}\n"));
        }
        if let Some(results) = &self.last_results {
            out.push_str(&format!("\n{}\n{}\n", results.title(), results.as_text()));
        }
        let outputs: Vec<(String, String)> = self.outputs.iter().map(Output::as_pair).collect();
        if !outputs.is_empty() {
            out.push_str(&format!("\nresults\n{}", text::pairs(&outputs)));
        }
        if let Some(run) = &self.this_run {
            out.push_str(&format!("\n{}\n", run.as_text()));
        }
        out
    }

    fn headline(&self) -> String {
        let job = &self.job;
        let since = self.restored_from.map(|n| format!(", after resuming from checkpoint {n}")).unwrap_or_default();
        match self.status {
            Status::Finished => format!("{job}: finished{since}"),
            Status::Stopped => {
                format!("{job}: stopped at checkpoint {}{since}; the same command resumes from there", self.checkpoint)
            }
            Status::Recovered => format!(
                "{job}: finished; it was killed before the results of its last checkpoint were visible; they are visible now"
            ),
            Status::FinishedBefore => format!(
                "{job}: already finished, so there was nothing to do; the same command with --fresh starts over"
            ),
        }
    }

    fn classes(&self) -> Vec<(String, String)> {
        let mut rows = vec![("events in".to_string(), text::number(self.events_in))];
        let several = self.aggregates.len() > 1;
        for aggregate in &self.aggregates {
            let name = if several { format!("counted by {}", aggregate.name) } else { "counted".into() };
            rows.push((name, text::number(aggregate.counted)));
        }
        rows.push(("duplicates".into(), text::number(self.duplicates)));
        if self.late_for.len() > 1 {
            rows.extend(self.late_for.iter().map(|(name, late)| (format!("late for {name}"), text::number(*late))));
        } else {
            rows.push(("late".into(), text::number(self.late)));
        }
        rows.push(("filtered out".into(), text::number(self.filtered_out)));
        rows.push(("dead letters".into(), text::number(self.dead_letters)));
        if self.results_refused > 0 {
            rows.push(("results refused".into(), text::number(self.results_refused)));
        }
        if self.without_key > 0 {
            rows.push(("without key".into(), text::number(self.without_key)));
        }
        if self.files_passed_over > 0 {
            rows.push(("files passed over".into(), text::number(self.files_passed_over)));
        }
        for aggregate in &self.aggregates {
            let of = if several { format!(" of {}", aggregate.name) } else { String::new() };
            rows.push((format!("windows{of}"), text::number(aggregate.windows)));
            rows.push((format!("corrections{of}"), text::number(aggregate.corrections)));
        }
        rows
    }
}

impl Output {
    fn as_pair(&self) -> (String, String) {
        let path = self.path.as_deref().unwrap_or("printed");
        let dead_letters = match self.dead_letters {
            0 => String::new(),
            some => format!(", {}", text::count_of(some, "dead letter")),
        };
        let rejected = match self.rejected {
            0 => String::new(),
            some => format!(", {} refused by the target", text::number(some)),
        };
        (self.sink.clone(), format!("{path} ({}{dead_letters}{rejected})", text::count_of(self.rows, "row")))
    }
}

impl ThisRun {
    fn as_text(&self) -> String {
        let span = |ms: f64| text::span(Duration::from_secs_f64(ms / 1000.0));
        let restarts = match self.restarts {
            0 => String::new(),
            some => format!("; {}", text::count_of(some, "restart")),
        };
        format!(
            "{} in {}, {} events/s; {}, the longest {}; longest pause {}{restarts}",
            text::count_of(self.events, "event"),
            span(self.elapsed_ms as f64),
            text::number(self.events_per_second),
            text::count_of(self.checkpoints, "checkpoint"),
            span(self.longest_checkpoint_ms),
            span(self.longest_pause_ms),
        )
    }
}

fn sum_of(manifest: &Manifest, counter: &str) -> u64 {
    let subtasks = manifest.operators.iter().flat_map(|operator| &operator.subtasks);
    subtasks.filter_map(|subtask| subtask.counters.get(counter)).sum()
}

/// What each node found late: a late gate is named after the node that it stands before.
fn late_for(graph: &JobGraph, manifest: &Manifest) -> BTreeMap<String, u64> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for node in &graph.nodes {
        let late = manifest.counters(&node.id).get("late").copied().unwrap_or(0);
        if late > 0 {
            *found.entry(node.id.split('.').nth(1).unwrap_or(&node.id).to_owned()).or_default() += late;
        }
    }
    found
}

/// Records that are dead letters. Those of a sink's `select` are rows that are somewhere else, too.
fn dead_letters(graph: &JobGraph, manifest: &Manifest) -> u64 {
    let of_events = graph.nodes.iter().filter(|node| !node.id.starts_with("sink.") && !is_of_results(node));
    of_events.filter_map(|node| manifest.counters(&node.id).get("dead_letters").copied()).sum()
}

/// Results that are dead letters.
fn results_refused(graph: &JobGraph, manifest: &Manifest) -> u64 {
    let of_results = graph.nodes.iter().filter(|node| !node.id.starts_with("sink.") && is_of_results(node));
    of_results.filter_map(|node| manifest.counters(&node.id).get("dead_letters").copied()).sum()
}

/// Whether a node's dead letters are results, and no events.
fn is_of_results(node: &Node) -> bool {
    match node.kind.as_str() {
        "global_aggregate" | "session_aggregate" => true,
        "map" => MapConfig::deserialize(&node.config).is_ok_and(|map| map.results.is_some()),
        _ => false,
    }
}

/// By the name that a definition would read them under.
fn unread_dead_letters(graph: &JobGraph, manifest: &Manifest) -> BTreeMap<String, u64> {
    let mut unread: BTreeMap<String, u64> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let rows = manifest.counters(&node.id).get("dead_letters").copied().unwrap_or(0);
        let is_read = graph.edges.iter().any(|edge| edge.from == index && edge.port == ports::DEAD_LETTERS);
        if rows > 0 && !is_read {
            let of_sink = node.id.strip_suffix(".select").or_else(|| node.id.strip_suffix(".table"));
            let name = match of_sink.filter(|id| id.starts_with("sink.")) {
                Some(sink) => sink,
                None => node.id.split('.').nth(1).unwrap_or(&node.id),
            };
            *unread.entry(format!("{name}.dead_letters")).or_default() += rows;
        }
    }
    unread
}

/// What the numbers say of mistakes that stop nothing.
fn hints(graph: &JobGraph, extensions: &Extensions, manifest: &Manifest) -> Vec<String> {
    let mut hints = Vec::new();
    for node in graph.nodes.iter().filter(|node| node.kind == "dedup") {
        let counters = manifest.counters(&node.id);
        let of = |name: &str| counters.get(name).copied().unwrap_or(0);
        if of("without_key") > 0 && of("without_key") == of("rows_in") {
            let name = node.id.strip_prefix("dedup.").unwrap_or(&node.id);
            let rows = text::count_of(of("rows_in"), "event");
            hints.push(format!("warning: `{name}` found no duplicate: all {rows} have a null in the key"));
        }
    }
    let is_unguarded = graph.nodes.iter().any(|node| node.role == NodeRole::Source && believes_all(node, extensions));
    // An event may be late for several nodes: so many are, at least.
    let late = late_for(graph, manifest).into_values().max().unwrap_or(0);
    let events = sum_of(manifest, "events_in");
    if is_unguarded && late >= 10 && late >= events / 10 {
        hints.push(format!(
            "warning: {} of {} are late. A single event dated far ahead causes that; with `watermark.max_jump` it is a dead \
             letter instead",
            text::number(late),
            text::count_of(events, "event")
        ));
    }
    hints
}

/// Whether a single event with a date far ahead moves a source's time.
fn believes_all(source: &Node, extensions: &Extensions) -> bool {
    let settings = SourceSettings::deserialize(&source.config);
    let (Ok(connector), Ok(settings)) = (extensions.stored_source(source), settings) else { return false };
    settings.event_time.is_some() && settings.watermark.max_jump_ms.is_none() && !connector.bounds_time()
}

fn this_run(observers: &Observers, events: u64, elapsed: Duration) -> ThisRun {
    let status = observers.status();
    ThisRun {
        elapsed_ms: elapsed.as_millis() as u64,
        events,
        events_per_second: (events as f64 / elapsed.as_secs_f64().max(1e-3)) as u64,
        restarts: observers.attempts().saturating_sub(1),
        checkpoints: status.checkpoints,
        longest_checkpoint_ms: status.longest_checkpoint.as_secs_f64() * 1000.0,
        longest_pause_ms: observers.longest_step().as_secs_f64() * 1000.0,
        state_bytes: observers.state_bytes(),
        subtasks: observers.subtasks(),
    }
}

/// The aggregates of a definition: the nodes `aggregate.NAME`. Behind filters a click is counted once for every filter that
/// it matches, so there the events are taken from what went into the filters.
fn aggregates(graph: &JobGraph, manifest: &Manifest) -> Vec<AggregateSummary> {
    let is_local = |id: &str| id.ends_with(".local");
    // Those of results count no events.
    let of_events = graph.nodes.iter().filter(|node| node.kind != "result_aggregate");
    let names = of_events.filter_map(|node| node.id.strip_prefix("aggregate.")).filter(|id| !is_local(id));
    names
        .map(|name| {
            let counters = manifest.counters(&format!("aggregate.{name}"));
            let filters = manifest.counters(&format!("filters.{name}"));
            let of = |counters: &BTreeMap<String, u64>, key: &str| counters.get(key).copied().unwrap_or(0);
            let counted = match filters.get("rows_in") {
                Some(rows_in) => rows_in - of(&filters, "filtered_out") - of(&filters, "dead_letters"),
                None => of(&counters, "events_counted"),
            };
            AggregateSummary {
                name: name.into(),
                counted,
                // Sessions are those of a key, so that the aggregate itself counts each once.
                windows: of(&manifest.counters(&format!("windows.{name}")), "windows") + of(&counters, "windows"),
                corrections: of(&counters, "corrections"),
            }
        })
        .collect()
}

fn outputs(
    graph: &JobGraph,
    extensions: &Extensions,
    manifest: &Manifest,
    rejected: &BTreeMap<String, u64>,
) -> Vec<Output> {
    let sinks = graph.nodes.iter().filter(|node| node.role == NodeRole::Sink);
    sinks
        .map(|node| Output {
            sink: node.id.strip_prefix("sink.").unwrap_or(&node.id).into(),
            path: extensions.stored_sink(node).ok().and_then(|sink| sink.shown()),
            rows: manifest.counters(&node.id).get("rows_in").copied().unwrap_or(0),
            dead_letters: ["select", "table"]
                .iter()
                .filter_map(|step| manifest.counters(&format!("{}.{step}", node.id)).get("dead_letters").copied())
                .sum(),
            rejected: rejected.get(&node.id).copied().unwrap_or(0),
        })
        .collect()
}
