//! Draws jobs and inputs: the grammar. One seed gives one case.
//!
//! A job grows from its sources: pipelines of events (maps, unions, a dedup) lead to aggregates, and from their results grow
//! maps, lists, and aggregates of results. What is drawn is valid by the documentation, but for what [`super::broken`] does to it.

mod events;
mod results;
mod sinks;
mod windows;

use super::{
    expressions,
    input::{Input, Times},
    job::{Column, Expr, Format, Job, Node, Source},
    written::input_columns,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A job and what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// All follows from it.
    pub seed: u64,
    /// The job.
    pub job: Job,
    /// Its input.
    pub input: Input,
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// 2024-03-08 00:00 UTC, two days before the clocks of New York are set forward.
const SPRING: i64 = 1_709_856_000_000;
/// 2024-10-25 00:00 UTC, two days before the clocks of Berlin are set back.
const AUTUMN: i64 = 1_729_814_400_000;

impl Case {
    /// The case of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let unit = [SECOND, MINUTE, MINUTE, HOUR][dice.random_range(0..4)];
        let begin_ms = [SPRING, AUTUMN][dice.random_range(0..2)] + dice.random_range(0..40) * 777_000;
        let mut drawing = Drawing::new(dice, unit);
        let sources = drawing.sources();
        for _ in 0..drawing.dice.random_range(1..4) {
            drawing.pipeline(&sources);
        }
        drawing.sinks();
        let times = Times {
            begin_ms,
            span_ms: unit * drawing.dice.random_range(10..80),
            disorder_ms: unit * drawing.dice.random_range(0..4),
            late_ms: (unit * drawing.dice.random_range(1..40)).min(8 * HOUR),
            grain_ms: (unit / [1_000, 20, 4][drawing.dice.random_range(0..3)]).max(1),
        };
        let input = Input::draw(&mut drawing.dice, drawing.job.sources.len(), times);
        Case { seed, job: drawing.job, input }
    }
}

/// A job that is being drawn.
struct Drawing {
    dice: StdRng,
    /// What lengths of windows are multiples of, in milliseconds.
    unit: i64,
    job: Job,
}

impl Drawing {
    fn new(dice: StdRng, unit: i64) -> Self {
        let job =
            Job { checkpoint_ms: 1, sources: Vec::new(), filters: Vec::new(), nodes: Vec::new(), sinks: Vec::new() };
        let mut drawing = Drawing { dice, unit, job };
        drawing.job.checkpoint_ms = [2, 10, 50][drawing.below(3)];
        drawing
    }

    fn below(&mut self, n: usize) -> usize {
        self.dice.random_range(0..n)
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.dice.random_range(0..n) == 0
    }

    /// One or two sources of the same columns. Returns their names.
    fn sources(&mut self) -> Vec<String> {
        let number = 1 + usize::from(self.one_in(3));
        for name in ["clicks", "others"].into_iter().take(number) {
            let source = Source {
                name: name.to_owned(),
                format: Format::ALL[self.below(3)],
                delay_ms: self.unit * self.dice.random_range(0..6),
                batch_rows: [1, 7, 40, 500][self.below(4)],
            };
            self.job.sources.push(source);
        }
        self.job.sources.iter().map(|source| source.name.clone()).collect()
    }

    /// The columns of a stream.
    fn columns(&self, name: &str) -> Vec<Column> {
        self.job.node(name).map_or_else(input_columns, |node| node.columns.clone())
    }

    fn add(&mut self, node: Node) -> String {
        let name = node.name.clone();
        self.job.nodes.push(node);
        name
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}_{}", self.job.nodes.len() + 1)
    }

    fn condition(&mut self, columns: &[Column]) -> Option<Expr> {
        expressions::condition(&mut self.dice, columns)
    }
}
