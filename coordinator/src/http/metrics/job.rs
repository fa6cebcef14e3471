//! Metrics of jobs, their operators and their subtasks. Their label is `job_id`: `job` is what Prometheus calls its own target.

use super::seconds;
use crate::status::{CheckpointView, CommitsView, END_OF_TIME_MS, JobStatus, OperatorView, Snapshot, SubtaskView};
use std::fmt;
use weir_http::metrics::{Families, Sample};

pub(super) fn jobs(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    state(families, snapshot)?;
    checkpoints(families, snapshot)?;
    operators(families, snapshot)?;
    commits(families, snapshot)?;
    subtasks(families, snapshot)
}

fn label(job: &JobStatus) -> Vec<(&'static str, &str)> {
    vec![("job_id", &job.id)]
}

fn state(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    let jobs = || snapshot.jobs.values();
    families.gauge(
        "weir_job_state",
        "1 for the state that a job is in",
        jobs().map(|job| Sample::new(vec![("job_id", job.id.as_str()), ("state", job.state.as_str())], 1.0)),
    )?;
    families.gauge(
        "weir_job_waiting",
        "Whether a job is waiting for something, such as slots",
        jobs().map(|job| Sample::new(label(job), f64::from(u8::from(job.waiting_for.is_some())))),
    )?;
    families.gauge(
        "weir_job_attempt",
        "Number of a job's newest attempt",
        jobs().map(|job| Sample::new(label(job), job.attempt as f64)),
    )?;
    families.counter(
        "weir_job_restarts",
        "Restarts of a job after failures",
        jobs().map(|job| Sample::new(label(job), job.restart_count)),
    )
}

fn checkpoints(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    let jobs = || snapshot.jobs.values();
    families.counter(
        "weir_job_checkpoints",
        "Checkpoints completed",
        jobs().map(|job| Sample::new(label(job), job.checkpoint_totals.completed)),
    )?;
    families.counter(
        "weir_job_checkpoint_duration_seconds",
        "Seconds from trigger to completion of all checkpoints",
        jobs().map(|job| Sample::new(label(job), job.checkpoint_totals.duration_ms as f64 / 1000.0)),
    )?;
    families.counter(
        "weir_job_checkpoint_written_bytes",
        "Bytes written by all checkpoints",
        jobs().map(|job| Sample::new(label(job), job.checkpoint_totals.bytes)),
    )?;
    let last = |value: fn(&CheckpointView) -> f64| {
        jobs().filter_map(move |job| Some(Sample::new(label(job), value(job.checkpoints.last()?))))
    };
    families.gauge(
        "weir_job_last_checkpoint_number",
        "Number of the newest completed checkpoint",
        last(|checkpoint| checkpoint.id as f64),
    )?;
    families.gauge(
        "weir_job_last_checkpoint_timestamp_seconds",
        "When the newest checkpoint was complete, since the epoch",
        last(|checkpoint| seconds(checkpoint.completed_at_ms)),
    )?;
    families.gauge(
        "weir_job_last_checkpoint_duration_seconds",
        "Seconds from trigger to completion of the newest checkpoint",
        last(|checkpoint| checkpoint.duration_ms as f64 / 1000.0),
    )?;
    families.gauge(
        "weir_job_last_checkpoint_size_bytes",
        "Bytes written by the newest checkpoint",
        last(|checkpoint| checkpoint.bytes as f64),
    )?;
    families.gauge(
        "weir_job_committed_checkpoint_number",
        "Number of the newest checkpoint whose results are visible",
        jobs().filter_map(|job| Some(Sample::new(label(job), job.committed? as f64))),
    )
}

fn operators(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    let all = || snapshot.jobs.values().flat_map(|job| job.graph.operators.iter().map(move |operator| (job, operator)));
    fn labels<'a>(job: &'a JobStatus, operator: &'a OperatorView) -> Vec<(&'static str, &'a str)> {
        vec![("job_id", &job.id), ("operator", &operator.id)]
    }
    families.counter(
        "weir_operator_records_in",
        "Records that an operator received, a source read, or a sink wrote",
        all().map(|(job, operator)| Sample::new(labels(job, operator), operator.records_in)),
    )?;
    families.counter(
        "weir_operator_records_out",
        "Records that an operator emitted",
        all().map(|(job, operator)| Sample::new(labels(job, operator), operator.records_out)),
    )?;
    families.gauge(
        "weir_operator_backpressure_ratio",
        "Share of time that an operator waits for a downstream subtask",
        all().map(|(job, operator)| Sample::new(labels(job, operator), operator.backpressure)),
    )?;
    families.gauge(
        "weir_operator_busy_ratio",
        "Share of time that an operator processes",
        all().map(|(job, operator)| Sample::new(labels(job, operator), operator.busy)),
    )?;
    families.gauge(
        "weir_operator_watermark_lag_seconds",
        "Lag of an operator's event time against the clock, in seconds; absent before its first watermark and after its end",
        all().filter_map(|(job, operator)| {
            Some(Sample::new(labels(job, operator), lag(job.as_of_ms, operator.watermark_ms)?))
        }),
    )?;
    let lags = || all().flat_map(|(job, operator)| operator.lags.iter().map(move |lag| (job, operator, lag)));
    fn of_split<'a>(job: &'a JobStatus, operator: &'a OperatorView, split: &'a str) -> Vec<(&'static str, &'a str)> {
        let mut labels = labels(job, operator);
        labels.push(("split", split));
        labels
    }
    families.gauge(
        "weir_source_lag_records",
        "Records of a split, such as a Kafka partition, that there are and have not been read",
        lags().map(|(job, operator, (split, lag))| Sample::new(of_split(job, operator, split), lag.records as f64)),
    )?;
    families.gauge(
        "weir_source_lag_seconds",
        "How long ago the newest record of a split was written that has been read; 0 where all have been",
        lags().map(|(job, operator, (split, lag))| {
            Sample::new(of_split(job, operator, split), lag.behind_ms as f64 / 1000.0)
        }),
    )?;
    families.counter(
        "weir_operator_counted",
        "An operator's own counters, such as duplicates",
        all().flat_map(|(job, operator)| {
            operator.counters.iter().map(move |(name, value)| {
                let mut labels = labels(job, operator);
                labels.push(("counter", name));
                Sample::new(labels, *value)
            })
        }),
    )
}

