//! `weir status ID`: everything about a job that fits on a screen or two.

use super::render::{age, or_none, percent, plain, rate, restoring, table, watermark};
use crate::text;
use std::time::Duration;
use weir_coordinator::status::{JobStatus, LagView, OperatorView, Restart, SubtaskView};

/// So many restarts are shown, newest first; `--json` has more.
const SHOWN_RESTARTS: usize = 10;
/// So many splits are shown that have not been read to their end; `--json` has all.
const SHOWN_SPLITS: usize = 20;
const LONGEST_NAME: usize = 60;
const LONGEST_CHAIN: usize = 100;
const LONGEST_CAUSE: usize = 2000;

/// A job as text, ending in a line break.
pub fn render_job(job: &JobStatus) -> String {
    let mut out = headline(job);
    out.push('\n');
    out.push_str(&text::pairs(&facts(job)));
    for (title, table) in [
        ("operators", operators(job)),
        ("counted besides", counters(job)),
        ("not read yet", lags(job)),
        ("commits", commits(job)),
        ("subtasks by worker", subtasks(job)),
        ("restarts", restarts(&job.restarts)),
    ] {
        if !table.is_empty() {
            out.push_str(&format!("\n{title}\n{table}"));
        }
    }
    out
}

fn headline(job: &JobStatus) -> String {
    let mut out = format!("{}: {}", plain(&job.id, LONGEST_NAME), plain(&job.state, LONGEST_NAME));
    if job.name != job.id {
        out.push_str(&format!(" ({})", plain(&job.name, LONGEST_NAME)));
    }
    if job.attempt > 0 {
        out.push_str(&format!(", attempt {}", job.attempt));
    }
    out.push_str(&format!(", submitted {} ago\n", age(job.as_of_ms - job.submitted_at_ms)));
    if let Some(cause) = &job.cause {
        out.push_str(&format!("cause: {}\n", plain(cause, LONGEST_CAUSE)));
    }
    if let Some(lack) = &job.waiting_for {
        out.push_str(&format!("waiting: {}\n", plain(lack, LONGEST_CAUSE)));
    }
    out
}

