//! `/metrics`: the board in the OpenMetrics text form that Prometheus reads.
//!
//! Nothing is counted here: every scrape writes down the newest snapshot. What is counted since an attempt or a process
//! began falls back to 0 with it, which is what a counter may do.

mod family;
mod job;
mod worker;

use super::Doors;
use crate::status::{CoordinatorStatus, Snapshot};
use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use family::{Families, Sample};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All states of a job, so that those which no job is in are shown with 0.
const JOB_STATES: [&str; 10] = [
    "CREATED",
    "SCHEDULED",
    "RESTORING",
    "RUNNING",
    "FAILING",
    "RESTARTING",
    "STOPPING",
    "FINISHED",
    "FAILED",
    "CANCELED",
];

pub(super) async fn metrics(State(doors): State<Doors>) -> Response {
    match as_text(doors.board.newest()) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        // Writing into memory fails only when something cannot be formatted.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write metrics: {error}\n")).into_response(),
    }
}

/// A snapshot as metrics.
pub(super) fn as_text(snapshot: Arc<Snapshot>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(SnapshotMetrics(snapshot)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct SnapshotMetrics(Arc<Snapshot>);

impl Collector for SnapshotMetrics {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families::new(encoder);
        coordinator(&mut families, &self.0.cluster.coordinator)?;
        worker::workers(&mut families, &self.0.cluster.workers)?;
        job_states(&mut families, &self.0)?;
        job::jobs(&mut families, &self.0)
    }
}

fn coordinator(families: &mut Families, coordinator: &CoordinatorStatus) -> fmt::Result {
    families.info("weir_build", "The program that answers", vec![("version", &coordinator.version)])?;
    let leads = f64::from(u8::from(coordinator.leader == Some(coordinator.node)));
    families.gauge("weir_coordinator_leader", "Whether this coordinator leads its group", [Sample::plain(leads)])?;
    families.gauge(
        "weir_coordinator_start_time_seconds",
        "When its process started, since the epoch",
        [Sample::plain(seconds(coordinator.started_at_ms))],
    )
}

fn job_states(families: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    let mut jobs: BTreeMap<&str, u32> = JOB_STATES.into_iter().map(|state| (state, 0)).collect();
    for job in snapshot.jobs.values() {
        *jobs.entry(&job.state).or_default() += 1;
    }
    let samples = jobs.iter().map(|(state, count)| Sample::new(vec![("state", state)], f64::from(*count)));
    families.gauge("weir_jobs", "Jobs by state", samples)
}

/// Milliseconds as seconds.
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
