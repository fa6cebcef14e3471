//! Clusters of real processes: what a user does with them, and what happens to them.

mod chaos;
mod coordinators;
mod crash_points;
mod jobs;
mod kafka;
mod kills;
mod leases;
mod members;
mod namespaces;
mod pipeline;
mod rolling;
mod serving;
mod strangers;
mod tls;

use anyhow::Result;
use futures::executor::block_on;
use tokio::sync::{Semaphore, SemaphorePermit};
use weir_chaos_tests::cluster::processes::{ClusterProcesses, ClusterSettings};

/// Two clusters at a time: each has several processes, and waits for most of its time.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Waits until there is a place for a cluster.
fn a_place() -> SemaphorePermit<'static> {
    block_on(PLACES.acquire()).expect("places are never closed")
}

/// Does something with a cluster; when that fails, the ends of its logs are shown.
fn in_cluster(workers: usize, test: impl FnOnce(&mut ClusterProcesses) -> Result<()>) {
    in_cluster_of(ClusterSettings::new().expect("a weir to run"), workers, test);
}

fn in_cluster_of(settings: ClusterSettings, workers: usize, test: impl FnOnce(&mut ClusterProcesses) -> Result<()>) {
    let _place = a_place();
    let mut cluster = ClusterProcesses::start(settings, workers).expect("a cluster");
    if let Err(error) = test(&mut cluster) {
        // Dropped in a panic, the cluster shows its logs.
        panic!("{error:?}");
    }
}
