//! Sums and extremes of decimals, exact: in whole units of the last digit.
//!
//! Invariant: sums of any number of decimals of 38 digits fit where they are kept, so that the order of adding never shows.
//! What goes over the exchange, into checkpoints and out has 38 digits, and is refused where that is too few.

use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, UInt64Array},
    buffer::NullBuffer,
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, UInt64Type, i256},
};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// Sum and number of values, one a group.
#[derive(Debug, Clone)]
pub(super) struct DecimalSums {
    scale: i8,
    sums: Vec<i256>,
    counts: Vec<u64>,
}

impl DecimalSums {
    pub(super) fn new(scale: i8) -> Self {
        DecimalSums { scale, sums: Vec::new(), counts: Vec::new() }
    }

    /// The types of its state. The count is unsigned, which tells it from that of integers.
    pub(super) fn state_types(&self) -> [DataType; 2] {
        [self.sum_type(), DataType::UInt64]
    }

    /// The type of the values that such states were made of, as far as it matters; none: they are of another function.
    pub(super) fn argument_of(states: &[&DataType]) -> Option<DataType> {
        match states {
            [DataType::Decimal128(precision, scale), DataType::UInt64] => {
                Some(DataType::Decimal128(*precision, *scale))
            }
            _ => None,
        }
    }

    /// The type of a sum: that of its values with all the digits there are.
    pub(super) fn sum_type(&self) -> DataType {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, self.scale)
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, i256::ZERO);
        self.counts.resize(groups, 0);
    }

    pub(super) fn clear_group(&mut self, group: usize) {
        (self.sums[group], self.counts[group]) = (i256::ZERO, 0);
    }

    /// Adds rows of a column, given as group and row.
    pub(super) fn update(&mut self, rows: impl Iterator<Item = (usize, usize)>, column: &ArrayRef) -> Result<()> {
        let values = decimals(column)?.values();
        rows.for_each(|(group, row)| self.add(group, i256::from_i128(values[row]), 1));
        Ok(())
    }

    /// Adds states.
    pub(super) fn merge(&mut self, rows: impl Iterator<Item = (usize, usize)>, states: &[ArrayRef]) -> Result<()> {
        let [sums, counts] = states else { return Err(wrong()) };
        let sums = decimals(sums)?.values();
        let counts = counts.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.values();
        rows.for_each(|(group, row)| self.add(group, i256::from_i128(sums[row]), counts[row]));
        Ok(())
    }

    /// Adds groups of another: the first of a pair is here, the second there.
    pub(super) fn merge_groups(&mut self, other: &DecimalSums, pairs: impl Iterator<Item = (usize, usize)>) {
        pairs.for_each(|(to, from)| self.add(to, other.sums[from], other.counts[from]));
    }

    pub(super) fn move_group(&mut self, from: usize, to: usize) {
        self.add(to, self.sums[from], self.counts[from]);
    }

    #[inline]
    fn add(&mut self, group: usize, sum: i256, count: u64) {
        self.sums[group] = self.sums[group].wrapping_add(sum);
        self.counts[group] += count;
    }

    /// The state of some groups.
    ///
    /// # Errors
    /// When a sum has more than 38 digits.
    pub(super) fn states(&self, name: &str, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let counts = (0..groups.len()).map(|n| self.counts[groups.row(n)]);
        Ok(vec![self.numbers(name, groups, None)?, Arc::new(UInt64Array::from_iter_values(counts))])
    }

    /// The sums of some groups; null where there was no value.
    ///
    /// # Errors
    /// When a sum has more than 38 digits.
    pub(super) fn output(&self, name: &str, groups: Rows<'_>) -> Result<ArrayRef> {
        let nulls = (0..groups.len()).map(|n| self.counts[groups.row(n)] > 0).collect();
        self.numbers(name, groups, Some(nulls))
    }

    fn numbers(&self, name: &str, groups: Rows<'_>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let most = 10i128.pow(u32::from(DECIMAL128_MAX_PRECISION));
        let number = |group: usize| {
            let fits = self.sums[group].to_i128().filter(|sum| -most < *sum && *sum < most);
            fits.ok_or_else(|| {
                EngineError::definition(format!(
                    "the sum '{name}' has more than 38 digits in one window: cast its argument to DOUBLE in a map before"
                ))
            })
        };
        let numbers: Vec<i128> = (0..groups.len()).map(|n| number(groups.row(n))).collect::<Result<_>>()?;
        Ok(Arc::new(Decimal128Array::try_new(numbers.into(), nulls)?.with_data_type(self.sum_type())))
    }

    /// The means of some groups; null where there was no value.
    pub(super) fn means(&self, groups: Rows<'_>) -> ArrayRef {
        use arrow::datatypes::DecimalType;
        let scale = self.scale;
        let mean = |group: usize| {
            let (sum, count) = (self.sums[group], self.counts[group]);
            // Through its digits, so that what a float can hold comes out as it is.
            let sum = arrow::datatypes::Decimal256Type::format_decimal(sum, 76, scale).parse::<f64>().ok();
            sum.filter(|_| count > 0).map(|sum| sum / count as f64)
        };
        Arc::new(Float64Array::from_iter((0..groups.len()).map(|n| mean(groups.row(n)))))
    }
}

