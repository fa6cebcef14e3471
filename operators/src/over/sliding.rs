//! Aggregates over the rows that a row sees, while these move on.
//!
//! Each row has a state of its own. The rows of a key are in two parts: of the *front*, which leave first, each row's state is
//! merged with those of all front rows after it; of the *back* there is one state of all together. So what a row sees is the
//! state of the first front row and that of the back, and when the front has gone the back becomes the front: each row is merged
//! a fixed number of times, however many there are. That takes two states merged into one, and nothing taken out of one again, so
//! it is exact for every function.
//!
//! States that hold something of each row ([`stays_small`] says which do not) would be as many copies of that as there are rows.
//! Of these each row has only its own, and they are merged anew for every row, of at most [`MOST_ANEW`].

use super::config::OverConfig;
use super::frame::Frame;
use crate::aggregate::accumulator::{Accumulator, CallColumns, stays_small};
use crate::table::Rows;
use arrow::array::ArrayRef;
use weir_engine::Result;

/// A row may see so many others where they are put together anew for it; with more it is a dead letter.
pub const MOST_ANEW: usize = 10_000;

/// The states of one call.
#[derive(Debug)]
struct Sliding {
    stays_small: bool,
    /// By slot.
    rows: Accumulator,
    /// By number of the key.
    backs: Accumulator,
    /// One group, for what is merged within `rows`.
    between: Accumulator,
}

/// The states of all calls.
#[derive(Debug)]
pub(super) struct Slidings {
    calls: Vec<Sliding>,
    none: Vec<Accumulator>,
}

impl Slidings {
    /// # Errors
    /// When a function is not defined for what it is called with.
    pub(super) fn new(config: &OverConfig) -> Result<Self> {
        let none: Vec<Accumulator> = config.calls.iter().map(|call| config.accumulator(call)).collect::<Result<_>>()?;
        let calls = config.calls.iter().zip(&none).map(|(call, none)| {
            let mut between = none.clone();
            between.resize(1);
            Sliding { stays_small: stays_small(call.function), rows: none.clone(), backs: none.clone(), between }
        });
        Ok(Slidings { calls: calls.collect(), none })
    }

    /// Room for results.
    pub(super) fn results(&self) -> Vec<Accumulator> {
        self.none.clone()
    }

    /// Whether some are put together anew for each row.
    pub(super) fn has_anew(&self) -> bool {
        self.calls.iter().any(|call| !call.stays_small)
    }

    /// Takes rows into their slots, of which there are so many.
    pub(super) fn take(&mut self, slots: &[u32], all: usize, columns: &[CallColumns]) -> Result<()> {
        for (call, columns) in self.calls.iter_mut().zip(columns) {
            call.rows.resize(all);
            call.rows.update(slots, Rows::All(slots.len()), columns)?;
        }
        Ok(())
    }

    /// Empties a slot.
    pub(super) fn forget(&mut self, slot: u32) {
        self.calls.iter_mut().for_each(|call| call.rows.clear_group(slot as usize));
    }

    /// Begins with a key; there are so many numbers.
    pub(super) fn begin(&mut self, key: u32, all: usize) {
        for call in &mut self.calls {
            call.backs.resize(all);
            call.backs.clear_group(key as usize);
        }
    }

    /// A row comes to the back of a key.
    pub(super) fn push(&mut self, key: u32, slot: u32) -> Result<()> {
        for call in self.calls.iter_mut().filter(|call| call.stays_small) {
            call.backs.merge_groups(&call.rows, Rows::Some(&[slot]), &[key])?;
        }
        Ok(())
    }

    /// All rows of a key become its front.
    pub(super) fn turn(&mut self, key: u32, frame: &Frame) -> Result<()> {
        for call in self.calls.iter_mut().filter(|call| call.stays_small) {
            call.backs.clear_group(key as usize);
            for (slot, next) in frame.slots().rev().skip(1).zip(frame.slots().rev()) {
                call.between.clear_group(0);
                call.between.merge_groups(&call.rows, Rows::Some(&[next]), &[0])?;
                call.rows.merge_groups(&call.between, Rows::Some(&[0]), &[slot])?;
            }
        }
        Ok(())
    }

    /// Merges what a row sees into a group of results.
    pub(super) fn add_to(&self, results: &mut [Accumulator], group: u32, key: u32, frame: &Frame) -> Result<()> {
        for (call, results) in self.calls.iter().zip(results) {
            results.resize(group as usize + 1);
            if call.stays_small {
                if let Some(first) = frame.first_of_front() {
                    results.merge_groups(&call.rows, Rows::Some(&[first]), &[group])?;
                }
                results.merge_groups(&call.backs, Rows::Some(&[key]), &[group])?;
            } else if frame.len() <= MOST_ANEW {
                let slots: Vec<u32> = frame.slots().collect();
                results.merge_groups(&call.rows, Rows::Some(&slots), &vec![group; slots.len()])?;
            }
        }
        Ok(())
    }
}

/// The columns that the calls read, of declared columns.
pub(super) fn read(config: &OverConfig, columns: &[ArrayRef]) -> Result<Vec<CallColumns>> {
    let column = |name: &String| {
        let position = config.input.columns.iter().position(|column| column.name == *name);
        let missing = || weir_engine::EngineError::internal(format!("there is no column '{name}'"));
        position.map(|position| columns[position].clone()).ok_or_else(missing)
    };
    config.calls.iter().map(|call| CallColumns::of_call(call, column)).collect()
}
