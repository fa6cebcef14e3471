//! Builds the rows of results, column by column, straight from a window's groups.

use super::accumulator::{Accumulator, Unsayable};
use super::config::{AggregateConfig, bounds};
use super::groups::{GroupColumns, Groups};
use crate::columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START, revision_field, withdrawn_field};
use crate::dead_letters::RefusedRows;
use crate::expression::RefusedRow;
use crate::ports;
use crate::record_id::RecordIds;
use crate::table::Rows;
use arrow::{
    array::{ArrayRef, BooleanArray, FixedSizeBinaryArray, Int32Array, TimestampMillisecondArray},
    buffer::{BooleanBuffer, Buffer},
    compute::nullif,
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    Result,
    element::{Batch, KeyHashes, Port},
    operator::{Collector, OperatorContext},
};

/// Rows of a batch that goes out.
const MOST_ROWS: usize = 1 << 14;

/// Makes the results of one aggregate.
#[derive(Debug)]
pub(super) struct Emission {
    ids: RecordIds,
    key: Arc<[String]>,
    /// Whether results say which window they are of.
    has_bounds: bool,
    schema: SchemaRef,
    refused: RefusedRows,
}

/// Results of one or several windows, in columns.
pub(super) struct Results {
    pub(super) hashes: Arc<Vec<u128>>,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) window_starts: Vec<i64>,
    pub(super) window_ends: Vec<i64>,
    pub(super) aggregates: Vec<ArrayRef>,
    pub(super) revisions: Vec<i32>,
    /// Which of them hold no longer; none: all hold.
    pub(super) withdrawn: Option<BooleanArray>,
    /// Those of which a value cannot be said. They go out as withdrawn, and as dead letters when their window is closed.
    pub(super) unsayable: Vec<Unsayable>,
}

impl Emission {
    pub(super) fn new(config: &AggregateConfig, context: &OperatorContext, prototype: &GroupColumns) -> Self {
        let keys = config.key.iter().zip(prototype.keys.types()).map(|(name, t)| Field::new(name, t.clone(), true));
        let aggregates = config.aggregates.iter().zip(&prototype.accumulators);
        let aggregates =
            aggregates.map(|(call, accumulator)| Field::new(&call.output, accumulator.output_type(), true));
        let mut fields = vec![Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false)];
        fields.extend(keys);
        let bounds = bounds(config);
        let has_bounds = !bounds.is_empty();
        fields.extend(bounds);
        fields.extend(aggregates);
        fields.extend([revision_field(), withdrawn_field()]);
        Emission {
            ids: RecordIds::new(&context.identity, &context.operator),
            key: config.key.clone().into(),
            has_bounds,
            schema: Arc::new(Schema::new(fields)),
            refused: RefusedRows::new(context),
        }
    }

    /// Emits some groups of one window; `revisions` in the same order.
    pub(super) fn window(
        &self,
        bounds: (i64, i64),
        groups: &Groups,
        chosen: Rows<'_>,
        revisions: Vec<i32>,
        out: &mut Collector,
    ) -> Result<()> {
        self.emit(Port::MAIN, results(bounds, groups, chosen, revisions)?, out)
    }

    /// Emits running counts of some groups of an open window.
    pub(super) fn running(
        &self,
        bounds: (i64, i64),
        groups: &Groups,
        chosen: Rows<'_>,
        revision: i32,
        out: &mut Collector,
    ) -> Result<()> {
        self.emit(ports::RUNNING, results(bounds, groups, chosen, vec![revision; chosen.len()])?, out)
    }

    /// Emits results, in batches of a bounded size.
    pub(super) fn emit(&self, port: Port, mut results: Results, out: &mut Collector) -> Result<()> {
        let unsayable = std::mem::take(&mut results.unsayable);
        if !unsayable.is_empty() {
            results.withdraw(&unsayable);
        }
        let bounds = results.window_starts.iter().zip(&results.window_ends);
        let keyed = results.hashes.iter().zip(bounds);
        let ids: Vec<[u8; 16]> = keyed.map(|(hash, (start, end))| self.ids.id(*hash, *start, *end)).collect();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(ids.into_flattened()), None)?)];
        columns.extend(results.keys);
        if self.has_bounds {
            columns.push(Arc::new(TimestampMillisecondArray::from(results.window_starts).with_timezone("UTC")));
            columns.push(Arc::new(TimestampMillisecondArray::from(results.window_ends).with_timezone("UTC")));
        }
        match &results.withdrawn {
            None => columns.extend(results.aggregates),
            // A result that does not hold has no values.
            Some(withdrawn) => {
                for values in &results.aggregates {
                    columns.push(nullif(values, withdrawn)?);
                }
            }
        }
        let rows = results.revisions.len();
        columns.push(Arc::new(Int32Array::from(results.revisions)));
        let none = || BooleanArray::new(BooleanBuffer::new_unset(rows), None);
        columns.push(Arc::new(results.withdrawn.unwrap_or_else(none)));
        let columns = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if port == Port::MAIN && !unsayable.is_empty() {
            self.refuse(&columns, unsayable, out)?;
        }
        for first in (0..columns.num_rows()).step_by(MOST_ROWS) {
            let rows = MOST_ROWS.min(columns.num_rows() - first);
            let mut batch = Batch::new(columns.slice(first, rows));
            let hashes = Arc::new(results.hashes[first..first + rows].to_vec());
            batch.key_hashes = Some(KeyHashes { columns: Arc::clone(&self.key), hashes });
            out.emit(port, batch);
        }
        Ok(())
    }
}

