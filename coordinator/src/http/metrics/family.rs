//! Writes families of metrics: name, help, type, samples.
//!
//! The library does not escape label values, and ours hold what users write, so it is done here.

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, NoLabelSet},
    metrics::MetricType,
};
use std::fmt;

/// A value with its labels.
pub(super) struct Sample<V> {
    labels: Vec<(&'static str, String)>,
    value: V,
}

impl<V> Sample<V> {
    pub(super) fn new<T: AsRef<str>>(labels: Vec<(&'static str, T)>, value: V) -> Self {
        Sample { labels: escaped(labels), value }
    }
}

impl Sample<f64> {
    /// A value without labels.
    pub(super) fn plain(value: f64) -> Self {
        Sample { labels: Vec::new(), value }
    }
}

fn escaped<T: AsRef<str>>(labels: Vec<(&'static str, T)>) -> Vec<(&'static str, String)> {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels.into_iter().map(|(name, value)| (name, escape(value.as_ref()))).collect()
}

/// Writes families one after another.
pub(super) struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Families { encoder }
    }

    /// A value that goes up and down. Names end in their unit.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<f64>>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for sample in samples {
            family.encode_family(&sample.labels)?.encode_gauge(&sample.value)?;
        }
        Ok(())
    }

    /// A number that only goes up; `_total` is put behind its name.
    pub(super) fn counter<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<V>>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for sample in samples {
            family.encode_family(&sample.labels)?.encode_counter::<NoLabelSet, V, f64>(&sample.value, None)?;
        }
        Ok(())
    }

    /// A text; `_info` is put behind its name.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Vec<(&'static str, &String)>) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&escaped(labels))
    }
}