/// Smallest or largest value, one a group.
#[derive(Debug, Clone)]
pub(super) struct DecimalExtremes {
    largest: bool,
    data_type: DataType,
    values: Vec<Option<i128>>,
}

impl DecimalExtremes {
    pub(super) fn new(largest: bool, data_type: DataType) -> Self {
        DecimalExtremes { largest, data_type, values: Vec::new() }
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    pub(super) fn clear_group(&mut self, group: usize) {
        self.values[group] = None;
    }

    /// Takes rows of a column, or states, which are one.
    pub(super) fn update(&mut self, rows: impl Iterator<Item = (usize, usize)>, column: &ArrayRef) -> Result<()> {
        if *column.data_type() != self.data_type {
            return Err(wrong());
        }
        let values = decimals(column)?.values();
        rows.for_each(|(group, row)| self.keep(group, Some(values[row])));
        Ok(())
    }

    pub(super) fn merge_groups(&mut self, other: &DecimalExtremes, pairs: impl Iterator<Item = (usize, usize)>) {
        pairs.for_each(|(to, from)| self.keep(to, other.values[from]));
    }

    pub(super) fn move_group(&mut self, from: usize, to: usize) {
        self.keep(to, self.values[from]);
    }

    #[inline]
    fn keep(&mut self, group: usize, value: Option<i128>) {
        let kept = self.values[group];
        self.values[group] = match (kept, value) {
            (Some(kept), Some(value)) if self.largest => Some(kept.max(value)),
            (Some(kept), Some(value)) => Some(kept.min(value)),
            (kept, value) => kept.or(value),
        };
    }

    pub(super) fn output(&self, groups: Rows<'_>) -> ArrayRef {
        let values = (0..groups.len()).map(|n| self.values[groups.row(n)]);
        Arc::new(Decimal128Array::from_iter(values).with_data_type(self.data_type.clone()))
    }
}

fn decimals(column: &ArrayRef) -> Result<&Decimal128Array> {
    column.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)
}

fn wrong() -> EngineError {
    EngineError::internal("decimals of another type than before")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[Option<i128>], precision: u8, scale: i8) -> ArrayRef {
        Arc::new(
            Decimal128Array::from_iter(values.iter().copied()).with_data_type(DataType::Decimal128(precision, scale)),
        )
    }

    #[test]
    fn sums_are_exact_whatever_the_order() {
        let most = 10i128.pow(38) - 1;
        let values = column(&[Some(most), Some(most), Some(-most), Some(-most), Some(125)], 38, 2);
        let mut sums = DecimalSums::new(2);
        sums.resize(2);
        sums.update([(0, 0), (0, 1), (0, 4), (0, 2), (0, 3)].into_iter(), &values).unwrap();
        let output = sums.output("s", Rows::All(2)).unwrap();
        assert_eq!(output.data_type(), &DataType::Decimal128(38, 2));
        let output = output.as_primitive::<Decimal128Type>();
        assert_eq!((output.value(0), output.is_null(1)), (125, true));
        let means = sums.means(Rows::All(2));
        assert_eq!(means.as_primitive::<arrow::datatypes::Float64Type>().value(0), 0.25);
        sums.update([(1, 0), (1, 1)].into_iter(), &values).unwrap();
        let error = sums.output("spend", Rows::All(2)).unwrap_err().message;
        assert!(error.contains("'spend'") && error.contains("38 digits"), "{error}");
    }

    #[test]
    fn states_merge_to_the_whole() {
        let values = column(&[Some(150), Some(-275), Some(1)], 5, 2);
        let mut parts = [DecimalSums::new(2), DecimalSums::new(2)];
        for (part, rows) in parts.iter_mut().zip([vec![(0, 0)], vec![(0, 1), (0, 2)]]) {
            part.resize(1);
            part.update(rows.into_iter(), &values).unwrap();
        }
        let mut whole = DecimalSums::new(2);
        whole.resize(1);
        for part in &parts {
            let states = part.states("s", Rows::All(1)).unwrap();
            let types: Vec<_> = states.iter().map(|state| state.data_type()).collect();
            assert_eq!(DecimalSums::argument_of(&types), Some(DataType::Decimal128(38, 2)));
            whole.merge([(0, 0)].into_iter(), &states).unwrap();
        }
        let sum = whole.output("s", Rows::All(1)).unwrap();
        assert_eq!(sum.as_primitive::<Decimal128Type>().value(0), -124);
        let mut least = DecimalExtremes::new(false, DataType::Decimal128(5, 2));
        least.resize(2);
        least.update([(0, 0), (0, 1), (0, 2)].into_iter(), &values).unwrap();
        assert_eq!(least.output(Rows::All(2)).as_ref(), column(&[Some(-275), None], 5, 2).as_ref());
    }
}