fn commits(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    fn of<V>(snapshot: &Snapshot, value: fn(&CommitsView) -> V) -> impl Iterator<Item = Sample<V>> {
        let all = snapshot.jobs.values().flat_map(|job| job.graph.operators.iter().map(move |sink| (job, sink)));
        all.filter_map(move |(job, sink)| {
            let labels = vec![("job_id", job.id.as_str()), ("operator", sink.id.as_str())];
            Some(Sample::new(labels, value(sink.commits.as_ref()?)))
        })
    }
    fn seconds(us: u64) -> f64 {
        us as f64 / 1e6
    }
    families.counter(
        "weir_sink_commits",
        "Commits of a sink that made results visible, since this coordinator began",
        of(snapshot, |sink| sink.commits),
    )?;
    families.counter(
        "weir_sink_transactions",
        "Transactions that these commits took; 0 where the target of the sink knows none",
        of(snapshot, |sink| sink.transactions),
    )?;
    families.counter(
        "weir_sink_commit_duration_seconds",
        "Seconds that all commits of a sink took, waits for its target included",
        of(snapshot, |sink| seconds(sink.duration_us)),
    )?;
    families.gauge(
        "weir_sink_last_commit_duration_seconds",
        "Seconds that the newest commit of a sink took",
        of(snapshot, |sink| seconds(sink.last_us)),
    )?;
    families.gauge(
        "weir_sink_longest_commit_duration_seconds",
        "Seconds that the longest of the newest hundred commits of a sink took",
        of(snapshot, |sink| seconds(sink.longest_us)),
    )
}

fn subtasks(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    let all = || snapshot.jobs.values().flat_map(|job| job.subtasks.iter().map(move |subtask| (job, subtask)));
    fn labels(job: &JobStatus, subtask: &SubtaskView) -> Vec<(&'static str, String)> {
        let worker = subtask.worker.clone().unwrap_or_default();
        let (task, index) = (subtask.task.to_string(), subtask.index.to_string());
        vec![("job_id", job.id.clone()), ("task", task), ("subtask", index), ("worker", worker)]
    }
    families.counter(
        "weir_subtask_records_in",
        "Records that a subtask received or read",
        all().map(|(job, subtask)| Sample::new(labels(job, subtask), subtask.records_in)),
    )?;
    families.counter(
        "weir_subtask_records_out",
        "Records that a subtask emitted",
        all().map(|(job, subtask)| Sample::new(labels(job, subtask), subtask.records_out)),
    )?;
    families.gauge(
        "weir_subtask_backpressure_ratio",
        "Share of time that a subtask waits for a downstream subtask",
        all().map(|(job, subtask)| Sample::new(labels(job, subtask), subtask.backpressure)),
    )?;
    families.gauge(
        "weir_subtask_busy_ratio",
        "Share of time that a subtask processes",
        all().map(|(job, subtask)| Sample::new(labels(job, subtask), subtask.busy)),
    )?;
    families.gauge(
        "weir_subtask_watermark_lag_seconds",
        "Lag of a subtask's event time against the clock, in seconds; absent before its first watermark and after its end",
        all().filter_map(|(job, subtask)| {
            Some(Sample::new(labels(job, subtask), lag(job.as_of_ms, subtask.watermark_ms)?))
        }),
    )
}

/// Seconds from a watermark to now.
fn lag(now_ms: i64, watermark_ms: Option<i64>) -> Option<f64> {
    let watermark_ms = watermark_ms.filter(|watermark_ms| *watermark_ms != END_OF_TIME_MS)?;
    Some((now_ms as f64 - watermark_ms as f64) / 1000.0)
}
