//! Variance, standard deviation, covariance and correlation of numbers taken as floats.
//!
//! What is kept are exact sums: of the values, of their squares, and of two arguments of their products, each product with
//! what rounding it has left off. A result is computed from them when it is emitted: the numerator n·Σxy − Σx·Σy exactly, and
//! rounded once. So it does not depend on the order of the rows, and nothing cancels out however close together the values are.

use super::exact_sum::{ExactSum, two_product};
use super::wide_sum::WideSum;
use super::{
    CallColumns, GroupStates, Placed, Unsayable, argument, binary, binary_states, int64, numbers, same, wrong,
};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array},
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Field, Float64Type, Int64Type},
};
use std::sync::Arc;
use weir_engine::Result;

/// What is computed of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Divided by n − 1 or, of a whole population, by n.
    Variance {
        population: bool,
    },
    StandardDeviation {
        population: bool,
    },
    Covariance {
        population: bool,
    },
    Correlation,
}

/// The names of the sums, behind that of the call: the first has its name alone.
const SUMS: [&str; 5] = ["", "/xx", "/y", "/yy", "/xy"];
const X: usize = 0;
const XX: usize = 1;
const Y: usize = 2;
const YY: usize = 3;
const XY: usize = 4;

impl Moment {
    /// Whether it is of two arguments.
    pub(super) fn is_of_two(self) -> bool {
        matches!(self, Moment::Covariance { .. } | Moment::Correlation)
    }

    /// Columns of its states: the sums and the number of rows.
    pub(super) fn state_width(self) -> usize {
        1 + if self.is_of_two() { SUMS.len() } else { Y }
    }
}

/// Sums and numbers of rows.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    moment: Moment,
    /// By sum, then by group.
    sums: Vec<Vec<ExactSum>>,
    counts: Vec<i64>,
}

impl Moments {
    pub(super) fn new(moment: Moment) -> Self {
        Moments { moment, sums: vec![Vec::new(); moment.state_width() - 1], counts: Vec::new() }
    }

    /// n·Σab − Σa·Σb of a group. Not a number where one of the values was none, or was infinite, or where a sum of squares
    /// is beyond the largest float.
    fn numerator(&self, group: usize, product: usize, one: usize, other: usize) -> f64 {
        let parts = |sum: usize| self.sums[sum][group].parts();
        let (Some(products), Some(ones), Some(others)) = (parts(product), parts(one), parts(other)) else {
            return f64::NAN;
        };
        let mut total = WideSum::default();
        let mut is_finite = true;
        let mut add = |a: f64, b: f64| {
            let (product, rest) = two_product(a, b);
            is_finite &= product.is_finite() && rest.is_finite();
            if is_finite {
                total.add(product);
                total.add(rest);
            }
        };
        products.iter().for_each(|part| add(self.counts[group] as f64, *part));
        ones.iter().for_each(|a| others.iter().for_each(|b| add(-a, *b)));
        if is_finite { total.rounded(0) } else { f64::NAN }
    }

    fn variance(&self, group: usize, population: bool) -> Option<f64> {
        // Squares of values below 10⁻¹⁵⁰ are not exact.
        Some(positive(self.numerator(group, XX, X, X)) / self.denominator(group, population)?)
    }

    /// None: there are too few rows.
    fn denominator(&self, group: usize, population: bool) -> Option<f64> {
        let n = self.counts[group] as f64;
        match population {
            true => (n >= 1.0).then_some(n * n),
            false => (n >= 2.0).then_some(n * (n - 1.0)),
        }
    }

