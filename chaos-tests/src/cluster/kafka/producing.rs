//! Records that are produced while jobs read them.
//!
//! What is there in the end is read back by somebody else: whatever producing has repeated or left out is part of the truth.

use crate::cluster::beside::Beside;
use anyhow::Result;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use weir_engine::env::Env;
use weir_kafka::{Connection, NewRecord, Producer, connect};

/// How often something is produced.
const TICK: Duration = Duration::from_millis(30);

/// A record to produce.
#[derive(Clone, Debug)]
pub struct Produced {
    /// Where to.
    pub topic: String,
    /// Which of its partitions.
    pub partition: i32,
    /// The value.
    pub value: Vec<u8>,
}

/// What to produce.
pub trait Feed: Send {
    /// The records of a tick.
    fn next(&mut self) -> Vec<Produced>;

    /// What is still missing at the end.
    fn rest(&mut self) -> Vec<Produced>;
}

/// Produces from a thread of its own until it is told to finish.
#[derive(Debug)]
pub struct Producing(Beside);

impl Producing {
    /// Begins.
    pub fn begin(brokers: String, mut feed: impl Feed + 'static) -> Self {
        Producing(Beside::begin(move |stop| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(produce(brokers, &mut feed, stop))
        }))
    }

    /// Has the feed end, and waits until all is there.
    ///
    /// # Errors
    /// When something could not be produced.
    pub fn finish(self) -> Result<()> {
        self.0.finish()
    }
}

async fn produce(brokers: String, feed: &mut impl Feed, stop: &AtomicBool) -> Result<()> {
    let env = Env::default();
    let cluster = connect(&Connection { brokers, properties: Default::default() })?;
    let mut producer = cluster.producer()?;
    while !stop.load(Ordering::SeqCst) {
        send_all(&mut *producer, feed.next(), &env).await;
        env.sleep(TICK).await;
    }
    send_all(&mut *producer, feed.rest(), &env).await;
    while producer.flush().await.is_err() {
        env.sleep(TICK).await;
    }
    Ok(())
}

/// A broker that is away is waited for.
async fn send_all(producer: &mut dyn Producer, records: Vec<Produced>, env: &Env) {
    for Produced { topic, partition, value } in &records {
        let record =
            NewRecord { topic, partition: *partition, key: None, value: Some(value), headers: &[], timestamp_ms: None };
        while producer.send(record).await.is_err() {
            env.sleep(TICK).await;
        }
    }
}
