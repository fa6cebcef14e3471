//! The late gate: takes out the rows that are too late to be counted, right after the source.
//!
//! Whether a row is late is decided here, against the watermark of *its own split* just before the row. An operator's
//! watermark further on is never ahead of that, so every row that passes finds its windows open: what is counted is a
//! function of each split's content and order alone. Only splits that were silent are an exception, for which a followed
//! source has a second gate ([`MergedLateGate`]). A late row goes to the late port as it is and never touches dedup state,
//! so a late duplicate is late, not a duplicate.

mod merged;

pub use merged::MergedLateGate;

use crate::event_time::event_times;
use crate::ports;
use crate::table::RowMask;
use crate::window::WindowRule;
use arrow::array::BooleanArray;
use serde::{Deserialize, Serialize};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    operator::{Collector, Counter, Operator, OperatorContext},
};

/// Settings of a late gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LateGateConfig {
    /// When a row is late.
    pub rule: LateRule,
    /// The event-time column.
    pub time_column: String,
}

/// When a row is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateRule {
    /// All windows that it belongs to are past their lateness.
    Window(WindowRule),
    /// Dedup may have forgotten its id; for a dedup with no windows behind it.
    Ttl {
        /// How long dedup remembers an id, in event time.
        ttl_ms: i64,
    },
    /// The row itself is behind by more than that; for operators that go by each row's own time.
    Row {
        /// How far behind a row may be.
        allowed_lateness_ms: i64,
    },
}

impl LateRule {
    /// How long a dedup before must remember ids, so that no duplicate comes that it has forgotten.
    pub fn minimum_dedup_ttl_ms(self) -> i64 {
        match self {
            LateRule::Window(rule) => rule.minimum_dedup_ttl_ms(),
            LateRule::Ttl { ttl_ms } => ttl_ms,
            LateRule::Row { allowed_lateness_ms } => allowed_lateness_ms.saturating_add(1),
        }
    }

    fn is_late(self, event_time: i64, watermark: i64) -> bool {
        match self {
            LateRule::Window(rule) => rule.is_late(event_time, watermark),
            LateRule::Ttl { ttl_ms } => event_time.saturating_add(ttl_ms) <= watermark,
            LateRule::Row { allowed_lateness_ms } => event_time.saturating_add(allowed_lateness_ms) < watermark,
        }
    }

    fn validate(self) -> Result<()> {
        match self {
            LateRule::Window(rule) => rule.validate(),
            LateRule::Ttl { ttl_ms } if ttl_ms <= 0 => {
                Err(EngineError::definition(format!("a ttl of {ttl_ms} ms: it must be positive")))
            }
            LateRule::Row { allowed_lateness_ms } if allowed_lateness_ms < 0 => Err(EngineError::definition(format!(
                "an allowed lateness of {allowed_lateness_ms} ms: it must not be negative"
            ))),
            LateRule::Ttl { .. } | LateRule::Row { .. } => Ok(()),
        }
    }
}

/// The operator. Counts what it takes out as `late`.
#[derive(Debug)]
pub struct LateGate {
    config: LateGateConfig,
    late: Counter,
}

impl LateGate {
    /// One instance.
    ///
    /// # Errors
    /// When the rule makes no sense.
    pub fn new(config: LateGateConfig, context: &OperatorContext) -> Result<Self> {
        config.rule.validate()?;
        Ok(LateGate { config, late: context.counters.counter("late") })
    }
}

impl Operator for LateGate {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut Collector) -> Result<()> {
        let Some(watermarks) = batch.split_watermarks.take() else {
            out.emit(Port::MAIN, batch);
            return Ok(());
        };
        let times = event_times(&batch.columns, &self.config.time_column)?;
        if times.len() != watermarks.len() {
            return Err(EngineError::internal(format!(
                "{} rows, but {} split watermarks",
                times.len(),
                watermarks.len()
            )));
        }
        let mut late = RowMask::none(times.len());
        for (row, (time, watermark)) in times.iter().zip(watermarks.iter()).enumerate() {
            // Most rows of such a batch are not even behind, and the rule divides.
            late.insert_if(row, time < watermark && self.config.rule.is_late(*time, *watermark));
        }
        split_off(batch, late, &self.late, out)
    }
}

