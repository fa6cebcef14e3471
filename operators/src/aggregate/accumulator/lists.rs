//! Values in a list, as many as a limit allows.
//!
//! The list is in the order of event time, and rows of the same time in the order of their values, nulls first; of distinct
//! values it is in the order of the values. Of more rows than the limit the first ones in that order are kept: they are the
//! same however the rows come. State is the rows one after the other: event time in eight bytes, little-endian (of distinct
//! values none), one more than the value's length as a varint, or 0 for a null, and the value's bytes.

use super::values::ValueType;
use super::varint::{Reader, write_varint};
use super::{CallColumns, GroupStates, Placed, Unsayable, argument, binary, binary_states, numbers, same, wrong};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray, new_null_array},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, TimestampMillisecondType},
};
use std::sync::Arc;
use weir_engine::Result;

/// A list a group.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    value: ValueType,
    /// Whether each value is kept once.
    distinct: bool,
    limit: usize,
    lists: Vec<List>,
}

/// Rows of one group.
#[derive(Debug, Clone, Default)]
struct List {
    entries: Vec<Entry>,
    /// Nothing from this entry on belongs into the list: there are enough before it.
    full: Option<Entry>,
}

/// A row. The order is that of the fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Event time; of distinct values 0.
    at: i64,
    value: Option<Box<[u8]>>,
}

impl List {
    fn push(&mut self, entry: Entry, limit: usize, distinct: bool) {
        if self.full.as_ref().is_some_and(|last| entry >= *last) {
            return;
        }
        self.entries.push(entry);
        // Sorted now and then, so that it costs as much for each row however many there are.
        if self.entries.len() >= 2 * limit + 16 {
            sort(&mut self.entries, limit, distinct);
            if self.entries.len() == limit {
                self.full = self.entries.last().cloned();
            }
        }
    }

    fn in_order(&self, limit: usize, distinct: bool) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        sort(&mut entries, limit, distinct);
        entries
    }
}

fn sort(entries: &mut Vec<Entry>, limit: usize, distinct: bool) {
    entries.sort_unstable();
    if distinct {
        entries.dedup();
    }
    entries.truncate(limit);
}

impl Lists {
    pub(super) fn new(value: ValueType, distinct: bool, limit: usize) -> Self {
        Lists { value, distinct, limit, lists: Vec::new() }
    }

    /// The type of the results.
    fn list_type(&self) -> DataType {
        DataType::new_list(self.value.data_type().clone(), true)
    }

    fn push(&mut self, group: usize, entry: Entry) {
        self.lists[group].push(entry, self.limit, self.distinct);
    }

    fn write(&self, list: &List, bytes: &mut Vec<u8>) {
        for entry in list.in_order(self.limit, self.distinct) {
            if !self.distinct {
                bytes.extend_from_slice(&entry.at.to_le_bytes());
            }
            match entry.value {
                None => write_varint(0, bytes),
                Some(value) => {
                    write_varint(value.len() as u64 + 1, bytes);
                    bytes.extend_from_slice(&value);
                }
            }
        }
    }

    fn read(&mut self, group: usize, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let at = if self.distinct { 0 } else { reader.int64()? };
            let value = match reader.varint()?.checked_sub(1) {
                None => None,
                Some(length) => Some(reader.bytes(length)?.into()),
            };
            self.push(group, Entry { at, value });
        }
        Ok(())
    }
}

impl GroupStates for Lists {
    fn boxed(&self) -> Box<dyn GroupStates> {
        Box::new(self.clone())
    }

    /// The second one is always null: it says of which type the values are.
    fn state_fields(&self, name: &str) -> Vec<Field> {
        let values = Field::new(format!("{name}/type"), self.value.data_type().clone(), true);
        vec![Field::new(name, DataType::Binary, true), values]
    }

    fn output_type(&self) -> DataType {
        self.list_type()
    }

    fn resize(&mut self, groups: usize) {
        self.lists.resize(groups, List::default());
    }

    fn clear_group(&mut self, group: usize) {
        self.lists[group] = List::default();
    }

    fn update(&mut self, placed: Placed<'_>, columns: &CallColumns) -> Result<()> {
        let values = self.value.column(argument(columns)?)?;
        let times = match self.distinct {
            true => None,
            false => Some(columns.by.as_ref().and_then(|by| by.as_primitive_opt::<TimestampMillisecondType>())),
        };
        let times: Option<&PrimitiveArray<_>> = times.map(|times| times.ok_or_else(wrong)).transpose()?;
        let mut value = Vec::new();
        for (group, row) in placed.iter() {
            let is_valid = !values.is_null(row);
            if is_valid {
                values.read(row, &mut value);
            }
            let at = times.map_or(0, |times| times.value(row));
            self.push(group, Entry { at, value: is_valid.then(|| value.as_slice().into()) });
        }
        Ok(())
    }

    fn merge(&mut self, placed: Placed<'_>, states: &[ArrayRef]) -> Result<()> {
        let states = binary_states(states.first())?;
        for (group, row) in placed.present(states.nulls()) {
            self.read(group, states.value(row))?;
        }
        Ok(())
    }

    fn merge_groups(&mut self, placed: Placed<'_>, other: &dyn GroupStates) -> Result<()> {
        let other = same::<Self>(other)?;
        for (to, from) in placed.iter() {
            other.lists[from].entries.iter().for_each(|entry| self.push(to, entry.clone()));
        }
        Ok(())
    }

    fn move_group(&mut self, from: usize, to: usize) {
        let moved = std::mem::take(&mut self.lists[from]);
        moved.entries.into_iter().for_each(|entry| self.push(to, entry));
    }

    fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let lists = binary(numbers(groups).map(|group| &self.lists[group]), |list, bytes| self.write(list, bytes))?;
        Ok(vec![lists, new_null_array(self.value.data_type(), groups.len())])
    }

    /// Null where there was no row.
    fn output(&self, _name: &str, groups: Rows<'_>, _unsayable: &mut Vec<Unsayable>) -> Result<ArrayRef> {
        let lists: Vec<Vec<Entry>> =
            numbers(groups).map(|group| self.lists[group].in_order(self.limit, self.distinct)).collect();
        let values = self.value.array(lists.iter().flatten().map(|entry| entry.value.as_deref()))?;
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
        let nulls = NullBuffer::from_iter(lists.iter().map(|list| !list.is_empty()));
        let item = match self.list_type() {
            DataType::List(item) => item,
            _ => return Err(wrong()),
        };
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        Ok(Arc::new(ListArray::try_new(item, offsets, values, nulls)?))
    }
}
