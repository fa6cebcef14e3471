//! The value below which a part of all values lie: exactly, of all values, or nearly, of counts by size.

use super::{CallColumns, GroupStates, Placed, Unsayable, argument, binary, binary_states, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array},
    compute::cast,
    datatypes::{DataType, Field, Float64Type},
};
use std::{fmt, sync::Arc};
use weir_engine::Result;

/// Values that were put in, in whatever form, and where they lie when they are sorted. NaN is the largest.
pub(super) trait SortedValues: Clone + Default + fmt::Debug + Send + Sync + 'static {
    /// Puts one in.
    fn insert(&mut self, value: f64);

    /// Puts all of another in.
    fn merge(&mut self, other: &Self);

    /// How many there are.
    fn len(&self) -> u64;

    /// The values at two positions that are less than [`len`](Self::len), counted from 0: `low` and the one that is no less.
    fn at(&self, low: u64, high: u64) -> (f64, f64);

    /// Appends the form in which they are sent and stored.
    fn write(&self, bytes: &mut Vec<u8>);

    /// Puts what [`write`](Self::write) has written in.
    ///
    /// # Errors
    /// When it is nothing that was.
    fn merge_bytes(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Values of each group.
#[derive(Debug, Clone)]
pub(super) struct Percentiles<V> {
    /// From 0 for the smallest to 1 for the largest.
    part: f64,
    groups: Vec<V>,
}

impl<V: SortedValues> Percentiles<V> {
    pub(super) fn new(part: f64) -> Self {
        Percentiles { part, groups: Vec::new() }
    }

    /// Between two values it is interpolated, as `percentile_cont` of the SQL standard is.
    fn percentile(&self, values: &V) -> Option<f64> {
        let last = values.len().checked_sub(1)?;
        let position = self.part * last as f64;
        let low = (position.floor() as u64).min(last);
        let high = (position.ceil() as u64).min(last);
        let (below, above) = values.at(low, high);
        let fraction = position - position.floor();
        if below == above || fraction == 0.0 {
            return Some(below);
        }
        let difference = above - below;
        let between = below + difference * fraction;
        // Where the difference is beyond the largest float.
        Some(if difference.is_finite() { between } else { below * (1.0 - fraction) + above * fraction })
    }
}

impl<V: SortedValues> GroupStates for Percentiles<V> {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, DataType::Binary, true)]
    }

    fn output_type(&self) -> DataType {
        DataType::Float64
    }

    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups, V::default());
    }

    fn clear_group(&mut self, group: usize) {
        self.groups[group] = V::default();
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let values = cast(argument(columns)?, &DataType::Float64)?;
        let values = values.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        placed.present(values.nulls()).for_each(|(group, row)| self.groups[group].insert(values.value(row)));
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let states = binary_states(states.first())?;
        for (group, row) in placed.present(states.nulls()) {
            self.groups[group].merge_bytes(states.value(row))?;
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        placed.iter().for_each(|(to, from)| self.groups[to].merge(&other.groups[from]));
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        let moved = std::mem::take(&mut self.groups[from]);
        self.groups[to].merge(&moved);
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![binary(numbers(groups).map(|group| &self.groups[group]), V::write)?])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let values = numbers(groups).map(|group| self.percentile(&self.groups[group]));
        Ok(Arc::new(Float64Array::from_iter(values)))
    }
}