impl Emission {
    /// Results that cannot be said, as dead letters: each once, by its key and its window.
    fn refuse(&self, rows: &RecordBatch, unsayable: Vec<Unsayable>, out: &mut Collector) -> Result<()> {
        let mut reasons: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        unsayable.into_iter().for_each(|one| reasons.entry(one.row).or_default().push(one.reason));
        let refused = reasons.into_iter().map(|(row, reasons)| RefusedRow { row, reason: reasons.join("; ") });
        let bounds = if self.has_bounds { &[WINDOW_START, WINDOW_END][..] } else { &[] };
        let names = self.key.iter().map(String::as_str).chain(bounds.iter().copied()).chain([REVISION]);
        let places: std::result::Result<Vec<usize>, _> = names.map(|name| self.schema.index_of(name)).collect();
        self.refused.emit(&rows.project(&places?)?, &refused.collect::<Vec<_>>(), out)
    }
}

impl Results {
    /// Readers of an earlier result must learn that it no longer applies.
    fn withdraw(&mut self, unsayable: &[Unsayable]) {
        let rows = self.revisions.len();
        let mut withdrawn = vec![false; rows];
        if let Some(before) = &self.withdrawn {
            withdrawn.iter_mut().enumerate().for_each(|(row, withdrawn)| *withdrawn = before.value(row));
        }
        unsayable.iter().for_each(|one| withdrawn[one.row] = true);
        self.withdrawn = Some(withdrawn.into());
    }
}

/// The results of some groups, aggregate by aggregate, and those that cannot be said.
pub(super) fn outputs(accumulators: &[Accumulator], groups: Rows<'_>) -> Result<(Vec<ArrayRef>, Vec<Unsayable>)> {
    let mut unsayable = Vec::new();
    let outputs: Result<Vec<_>> =
        accumulators.iter().map(|accumulator| accumulator.output(groups, &mut unsayable)).collect();
    Ok((outputs?, unsayable))
}

/// The results of some groups of one window.
pub(super) fn results(
    (start, end): (i64, i64),
    groups: &Groups,
    chosen: Rows<'_>,
    revisions: Vec<i32>,
) -> Result<Results> {
    let columns = groups.columns();
    let (aggregates, unsayable) = outputs(&columns.accumulators, chosen)?;
    Ok(Results {
        hashes: match chosen {
            Rows::All(_) => groups.shared_hashes(),
            Rows::Some(chosen) => Arc::new(chosen.iter().map(|group| groups.hashes()[*group as usize]).collect()),
        },
        keys: columns.keys.arrays(chosen)?,
        window_starts: vec![start; chosen.len()],
        window_ends: vec![end; chosen.len()],
        aggregates,
        revisions,
        withdrawn: None,
        unsayable,
    })
}

/// A partial batch taken apart by position: keys, slice starts, the states of each aggregate, rows represented.
pub(super) struct Partials {
    pub(super) keys: Vec<ArrayRef>,
    pub(super) starts: arrow::buffer::ScalarBuffer<i64>,
    pub(super) states: Vec<Vec<ArrayRef>>,
    pub(super) input_rows: arrow::buffer::ScalarBuffer<i64>,
}

impl Partials {
    pub(super) fn of(config: &AggregateConfig, batch: &RecordBatch) -> Result<Self> {
        use arrow::{array::AsArray, datatypes::Int64Type};
        let wrong = || {
            weir_engine::EngineError::internal(format!("not the partials of this aggregate: {}", batch.schema_ref()))
        };
        let mut columns = batch.columns().iter().cloned();
        let keys: Vec<ArrayRef> = columns.by_ref().take(config.key.len()).collect();
        let starts = crate::event_time::event_times(batch, super::config::SLICE_START)?;
        columns.next().ok_or_else(wrong)?;
        let fields = batch.schema_ref().fields();
        let widths = Accumulator::state_widths(&config.aggregates, fields, config.key.len() + 1);
        let states: Vec<Vec<ArrayRef>> =
            widths.into_iter().map(|width| columns.by_ref().take(width).collect()).collect();
        let input_rows = match config.row_count() {
            Some(count) => states.get(count).and_then(|states| states.first()).cloned(),
            None => columns.next(),
        };
        let input_rows = input_rows.ok_or_else(wrong)?;
        let input_rows = input_rows.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values().clone();
        Ok(Partials { keys, starts, states, input_rows })
    }

    /// How many rows of the input some of the partials stand for.
    pub(super) fn rows_represented(&self, rows: Rows<'_>) -> u64 {
        let counts = (0..rows.len()).map(|n| self.input_rows[rows.row(n)]);
        counts.sum::<i64>().unsigned_abs()
    }
}
