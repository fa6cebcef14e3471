//! Counts the distinct windows that an aggregate has emitted: each once, however many subtasks have keys in it.
//!
//! Two steps. [`WindowMarks`] stands in the aggregate's chain and makes one row of all results of a window in a batch;
//! behind the exchange by `window_end`, [`WindowCount`] counts those it has not seen. It remembers a window for as long as
//! results of it may still come, so that corrections, restarts and rescales count no window again.

use crate::columns::WINDOW_END;
use crate::window::WindowRule;
use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray},
    datatypes::TimestampMillisecondType,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::{KeyGroupRange, key_group_of},
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

const SEGMENT: &str = "windows";

/// Settings of a [`WindowCount`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowCountConfig {
    /// The windows of the aggregate before it.
    #[serde(flatten)]
    pub windows: WindowRule,
}

/// The first step: stateless.
#[derive(Debug, Default)]
pub struct WindowMarks;

impl Operator for WindowMarks {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let ends: BTreeSet<i64> = window_ends(&batch.columns)?.values().iter().copied().collect();
        out.emit(Port::MAIN, Batch::new(rows_of(ends)?));
        Ok(())
    }
}

/// The second step. Counts `windows`.
#[derive(Debug)]
pub struct WindowCount {
    rule: WindowRule,
    max_parallelism: u16,
    /// Ends of the windows that may come again.
    seen: BTreeSet<i64>,
    unsaved: bool,
    windows: Counter,
}

impl WindowCount {
    /// One instance.
    ///
    /// # Errors
    /// When the windows make no sense.
    pub fn new(config: &WindowCountConfig, context: &OperatorContext) -> Result<Self> {
        config.windows.validate()?;
        Ok(WindowCount {
            rule: config.windows,
            max_parallelism: context.max_parallelism,
            seen: BTreeSet::new(),
            unsaved: false,
            windows: context.counters.counter("windows"),
        })
    }
}

impl Operator for WindowCount {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        for end in window_ends(&batch.columns)?.values() {
            if self.seen.insert(*end) {
                self.windows.add(1);
                self.unsaved = true;
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        let (held, rule) = (self.seen.len(), self.rule);
        self.seen.retain(|end| rule.expiry(*end) > watermark);
        self.unsaved |= self.seen.len() < held;
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let unsaved = std::mem::take(&mut self.unsaved);
        if self.seen.is_empty() {
            return Ok(Snapshot::default());
        }
        let seen = self.seen.clone();
        let change = match unsaved {
            true => Change::Replace(StateRows::deferred(move || Ok(vec![rows_of(seen)?]))),
            false => Change::Unchanged,
        };
        Ok(Snapshot { segments: vec![Segment { id: SEGMENT.into(), change }] })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        if segment != SEGMENT {
            return Err(EngineError::corrupt(format!("segment '{segment}': not the state of a count of windows")));
        }
        let hashes = KeyHasher::new(vec![WINDOW_END.into()]).hash(rows)?;
        let own = |hash: &u128| key_groups.contains(key_group_of(*hash, self.max_parallelism));
        let ends = window_ends(rows)?;
        self.seen.extend(ends.values().iter().zip(&hashes).filter(|(_, hash)| own(hash)).map(|(end, _)| *end));
        // Stored rows may be another subtask's too, or stale when they come back once more.
        self.unsaved = true;
        Ok(())
    }
}

fn window_ends(rows: &RecordBatch) -> Result<&TimestampMillisecondArray> {
    let column = rows.column_by_name(WINDOW_END);
    let ends = column.and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    ends.ok_or_else(|| {
        EngineError::internal(format!("windows are counted by a timestamp '{WINDOW_END}', which is missing"))
    })
}

fn rows_of(ends: BTreeSet<i64>) -> Result<RecordBatch> {
    let ends: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(ends).with_timezone("UTC"));
    Ok(RecordBatch::try_from_iter([(WINDOW_END, ends)])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::WindowSpec;
    use weir_engine::{key_group::range_of, testing::OperatorHarness};

    fn counting(context: &OperatorContext) -> Box<dyn Operator> {
        let windows = WindowRule::of(WindowSpec::Tumbling { size_ms: 10 }, 5);
        Box::new(WindowCount::new(&WindowCountConfig { windows }, context).unwrap())
    }

    fn results(ends: &[i64]) -> Batch {
        let ends: ArrayRef = Arc::new(TimestampMillisecondArray::from(ends.to_vec()).with_timezone("UTC"));
        Batch::new(RecordBatch::try_from_iter([("other", Arc::clone(&ends)), (WINDOW_END, ends)]).unwrap())
    }

    #[test]
    fn a_batch_of_results_becomes_a_row_a_window() {
        let mut marks = OperatorHarness::new(Box::new(WindowMarks));
        let out = marks.process(results(&[10, 10, 20, 10])).unwrap();
        let [(Port::MAIN, marks)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(window_ends(&marks.columns).unwrap().values(), &[10, 20]);
        assert_eq!(marks.columns.num_columns(), 1);
    }

    #[test]
    fn a_window_counts_once_over_subtasks_corrections_restarts_and_rescales() {
        let context = OperatorContext::single("job", "windows.clicks");
        let mut before = OperatorHarness::new(counting(&context));
        for ends in [&[10, 20][..], &[20, 30], &[10]] {
            before.process(results(ends)).unwrap();
        }
        before.watermark(15).unwrap();
        before.barrier().unwrap();
        assert_eq!(context.counters.values()["windows"], 3);
        let max = context.max_parallelism;
        let ranges: Vec<KeyGroupRange> = (0..2).map(|subtask| range_of(subtask, max, 2)).collect();
        let mut fresh = 0;
        for range in &ranges {
            let after = OperatorContext { key_groups: *range, ..OperatorContext::single("job", "windows.clicks") };
            let state = [before.segments().clone()];
            let mut restored = OperatorHarness::restored(counting(&after), *range, &state).unwrap();
            let own = |end: &i64| {
                let hash = KeyHasher::new(vec![WINDOW_END.into()]).hash(&rows_of([*end].into()).unwrap()).unwrap()[0];
                range.contains(key_group_of(hash, max))
            };
            let ends: Vec<i64> = [20, 30, 40].into_iter().filter(own).collect();
            restored.process(results(&ends)).unwrap();
            restored.barrier().unwrap();
            fresh += after.counters.values()["windows"];
            restored.watermark(i64::MAX).unwrap();
            restored.barrier().unwrap();
            assert!(restored.segments().is_empty(), "nothing is held for ever");
        }
        assert_eq!(fresh, 1, "20 and 30 were counted, 40 was not");
    }
}
