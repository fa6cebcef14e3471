//! `/metrics` in the OpenMetrics text form that Prometheus reads: what this process was asked, and how far the store is.

use super::Service;
use crate::store::Reconciliation;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::sync::atomic::AtomicU64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// The route of requests that found none.
const NO_ROUTE: &str = "none";

type LatencyFamily = Family<Route, Histogram, fn() -> Histogram>;

/// What this process was asked.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Family<Answered, Counter>,
    latencies: LatencyFamily,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Job {
    job: String,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        Metrics { requests: Family::default(), latencies: Family::new_with_constructor(histogram) }
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register("weir_query_requests", "Requests, by route and status", self.requests.clone());
        registry.register_with_unit(
            "weir_query_duration",
            "From a request to its answer, by route",
            Unit::Seconds,
            self.latencies.clone(),
        );
        registry
    }
}

/// Counts and times a request.
pub(super) async fn measure(State(service): State<Service>, request: Request, next: Next) -> Response {
    let started = service.env.now();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    // A path that nothing is at would make a family of its own for each guess.
    let route = path.unwrap_or_else(|| NO_ROUTE.into());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    service.metrics.requests.get_or_create(&Answered { route: route.clone(), status }).inc();
    let took = service.env.now() - started;
    service.metrics.latencies.get_or_create(&Route { route }).observe(took.as_secs_f64());
    response
}

/// All metrics. A store that does not answer leaves its own away, and says so in `weir_store_up`.
pub(super) async fn scrape(service: &Service) -> Response {
    let mut registry = service.metrics.registry();
    let freshness = service.store.freshness().await;
    gauge(&mut registry, "weir_store_up", "Whether the store answers", f64::from(u8::from(freshness.is_ok())));
    if let Ok(freshness) = freshness {
        let behind = (service.env.wall_clock_ms() - freshness.read_until_ms).max(0);
        let help = "Since the moment by which every click that was read is in the answers";
        gauge(&mut registry, "weir_store_freshness_seconds", help, behind as f64 / 1000.0);
        gauge(
            &mut registry,
            "weir_store_checkpoint",
            "The newest checkpoint in the store",
            freshness.checkpoint as f64,
        );
        if let Some((_, newest)) = freshness.minutes_ms {
            let help = "Start of the newest minute that has clicks, since the epoch";
            gauge(&mut registry, "weir_store_newest_minute_seconds", help, newest as f64 / 1000.0);
        }
    }
    if let Ok(Some(corrections)) = service.store.corrections().await {
        let help = "Counts in the store that late clicks have corrected";
        gauge(&mut registry, "weir_store_corrections", help, corrections as f64);
    }
    reconciliations(&mut registry, service.store.reconciliations().await.unwrap_or_default());
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], out).into_response(),
        // Writing into memory fails only when something cannot be formatted.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write metrics: {error}\n")).into_response(),
    }
}

/// What the newest reconciliation of each job has found.
fn reconciliations(registry: &mut Registry, found: Vec<Reconciliation>) {
    type Gauges = Family<Job, Gauge<f64, AtomicU64>>;
    let (matching, differing, made_at) = (Gauges::default(), Gauges::default(), Gauges::default());
    let is_empty = found.is_empty();
    for found in found {
        // The library does not escape label values, and a job's name is what a user wrote.
        let job = Job { job: found.job.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n") };
        matching.get_or_create(&job).set(found.matching as f64);
        differing.get_or_create(&job).set(found.differing as f64);
        made_at.get_or_create(&job).set(found.made_at_ms as f64 / 1000.0);
    }
    if !is_empty {
        let newest = "in the newest reconciliation with the raw archive";
        registry.register("weir_reconciliation_matching", format!("Counts that are right {newest}"), matching);
        registry.register("weir_reconciliation_differing", format!("Counts that differ {newest}"), differing);
        registry.register("weir_reconciliation_made_at_seconds", "When it was made, since the epoch", made_at);
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
