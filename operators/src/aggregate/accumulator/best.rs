//! The value with the smallest or largest of another: `min_by`, `max_by`, the first and the last by event time; and of texts,
//! bytes and truth values the smallest and largest themselves.
//!
//! Of rows that are equal in what is compared, `min_by` and `first_value` take the smallest value and `max_by` and
//! `last_value` the largest. So the result is a function of the set of rows, in whatever order they come.

use super::values::ValueType;
use super::{CallColumns, GroupStates, Placed, Unsayable, argument, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field},
};
use weir_engine::Result;

/// One value a group.
#[derive(Debug, Clone)]
pub(super) struct Best {
    largest: bool,
    value: ValueType,
    /// What is compared first; none: the value itself.
    by: Option<ValueType>,
    kept: Vec<Option<Kept>>,
}

/// The value that is kept, and what it was compared by. Their order is that of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    by: Vec<u8>,
    value: Vec<u8>,
}

impl Best {
    pub(super) fn new(largest: bool, value: ValueType, by: Option<ValueType>) -> Self {
        Best { largest, value, by, kept: Vec::new() }
    }

    #[inline]
    fn keep(&mut self, group: usize, candidate: &Kept) {
        match &mut self.kept[group] {
            Some(kept) => {
                let is_better = if self.largest { candidate > kept } else { candidate < kept };
                if is_better {
                    kept.by.clone_from(&candidate.by);
                    kept.value.clone_from(&candidate.value);
                }
            }
            empty => *empty = Some(candidate.clone()),
        }
    }

    /// Takes rows in which neither column is null.
    fn keep_all(&mut self, placed: Placed<'_>, value: &ArrayRef, by: Option<&ArrayRef>) -> Result<()> {
        let value = self.value.column(value)?;
        let by = match (&self.by, by) {
            (None, _) => None,
            (Some(by), Some(column)) => Some(by.column(column)?),
            _ => return Err(wrong()),
        };
        let mut candidate = Kept::default();
        for (group, row) in placed.iter() {
            if value.is_null(row) || by.as_ref().is_some_and(|by| by.is_null(row)) {
                continue;
            }
            if let Some(by) = &by {
                by.read(row, &mut candidate.by);
            }
            value.read(row, &mut candidate.value);
            self.keep(group, &candidate);
        }
        Ok(())
    }

    fn values(&self, groups: Rows<'_>) -> Result<ArrayRef> {
        self.value.array(numbers(groups).map(|group| self.kept[group].as_ref().map(|kept| kept.value.as_slice())))
    }
}

impl GroupStates for Best {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    fn state_fields(&self, name: &str) -> Vec<Field> {
        let by = self.by.as_ref().map(|by| Field::new(format!("{name}/by"), by.data_type().clone(), true));
        [Field::new(name, self.value.data_type().clone(), true)].into_iter().chain(by).collect()
    }

    fn output_type(&self) -> DataType {
        self.value.data_type().clone()
    }

    fn resize(&mut self, groups: usize) {
        self.kept.resize(groups, None);
    }

    fn clear_group(&mut self, group: usize) {
        self.kept[group] = None;
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        self.keep_all(placed, argument(columns)?, columns.by.as_ref())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let [value, by @ ..] = states else { return Err(wrong()) };
        self.keep_all(placed, value, by.first())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        for (to, from) in placed.iter() {
            if let Some(kept) = &other.kept[from] {
                self.keep(to, kept);
            }
        }
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        if let Some(kept) = self.kept[from].take() {
            self.keep(to, &kept);
        }
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let mut states = vec![self.values(groups)?];
        if let Some(by) = &self.by {
            let kept = numbers(groups).map(|group| self.kept[group].as_ref());
            states.push(by.array(kept.map(|kept| kept.map(|kept| kept.by.as_slice())))?);
        }
        Ok(states)
    }

    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        self.values(groups)
    }
}
