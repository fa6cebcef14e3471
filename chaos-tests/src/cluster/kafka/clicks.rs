//! Clicks that are produced while a job reads them, each partition in an order of its own.
//!
//! What is there in the end is read back by somebody else: whatever producing has repeated or left out is part of the truth.

use super::definition::CLICKS;
use crate::workload::{InputFormat, Line, Workload, WorkloadConfig, line_bytes};
use anyhow::{Context, Result, anyhow};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use weir_engine::env::Env;
use weir_kafka::{Connection, NewRecord, Producer, connect};

/// Partitions of the topic: as many as a chapter has files.
pub const PARTITIONS: i32 = 4;
/// How often something is produced.
const TICK: Duration = Duration::from_millis(30);
/// Records for a partition at a time, at most.
const MOST_RECORDS: usize = 9;

/// Produces from a thread of its own until it is told to finish.
#[derive(Debug)]
pub struct Producing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Producing {
    /// Begins. The clicks follow from the seed; how many there are when, from the clock.
    pub fn begin(brokers: String, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(produce(brokers, seed, &stopped))
        });
        Producing { stop, thread: Some(thread) }
    }

    /// Has the chapter that has begun completed, and waits until all is there.
    ///
    /// # Errors
    /// When something could not be produced.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it was finished before")?;
        thread.join().map_err(|_| anyhow!("the producer panicked"))?
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _ = thread.join();
        }
    }
}

async fn produce(brokers: String, seed: u64, stop: &AtomicBool) -> Result<()> {
    let env = Env::default();
    let cluster = connect(&Connection { brokers, properties: Default::default() })?;
    let mut producer = cluster.producer()?;
    let mut clicks = Clicks { seed, chapters: 0, dice: StdRng::seed_from_u64(seed ^ 0x4a), partitions: Vec::new() };
    while !stop.load(Ordering::SeqCst) {
        for partition in 0..PARTITIONS {
            for record in clicks.next(partition) {
                send(&mut *producer, partition, &record, &env).await;
            }
        }
        env.sleep(TICK).await;
    }
    for partition in 0..PARTITIONS {
        for record in clicks.rest(partition) {
            send(&mut *producer, partition, &record, &env).await;
        }
    }
    while producer.flush().await.is_err() {
        env.sleep(TICK).await;
    }
    Ok(())
}

/// A broker that is away is waited for.
async fn send(producer: &mut dyn Producer, partition: i32, value: &[u8], env: &Env) {
    let record =
        NewRecord { topic: CLICKS, partition, key: None, value: Some(value), headers: &[], timestamp_ms: None };
    while producer.send(record).await.is_err() {
        env.sleep(TICK).await;
    }
}

struct Clicks {
    seed: u64,
    chapters: u64,
    dice: StdRng,
    partitions: Vec<VecDeque<Vec<u8>>>,
}

impl Clicks {
    /// Some records of a partition.
    fn next(&mut self, partition: i32) -> Vec<Vec<u8>> {
        let records = self.dice.random_range(0..=MOST_RECORDS);
        if self.partitions.get(partition as usize).is_none_or(|rest| rest.len() < records) {
            self.begin_chapter();
        }
        let rest = &mut self.partitions[partition as usize];
        rest.drain(..records.min(rest.len())).collect()
    }

    fn rest(&mut self, partition: i32) -> Vec<Vec<u8>> {
        self.partitions.get_mut(partition as usize).map(|rest| rest.drain(..).collect()).unwrap_or_default()
    }

    /// Some minutes of clicks, after those of the chapter before.
    fn begin_chapter(&mut self) {
        let files = PARTITIONS as usize;
        let config = WorkloadConfig { files, lines_per_file: 400, minutes: 8, ..WorkloadConfig::default() };
        let later = self.chapters as i64 * config.minutes * 60_000;
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.chapters);
        self.chapters += 1;
        let mut chapter = Workload::generate(&WorkloadConfig { seed, ..config });
        self.partitions.resize_with(files, VecDeque::new);
        for ((_, lines), rest) in chapter.files.iter_mut().zip(&mut self.partitions) {
            for line in lines {
                if let Line::Click(click) = line {
                    click.click_timestamp += later;
                }
                let bytes = line_bytes(line, InputFormat::ClickLog);
                let records = bytes.split(|byte| *byte == b'\n' || *byte == b'\r').filter(|record| !record.is_empty());
                rest.extend(records.map(<[u8]>::to_vec));
            }
        }
    }
}
