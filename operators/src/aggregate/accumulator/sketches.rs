//! About how many distinct values there were.

use super::sketch::Sketch;
use super::{CallColumns, GroupStates, Placed, Unsayable, argument, binary, binary_states, numbers, same};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, Int64Array},
    datatypes::{DataType, Field},
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{Result, hash::KeyHasher};

/// A sketch a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Sketches(Vec<Sketch>);

impl GroupStates for Sketches {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, DataType::Binary, true)]
    }

    fn output_type(&self) -> DataType {
        DataType::Int64
    }

    fn resize(&mut self, groups: usize) {
        self.0.resize(groups, Sketch::default());
    }

    fn clear_group(&mut self, group: usize) {
        self.0[group] = Sketch::default();
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let argument = argument(columns)?;
        let (nulls, hashes) = (argument.logical_nulls(), value_hashes(argument)?);
        for (group, row) in placed.present(nulls.as_ref()) {
            self.0[group].insert((hashes[row] >> 64) as u64);
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let values = binary_states(states.first())?;
        for (group, row) in placed.present(values.nulls()) {
            self.0[group].merge_bytes(values.value(row))?;
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let others = &same::<Self>(other)?.0;
        placed.iter().for_each(|(to, from)| self.0[to].merge(&others[from]));
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        let moved = std::mem::take(&mut self.0[from]);
        self.0[to].merge(&moved);
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![binary(numbers(groups).map(|group| &self.0[group]), Sketch::write)?])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let estimates = numbers(groups).map(|group| self.0[group].estimate());
        Ok(Arc::new(Int64Array::from_iter_values(estimates)))
    }
}

/// The hash of each value of a column, as keys are hashed.
pub(super) fn value_hashes(column: &ArrayRef) -> Result<Vec<u128>> {
    let column = RecordBatch::try_from_iter([("argument", Arc::clone(column))])?;
    KeyHasher::new(vec!["argument".into()]).hash(&column)
}
