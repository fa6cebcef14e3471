//! Metrics of workers.

use crate::status::WorkerStatus;
use std::fmt;
use weir_http::metrics::{Families, Sample};

pub(super) fn workers(families: &mut Families, workers: &[WorkerStatus]) -> fmt::Result {
    let each = |value: fn(&WorkerStatus) -> f64| {
        workers.iter().map(move |worker| Sample::new(vec![("worker", &worker.id)], value(worker)))
    };
    let count = |value: fn(&WorkerStatus) -> u64| {
        workers.iter().map(move |worker| Sample::new(vec![("worker", &worker.id)], value(worker)))
    };
    let states = workers
        .iter()
        .map(|worker| Sample::new(vec![("worker", worker.id.as_str()), ("state", worker.state.name())], 1.0));
    families.gauge("weir_worker_state", "1 for the state that a worker is in", states)?;
    families.gauge("weir_worker_slots", "Slots that a worker offers", each(|worker| f64::from(worker.slots)))?;
    families.gauge(
        "weir_worker_slots_free",
        "Slots of a worker that are free",
        each(|worker| f64::from(worker.slots_free)),
    )?;
    families.gauge(
        "weir_worker_heartbeat_age_seconds",
        "Seconds since a worker's last heartbeat",
        each(|worker| worker.last_heartbeat_ms_ago as f64 / 1000.0),
    )?;
    families.gauge(
        "weir_worker_clock_ahead_seconds",
        "Seconds by which a worker's wall clock is ahead of the coordinator's",
        workers.iter().filter_map(|worker| {
            Some(Sample::new(vec![("worker", &worker.id)], worker.clock_ahead_ms? as f64 / 1000.0))
        }),
    )?;
    families.counter(
        "weir_worker_network_sent_bytes",
        "Bytes sent to other workers",
        count(|worker| worker.network_sent_bytes),
    )?;
    families.counter(
        "weir_worker_network_received_bytes",
        "Bytes received from other workers",
        count(|worker| worker.network_received_bytes),
    )
}
