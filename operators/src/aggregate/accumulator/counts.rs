//! Numbers of rows.

use super::{CallColumns, GroupStates, Placed, Unsayable, int64, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Field, Int64Type},
};
use weir_engine::Result;

/// `count(*)`, and of an argument the rows in which it is not null.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(Vec<i64>);

impl GroupStates for Counts {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        vec![Field::new(name, DataType::Int64, true)]
    }

    fn output_type(&self) -> DataType {
        DataType::Int64
    }

    fn resize(&mut self, groups: usize) {
        self.0.resize(groups, 0);
    }

    fn clear_group(&mut self, group: usize) {
        self.0[group] = 0;
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let counts = &mut self.0;
        match columns.argument.as_ref().map(|argument| argument.logical_nulls()) {
            None => placed.groups.iter().for_each(|group| counts[*group as usize] += 1),
            Some(nulls) => placed.present(nulls.as_ref()).for_each(|(group, _)| counts[group] += 1),
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [first] = states else { return Err(wrong()) };
        let (counts, values) = (&mut self.0, first.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values());
        match (placed.rows, first.nulls()) {
            (Rows::All(_), None) => {
                placed.groups.iter().zip(values.iter()).for_each(|(group, value)| counts[*group as usize] += value);
            }
            (_, nulls) => placed.present(nulls).for_each(|(group, row)| counts[group] += values[row]),
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let others = &same::<Self>(other)?.0;
        placed.iter().for_each(|(to, from)| self.0[to] += others[from]);
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        self.0[to] += self.0[from];
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        Ok(vec![int64(&self.0, groups, None)])
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        Ok(int64(&self.0, groups, None))
    }
}