/// Sends the late rows of a batch to the late port and the others on.
fn split_off(batch: Batch, late: RowMask, counter: &Counter, out: &mut Collector) -> Result<()> {
    let late_rows = late.count();
    if late_rows == 0 {
        out.emit(Port::MAIN, batch);
        return Ok(());
    }
    counter.add(late_rows as u64);
    let late = late.into_boolean_buffer();
    out.emit(Port::MAIN, batch.filter(&BooleanArray::new(!&late, None))?);
    out.emit(ports::LATE, batch.filter(&BooleanArray::new(late, None))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::WindowSpec;
    use arrow::{
        array::{ArrayRef, AsArray, TimestampMillisecondArray},
        datatypes::TimestampMillisecondType,
        record_batch::RecordBatch,
    };
    use proptest::prelude::*;
    use std::sync::Arc;
    use weir_engine::testing::OperatorHarness;

    fn gate(rule: LateRule, context: &OperatorContext) -> OperatorHarness {
        let config = LateGateConfig { rule, time_column: "at".into() };
        OperatorHarness::new(Box::new(LateGate::new(config, context).unwrap()))
    }

    fn batch(times: &[i64], watermarks: Option<Vec<i64>>) -> Batch {
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC"));
        let mut batch = Batch::new(RecordBatch::try_from_iter([("at", column)]).unwrap());
        batch.split_watermarks = watermarks.map(Into::into);
        batch
    }

    fn times(outputs: &[(Port, Batch)], port: Port) -> Vec<i64> {
        let of_port = outputs.iter().filter(|output| output.0 == port);
        of_port
            .flat_map(|output| output.1.columns.column(0).as_primitive::<TimestampMillisecondType>().values().to_vec())
            .collect()
    }

    proptest! {
        #[test]
        fn rows_are_parted_by_the_rule(rows in prop::collection::vec((-300i64..300, -300i64..300), 0..100), lateness in 0i64..50, size in 1i64..100) {
            let rule = WindowRule::of(WindowSpec::Tumbling { size_ms: size }, lateness);
            let context = OperatorContext::single("job", "gate");
            let (at, marks): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
            let outputs = gate(LateRule::Window(rule), &context).process(batch(&at, Some(marks))).unwrap();
            let is_late = |row: &&(i64, i64)| row.0.div_euclid(size) * size + size + lateness <= row.1;
            let late: Vec<i64> = rows.iter().filter(is_late).map(|row| row.0).collect();
            let on_time: Vec<i64> = rows.iter().filter(|row| !is_late(row)).map(|row| row.0).collect();
            prop_assert_eq!(times(&outputs, ports::LATE), late.clone());
            prop_assert_eq!(times(&outputs, Port::MAIN), on_time);
            prop_assert_eq!(context.counters.values()["late"], late.len() as u64);
            prop_assert!(outputs.iter().all(|output| output.1.split_watermarks.is_none()));
        }
    }

    #[test]
    fn a_batch_with_nothing_behind_passes_untouched() {
        let context = OperatorContext::single("job", "gate");
        let outputs = gate(LateRule::Ttl { ttl_ms: 10 }, &context).process(batch(&[5, 1], None)).unwrap();
        assert_eq!(times(&outputs, Port::MAIN), vec![5, 1]);
        assert_eq!(context.counters.values()["late"], 0);
    }

    #[test]
    fn without_windows_the_ttl_decides() {
        let context = OperatorContext::single("job", "gate");
        let rows = batch(&[0, 1, 100], Some(vec![10, 10, 10]));
        let outputs = gate(LateRule::Ttl { ttl_ms: 10 }, &context).process(rows).unwrap();
        assert_eq!(times(&outputs, ports::LATE), vec![0]);
        assert_eq!(times(&outputs, Port::MAIN), vec![1, 100]);
    }

    #[test]
    fn a_row_may_be_as_far_behind_as_is_allowed_and_no_further() {
        let context = OperatorContext::single("job", "gate");
        let rows = batch(&[0, 1, 10, 11], Some(vec![11, 11, 11, 11]));
        let outputs = gate(LateRule::Row { allowed_lateness_ms: 10 }, &context).process(rows).unwrap();
        assert_eq!((times(&outputs, ports::LATE), times(&outputs, Port::MAIN)), (vec![0], vec![1, 10, 11]));
        let rows = batch(&[10, 11], Some(vec![11, 11]));
        let outputs = gate(LateRule::Row { allowed_lateness_ms: 0 }, &context).process(rows).unwrap();
        assert_eq!((times(&outputs, ports::LATE), times(&outputs, Port::MAIN)), (vec![10], vec![11]));
    }

    #[test]
    fn a_missing_or_null_event_time_is_said_by_name() {
        let context = OperatorContext::single("job", "gate");
        let column: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(1), None]));
        let mut nulls = Batch::new(RecordBatch::try_from_iter([("at", column.clone())]).unwrap());
        nulls.split_watermarks = Some(vec![9, 9].into());
        let mut missing = Batch::new(RecordBatch::try_from_iter([("when", column)]).unwrap());
        missing.split_watermarks = Some(vec![9, 9].into());
        let mut gate = gate(LateRule::Ttl { ttl_ms: 10 }, &context);
        assert!(gate.process(nulls).unwrap_err().message.contains("at is not null"));
        assert!(gate.process(missing).unwrap_err().message.contains("'at' is not among the columns (when)"));
    }
}
