//! `/metrics`: the published state as metrics.
//!
//! Nothing is counted here: every scrape writes down the newest snapshot. What is counted since an attempt or a process
//! began falls back to 0 with it, which is what a counter may do.

mod job;
mod worker;

use super::Doors;
use crate::status::{CoordinatorStatus, Snapshot};
use axum::{extract::State, response::Response};
use prometheus_client::registry::Registry;
use std::{collections::BTreeMap, fmt, sync::Arc};
use weir_http::metrics::{Families, Sample, answer, register};

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
    answer(&registry(doors.board.newest()))
}

/// A snapshot as metrics.
pub(super) fn registry(snapshot: Arc<Snapshot>) -> Registry {
    let mut registry = Registry::default();
    register(&mut registry, move |families| {
        coordinator(families, &snapshot.cluster.coordinator)?;
        worker::workers(families, &snapshot.cluster.workers)?;
        job_states(families, &snapshot)?;
        job::jobs(families, &snapshot)
    });
    registry
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
