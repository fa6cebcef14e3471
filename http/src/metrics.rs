//! Metrics in the OpenMetrics text form that Prometheus reads: families of name, help, type and samples.
//!
//! The library does not escape label values, and ours hold what users write, so it is done here.

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};
use std::fmt;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A value with its labels.
#[derive(Debug)]
pub struct Sample<V> {
    labels: Vec<(&'static str, String)>,
    value: V,
}

impl<V> Sample<V> {
    /// A value with these labels.
    pub fn new<T: AsRef<str>>(labels: Vec<(&'static str, T)>, value: V) -> Self {
        Sample { labels: escaped(labels), value }
    }
}

impl Sample<f64> {
    /// A value without labels.
    pub fn plain(value: f64) -> Self {
        Sample { labels: Vec::new(), value }
    }
}

fn escaped<T: AsRef<str>>(labels: Vec<(&'static str, T)>) -> Vec<(&'static str, String)> {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels.into_iter().map(|(name, value)| (name, escape(value.as_ref()))).collect()
}

/// Writes families one after another.
#[derive(Debug)]
pub struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Families<'_> {
    /// A value that goes up and down. Names end in their unit.
    ///
    /// # Errors
    /// None that writing into memory has.
    pub fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<f64>>) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for sample in samples {
            match sample.labels.as_slice() {
                [] => family.encode_gauge(&sample.value)?,
                labels => family.encode_family(&labels)?.encode_gauge(&sample.value)?,
            }
        }
        Ok(())
    }

    /// A number that only goes up; `_total` is put behind its name.
    ///
    /// # Errors
    /// As [`Families::gauge`].
    pub fn counter<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<V>>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for sample in samples {
            match sample.labels.as_slice() {
                [] => family.encode_counter::<NoLabelSet, V, f64>(&sample.value, None)?,
                labels => family.encode_family(&labels)?.encode_counter::<NoLabelSet, V, f64>(&sample.value, None)?,
            }
        }
        Ok(())
    }

    /// A text; `_info` is put behind its name.
    ///
    /// # Errors
    /// As [`Families::gauge`].
    pub fn info(&mut self, name: &str, help: &str, labels: Vec<(&'static str, &String)>) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&escaped(labels))
    }
}

/// Adds families that are written for each scrape.
pub fn register(registry: &mut Registry, write: impl Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static) {
    registry.register_collector(Box::new(Afresh(Box::new(write))));
}

type Write = dyn Fn(&mut Families<'_>) -> fmt::Result + Send + Sync;

struct Afresh(Box<Write>);

impl fmt::Debug for Afresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Afresh")
    }
}

impl Collector for Afresh {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        (self.0)(&mut Families { encoder })
    }
}

/// All metrics of a registry as text.
///
/// # Errors
/// When something cannot be formatted.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut out = String::new();
    text::encode(&mut out, registry)?;
    Ok(out)
}

/// The answer to a scrape.
pub fn answer(registry: &Registry) -> Response {
    match text(registry) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        // Writing into memory fails only when something cannot be formatted.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write metrics: {error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_stays_within_its_quotes() {
        let mut registry = Registry::default();
        register(&mut registry, |families| {
            families.gauge("weir_up", "Whether it is", [Sample::plain(1.0)])?;
            let hostile = "a\"} 7\nb\\";
            families.counter("weir_jobs", "Jobs", [Sample::new(vec![("job", hostile)], 2_u64)])
        });
        let expected = "# HELP weir_up Whether it is\n# TYPE weir_up gauge\nweir_up 1.0\n# HELP weir_jobs Jobs\n\
                        # TYPE weir_jobs counter\nweir_jobs_total{job=\"a\\\"} 7\\nb\\\\\"} 2\n# EOF\n";
        assert_eq!(text(&registry).unwrap(), expected);
    }
}
