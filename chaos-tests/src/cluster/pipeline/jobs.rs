//! The jobs of the pipeline as they are shipped, pointed at this broker and this folder: the counts of each region, attribution,
//! and the union of what the regions have counted.

use super::business::{CLICKS, ORDERS, REGIONS, events_of};
use crate::cluster::processes::ClusterProcesses;
use anyhow::Result;
use std::path::PathBuf;

/// The job that attributes orders.
pub const ATTRIBUTION: &str = "attribution-kafka";
/// The job that loads the store.
pub const UNION: &str = "union-and-load";
/// Orders with the ad that led to them.
pub const ATTRIBUTED: &str = "attributed-orders";
/// Orders without.
pub const UNMATCHED: &str = "unmatched-orders";

/// The job of a region.
pub fn counts_job(region: &str) -> String {
    format!("ad-events-{region}")
}

/// The counts of a region.
pub fn counts_of(region: &str) -> String {
    format!("ad-counts-{region}")
}

/// The same, with those of minutes that are not over.
pub fn running_counts_of(region: &str) -> String {
    format!("ad-counts-running-{region}")
}

/// All topics, those first that nobody but the business writes to.
pub fn topics() -> Vec<String> {
    let [events, counts, running] = [events_of, counts_of, running_counts_of].map(|of| REGIONS.map(of));
    let others = [CLICKS, ORDERS, ATTRIBUTED, UNMATCHED].map(String::from);
    events.into_iter().chain(others).chain(counts).chain(running).collect()
}

/// The jobs that read what the business sends, each with its sources and their topics.
pub fn readers() -> Vec<(String, Vec<(&'static str, String)>)> {
    let counting = REGIONS.map(|region| (counts_job(region), vec![("events", events_of(region))]));
    let attribution = vec![("orders", ORDERS.to_owned()), ("clicks", CLICKS.to_owned())];
    counting.into_iter().chain([(ATTRIBUTION.to_owned(), attribution)]).collect()
}

/// Where the union writes counts to.
pub fn store(cluster: &ClusterProcesses) -> PathBuf {
    cluster.path("union.sqlite")
}

/// Where attribution writes orders to.
pub fn orders_store(cluster: &ClusterProcesses) -> PathBuf {
    cluster.path("orders.sqlite")
}

/// Hands in a region's job.
///
/// # Errors
/// When it is refused.
pub fn submit_counts(cluster: &ClusterProcesses, brokers: &str, region: &str) -> Result<()> {
    let folder = cluster.path(region).display().to_string();
    let settings = [
        format!("job.name={}", counts_job(region)),
        format!("source.events.brokers={brokers}"),
        format!("source.events.topics=[\"{}\"]", events_of(region)),
        PATIENT.replace("SOURCE", "events"),
        format!("sink.counts.brokers={brokers}"),
        format!("sink.counts.topic={}", counts_of(region)),
        format!("sink.running_counts.brokers={brokers}"),
        format!("sink.running_counts.topic={}", running_counts_of(region)),
        format!("sink.dead_letters.path={folder}/dead_letters"),
        format!("sink.late.path={folder}/late"),
        "sink.late.format=json".into(),
    ];
    submit(cluster, "ad_events_kafka.toml", &settings, 1)
}

/// Hands in attribution.
///
/// # Errors
/// When it is refused.
pub fn submit_attribution(cluster: &ClusterProcesses, brokers: &str) -> Result<()> {
    let mut settings = vec![
        PATIENT.replace("SOURCE", "orders"),
        PATIENT.replace("SOURCE", "clicks"),
        "sink.store.enabled=true".into(),
        format!("sink.store.url=sqlite:{}", orders_store(cluster).display()),
    ];
    let at_brokers = ["source.orders", "source.clicks", "sink.attributed", "sink.unmatched"];
    settings.extend(at_brokers.map(|node| format!("{node}.brokers={brokers}")));
    for sink in ["late_orders", "late_clicks", "dead_letters"] {
        settings.push(format!("sink.{sink}.path={}/{sink}", cluster.path("attribution").display()));
        settings.push(format!("sink.{sink}.format=json"));
    }
    submit(cluster, "attribution_kafka.toml", &settings, 2)
}

/// Hands in the union.
///
/// # Errors
/// When it is refused.
pub fn submit_union(cluster: &ClusterProcesses, brokers: &str) -> Result<()> {
    let mut settings = vec![format!("sink.store.url=sqlite:{}", store(cluster).display())];
    for region in REGIONS {
        settings.push(format!("source.{region}.brokers={brokers}"));
        settings.push(format!("source.{region}.topics=[\"{}\"]", counts_of(region)));
        settings.push(format!("source.{region}.watermark={{ idle_after = \"2s\" }}"));
    }
    for sink in ["counts", "late", "dead_letters"] {
        settings.push(format!("sink.{sink}.path={}/{sink}", cluster.path("union").display()));
        settings.push(format!("sink.{sink}.format=json"));
    }
    submit(cluster, "union_and_load.toml", &settings, 1)
}

/// A partition that cannot be read for a while, as its broker is away, is waited for: what is late then follows from the records
/// alone.
const PATIENT: &str = "source.SOURCE.watermark={ delay = \"15s\", idle_after = \"10m\", max_jump = \"1h\" }";

fn submit(cluster: &ClusterProcesses, definition: &str, settings: &[String], parallelism: usize) -> Result<()> {
    let path = format!("{}/../jobs/{definition}", env!("CARGO_MANIFEST_DIR"));
    let parallelism = parallelism.to_string();
    let mut arguments = vec!["submit", &path, "--parallelism", &parallelism];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    cluster.done(&arguments)?;
    Ok(())
}
