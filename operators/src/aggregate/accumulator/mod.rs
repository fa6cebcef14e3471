//! The running states of one aggregate, one a group, in arrays.
//!
//! `update` takes rows, `merge` takes states that `states` gave out. States are plain Arrow columns: they are what goes over
//! the exchange and what a checkpoint holds. For any partition of the rows, merging the parts gives what updating by all
//! rows gives, to the last bit.
//!
//! Each kind of state is a file with a struct that implements [`GroupStates`]; [`kinds`] says which one a function takes. A call
//! of it is one for many rows, so the loop over rows is in the kind.

mod approximate;
mod bag;
mod best;
mod bits;
mod counts;
mod decimals;
mod distinct;
mod exact_sum;
mod extremes;
mod float_sums;
mod integer_sums;
mod kinds;
mod lists;
mod moments;
mod percentiles;
mod placed;
mod sketch;
mod sketches;
mod values;
mod varint;
mod wide_sum;

#[cfg(test)]
mod tests;

use super::config::AggregateCall;
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array},
    buffer::{NullBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Fields},
};
use std::{any::Any, fmt, sync::Arc};
use weir_engine::{EngineError, Result};

pub(crate) use kinds::stays_small;
pub(super) use kinds::{LISTED, MOST_LISTED, collects};
use placed::Placed;

/// A result that its type does not hold: it is null, and this says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsayable {
    /// Which of the groups that were asked for, from 0.
    pub(crate) row: usize,
    /// What is wrong, for people.
    pub(crate) reason: String,
}

/// What a call reads, as whole columns of a batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallColumns {
    /// What it is computed of; none: of rows, whatever is in them.
    pub(crate) argument: Option<ArrayRef>,
    /// The second argument.
    pub(crate) by: Option<ArrayRef>,
    /// Only rows for which this is true count; none: all do.
    pub(crate) filter: Option<BooleanArray>,
}

impl CallColumns {
    /// The columns that a call reads; `column` finds one by its name.
    ///
    /// # Errors
    /// When one is not there, or a filter is no truth value.
    pub(crate) fn of_call(call: &AggregateCall, column: impl Fn(&String) -> Result<ArrayRef>) -> Result<Self> {
        let of = |name: &Option<String>| name.as_ref().map(&column).transpose();
        let filter = of(&call.filter)?.map(|filter| {
            let wrong = || EngineError::internal(format!("'{}': the filter is no truth value", call.output));
            filter.as_boolean_opt().cloned().ok_or_else(wrong)
        });
        Ok(CallColumns { argument: of(&call.argument)?, by: of(&call.by)?, filter: filter.transpose()? })
    }
}

/// The types of what a call reads.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallTypes<'a> {
    /// Of what it is computed of.
    pub(crate) argument: Option<&'a DataType>,
    /// Of the second argument.
    pub(crate) by: Option<&'a DataType>,
}

impl<'a> CallTypes<'a> {
    /// Those of columns.
    pub(crate) fn of(columns: &'a CallColumns) -> Self {
        let data_type = |column: &'a Option<ArrayRef>| column.as_ref().map(|column| column.data_type());
        CallTypes { argument: data_type(&columns.argument), by: data_type(&columns.by) }
    }
}

/// The states of all groups of one kind, by group number. Groups that are named have been there since the last `resize`.
trait GroupStates: Any + fmt::Debug + Send + Sync {
    /// A copy.
    fn boxed(&self) -> Box<dyn GroupStates>;

    /// The columns of its states, for a call of that name. The first one is named like it.
    fn state_fields(&self, name: &str) -> Vec<Field>;

    /// The type of its results.
    fn output_type(&self) -> DataType;

    /// Adds groups with nothing in them, up to that many, or takes those from there on away.
    fn resize(&mut self, groups: usize);

    /// Empties one group.
    fn clear_group(&mut self, group: usize);

    /// Adds rows.
    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()>;

    /// Merges states, as `state_fields` names them.
    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()>;

    /// Merges groups of other states of the same kind: the rows are their numbers there.
    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()>;

    /// Merges one group into another; it is emptied after that.
    fn move_group(&mut self, from: usize, to: usize);

    /// The states of these groups, as `state_fields` names them.
    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>>;

    /// The results of these groups of a call of that name.
    fn output(&self, name: &str, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef>;
}

/// States of one aggregate by group number.
#[derive(Debug)]
pub(crate) struct Accumulator {
    name: String,
    states: Box<dyn GroupStates>,
}

impl Clone for Accumulator {
    fn clone(&self) -> Self {
        Accumulator { name: self.name.clone(), states: self.states.boxed() }
    }
}

impl Accumulator {
    /// No group yet, for arguments of these types.
    ///
    /// # Errors
    /// When the function is not defined for them.
    pub(crate) fn new(call: &AggregateCall, types: CallTypes<'_>) -> Result<Self> {
        Ok(Accumulator { name: call.output.clone(), states: kinds::of_arguments(call, types)? })
    }

    /// No group yet, for states of these types: those that `state_fields` names.
    ///
    /// # Errors
    /// When they are no states of that function.
    pub(super) fn of_states(call: &AggregateCall, states: &[&DataType]) -> Result<Self> {
        Ok(Accumulator { name: call.output.clone(), states: kinds::of_states(call, states)? })
    }

    /// The columns of its states.
    pub(super) fn state_fields(&self) -> Vec<Field> {
        self.states.state_fields(&self.name)
    }

