//! The last reconciliation as metrics for Prometheus.

use crate::failure::Failure;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use std::sync::{Arc, Mutex, PoisonError};
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
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.job.clone_from(&report.job);
        last.made_at_ms = Some(now_ms);
        (last.matching, last.differing) = (report.matching, report.differing);
    }

    /// One could not be made.
    pub fn failed(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failures += 1;
    }

    /// Whether none was made yet, nor tried.
    pub fn is_first(&self) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.made_at_ms.is_none() && last.failures == 0
    }

    /// Serves them, beside everything else; gives the address.
    pub async fn serve(&self, address: &str) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("cannot listen at {address}: {error}"));
        let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let metrics = self.clone();
        let content = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        let router = Router::new().route("/metrics", get(move || async move { (content, metrics.text()) }));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "metrics are not served any more");
            }
        });
        Ok(bound.to_string())
    }

    fn text(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        let mut add = |name: &str, kind: &str, help: &str, value: Option<String>| {
            let Some(value) = value else { return };
            let labels = if last.job.is_empty() { String::new() } else { format!("{{job=\"{}\"}}", last.job) };
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n"));
        };
        let seconds = last.made_at_ms.map(|ms| format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000)));
        let made = last.made_at_ms.is_some();
        let help = "When the last reconciliation was made, in seconds since 1970.";
        add("weir_reconcile_last_run_timestamp", "gauge", help, seconds);
        let help = "Counts that are the same in store and archive.";
        add("weir_reconcile_matching", "gauge", help, made.then(|| last.matching.to_string()));
        let help = "Counts that differ between store and archive.";
        add("weir_reconcile_differing", "gauge", help, made.then(|| last.differing.to_string()));
        let help = "Reconciliations that could not be made.";
        add("weir_reconcile_failures_total", "counter", help, Some(last.failures.to_string()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_before_the_first_comparison() {
        let metrics = Metrics::default();
        assert!(!metrics.text().contains("matching") && metrics.is_first());
        metrics.failed();
        assert!(metrics.text().contains("weir_reconcile_failures_total 1\n"), "{}", metrics.text());
        let report = Report { job: "ad-click".into(), matching: 7, differing: 2, ..Report::default() };
        metrics.compared(&report, 1_646_352_000_250);
        let text = metrics.text();
        for line in [
            "weir_reconcile_last_run_timestamp{job=\"ad-click\"} 1646352000.250\n",
            "weir_reconcile_matching{job=\"ad-click\"} 7\n",
            "weir_reconcile_differing{job=\"ad-click\"} 2\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
