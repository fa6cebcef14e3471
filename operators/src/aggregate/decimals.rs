//! Sums and extremes of decimals, exact: in whole units of the last digit.
//!
//! Invariant: sums of any number of decimals of 38 digits fit where they are kept, over the exchange, and in checkpoints, so that
//! the order of adding never shows. Only what is emitted has 38 digits: a sum with more cannot be represented.

use super::accumulator::Unsayable;
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, UInt64Array},
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, UInt64Type, i256},
};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// The type of what is above the last 38 digits of a sum.
const ABOVE_TYPE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// The first number with more than 38 digits.
fn first_above() -> i256 {
    i256::from_i128(10i128.pow(u32::from(DECIMAL128_MAX_PRECISION)))
}

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

    /// The types of its state: the last 38 digits of the sum, the count (unsigned, unlike that of integers), and the
    /// digits above.
    pub(super) fn state_types(&self) -> [DataType; 3] {
        [self.sum_type(), DataType::UInt64, ABOVE_TYPE]
    }

    /// The type of the values that such states were made of, as far as it matters; none: they are of another function. States
    /// of older checkpoints have no digits above.
    pub(super) fn argument_of(states: &[&DataType]) -> Option<DataType> {
        match states {
            [DataType::Decimal128(precision, scale), DataType::UInt64]
            | [DataType::Decimal128(precision, scale), DataType::UInt64, DataType::Decimal128(..)] => {
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
        let [sums, counts, above @ ..] = states else { return Err(wrong()) };
        let sums = decimals(sums)?.values();
        let counts = counts.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.values();
        let above = above.first().map(decimals).transpose()?.map(Decimal128Array::values);
        for (group, row) in rows {
            let above = above.map_or(i256::ZERO, |above| i256::from_i128(above[row]).wrapping_mul(first_above()));
            self.add(group, above.wrapping_add(i256::from_i128(sums[row])), counts[row]);
        }
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
    /// Only by a mistake of ours.
    pub(super) fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let all = || (0..groups.len()).map(|n| groups.row(n));
        let parts = |part: fn(i256) -> i256| all().map(|group| part(self.sums[group]).as_i128()).collect::<Vec<_>>();
        let below = Decimal128Array::try_new(parts(|sum| sum.wrapping_rem(first_above())).into(), None)?;
        let above = Decimal128Array::try_new(parts(|sum| sum.wrapping_div(first_above())).into(), None)?;
        Ok(vec![
            Arc::new(below.with_data_type(self.sum_type())),
            Arc::new(UInt64Array::from_iter_values(all().map(|group| self.counts[group]))),
            Arc::new(above.with_data_type(ABOVE_TYPE)),
        ])
    }

    /// The sums of some groups; null where there was no value, or where the sum has more than 38 digits.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn output(&self, name: &str, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let most = 10i128.pow(u32::from(DECIMAL128_MAX_PRECISION));
        let mut number = |n: usize| {
            let group = groups.row(n);
            let sum = self.sums[group].to_i128().filter(|sum| -most < *sum && *sum < most);
            if sum.is_none() {
                let reason = format!(
                    "the sum '{name}' of this window has more than 38 digits: cast its argument to DOUBLE, as in sum(cast(x as double))"
                );
                unsayable.push(Unsayable { row: n, reason });
            }
            sum.filter(|_| self.counts[group] > 0)
        };
        let numbers: Decimal128Array = (0..groups.len()).map(&mut number).collect();
        Ok(Arc::new(numbers.with_data_type(self.sum_type())))
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
        let output = sums.output("s", Rows::All(2), &mut Vec::new()).unwrap();
        assert_eq!(output.data_type(), &DataType::Decimal128(38, 2));
        let output = output.as_primitive::<Decimal128Type>();
        assert_eq!((output.value(0), output.is_null(1)), (125, true));
        let means = sums.means(Rows::All(2));
        assert_eq!(means.as_primitive::<arrow::datatypes::Float64Type>().value(0), 0.25);
        sums.update([(1, 0), (1, 1)].into_iter(), &values).unwrap();
        let mut unsayable = Vec::new();
        let output = sums.output("spend", Rows::All(2), &mut unsayable).unwrap();
        assert!(output.is_valid(0) && output.is_null(1));
        let [Unsayable { row: 1, reason }] = unsayable.as_slice() else { panic!("{unsayable:?}") };
        assert!(reason.contains("'spend'") && reason.contains("38 digits"), "{reason}");
        // Over the exchange and in checkpoints it is as exact as any other, and comes down again.
        let mut merged = DecimalSums::new(2);
        merged.resize(2);
        merged.merge([(0, 0), (1, 1)].into_iter(), &sums.states(Rows::All(2)).unwrap()).unwrap();
        assert_eq!(merged.sums, sums.sums);
        merged.update([(1, 2)].into_iter(), &values).unwrap();
        let output = merged.output("spend", Rows::All(2), &mut Vec::new()).unwrap();
        assert_eq!(output.as_primitive::<Decimal128Type>().value(1), most);
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
            let states = part.states(Rows::All(1)).unwrap();
            let types: Vec<_> = states.iter().map(|state| state.data_type()).collect();
            assert_eq!(DecimalSums::argument_of(&types), Some(DataType::Decimal128(38, 2)));
            whole.merge([(0, 0)].into_iter(), &states).unwrap();
        }
        let sum = whole.output("s", Rows::All(1), &mut Vec::new()).unwrap();
        assert_eq!(sum.as_primitive::<Decimal128Type>().value(0), -124);
        let mut least = DecimalExtremes::new(false, DataType::Decimal128(5, 2));
        least.resize(2);
        least.update([(0, 0), (0, 1), (0, 2)].into_iter(), &values).unwrap();
        assert_eq!(least.output(Rows::All(2)).as_ref(), column(&[Some(-275), None], 5, 2).as_ref());
    }
}