    /// Number of state columns of each call, of which the first one is the `first` of these fields.
    pub(super) fn state_widths(calls: &[AggregateCall], fields: &Fields, mut first: usize) -> Vec<usize> {
        let width = |call: &AggregateCall| {
            let width = kinds::state_width(call, fields, first);
            first += width;
            width
        };
        calls.iter().map(width).collect()
    }

    /// The type of its results.
    pub(crate) fn output_type(&self) -> DataType {
        self.states.output_type()
    }

    /// Adds groups with nothing in them, up to that many.
    pub(crate) fn resize(&mut self, groups: usize) {
        self.states.resize(groups);
    }

    /// Empties one group.
    pub(crate) fn clear_group(&mut self, group: usize) {
        self.states.clear_group(group);
    }

    /// Adds rows: the n-th of `rows` to `groups[n]`.
    pub(crate) fn update(&mut self, groups: &[u32], rows: Rows<'_>, columns: &CallColumns) -> Result<()> {
        let Some(filter) = &columns.filter else {
            return self.named(|states| states.update(Placed { groups, rows }, columns));
        };
        let (mut chosen_groups, mut chosen) = (Vec::with_capacity(groups.len()), Vec::with_capacity(groups.len()));
        for (group, row) in (Placed { groups, rows }).iter() {
            if filter.is_valid(row) && filter.value(row) {
                chosen_groups.push(group as u32);
                chosen.push(row as u32);
            }
        }
        let placed = Placed { groups: &chosen_groups, rows: Rows::Some(&chosen) };
        self.named(|states| states.update(placed, columns))
    }

    /// Merges states: the n-th of `rows` into `groups[n]`. `states` are whole columns.
    pub(super) fn merge(&mut self, groups: &[u32], rows: Rows<'_>, states: &[ArrayRef]) -> Result<()> {
        self.named(|kept| kept.merge(Placed { groups, rows }, states))
    }

    /// Merges groups of another accumulator of the same kind: `from[n]` there into `into[n]` here.
    pub(crate) fn merge_groups(&mut self, other: &Accumulator, from: Rows<'_>, into: &[u32]) -> Result<()> {
        self.named(|states| states.merge_groups(Placed { groups: into, rows: from }, other.states.as_ref()))
    }

    /// Merges one group into another of the same accumulator and empties it.
    pub(super) fn move_group(&mut self, from: usize, to: usize) {
        self.states.move_group(from, to);
        self.clear_group(from);
    }

    /// The states of these groups, as `state_fields` names them.
    pub(super) fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        self.states.states(groups).map_err(|error| error.context(format!("'{}'", self.name)))
    }

    /// The results of these groups. Sums that have more bits or digits than their type are null, and are added to `unsayable`.
    ///
    /// # Errors
    /// Only by a mistake of ours, or when lists exceed 2 GiB together.
    pub(crate) fn output(&self, groups: Rows<'_>, unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        self.states.output(&self.name, groups, unsayable)
    }

    fn named(&mut self, does: impl FnOnce(&mut dyn GroupStates) -> Result<()>) -> Result<()> {
        does(self.states.as_mut()).map_err(|error| error.context(format!("'{}'", self.name)))
    }
}

/// Other states of the same kind.
fn same<T: GroupStates>(other: &dyn GroupStates) -> Result<&T> {
    let other: &dyn Any = other;
    other.downcast_ref().ok_or_else(|| EngineError::internal("merged with another aggregate"))
}

/// Columns that are not what `state_fields` names, or arguments of another type than before.
fn wrong() -> EngineError {
    EngineError::internal("states or arguments of another type than before")
}

/// The argument of a call that needs one.
fn argument(columns: &CallColumns) -> Result<&ArrayRef> {
    columns.argument.as_ref().ok_or_else(|| EngineError::internal("an aggregate without an argument"))
}

fn chosen<T: Copy + arrow::datatypes::ArrowNativeType>(values: &[T], groups: Rows<'_>) -> ScalarBuffer<T> {
    match groups {
        Rows::All(count) => values[..count].to_vec().into(),
        Rows::Some(groups) => groups.iter().map(|group| values[*group as usize]).collect(),
    }
}

fn int64(values: &[i64], groups: Rows<'_>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Int64Array::new(chosen(values, groups), nulls))
}

/// The numbers of these groups.
fn numbers(groups: Rows<'_>) -> impl Iterator<Item = usize> {
    (0..groups.len()).map(move |n| groups.row(n))
}

/// States that write themselves.
///
/// # Errors
/// When they exceed 2 GiB together.
fn binary<'a, T: 'a>(states: impl Iterator<Item = &'a T>, write: impl Fn(&T, &mut Vec<u8>)) -> Result<ArrayRef> {
    let (mut builder, mut bytes, mut length) = (BinaryBuilder::new(), Vec::new(), 0usize);
    for state in states {
        bytes.clear();
        write(state, &mut bytes);
        length += bytes.len();
        if i32::try_from(length).is_err() {
            return Err(too_large());
        }
        builder.append_value(&bytes);
    }
    Ok(Arc::new(builder.finish()))
}

fn too_large() -> EngineError {
    EngineError::internal(
        "its values in one window exceed 2 GiB in one subtask: raise the parallelism, take shorter windows, or a function \
         that keeps less, such as approx_distinct or approx_percentile_cont",
    )
}

/// A column of states that wrote themselves.
fn binary_states(column: Option<&ArrayRef>) -> Result<&BinaryArray> {
    column.and_then(|column| column.as_binary_opt()).ok_or_else(wrong)
}
