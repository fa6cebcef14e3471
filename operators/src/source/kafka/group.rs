//! The offsets of a consumer group, noted for those who watch its lag. Nothing is read by them but where a job begins
//! (`start = "group"`).
//!
//! Invariant: what is noted is a position of a checkpoint that is complete. A source is not told of that; but a checkpoint is begun
//! only when the one before is complete, so when positions are taken again, those of before are in one that is.

use super::progress::Progress;
use parking_lot::Mutex;
use std::sync::Arc;
use weir_kafka::{Cluster, TopicPartition};

/// Offsets of partitions.
type Offsets = Vec<(TopicPartition, i64)>;

/// What is to be noted for a group. Cheap to clone.
#[derive(Clone)]
pub(super) struct GroupOffsets {
    group: String,
    offsets: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    /// Of the newest checkpoint, which may not be complete.
    newest: Option<Offsets>,
    /// Of one that is, and has not been noted.
    complete: Option<Offsets>,
}

impl GroupOffsets {
    /// For a group.
    pub(super) fn of(group: &str) -> Self {
        GroupOffsets { group: group.to_owned(), offsets: Arc::default() }
    }

    /// Positions have been taken for a checkpoint.
    pub(super) fn taken(&self, partitions: &[Arc<Progress>]) {
        let now = partitions.iter().map(|progress| (progress.place().clone(), progress.offset())).collect();
        let mut taken = self.offsets.lock();
        if let Some(before) = taken.newest.replace(now) {
            taken.complete = Some(before);
        }
    }

    /// Notes what is to be noted. What fails is said, and noted with the next.
    pub(super) async fn note(&self, cluster: &dyn Cluster) {
        let Some(offsets) = self.offsets.lock().complete.take().filter(|offsets| !offsets.is_empty()) else { return };
        if let Err(error) = cluster.set_group_offsets(&self.group, &offsets).await {
            let group = &self.group;
            tracing::warn!(group, %error, "the offsets of the consumer group are not noted, so its lag is shown wrongly; nothing else needs them");
        }
    }
}
