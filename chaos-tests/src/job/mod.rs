//! The ad-click job as the tests run it: what varies of it, its definition, and the same rules for the recount.
//!
//! Invariant: this is below whatever runs the job, reads its results or counts again: none of these is looked at from here.

pub mod campaigns;
mod definition;
pub mod kafka;
mod nodes;
mod outputs;
mod sinks;
mod sources;
pub mod webhook;

use crate::{
    oracle::{self, Doubts, Others, Pairs, Rules, WindowJoin},
    workload::{Click, InputFormat},
};
use campaigns::Campaigns;
pub use outputs::Outputs;
pub(crate) use sinks::store_sinks;
use std::num::NonZeroUsize;

/// Name of the job: part of paths.
pub const JOB: &str = "ad-click";

/// What varies from run to run.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// How the input is written.
    pub format: InputFormat,
    /// Whether two sources read the files, those with an even and those with an odd number, and flow together.
    pub two_sources: bool,
    /// Subtasks of every operator.
    pub parallelism: usize,
    /// Workers that share them.
    pub workers: NonZeroUsize,
    /// From one checkpoint to the next.
    pub checkpoint_interval_ms: u64,
    /// Rows of a source's batch at most.
    pub batch_rows: usize,
    /// Credit of a channel, in bytes.
    pub channel_bytes: usize,
    /// Whether one of the filters matches every click.
    pub count_all: bool,
    /// Whether files are followed until the run is stopped.
    pub follow: bool,
    /// After so long a followed file that is silent holds nobody up.
    pub idle_after_ms: Option<u64>,
    /// How far a followed file may be ahead of the slowest one.
    pub max_drift_ms: Option<u64>,
    /// Whether duplicates are counted, so that the recount does not say what is right.
    pub without_dedup: bool,
    /// How long minutes are corrected.
    pub allowed_lateness_minutes: i64,
    /// Whether the counts are kept in a table, too; in the `store`, where there is one.
    pub with_table: bool,
    /// Whether clicks far ahead of their file are dead letters.
    pub with_max_jump: bool,
    /// What sinks write.
    pub outputs: Outputs,
    /// Whether the clicks that came on time are archived by hour, so that they can be counted again.
    pub archive_by_hour: bool,
    /// Whether somebody has misspelt the user of a filter.
    pub wrong_filter: bool,
    /// URL of a store that is filled too, with running counts.
    pub store: Option<String>,
    /// Whether the clicks come from a topic, each file a partition.
    pub from_kafka: bool,
    /// Whether counts and top ads go to topics, too.
    pub to_kafka: bool,
    /// Whether what blocks of minutes come to is posted, too.
    pub to_webhook: bool,
    /// Whether it is looked up what a table says of each click's ad; none: it is not.
    pub campaigns: Option<Campaigns>,
    /// Whether clicks are joined with others of the same users.
    pub pairs: bool,
    /// Windows of another kind beside the minutes, over clicks that may be repeated; none: there are none.
    pub others: Option<Others>,
    /// How the counts that a map keeps are joined with the numbers of clicks from abroad; none: they are not.
    pub window_join: Option<WindowJoin>,
}

impl Default for JobConfig {
    fn default() -> Self {
        JobConfig {
            format: InputFormat::ClickLog,
            two_sources: false,
            parallelism: 2,
            workers: NonZeroUsize::MIN,
            checkpoint_interval_ms: 20,
            batch_rows: 32,
            channel_bytes: 1 << 20,
            count_all: true,
            follow: false,
            idle_after_ms: None,
            max_drift_ms: None,
            without_dedup: false,
            allowed_lateness_minutes: 2,
            with_table: false,
            with_max_jump: false,
            outputs: Outputs::Parquet,
            archive_by_hour: false,
            wrong_filter: false,
            store: None,
            from_kafka: false,
            to_kafka: false,
            to_webhook: false,
            campaigns: None,
            pairs: false,
            others: None,
            window_join: None,
        }
    }
}

/// The number that a user's name ends with; none: another kind of user.
fn user_number(click: &Click) -> Option<i64> {
    click.user_id.chars().skip(5).collect::<String>().parse().ok()
}

const MAX_LINE_BYTES: usize = 4_000;
const DELAY_SECONDS: i64 = 15;
const TOP_MINUTES: i64 = 5;
const TOP_N: usize = 3;
const BLOCK_MINUTES: i64 = 3;
const PAIRED_BEFORE_SECONDS: i64 = 120;
const PAIRED_AFTER_SECONDS: i64 = 20;

impl JobConfig {
    /// What the recount has to know of it.
    pub fn rules(&self) -> Rules {
        let mut filters: Vec<(&'static str, oracle::Filter)> = vec![
            ("usa", |click| click.country.as_deref() == Some("USA")),
            match self.wrong_filter {
                false => ("first", |click| click.ip.ends_with(".1") || click.user_id == "user 3"),
                true => ("first", |click| click.ip.ends_with(".1") || click.user_id == "user 33"),
            },
        ];
        if self.count_all {
            filters.push(("all", |_| true));
        }
        Rules {
            format: self.format,
            in_a_topic: self.from_kafka.then_some(kafka::CLICKS),
            max_line_bytes: MAX_LINE_BYTES,
            delay_ms: DELAY_SECONDS * 1_000,
            doubts: Some(match self.with_max_jump {
                true => Doubts { largest_jump_ms: 3_600_000, voices: 20, span_ms: 10_000, put_aside: true },
                false => Doubts { largest_jump_ms: 86_400_000, voices: 1_000, span_ms: 600_000, put_aside: false },
            }),
            allowed_lateness_ms: self.allowed_lateness_minutes * 60_000,
            fails_in_map: |click| matches!(user_number(click), None | Some(7)),
            fails_in_filters: |click| click.country.as_deref() == Some("USA") && user_number(click) == Some(9),
            filters,
            top_minutes: TOP_MINUTES,
            top_n: TOP_N,
            block_minutes: BLOCK_MINUTES,
            pairs: self
                .pairs
                .then_some(Pairs { before_ms: PAIRED_BEFORE_SECONDS * 1_000, after_ms: PAIRED_AFTER_SECONDS * 1_000 }),
            others: self.others,
            window_join: self.window_join,
        }
    }
}
