//! Topics of the brokers under test: made, and measured. A broker that has just come back is asked again.

use super::super::waiting::wait_for;
use anyhow::{Result, anyhow};
use std::sync::Arc;
use tokio::runtime::Runtime;
use weir_kafka::{Cluster, Connection, NewTopic, connect};

/// What asks the brokers.
pub struct Topics {
    cluster: Arc<dyn Cluster>,
    runtime: Runtime,
}

impl Topics {
    /// Of these brokers.
    ///
    /// # Errors
    /// When there is no client to be had.
    pub fn of(brokers: &str) -> Result<Self> {
        let connection = Connection { brokers: brokers.into(), properties: Default::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Topics { cluster: connect(&connection)?, runtime })
    }

    /// The runtime that it asks on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Makes topics of so many partitions.
    ///
    /// # Errors
    /// When one is there already, or the brokers refuse.
    pub fn make(&self, names: impl IntoIterator<Item = String>, partitions: i32) -> Result<()> {
        for name in names {
            let topic = NewTopic { name, partitions, replication: None, settings: Vec::new() };
            self.runtime.block_on(self.cluster.create(&topic)).map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    }

    /// Records of a topic to which nobody writes in transactions: these have records of their own for their ends.
    ///
    /// # Errors
    /// When the brokers don't say.
    pub fn records(&self, topic: &str, partitions: i32) -> Result<u64> {
        let end = |partition| self.runtime.block_on(self.cluster.bounds(topic, partition)).ok().map(|found| found.end);
        let ends = (0..partitions).map(|partition| wait_for(&format!("the end of {topic}"), || Ok(end(partition))));
        Ok(ends.sum::<Result<i64>>()?.unsigned_abs())
    }
}
