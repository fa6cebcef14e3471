//! The second gate of a followed source: after the exchange, before the operators that keep state by event time.
//!
//! A followed source whose splits are all silent delays nobody's event time. When one continues, its rows are not late by
//! their own split, but windows may have been closed without it. This gate compares them with the event time of all
//! subtasks together, which is never behind that of any operator after it, and takes out what has no window any more: with
//! all its columns, and before it touches state. For all other rows it lets pass what the first gate has let pass.
//!
//! Invariant: what has passed finds its window open. So the watermark is a part of the state: after a restore time begins
//! from scratch, but windows that had been closed stay closed.

use super::{LateGateConfig, split_off};
use crate::{event_time::event_times, table::RowMask};
use arrow::{
    array::{Array, ArrayRef, AsArray, TimestampMillisecondArray},
    datatypes::TimestampMillisecondType,
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port, WATERMARK_MAX, WATERMARK_MIN},
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

const SEGMENT: &str = "watermark";

/// The operator. Counts what it takes out as `late`.
#[derive(Debug)]
pub struct MergedLateGate {
    config: LateGateConfig,
    watermark: i64,
    stored: Option<i64>,
    late: Counter,
}

impl MergedLateGate {
    /// One instance.
    ///
    /// # Errors
    /// When the rule makes no sense.
    pub fn new(config: LateGateConfig, context: &OperatorContext) -> Result<Self> {
        config.rule.validate()?;
        let late = context.counters.counter("late");
        Ok(MergedLateGate { config, watermark: WATERMARK_MIN, stored: None, late })
    }
}

impl Operator for MergedLateGate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let times = event_times(&batch.columns, &self.config.time_column)?;
        let (rule, watermark) = (self.config.rule, self.watermark);
        // Hardly ever is a row behind: the rule divides.
        if times.iter().all(|time| *time >= watermark) {
            out.emit(Port::MAIN, batch);
            return Ok(());
        }
        let mut late = RowMask::none(times.len());
        for (row, time) in times.iter().enumerate() {
            late.insert_if(row, *time < watermark && rule.is_late(*time, watermark));
        }
        split_off(batch, late, &self.late, out)
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        // The end of input is not a time that others are late by: there are none.
        if self.watermark == WATERMARK_MIN || self.watermark == WATERMARK_MAX {
            return Ok(Snapshot::default());
        }
        let watermark = self.watermark;
        let change = match self.stored == Some(watermark) {
            true => Change::Unchanged,
            false => Change::Replace(StateRows::deferred(move || Ok(vec![state(watermark)?]))),
        };
        self.stored = Some(watermark);
        Ok(Snapshot { segments: vec![Segment { id: SEGMENT.into(), change }] })
    }

    /// Of several former subtasks the most advanced one counts: none of them was behind any that came after it.
    fn restore(&mut self, segment: &str, rows: &RecordBatch, _key_groups: KeyGroupRange) -> Result<()> {
        let column =
            rows.column_by_name(SEGMENT).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
        let Some(stored) = column.filter(|column| segment == SEGMENT && column.null_count() == 0) else {
            return Err(EngineError::corrupt(format!("segment '{segment}': not the state of a late gate")));
        };
        self.watermark = stored.values().iter().copied().fold(self.watermark, i64::max);
        Ok(())
    }
}

fn state(watermark: i64) -> Result<RecordBatch> {
    let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![watermark]).with_timezone("UTC"));
    Ok(RecordBatch::try_from_iter([(SEGMENT, column)])?)
}

#[cfg(test)]
mod tests {
    use super::super::LateRule;
    use super::*;
    use crate::ports;
    use crate::window::{WindowRule, WindowSpec};
    use arrow::array::StringArray;
    use weir_engine::testing::OperatorHarness;

    fn gate(context: &OperatorContext) -> Box<dyn Operator> {
        let windows = WindowRule::of(WindowSpec::Tumbling { size_ms: 10 }, 5);
        let config = LateGateConfig { rule: LateRule::Window(windows), time_column: "at".into() };
        Box::new(MergedLateGate::new(config, context).unwrap())
    }

    fn batch(times: &[i64]) -> Batch {
        let at: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"));
        let ads: ArrayRef = Arc::new(StringArray::from_iter_values(times.iter().map(|time| format!("ad{time}"))));
        Batch::new(RecordBatch::try_from_iter([("ad_id", ads), ("at", at)]).unwrap())
    }

    fn times(outputs: &[(Port, Batch)], port: Port) -> Vec<i64> {
        let of_port = outputs.iter().filter(|output| output.0 == port);
        let column =
            |batch: &Batch| batch.columns.column(1).as_primitive::<TimestampMillisecondType>().values().to_vec();
        of_port.flat_map(|(_, batch)| column(batch)).collect()
    }

    #[test]
    fn rows_whose_windows_are_gone_are_late_with_all_columns_and_stay_so_after_a_restore() {
        let context = OperatorContext::single("job", "late_gate.unique.merged");
        let mut before = OperatorHarness::new(gate(&context));
        assert_eq!(times(&before.process(batch(&[3, 1])).unwrap(), Port::MAIN), [3, 1], "nothing is closed yet");
        before.watermark(24).unwrap();
        let outputs = before.process(batch(&[9, 10, 19, 30])).unwrap();
        assert_eq!((times(&outputs, ports::LATE), times(&outputs, Port::MAIN)), (vec![9], vec![10, 19, 30]));
        assert!(outputs.iter().all(|(_, batch)| batch.columns.num_columns() == 2));
        before.watermark(10).unwrap();
        before.barrier().unwrap();
        let all = KeyGroupRange::all(context.max_parallelism);
        let mut after = OperatorHarness::restored(gate(&context), all, &[before.segments().clone()]).unwrap();
        let outputs = after.process(batch(&[9, 10])).unwrap();
        assert_eq!((times(&outputs, ports::LATE), times(&outputs, Port::MAIN)), (vec![9], vec![10]));
        assert_eq!(context.counters.values()["late"], 2);
    }
}
