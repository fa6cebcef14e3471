//! Sums and means of integers, exact in 128 bits.

use super::{CallColumns, GroupStates, Placed, Unsayable, argument, chosen, int64, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array},
    buffer::ScalarBuffer,
    compute::cast,
    datatypes::{DataType, Decimal128Type, Field, Int64Type, UInt64Type},
};
use std::sync::Arc;
use weir_engine::Result;

/// The type in which exact sums are kept: what a sum of 2⁶⁴ integers of 64 bits needs.
pub(super) const SUM_TYPE: DataType = DataType::Decimal128(38, 0);

/// Sum and number of values.
#[derive(Debug, Clone)]
pub(super) struct IntegerSums {
    /// Whether the result is the mean.
    mean: bool,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl IntegerSums {
    pub(super) fn new(mean: bool) -> Self {
        IntegerSums { mean, sums: Vec::new(), counts: Vec::new() }
    }

    fn sums(&self, name: &str, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> ArrayRef {
        let fit: Vec<Option<i64>> = numbers(groups).map(|group| i64::try_from(self.sums[group]).ok()).collect();
        for (row, (_, group)) in fit.iter().zip(numbers(groups)).enumerate().filter(|(_, (fit, _))| fit.is_none()) {
            let sum = self.sums[group];
            let reason = format!(
                "the sum '{name}' of this window is {sum}, which overflows 64 bits: cast its argument, as in \
                 sum(cast(x as decimal(38, 0)))"
            );
            unsayable.push(Unsayable { row, reason });
        }
        let sum = |(fit, group): (&Option<i64>, usize)| fit.filter(|_| self.counts[group] > 0);
        Arc::new(Int64Array::from_iter(fit.iter().zip(numbers(groups)).map(sum)))
    }
}

impl GroupStates for IntegerSums {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, SUM_TYPE, true), Field::new(format!("{name}.count"), DataType::Int64, true)]
    }

    fn output_type(&self) -> DataType {
        if self.mean { DataType::Float64 } else { DataType::Int64 }
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }

    fn clear_group(&mut self, group: usize) {
        (self.sums[group], self.counts[group]) = (0, 0);
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let argument = argument(columns)?;
        let nulls = argument.logical_nulls();
        let (rows, sums, counts) = (placed.present(nulls.as_ref()), &mut self.sums, &mut self.counts);
        match integers(argument)? {
            Integers::Signed(values) => add(rows, sums, counts, |row| i128::from(values[row])),
            Integers::Unsigned(values) => add(rows, sums, counts, |row| i128::from(values[row])),
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [sums, counts] = states else { return Err(wrong()) };
        let values = sums.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)?.values();
        let numbers = counts.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
        for (group, row) in placed.present(sums.nulls()) {
            self.sums[group] += values[row];
            self.counts[group] += numbers[row];
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        for (to, from) in placed.iter() {
            self.sums[to] += other.sums[from];
            self.counts[to] += other.counts[from];
        }
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        self.sums[to] += self.sums[from];
        self.counts[to] += self.counts[from];
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let sums = Decimal128Array::new(chosen(&self.sums, groups), None).with_precision_and_scale(38, 0)?;
        Ok(vec![Arc::new(sums), int64(&self.counts, groups, None)])
    }

    fn output(&self, name: &str, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        if !self.mean {
            return Ok(self.sums(name, groups, unsayable));
        }
        let mean = |group: usize| self.sums[group] as f64 / self.counts[group] as f64;
        let means = numbers(groups).map(|group| (self.counts[group] > 0).then(|| mean(group)));
        Ok(Arc::new(Float64Array::from_iter(means)))
    }
}

fn add<T: std::ops::AddAssign>(
    rows: impl Iterator<Item = (usize, usize)>,
    sums: &mut [T],
    counts: &mut [i64],
    value: impl Fn(usize) -> T,
) {
    for (group, row) in rows {
        sums[group] += value(row);
        counts[group] += 1;
    }
}

enum Integers {
    Signed(ScalarBuffer<i64>),
    Unsigned(ScalarBuffer<u64>),
}

fn integers(array: &ArrayRef) -> Result<Integers> {
    if *array.data_type() == DataType::UInt64 {
        return Ok(Integers::Unsigned(array.as_primitive::<UInt64Type>().values().clone()));
    }
    let wide = cast(array, &DataType::Int64)?;
    Ok(Integers::Signed(wide.as_primitive::<Int64Type>().values().clone()))
}
