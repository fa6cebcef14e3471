//! The groups of one slice: their table, and behind an `Arc` their keys and accumulators.
//!
//! A snapshot takes the columns by reference. They are copied only if a group changes while the snapshot is still being
//! written, once, as one piece of memory after the other.

use super::accumulator::{Accumulator, CallColumns, CallTypes};
use super::config::AggregateConfig;
use crate::table::{GroupTable, KeyColumns, Rows};
use arrow::{array::ArrayRef, datatypes::DataType};
use std::sync::Arc;
use weir_engine::{EngineError, Result};

/// Keys and accumulators by group number.
#[derive(Debug, Clone)]
pub(super) struct GroupColumns {
    pub(super) keys: KeyColumns,
    pub(super) accumulators: Vec<Accumulator>,
}

impl GroupColumns {
    /// Without a group, for raw rows with keys and arguments of these types.
    pub(super) fn for_rows(config: &AggregateConfig, keys: &[ArrayRef], columns: &[CallColumns]) -> Result<Self> {
        let calls = config.aggregates.iter().zip(columns);
        let accumulators: Result<Vec<_>> =
            calls.map(|(call, columns)| Accumulator::new(call, CallTypes::of(columns))).collect();
        Ok(GroupColumns { keys: KeyColumns::new(keys.iter().map(|key| key.data_type()))?, accumulators: accumulators? })
    }

    /// Without a group, for partials with keys and states of these types.
    pub(super) fn for_states(config: &AggregateConfig, keys: &[ArrayRef], states: &[Vec<ArrayRef>]) -> Result<Self> {
        let calls = config.aggregates.iter().zip(states);
        let accumulators: Result<Vec<_>> = calls
            .map(|(call, states)| {
                let types: Vec<&DataType> = states.iter().map(|state| state.data_type()).collect();
                Accumulator::of_states(call, &types)
            })
            .collect();
        Ok(GroupColumns { keys: KeyColumns::new(keys.iter().map(|key| key.data_type()))?, accumulators: accumulators? })
    }

    /// The states of all aggregates, in order.
    pub(super) fn states(&self, groups: Rows<'_>) -> Result<Vec<ArrayRef>> {
        let states: Result<Vec<_>> = self.accumulators.iter().map(|accumulator| accumulator.states(groups)).collect();
        Ok(states?.into_iter().flatten().collect())
    }
}

/// Memory that is used again from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The group of every row of the last `assign`.
    pub(super) groups: Vec<u32>,
    opened: Vec<u32>,
    hashes: Vec<u128>,
}

/// Groups by key.
#[derive(Debug)]
pub(super) struct Groups {
    table: GroupTable,
    columns: Arc<GroupColumns>,
}

impl Groups {
    /// None yet, with room for `expected`; `prototype` has the columns' types.
    pub(super) fn new(prototype: &GroupColumns, expected: usize) -> Self {
        Groups { table: GroupTable::with_capacity(expected), columns: Arc::new(prototype.clone()) }
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn hashes(&self) -> &[u128] {
        self.table.hashes()
    }

    pub(super) fn shared_hashes(&self) -> Arc<Vec<u128>> {
        self.table.shared_hashes()
    }

    pub(super) fn columns(&self) -> &Arc<GroupColumns> {
        &self.columns
    }

    pub(super) fn find(&self, hash: u128) -> Option<u32> {
        self.table.find(hash)
    }

    /// Finds or opens the group of each of `rows`, into `scratch.groups`. `hashes` and `keys` are of the whole batch.
    pub(super) fn assign(
        &mut self,
        hashes: &[u128],
        keys: &[ArrayRef],
        rows: Rows<'_>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let full = |full: crate::table::TableFull| EngineError::internal(full.to_string());
        match rows {
            Rows::All(_) => self.table.assign(hashes, &mut scratch.groups, &mut scratch.opened).map_err(full)?,
            Rows::Some(rows) => {
                scratch.hashes.clear();
                scratch.hashes.extend(rows.iter().map(|row| hashes[*row as usize]));
                self.table.assign(&scratch.hashes, &mut scratch.groups, &mut scratch.opened).map_err(full)?;
                scratch.opened.iter_mut().for_each(|opened| *opened = rows[*opened as usize]);
            }
        }
        if !scratch.opened.is_empty() {
            let columns = Arc::make_mut(&mut self.columns);
            columns.keys.append(keys, Rows::Some(&scratch.opened))?;
            columns.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(self.table.len()));
        }
        Ok(())
    }

    /// Empties it for reuse, with room for `expected` groups.
    pub(super) fn reset(&mut self, expected: usize) {
        self.table.reset(expected);
        let columns = Arc::make_mut(&mut self.columns);
        columns.keys.clear();
        columns.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(0));
    }

    /// Adds raw rows to the groups that they were assigned to.
    pub(super) fn update(&mut self, groups: &[u32], rows: Rows<'_>, read: &[CallColumns]) -> Result<()> {
        let columns = Arc::make_mut(&mut self.columns);
        for (accumulator, read) in columns.accumulators.iter_mut().zip(read) {
            accumulator.update(groups, rows, read)?;
        }
        Ok(())
    }

    /// Merges partials into the groups that they were assigned to.
    pub(super) fn merge(&mut self, groups: &[u32], rows: Rows<'_>, states: &[Vec<ArrayRef>]) -> Result<()> {
        let columns = Arc::make_mut(&mut self.columns);
        for (accumulator, states) in columns.accumulators.iter_mut().zip(states) {
            accumulator.merge(groups, rows, states)?;
        }
        Ok(())
    }

    /// Merges groups of another slice into those of the same key here.
    pub(super) fn merge_groups(&mut self, other: &Groups, from: Rows<'_>, scratch: &mut Scratch) -> Result<()> {
        let keys = other.columns.keys.arrays(from)?;
        let hashes: Vec<u128> = match from {
            Rows::All(_) => other.hashes().to_vec(),
            Rows::Some(groups) => groups.iter().map(|group| other.hashes()[*group as usize]).collect(),
        };
        self.assign(&hashes, &keys, Rows::All(hashes.len()), scratch)?;
        let columns = Arc::make_mut(&mut self.columns);
        for (accumulator, other) in columns.accumulators.iter_mut().zip(&other.columns.accumulators) {
            accumulator.merge_groups(other, from, &scratch.groups)?;
        }
        Ok(())
    }
}