fn facts(job: &JobStatus) -> Vec<(String, String)> {
    let sources = || job.graph.operators.iter().filter(|operator| operator.role == "source");
    let read: u64 = sources().map(|source| source.records_in).sum();
    // Where one operator has no watermark yet, the job has none.
    let watermarks: Option<Vec<i64>> = job.graph.operators.iter().map(|operator| operator.watermark_ms).collect();
    let furthest_behind = watermarks.and_then(|watermarks| watermarks.into_iter().min());
    let checkpoint = match job.checkpoints.last() {
        None => or_none(job.last_checkpoint),
        Some(last) => format!(
            "{}, {} ago, took {}, wrote {}",
            text::number(last.id),
            age(job.as_of_ms - last.completed_at_ms),
            text::span(Duration::from_millis(last.duration_ms)),
            text::bytes(last.bytes),
        ),
    };
    let records = restoring(job.restoring).unwrap_or_else(|| {
        format!("{}, {} a second", text::count_of(read, "record"), rate(job.summary().records_in_per_second))
    });
    [
        ("read", records),
        ("watermark", watermark(furthest_behind, job.as_of_ms)),
        ("checkpoint", checkpoint),
        ("committed", or_none(job.committed)),
        ("restarts", text::number(job.restart_count)),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into()
}

fn operators(job: &JobStatus) -> String {
    let row = |operator: &OperatorView| {
        vec![
            plain(&operator.id, LONGEST_NAME),
            operator.task.to_string(),
            text::number(operator.records_in),
            rate(operator.records_in_per_second),
            text::number(operator.records_out),
            rate(operator.records_out_per_second),
            percent(operator.busy),
            percent(operator.backpressure),
            watermark(operator.watermark_ms, job.as_of_ms),
        ]
    };
    let header = ["operator", "task", "in", "in/s", "out", "out/s", "busy", "backpressure", "watermark"];
    table(&header, &[1, 2, 3, 4, 5, 6, 7], job.graph.operators.iter().map(row).collect())
}

/// What operators count besides records, such as the duplicates of a dedup and its rows without a key.
fn counters(job: &JobStatus) -> String {
    let of_operator = |operator: &OperatorView| {
        let id = plain(&operator.id, LONGEST_NAME);
        let counted = operator.counters.iter().filter(|(_, value)| **value > 0);
        counted
            .map(move |(name, value)| vec![id.clone(), plain(name, LONGEST_NAME), text::number(*value)])
            .collect::<Vec<_>>()
    };
    table(&["operator", "counter", "value"], &[2], job.graph.operators.iter().flat_map(of_operator).collect())
}

/// The splits of which the most has not been read.
fn lags(job: &JobStatus) -> String {
    let of_operator = |operator: &OperatorView| {
        let id = operator.id.clone();
        operator.lags.iter().map(move |(split, lag)| (id.clone(), split.clone(), *lag)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = job.graph.operators.iter().flat_map(of_operator).collect();
    all.sort_by_key(|(_, _, lag)| std::cmp::Reverse(lag.records));
    let row = |(operator, split, lag): (String, String, LagView)| {
        let behind = text::span(Duration::from_millis(lag.behind_ms));
        vec![plain(&operator, LONGEST_NAME), plain(&split, LONGEST_NAME), text::number(lag.records), behind]
    };
    table(&["source", "split", "records", "behind"], &[2, 3], all.into_iter().take(SHOWN_SPLITS).map(row).collect())
}

/// How often sinks have made results visible, and how long that takes.
fn commits(job: &JobStatus) -> String {
    let took = |us| text::span(Duration::from_micros(us));
    let row = |operator: &OperatorView| -> Option<Vec<String>> {
        let commits = operator.commits?;
        let transactions = match commits.transactions {
            0 => ["none".into(), String::new()],
            some => [text::number(some), rate(commits.transactions_per_second)],
        };
        let name = [plain(&operator.id, LONGEST_NAME), text::number(commits.commits)];
        let durations = [commits.last_us, commits.median_us, commits.longest_us].map(took);
        Some(name.into_iter().chain(transactions).chain(durations).collect())
    };
    let header = ["sink", "commits", "transactions", "a second", "last", "median", "longest"];
    table(&header, &[1, 2, 3, 4, 5, 6], job.graph.operators.iter().filter_map(row).collect())
}

fn subtasks(job: &JobStatus) -> String {
    let mut subtasks: Vec<&SubtaskView> = job.subtasks.iter().collect();
    subtasks.sort_by(|a, b| (&a.worker, a.task, a.index).cmp(&(&b.worker, b.task, b.index)));
    let row = |subtask: &SubtaskView| {
        vec![
            plain(subtask.worker.as_deref().unwrap_or("not placed"), LONGEST_NAME),
            format!("{}/{}", subtask.task, subtask.index),
            plain(&subtask.state, LONGEST_NAME),
            text::number(subtask.records_in),
            text::number(subtask.records_out),
            percent(subtask.busy),
            percent(subtask.backpressure),
            watermark(subtask.watermark_ms, job.as_of_ms),
            plain(&subtask.operators.join(" → "), LONGEST_CHAIN),
        ]
    };
    let header = ["worker", "subtask", "state", "in", "out", "busy", "backpressure", "watermark", "operators"];
    table(&header, &[3, 4, 5, 6], subtasks.into_iter().map(row).collect())
}

fn restarts(restarts: &[Restart]) -> String {
    let row = |restart: &Restart| {
        let cause = plain(&restart.cause, LONGEST_CAUSE);
        vec![text::moment(restart.at_ms), text::number(restart.attempt), cause]
    };
    table(&["at", "attempt", "cause"], &[1], restarts.iter().rev().take(SHOWN_RESTARTS).map(row).collect())
}
