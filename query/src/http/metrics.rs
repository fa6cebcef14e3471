//! `/metrics`: the requests to this process, and how fresh the store is.

use super::Service;
use crate::store::{Freshness, Reconciliation, Table};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::fmt;
use weir_http::metrics::{Families, Sample, answer, register};

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
    let state = StoreState {
        freshness: service.store.freshness().await.ok(),
        corrections: service.store.corrections().await.ok().flatten(),
        reconciliations: service.store.reconciliations().await.unwrap_or_default(),
        tables: service.store.tables().await.unwrap_or_default(),
        now_ms: service.env.wall_clock_ms(),
    };
    register(&mut registry, move |families| state.write(families));
    answer(&registry)
}

/// What the store says of itself.
struct StoreState {
    freshness: Option<Freshness>,
    corrections: Option<i64>,
    reconciliations: Vec<Reconciliation>,
    tables: Vec<Table>,
    now_ms: i64,
}

impl StoreState {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let is_up = self.freshness.is_some() || self.tables.iter().any(|table| table.checkpoint > 0);
        let up = f64::from(u8::from(is_up));
        families.gauge("weir_store_up", "Whether the store answers", [Sample::plain(up)])?;
        if let Some(freshness) = &self.freshness {
            self.freshness(freshness, families)?;
        }
        if let Some(corrections) = self.corrections {
            let help = "Counts in the store that late clicks have corrected";
            families.gauge("weir_store_corrections", help, [Sample::plain(corrections as f64)])?;
        }
        if !self.tables.is_empty() {
            self.tables(families)?;
        }
        if self.reconciliations.is_empty() { Ok(()) } else { self.reconciliations(families) }
    }

    /// How far each table has come.
    fn tables(&self, families: &mut Families<'_>) -> fmt::Result {
        let each = |value: fn(&Table, i64) -> f64| {
            let committed = self.tables.iter().filter(|table| table.checkpoint > 0);
            committed.map(move |table| {
                Sample::new(vec![("job", &table.job), ("table", &table.name)], value(table, self.now_ms))
            })
        };
        let help = "Age of the moment up to which everything that was read is in the table";
        let behind = |table: &Table, now_ms: i64| (now_ms - table.read_until_ms).max(0) as f64 / 1000.0;
        families.gauge("weir_table_freshness_seconds", help, each(behind))?;
        let help = "The newest checkpoint in the table";
        families.gauge("weir_table_checkpoint", help, each(|table, _| table.checkpoint as f64))?;
        let help = "Whether the job has ended with that checkpoint, so that nothing fresher comes";
        families.gauge("weir_table_job_ended", help, each(|table, _| f64::from(u8::from(table.ended))))
    }

    fn freshness(&self, freshness: &Freshness, families: &mut Families<'_>) -> fmt::Result {
        let help = "Age of the moment up to which every click that was read is in the answers";
        let behind_ms = (self.now_ms - freshness.read_until_ms).max(0);
        families.gauge("weir_store_freshness_seconds", help, [Sample::plain(behind_ms as f64 / 1000.0)])?;
        let help = "The newest checkpoint in the store";
        families.gauge("weir_store_checkpoint", help, [Sample::plain(freshness.checkpoint as f64)])?;
        let help = "Whether the job has ended with that checkpoint, so that nothing fresher comes";
        families.gauge("weir_store_job_ended", help, [Sample::plain(f64::from(u8::from(freshness.ended)))])?;
        let Some((_, newest_ms)) = freshness.minutes_ms else { return Ok(()) };
        let help = "Start of the newest minute that has clicks, since the epoch";
        families.gauge("weir_store_newest_minute_seconds", help, [Sample::plain(newest_ms as f64 / 1000.0)])
    }

    /// What the newest reconciliation of each job has found.
    fn reconciliations(&self, families: &mut Families<'_>) -> fmt::Result {
        let each = |value: fn(&Reconciliation) -> f64| {
            self.reconciliations.iter().map(move |found| Sample::new(vec![("job", &found.job)], value(found)))
        };
        let help = "Counts that are right in the newest reconciliation with the raw archive";
        families.gauge("weir_reconciliation_matching", help, each(|found| found.matching as f64))?;
        let help = "Counts that differ in the newest reconciliation with the raw archive";
        families.gauge("weir_reconciliation_differing", help, each(|found| found.differing as f64))?;
        let help = "When the newest reconciliation was made, since the epoch";
        families.gauge("weir_reconciliation_made_at_seconds", help, each(|found| found.made_at_ms as f64 / 1000.0))
    }
}
