//! `weir list`: the jobs of a cluster, a line each, and its workers.

use super::render::{age, or_none, plain, rate, restoring, table};
use crate::text;
use std::time::Duration;
use weir_coordinator::{
    status::{ClusterStatus, JobSummary, MemberStatus, WorkerState, WorkerStatus},
    workers::TOLERATED_MS,
};

/// Longer causes are cut; `weir status` shows them whole.
const LONGEST_CAUSE: usize = 80;
const LONGEST_NAME: usize = 60;

/// A cluster as text, ending in a line break.
pub fn render_cluster(cluster: &ClusterStatus) -> String {
    let mut out = headline(cluster);
    if let [_, _, ..] = &cluster.coordinators[..] {
        out.push('\n');
        out.push_str(&render_coordinators(&cluster.coordinators));
    }
    out.push('\n');
    if cluster.jobs.is_empty() {
        out.push_str("no jobs; submit one with `weir submit JOB`\n");
    }
    out.push_str(&jobs(cluster));
    out.push('\n');
    if cluster.workers.is_empty() {
        out.push_str("no workers; start one with `weir worker --coordinator ADDR`\n");
    }
    out.push_str(&workers(&cluster.workers));
    out
}

/// Coordinators as a table.
pub fn render_coordinators(coordinators: &[MemberStatus]) -> String {
    let row = |member: &MemberStatus| {
        let behind = member.behind.map_or_else(|| "unknown".into(), text::number);
        let answered = match member.answered_ms_ago {
            _ if member.role == "leader" => String::new(),
            Some(ago) => format!("{} ago", age(i64::try_from(ago).unwrap_or(i64::MAX))),
            None => "unknown".into(),
        };
        let (role, address) = (plain(&member.role, LONGEST_NAME), plain(&member.address, LONGEST_NAME));
        vec![member.node.to_string(), role, behind, answered, address]
    };
    table(&["coordinator", "role", "behind", "last answer", "address"], &[0, 2], coordinators.iter().map(row).collect())
}

fn headline(cluster: &ClusterStatus) -> String {
    let coordinator = &cluster.coordinator;
    let role = match coordinator.leader {
        Some(leader) if leader == coordinator.node => "leader".into(),
        Some(leader) => format!("the leader is {leader}"),
        None => "there is no leader".into(),
    };
    let usable = || cluster.workers.iter().filter(|worker| worker.state == WorkerState::Available);
    let slots: u64 = usable().map(|worker| u64::from(worker.slots)).sum();
    let free: u64 = usable().map(|worker| u64::from(worker.slots_free)).sum();
    format!(
        "coordinator {} ({role}), Weir {}, up {}; {}, {} of {} in use\n",
        coordinator.node,
        plain(&coordinator.version, LONGEST_NAME),
        age(cluster.as_of_ms - coordinator.started_at_ms),
        text::count_of(usable().count() as u64, "worker"),
        text::number(slots.saturating_sub(free)),
        text::count_of(slots, "slot"),
    )
}

fn jobs(cluster: &ClusterStatus) -> String {
    let row = |job: &JobSummary| {
        vec![
            plain(&job.id, LONGEST_NAME),
            plain(&job.state, LONGEST_NAME),
            rate(job.records_in_per_second),
            or_none(job.last_checkpoint),
            text::number(job.attempt),
            text::number(job.restart_count),
            format!("{} ago", age(cluster.as_of_ms - job.submitted_at_ms)),
            plain(&restoring(job.restoring).or(job.trouble().map(Into::into)).unwrap_or_default(), LONGEST_CAUSE),
        ]
    };
    let header = ["job", "state", "read/s", "checkpoint", "attempt", "restarts", "submitted", ""];
    table(&header, &[2, 3, 4, 5], cluster.jobs.iter().map(row).collect())
}

/// With what is wrong with its clock, if it is by more than is tolerated.
fn state(worker: &WorkerStatus) -> String {
    let (state, ahead_ms) = (worker.state.name(), worker.clock_ahead_ms.unwrap_or(0));
    if ahead_ms.abs() <= TOLERATED_MS {
        return state.into();
    }
    let by = if ahead_ms.abs() < 60_000 {
        text::span(Duration::from_millis(ahead_ms.unsigned_abs()))
    } else {
        age(ahead_ms.abs())
    };
    format!("{state}, clock {by} {}", if ahead_ms > 0 { "ahead" } else { "behind" })
}

fn workers(workers: &[WorkerStatus]) -> String {
    let row = |worker: &WorkerStatus| {
        vec![
            plain(&worker.id, LONGEST_NAME),
            state(worker),
            format!("{} of {}", worker.slots.saturating_sub(worker.slots_free), worker.slots),
            format!("{} ago", age(i64::try_from(worker.last_heartbeat_ms_ago).unwrap_or(i64::MAX))),
            text::bytes(worker.network_sent_bytes),
            text::bytes(worker.network_received_bytes),
            plain(&worker.data_address, LONGEST_NAME),
        ]
    };
    let header = ["worker", "state", "slots in use", "heartbeat", "sent", "received", "data address"];
    table(&header, &[4, 5], workers.iter().map(row).collect())
}
