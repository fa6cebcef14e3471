//! Sums and extremes of decimals, exact: in whole units of the last digit.
//!
//! Invariant: sums of any number of decimals of 38 digits fit where they are kept, over the exchange, and in checkpoints, so that
//! the order of adding never shows. Only what is emitted has 38 digits: a sum with more cannot be represented.

use super::{CallColumns, GroupStates, Placed, Unsayable, argument, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, UInt64Array},
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, UInt64Type, i256},
};
use std::sync::Arc;
use weir_engine::Result;

/// What the name of a column ends with that holds the digits of a sum above the last 38; no definition has such a name.
pub(super) const ABOVE: &str = "/above";

/// The type of what is above the last 38 digits of a sum.
const ABOVE_TYPE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// The first number with more than 38 digits.
fn first_above() -> i256 {
    i256::from_i128(10i128.pow(u32::from(DECIMAL128_MAX_PRECISION)))
}

/// Sum and number of values, one a group.
#[derive(Debug, Clone)]
pub(super) struct DecimalSums {
    /// Whether the result is the mean.
    mean: bool,
    scale: i8,
    sums: Vec<i256>,
    counts: Vec<u64>,
}

impl DecimalSums {
    pub(super) fn new(mean: bool, scale: i8) -> Self {
        DecimalSums { mean, scale, sums: Vec::new(), counts: Vec::new() }
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
    fn sum_type(&self) -> DataType {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, self.scale)
    }

    #[inline]
    fn add(&mut self, group: usize, sum: i256, count: u64) {
        self.sums[group] = self.sums[group].wrapping_add(sum);
        self.counts[group] += count;
    }

    /// The sums of some groups; null where there was no value, or where the sum has more than 38 digits.
    fn sums(&self, name: &str, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> ArrayRef {
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
        Arc::new(numbers.with_data_type(self.sum_type()))
    }

    /// The means of some groups; null where there was no value.
    fn means(&self, groups: Rows<'_>) -> ArrayRef {
        use arrow::datatypes::DecimalType;
        let scale = self.scale;
        let mean = |group: usize| {
            let (sum, count) = (self.sums[group], self.counts[group]);
            // Through its digits, so that what a float can hold comes out as it is.
            let sum = arrow::datatypes::Decimal256Type::format_decimal(sum, 76, scale).parse::<f64>().ok();
            sum.filter(|_| count > 0).map(|sum| sum / count as f64)
        };
        Arc::new(Float64Array::from_iter(numbers(groups).map(mean)))
    }
}

impl GroupStates for DecimalSums {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    /// The last 38 digits of the sum, the count (unsigned, unlike that of integers), and the digits above.
    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![
            Field::new(name, self.sum_type(), true),
            Field::new(format!("{name}.count"), DataType::UInt64, true),
            Field::new(format!("{name}{ABOVE}"), ABOVE_TYPE, true),
        ]
    }

    fn output_type(&self) -> DataType {
        if self.mean { DataType::Float64 } else { self.sum_type() }
    }

    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, i256::ZERO);
        self.counts.resize(groups, 0);
    }

    fn clear_group(&mut self, group: usize) {
        (self.sums[group], self.counts[group]) = (i256::ZERO, 0);
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let argument = argument(columns)?;
        let (nulls, values) = (argument.logical_nulls(), decimals(argument)?.values());
        placed.present(nulls.as_ref()).for_each(|(group, row)| self.add(group, i256::from_i128(values[row]), 1));
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [sums, counts, above @ ..] = states else { return Err(wrong()) };
        let nulls = sums.nulls();
        let sums = decimals(sums)?.values();
        let counts = counts.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.values();
        let above = above.first().map(decimals).transpose()?.map(Decimal128Array::values);
        for (group, row) in placed.present(nulls) {
            let above = above.map_or(i256::ZERO, |above| i256::from_i128(above[row]).wrapping_mul(first_above()));
            self.add(group, above.wrapping_add(i256::from_i128(sums[row])), counts[row]);
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        placed.iter().for_each(|(to, from)| self.add(to, other.sums[from], other.counts[from]));
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        self.add(to, self.sums[from], self.counts[from]);
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let parts =
            |part: fn(i256) -> i256| numbers(groups).map(|group| part(self.sums[group]).as_i128()).collect::<Vec<_>>();
        let below = Decimal128Array::try_new(parts(|sum| sum.wrapping_rem(first_above())).into(), None)?;
        let above = Decimal128Array::try_new(parts(|sum| sum.wrapping_div(first_above())).into(), None)?;
        Ok(vec![
            Arc::new(below.with_data_type(self.sum_type())),
            Arc::new(UInt64Array::from_iter_values(numbers(groups).map(|group| self.counts[group]))),
            Arc::new(above.with_data_type(ABOVE_TYPE)),
        ])
    }

    fn output(&self, name: &str, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        Ok(if self.mean { self.means(groups) } else { self.sums(name, groups, unsayable) })
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

    #[inline]
    fn keep(&mut self, group: usize, value: Option<i128>) {
        let kept = self.values[group];
        self.values[group] = match (kept, value) {
            (Some(kept), Some(value)) if self.largest => Some(kept.max(value)),
            (Some(kept), Some(value)) => Some(kept.min(value)),
            (kept, value) => kept.or(value),
        };
    }

    fn values(&self, groups: Rows<'_>) -> ArrayRef {
        let values = numbers(groups).map(|group| self.values[group]);
        Arc::new(Decimal128Array::from_iter(values).with_data_type(self.data_type.clone()))
    }

    fn keep_all(&mut self, placed: Placed<'_>, column: &ArrayRef) -> Result<()> {
        if *column.data_type() != self.data_type {
            return Err(wrong());
        }
        let (nulls, values) = (column.logical_nulls(), decimals(column)?.values());
        placed.present(nulls.as_ref()).for_each(|(group, row)| self.keep(group, Some(values[row])));
        Ok(())
    }
}

impl GroupStates for DecimalExtremes {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, self.data_type.clone(), true)]
    }

    fn output_type(&self) -> DataType {
        self.data_type.clone()
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn clear_group(&mut self, group: usize) {
        self.values[group] = None;
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        self.keep_all(placed, argument(columns)?)
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        self.keep_all(placed, states.first().ok_or_else(wrong)?)
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        placed.iter().for_each(|(to, from)| self.keep(to, other.values[from]));
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        self.keep(to, self.values[from]);
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.values(groups)])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        Ok(self.values(groups))
    }
}

