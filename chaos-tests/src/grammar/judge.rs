//! DuckDB, the stranger that is asked what the results must be: one Python process for many jobs.

use super::{
    job::{Column, How, Job, Kind, Node, Sink, Target},
    sql::{self, Span},
    written::input_columns,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};
use weir_test_support::needs_python;

/// The process. Ends when it is dropped.
#[derive(Debug)]
pub struct Judge {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Every difference.
    pub differences: Vec<String>,
    /// How many rows there must be.
    pub rows: u64,
}

impl Judge {
    /// Starts it. None: there is no Python with DuckDB here, which has been said.
    ///
    /// # Errors
    /// When the process does not start.
    pub fn start() -> Result<Option<Self>> {
        let Some(python) = needs_python(&["duckdb"]) else { return Ok(None) };
        let mut child = Command::new(python)
            .args(["-c", include_str!("judge.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Python")?;
        let questions = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Some(Judge { child, questions, answers }))
    }

    /// Compares everything that the sinks of a job have written below `output` with what they must have.
    ///
    /// # Errors
    /// When DuckDB refuses the question, or is gone.
    pub fn compare(&mut self, job: &Job, span: Span, input: &Path, output: &Path) -> Result<Verdict> {
        let sinks: Vec<Value> = job.sinks.iter().filter_map(|sink| question(job, sink, output)).collect();
        let request = json!({ "tables": sql::tables(job, input, span), "sinks": sinks });
        writeln!(self.questions, "{request}").context("DuckDB's process is gone")?;
        let mut answer = String::new();
        ensure!(self.answers.read_line(&mut answer)? > 0, "DuckDB's process has ended");
        let answer: Value = serde_json::from_str(&answer)?;
        if let Some(broken) = answer["broken"].as_str() {
            bail!("DuckDB refuses the question: {broken}");
        }
        let differences = answer["differences"].as_array().into_iter().flatten();
        let differences = differences.filter_map(|difference| difference.as_str().map(str::to_owned)).collect();
        Ok(Verdict { differences, rows: answer["rows"].as_u64().unwrap_or(0) })
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It waits for the next question otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a sink must hold, and where it is.
fn question(job: &Job, sink: &Sink, output: &Path) -> Option<Value> {
    let node = job.node(&sink.node)?;
    let (table, columns, results) = match sink.output {
        None => (node.name.clone(), columns_of(node), node.results.is_some()),
        Some("dead_letters") => (format!("{}_dead_letters", node.name), Vec::new(), false),
        // What was there before dedup: what the node, or the first dedup before it, has read.
        Some(output) => {
            let gate = gate_of(job, node);
            (format!("{}_{output}", gate.name), columns_read(job, gate), false)
        }
    };
    let (format, path) = match sink.target {
        Target::Files { format, .. } => (format.name(), output.join(&sink.name)),
        Target::Table => ("table", output.join("store.sqlite")),
    };
    let columns: Vec<Value> = columns.iter().map(|column| told(&column.name, &column.kind, column.how)).collect();
    Some(json!({
        "name": sink.name, "expected": format!("select * from {table}"), "columns": columns, "format": format,
        "path": path, "results": results, "count_only": sink.output == Some("dead_letters"),
    }))
}

/// The node whose gate an output `late` or `on_time` belongs to.
fn gate_of<'a>(job: &'a Job, node: &'a Node) -> &'a Node {
    let before = node.inputs.iter().filter(|input| job.is_behind_dedup(input)).find_map(|input| job.node(input));
    match (&node.body, before) {
        (_, Some(before)) => gate_of(job, before),
        _ => node,
    }
}

fn columns_read(job: &Job, node: &Node) -> Vec<Column> {
    node.inputs.first().and_then(|input| job.node(input)).map_or_else(input_columns, |input| input.columns.clone())
}

/// With the bounds that results of windows have.
fn columns_of(node: &Node) -> Vec<Column> {
    let mut columns = node.columns.clone();
    if node.results.as_ref().is_some_and(|results| results.bounds) {
        let bound = |name: &str| Column { name: name.to_owned(), kind: Kind::Time, how: How::Exact };
        columns.extend(["window_start", "window_end"].map(bound));
    }
    columns
}

fn told(name: &str, kind: &Kind, how: How) -> Value {
    let kind = match kind {
        Kind::List(of) => json!({ "List": format!("{of:?}") }),
        kind => json!(format!("{kind:?}")),
    };
    let how = match how {
        How::Near(part) => json!({ "Near": part }),
        How::PartOfList(part) => json!({ "PartOfList": part }),
        how => json!(format!("{how:?}")),
    };
    json!({ "name": name, "kind": kind, "how": how })
}