    fn value(&self, group: usize) -> Option<f64> {
        match self.moment {
            Moment::Variance { population } => self.variance(group, population),
            Moment::StandardDeviation { population } => self.variance(group, population).map(f64::sqrt),
            Moment::Covariance { population } => {
                Some(self.numerator(group, XY, X, Y) / self.denominator(group, population)?)
            }
            Moment::Correlation => {
                self.denominator(group, false)?;
                let spread = |squares, sum| positive(self.numerator(group, squares, sum, sum));
                let (of_x, of_y) = (spread(XX, X), spread(YY, Y));
                let both = of_x * of_y;
                let spreads = if both.is_normal() { both.sqrt() } else { of_x.sqrt() * of_y.sqrt() };
                // Where one of the two does not vary, nothing can be said of the other.
                (spreads != 0.0).then(|| (self.numerator(group, XY, X, Y) / spreads).clamp(-1.0, 1.0))
            }
        }
    }
}

/// A number that cannot be negative.
fn positive(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}

fn floats(column: &ArrayRef) -> Result<Float64Array> {
    let wide = cast(column, &DataType::Float64)?;
    wide.as_primitive_opt::<Float64Type>().cloned().ok_or_else(wrong)
}

impl GroupStates for Moments {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        let sums = SUMS.iter().take(self.sums.len());
        let sums = sums.map(|sum| Field::new(format!("{name}{sum}"), DataType::Binary, true));
        sums.chain([Field::new(format!("{name}.count"), DataType::Int64, true)]).collect()
    }

    fn output_type(&self) -> DataType {
        DataType::Float64
    }

    fn resize(&mut self, groups: usize) {
        self.sums.iter_mut().for_each(|sums| sums.resize(groups, ExactSum::default()));
        self.counts.resize(groups, 0);
    }

    fn clear_group(&mut self, group: usize) {
        self.sums.iter_mut().for_each(|sums| sums[group] = ExactSum::default());
        self.counts[group] = 0;
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let xs = floats(argument(columns)?)?;
        let ys = match self.moment.is_of_two() {
            true => Some(floats(columns.by.as_ref().ok_or_else(wrong)?)?),
            false => None,
        };
        let nulls = NullBuffer::union(xs.nulls(), ys.as_ref().and_then(|ys| ys.nulls()));
        let mut add = |sum: usize, group: usize, (value, rest): (f64, f64)| {
            let sum = &mut self.sums[sum][group];
            sum.add(value);
            if rest != 0.0 && value.is_finite() {
                sum.add(rest);
            }
        };
        for (group, row) in placed.present(nulls.as_ref()) {
            let x = xs.value(row);
            add(X, group, (x, 0.0));
            add(XX, group, two_product(x, x));
            if let Some(ys) = &ys {
                let y = ys.value(row);
                add(Y, group, (y, 0.0));
                add(YY, group, two_product(y, y));
                add(XY, group, two_product(x, y));
            }
            self.counts[group] += 1;
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [sums @ .., counts] = states else { return Err(wrong()) };
        if sums.len() != self.sums.len() {
            return Err(wrong());
        }
        let numbers = counts.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        placed.present(numbers.nulls()).for_each(|(group, row)| self.counts[group] += numbers.value(row));
        for (kept, sums) in self.sums.iter_mut().zip(sums) {
            let sums = binary_states(Some(sums))?;
            for (group, row) in placed.present(sums.nulls()) {
                kept[group].merge_bytes(sums.value(row))?;
            }
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        for (to, from) in placed.iter() {
            self.sums.iter_mut().zip(&other.sums).for_each(|(sums, others)| sums[to].merge(&others[from]));
            self.counts[to] += other.counts[from];
        }
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        for sums in &mut self.sums {
            let moved = std::mem::take(&mut sums[from]);
            sums[to].merge(&moved);
        }
        self.counts[to] += self.counts[from];
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let sums = |sums: &Vec<ExactSum>| binary(numbers(groups).map(|group| &sums[group]), ExactSum::write);
        let mut states = self.sums.iter().map(sums).collect::<Result<Vec<_>>>()?;
        states.push(int64(&self.counts, groups, None));
        Ok(states)
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        Ok(Arc::new(Float64Array::from_iter(numbers(groups).map(|group| self.value(group)))))
    }
}
