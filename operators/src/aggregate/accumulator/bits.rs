//! Integers joined bit by bit.

use super::{CallColumns, GroupStates, Placed, Unsayable, argument, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, UInt64Array},
    compute::cast,
    datatypes::{DataType, Field, Int64Type, UInt64Type},
};
use weir_engine::Result;

/// How two numbers are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BitOperation {
    And,
    Or,
    Xor,
}

/// One number a group; none: there has been no value.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    operation: BitOperation,
    data_type: DataType,
    values: Vec<Option<u64>>,
}

impl Bits {
    /// For integers of a type.
    pub(super) fn new(operation: BitOperation, data_type: DataType) -> Self {
        Bits { operation, data_type, values: Vec::new() }
    }

    #[inline]
    fn join(&mut self, group: usize, value: u64) {
        let kept = &mut self.values[group];
        *kept = Some(match (*kept, self.operation) {
            (None, _) => value,
            (Some(kept), BitOperation::And) => kept & value,
            (Some(kept), BitOperation::Or) => kept | value,
            (Some(kept), BitOperation::Xor) => kept ^ value,
        });
    }

    /// Small numbers are widened with their sign, which all three operations leave as it is.
    fn join_all(&mut self, placed: Placed<'_>, column: &ArrayRef) -> Result<()> {
        let nulls = column.logical_nulls();
        if self.data_type.is_unsigned_integer() {
            let wide = cast(column, &DataType::UInt64)?;
            let values = wide.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.values();
            placed.present(nulls.as_ref()).for_each(|(group, row)| self.join(group, values[row]));
        } else {
            let wide = cast(column, &DataType::Int64)?;
            let values = wide.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
            placed.present(nulls.as_ref()).for_each(|(group, row)| self.join(group, values[row] as u64));
        }
        Ok(())
    }

    fn column(&self, groups: Rows<'_>) -> Result<ArrayRef> {
        let values = numbers(groups).map(|group| self.values[group]);
        Ok(if self.data_type.is_unsigned_integer() {
            cast(&UInt64Array::from_iter(values), &self.data_type)?
        } else {
            cast(&Int64Array::from_iter(values.map(|value| value.map(|value| value as i64))), &self.data_type)?
        })
    }
}

impl GroupStates for Bits {
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
        self.join_all(placed, argument(columns)?)
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        self.join_all(placed, states.first().ok_or_else(wrong)?)
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        for (to, from) in placed.iter() {
            if let Some(value) = other.values[from] {
                self.join(to, value);
            }
        }
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        if let Some(value) = self.values[from].take() {
            self.join(to, value);
        }
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.column(groups)?])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        self.column(groups)
    }
}
