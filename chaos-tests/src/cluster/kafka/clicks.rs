//! The clicks that are produced, each partition in an order of its own.

use super::{
    definition::CLICKS,
    producing::{Feed, Produced},
};
use crate::workload::{InputFormat, Line, Workload, WorkloadConfig, line_bytes};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::VecDeque;

/// Partitions of the topic: as many as a chapter has files.
pub const PARTITIONS: i32 = 4;
/// Records for a partition at a time, at most.
const MOST_RECORDS: usize = 9;

/// Clicks that follow from a seed; how many there are when, from the clock.
#[derive(Debug)]
pub struct Clicks {
    seed: u64,
    chapters: u64,
    dice: StdRng,
    partitions: Vec<VecDeque<Vec<u8>>>,
}

impl Clicks {
    /// The clicks of a seed.
    pub fn new(seed: u64) -> Self {
        Clicks { seed, chapters: 0, dice: StdRng::seed_from_u64(seed ^ 0x4a), partitions: Vec::new() }
    }

    /// Some records of a partition.
    fn some(&mut self, partition: i32) -> Vec<Vec<u8>> {
        let records = self.dice.random_range(0..=MOST_RECORDS);
        if self.partitions.get(partition as usize).is_none_or(|rest| rest.len() < records) {
            self.begin_chapter();
        }
        let rest = &mut self.partitions[partition as usize];
        rest.drain(..records.min(rest.len())).collect()
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

impl Feed for Clicks {
    fn next(&mut self) -> Vec<Produced> {
        (0..PARTITIONS).flat_map(|partition| clicks(partition, self.some(partition))).collect()
    }

    /// The chapter that has begun.
    fn rest(&mut self) -> Vec<Produced> {
        let rest = std::mem::take(&mut self.partitions);
        (0..).zip(rest).flat_map(|(partition, values)| clicks(partition, values.into())).collect()
    }
}

fn clicks(partition: i32, values: Vec<Vec<u8>>) -> impl Iterator<Item = Produced> {
    values.into_iter().map(move |value| Produced { topic: CLICKS.into(), partition, value })
}
