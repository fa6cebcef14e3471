//! Sums and means of floats, exact and rounded once.

use super::exact_sum::ExactSum;
use super::{
    CallColumns, GroupStates, Placed, Unsayable, argument, binary, binary_states, int64, numbers, same, wrong,
};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array},
    compute::cast,
    datatypes::{DataType, Field, Float64Type, Int64Type},
};
use std::sync::Arc;
use weir_engine::Result;

/// The type in which exact sums of floats are kept; states of older checkpoints are rounded sums.
pub(super) const FLOAT_SUM_TYPE: DataType = DataType::Binary;

/// Sum and number of values.
#[derive(Debug, Clone)]
pub(super) struct FloatSums {
    /// Whether the result is the mean.
    mean: bool,
    sums: Vec<ExactSum>,
    counts: Vec<i64>,
}

impl FloatSums {
    pub(super) fn new(mean: bool) -> Self {
        FloatSums { mean, sums: Vec::new(), counts: Vec::new() }
    }
}

impl GroupStates for FloatSums {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, FLOAT_SUM_TYPE, true), Field::new(format!("{name}.count"), DataType::Int64, true)]
    }

    fn output_type(&self) -> DataType {
        DataType::Float64
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, ExactSum::default());
        self.counts.resize(groups, 0);
    }

    fn clear_group(&mut self, group: usize) {
        (self.sums[group], self.counts[group]) = (ExactSum::default(), 0);
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let argument = argument(columns)?;
        let nulls = argument.logical_nulls();
        let values = cast(argument, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>().values();
        let (sums, counts) = (self.sums.as_mut_slice(), self.counts.as_mut_slice());
        for (group, row) in placed.present(nulls.as_ref()) {
            sums[group].add(values[row]);
            counts[group] += 1;
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [sums, counts] = states else { return Err(wrong()) };
        let numbers = counts.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
        placed.present(sums.nulls()).for_each(|(group, row)| self.counts[group] += numbers[row]);
        if let Some(rounded) = sums.as_primitive_opt::<Float64Type>() {
            placed.present(sums.nulls()).for_each(|(group, row)| self.sums[group].add(rounded.value(row)));
            return Ok(());
        }
        let values = binary_states(Some(sums))?;
        for (group, row) in placed.present(sums.nulls()) {
            self.sums[group].merge_bytes(values.value(row))?;
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        for (to, from) in placed.iter() {
            self.sums[to].merge(&other.sums[from]);
            self.counts[to] += other.counts[from];
        }
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        let moved = std::mem::take(&mut self.sums[from]);
        self.sums[to].merge(&moved);
        self.counts[to] += self.counts[from];
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let sums = binary(numbers(groups).map(|group| &self.sums[group]), ExactSum::write)?;
        Ok(vec![sums, int64(&self.counts, groups, None)])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let value = |group: usize| match self.mean {
            true => self.sums[group].mean(self.counts[group]),
            false => self.sums[group].value(),
        };
        let values = numbers(groups).map(|group| (self.counts[group] > 0).then(|| value(group)));
        Ok(Arc::new(Float64Array::from_iter(values)))
    }
}
