//! How many distinct values there were, exactly.
//!
//! A value is its 128-bit hash, as a key is: sixteen bytes for each of them, whatever its length. State is the hashes one after
//! the other, ascending, little-endian.

use super::sketches::value_hashes;
use super::{CallColumns, GroupStates, Placed, Unsayable, argument, binary, binary_states, numbers, same};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, Int64Array},
    datatypes::{DataType, Field},
};
use hashbrown::HashSet;
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// A set a group. No result depends on the order in which a set gives out its hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct DistinctValues(Vec<HashSet<u128>>);

impl DistinctValues {
    fn write(set: &HashSet<u128>, bytes: &mut Vec<u8>) {
        let mut sorted: Vec<u128> = set.iter().copied().collect();
        sorted.sort_unstable();
        sorted.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
    }

    fn read<'a>(bytes: &'a [u8]) -> Result<impl Iterator<Item = u128> + 'a> {
        let (hashes, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(EngineError::corrupt(format!("a set of distinct values of {} bytes is damaged", bytes.len())));
        }
        Ok(hashes.iter().map(|hash| u128::from_le_bytes(*hash)))
    }
}

impl GroupStates for DistinctValues {
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
        self.0.resize(groups, HashSet::new());
    }

    fn clear_group(&mut self, group: usize) {
        self.0[group] = HashSet::new();
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let (placed, values) = placed.gathered(argument(columns)?)?;
        let (nulls, hashes) = (values.logical_nulls(), value_hashes(&values)?);
        for (group, row) in placed.present(nulls.as_ref()) {
            self.0[group].insert(hashes[row]);
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let values = binary_states(states.first())?;
        for (group, row) in placed.present(values.nulls()) {
            self.0[group].extend(Self::read(values.value(row))?);
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let others = &same::<Self>(other)?.0;
        placed.iter().for_each(|(to, from)| self.0[to].extend(&others[from]));
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        let moved = std::mem::take(&mut self.0[from]);
        if self.0[to].len() < moved.len() {
            let smaller = std::mem::replace(&mut self.0[to], moved);
            self.0[to].extend(smaller);
        } else {
            self.0[to].extend(moved);
        }
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![binary(numbers(groups).map(|group| &self.0[group]), Self::write)?])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let counts = numbers(groups).map(|group| self.0[group].len() as i64);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }
}