fn decimals(column: &ArrayRef) -> Result<&Decimal128Array> {
    column.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[Option<i128>], precision: u8, scale: i8) -> ArrayRef {
        Arc::new(
            Decimal128Array::from_iter(values.iter().copied()).with_data_type(DataType::Decimal128(precision, scale)),
        )
    }

    fn sums(groups: usize, mean: bool) -> DecimalSums {
        let mut sums = DecimalSums::new(mean, 2);
        sums.resize(groups);
        sums
    }

    /// Adds rows, given as group and row.
    fn add(states: &mut dyn GroupStates, rows: &[(u32, u32)], values: &ArrayRef) {
        let (groups, rows): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
        let columns = CallColumns { argument: Some(Arc::clone(values)), ..CallColumns::default() };
        states.update(Placed { groups: &groups, rows: Rows::Some(&rows) }, &columns).unwrap();
    }

    fn of(states: &dyn GroupStates, groups: usize) -> (ArrayRef, Vec<Unsayable>) {
        let mut unsayable = Vec::new();
        (states.output("spend", Rows::All(groups), &mut unsayable).unwrap(), unsayable)
    }

    #[test]
    fn sums_are_exact_whatever_the_order() {
        let most = 10i128.pow(38) - 1;
        let values = column(&[Some(most), Some(most), Some(-most), Some(-most), Some(125)], 38, 2);
        let (mut all, mut means) = (sums(2, false), sums(1, true));
        let rows = [(0, 0), (0, 1), (0, 4), (0, 2), (0, 3)];
        add(&mut all, &rows, &values);
        add(&mut means, &rows, &values);
        let (output, _) = of(&all, 2);
        assert_eq!(output.data_type(), &DataType::Decimal128(38, 2));
        let output = output.as_primitive::<Decimal128Type>();
        assert_eq!((output.value(0), output.is_null(1)), (125, true));
        assert_eq!(of(&means, 1).0.as_primitive::<arrow::datatypes::Float64Type>().value(0), 0.25);
        add(&mut all, &[(1, 0), (1, 1)], &values);
        let (output, unsayable) = of(&all, 2);
        assert!(output.is_valid(0) && output.is_null(1));
        let [Unsayable { row: 1, reason }] = unsayable.as_slice() else { panic!("{unsayable:?}") };
        assert!(reason.contains("'spend'") && reason.contains("38 digits"), "{reason}");
        // Over the exchange and in checkpoints it is as exact as any other, and comes down again.
        let mut merged = sums(2, false);
        let placed = Placed { groups: &[0, 1], rows: Rows::All(2) };
        merged.merge(placed, &all.states(Rows::All(2)).unwrap()).unwrap();
        assert_eq!(merged.sums, all.sums);
        add(&mut merged, &[(1, 2)], &values);
        assert_eq!(of(&merged, 2).0.as_primitive::<Decimal128Type>().value(1), most);
    }

    #[test]
    fn states_merge_to_the_whole() {
        let values = column(&[Some(150), Some(-275), Some(1), None], 5, 2);
        let mut whole = sums(1, false);
        for rows in [vec![(0, 0), (0, 3)], vec![(0, 1), (0, 2)]] {
            let mut part = sums(1, false);
            add(&mut part, &rows, &values);
            let states = part.states(Rows::All(1)).unwrap();
            let types: Vec<_> = states.iter().map(|state| state.data_type()).collect();
            assert_eq!(DecimalSums::argument_of(&types), Some(DataType::Decimal128(38, 2)));
            whole.merge(Placed { groups: &[0], rows: Rows::All(1) }, &states).unwrap();
        }
        assert_eq!(of(&whole, 1).0.as_primitive::<Decimal128Type>().value(0), -124);
        let mut least = DecimalExtremes::new(false, DataType::Decimal128(5, 2));
        least.resize(2);
        add(&mut least, &[(0, 0), (0, 1), (0, 2), (1, 3)], &values);
        assert_eq!(of(&least, 2).0.as_ref(), column(&[Some(-275), None], 5, 2).as_ref());
    }
}
