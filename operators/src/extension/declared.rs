//! Holds an operator of another crate to what it has declared: a batch with other columns would confuse whoever is behind it.

use crate::{
    dead_letters::dead_letter_schema,
    ports,
    schema::{Column, ColumnSchema},
};
use arrow::{
    datatypes::{DataType, SchemaRef},
    record_batch::RecordBatch,
};
use weir_engine::{
    EngineError, Result,
    element::{Barrier, Batch, Port},
    graph::Node,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Operator},
    state::Snapshot,
};

/// An operator, watched.
pub(super) struct Declared {
    operator: Box<dyn Operator>,
    output: ColumnSchema,
    id: String,
    kind: String,
    /// The schema that was found to be right last.
    known: Option<SchemaRef>,
}

impl Declared {
    pub(super) fn new(operator: Box<dyn Operator>, output: ColumnSchema, node: &Node) -> Self {
        Declared { operator, output, id: node.id.clone(), kind: node.kind.clone(), known: None }
    }

    /// Lets the operator emit, and passes on what it may.
    fn watch(
        &mut self,
        out: &mut Collector,
        run: impl FnOnce(&mut dyn Operator, &mut Collector) -> Result<()>,
    ) -> Result<()> {
        let mut own = Collector::default();
        run(self.operator.as_mut(), &mut own)?;
        for (port, batch) in own.drain() {
            match port {
                Port::MAIN => self.check(&batch.columns)?,
                ports::DEAD_LETTERS if batch.columns.schema() == dead_letter_schema() => {}
                other => {
                    return Err(EngineError::definition(format!(
                        "'{}' ({}) emits on '{other}'; there is '{}', and '{}' with the columns of dead letters",
                        self.id,
                        self.kind,
                        Port::MAIN,
                        ports::DEAD_LETTERS
                    )));
                }
            }
            out.emit(port, batch);
        }
        Ok(())
    }

    fn check(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        if self.known.as_ref().is_some_and(|known| *known == schema) {
            return Ok(());
        }
        let fits = |(column, field): (&Column, &std::sync::Arc<arrow::datatypes::Field>)| {
            column.name == *field.name() && is_alike(&column.data_type, field.data_type())
        };
        let same = self.output.columns.len() == schema.fields().len();
        if same && self.output.columns.iter().zip(schema.fields()).all(fits) {
            self.known = Some(schema);
            return Ok(());
        }
        let list = |columns: &ColumnSchema| {
            let named = columns.columns.iter().map(|column| format!("{} {}", column.name, column.data_type));
            named.collect::<Vec<_>>().join(", ")
        };
        Err(EngineError::definition(format!(
            "'{}' ({}) emits the columns ({}), but has declared ({})",
            self.id,
            self.kind,
            list(&ColumnSchema::from(schema.as_ref())),
            list(&self.output)
        )))
    }
}

/// Whether a column is of a type, text in whatever representation.
fn is_alike(declared: &DataType, emitted: &DataType) -> bool {
    let plain = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    };
    let is_text =
        |data_type: &DataType| matches!(plain(data_type), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    declared == emitted || (is_text(declared) && is_text(emitted))
}

impl Operator for Declared {
    fn process(&mut self, input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        self.watch(out, |operator, out| operator.process(input, batch, out))
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.watch(out, |operator, out| operator.watermark(watermark, out))
    }

    fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Collector) -> Result<()> {
        self.watch(out, |operator, out| operator.prepare_snapshot(barrier, out))
    }

    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Snapshot> {
        self.operator.snapshot(checkpoint)
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        self.operator.restore(segment, rows, key_groups)
    }
}
