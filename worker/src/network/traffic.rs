//! Counters of what went over the network.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bytes and batches over the network, both ways. Bytes are those on the wire, headers and signals included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Bytes written.
    pub sent_bytes: u64,
    /// Bytes read.
    pub received_bytes: u64,
    /// Batches given to a connection.
    pub sent_batches: u64,
    /// Batches delivered.
    pub received_batches: u64,
}

/// Counts for itself, and for the one that it is part of.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_batches: AtomicU64,
    received_batches: AtomicU64,
    whole: Option<Arc<Traffic>>,
}

impl Traffic {
    /// A part of `whole`.
    pub(super) fn within(whole: &Arc<Traffic>) -> Arc<Self> {
        Arc::new(Traffic { whole: Some(whole.clone()), ..Traffic::default() })
    }

    pub(super) fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_batches: self.sent_batches.load(Ordering::Relaxed),
            received_batches: self.received_batches.load(Ordering::Relaxed),
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.add(|traffic| &traffic.sent_bytes, bytes);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.add(|traffic| &traffic.received_bytes, bytes);
    }

    pub(super) fn batch_sent(&self) {
        self.add(|traffic| &traffic.sent_batches, 1);
    }

    pub(super) fn batch_received(&self) {
        self.add(|traffic| &traffic.received_batches, 1);
    }

    fn add(&self, counter: fn(&Traffic) -> &AtomicU64, count: usize) {
        counter(self).fetch_add(count as u64, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            counter(whole).fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
