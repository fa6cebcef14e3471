//! Clusters of real processes: what a user does with them, and what happens to them.

mod crash_points;
mod jobs;
mod kafka;
mod kills;
mod leases;
mod serving;
mod strangers;

use anyhow::Result;
use parking_lot::Mutex;
use weir_chaos_tests::cluster::processes::{ClusterProcesses, ClusterSettings};

/// Clusters one after the other: each has as many processes as a machine bears.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Does something with a cluster; when that fails, the ends of its logs are shown.
fn in_cluster(workers: usize, test: impl FnOnce(&mut ClusterProcesses) -> Result<()>) {
    in_cluster_of(ClusterSettings::new().expect("a weir to run"), workers, test);
}

fn in_cluster_of(settings: ClusterSettings, workers: usize, test: impl FnOnce(&mut ClusterProcesses) -> Result<()>) {
    let _alone = ONE_AT_A_TIME.lock();
    let mut cluster = ClusterProcesses::start(settings, workers).expect("a cluster");
    if let Err(error) = test(&mut cluster) {
        // Dropped in a panic, the cluster shows its logs.
        panic!("{error:?}");
    }
}
