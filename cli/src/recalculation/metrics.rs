//! The last reconciliation as metrics for Prometheus.

use crate::{doors, failure::Failure, serve};
use axum::{Router, routing::get};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{fmt, sync::Arc};
use weir_engine::env::Env;
use weir_http::metrics::{Families, Sample, answer, register};
use weir_recalculation::reconcile::Report;

/// What is served. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Last>>);

/// The last comparison.
#[derive(Clone, Debug, Default)]
struct Last {
    job: String,
    made_at_ms: Option<i64>,
    matching: u64,
    differing: u64,
    failures: u64,
}

impl Metrics {
    /// A comparison was made.
    pub fn compared(&self, report: &Report, now_ms: i64) {
        let mut last = self.0.lock();
        last.job.clone_from(&report.job);
        last.made_at_ms = Some(now_ms);
        (last.matching, last.differing) = (report.matching, report.differing);
    }

    /// One could not be made.
    pub fn failed(&self) {
        self.0.lock().failures += 1;
    }

    /// Whether none was made yet, nor tried.
    pub fn is_first(&self) -> bool {
        let last = self.0.lock();
        last.made_at_ms.is_none() && last.failures == 0
    }

    /// Serves them, beside everything else; gives the address.
    pub async fn serve(&self, address: &str, env: &Env) -> Result<String, Failure> {
        let listener = serve::listen(address).await?;
        let bound = serve::address(&listener)?;
        let metrics = self.clone();
        let router = Router::new().route("/metrics", get(move || async move { answer(&metrics.registry()) }));
        let serving =
            weir_http::serve(Box::new(listener), router, doors::limits(), env.clone(), std::future::pending());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "metrics are not served any more");
            }
        });
        Ok(bound.to_string())
    }

    fn registry(&self) -> Registry {
        let last = self.0.lock().clone();
        let mut registry = Registry::default();
        register(&mut registry, move |families| last.write(families));
        registry
    }
}

impl Last {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let labels = if self.job.is_empty() { Vec::new() } else { vec![("job", &self.job)] };
        let sample = |value: f64| [Sample::new(labels.clone(), value)];
        if let Some(made_at_ms) = self.made_at_ms {
            let help = "Time of the last reconciliation, in seconds since 1970";
            families.gauge("weir_reconcile_last_run_timestamp", help, sample(made_at_ms as f64 / 1000.0))?;
            let help = "Counts that are the same in store and archive";
            families.gauge("weir_reconcile_matching", help, sample(self.matching as f64))?;
            let help = "Counts that differ between store and archive";
            families.gauge("weir_reconcile_differing", help, sample(self.differing as f64))?;
        }
        let help = "Reconciliations that failed";
        families.counter("weir_reconcile_failures", help, [Sample::new(labels.clone(), self.failures)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        weir_http::metrics::text(&metrics.registry()).unwrap()
    }

    #[test]
    fn nothing_is_claimed_before_the_first_comparison() {
        let metrics = Metrics::default();
        assert!(!text(&metrics).contains("matching") && metrics.is_first());
        metrics.failed();
        assert!(text(&metrics).contains("weir_reconcile_failures_total 1\n"), "{}", text(&metrics));
        let report = Report { job: "ad \"click\"".into(), matching: 7, differing: 2, ..Report::default() };
        metrics.compared(&report, 1_646_352_000_250);
        let text = text(&metrics);
        for line in [
            "weir_reconcile_last_run_timestamp{job=\"ad \\\"click\\\"\"} 1646352000.25\n",
            "weir_reconcile_matching{job=\"ad \\\"click\\\"\"} 7.0\n",
            "weir_reconcile_differing{job=\"ad \\\"click\\\"\"} 2.0\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
