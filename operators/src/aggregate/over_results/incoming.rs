//! The columns of results that come in, taken apart, and groups computed from the rows that are kept.

use super::gathered::Gathered;
use super::{AggregateConfig, GroupColumns, Groups, Scratch};
use crate::aggregate::accumulator::CallColumns;
use crate::aggregate::config::AggregateCall;
use crate::columns::WINDOW_END;
use crate::result_rows::{NewestRows, ResultRows};
use crate::table::Rows;
use arrow::array::{ArrayRef, AsArray};
use weir_engine::{EngineError, Result, element::Batch, hash::KeyHasher};

/// Which columns are kept of a result: those of the key, and each argument once.
#[derive(Debug)]
pub(super) struct ResultColumns {
    pub(super) key: Vec<String>,
    pub(super) arguments: Vec<String>,
    /// The end of its window; of one that is of no window, its time.
    time: String,
    /// For each call, where what it reads is among the arguments.
    calls: Vec<Reads>,
}

/// Places of the columns that a call reads.
#[derive(Debug, Clone, Copy)]
struct Reads {
    argument: Option<usize>,
    by: Option<usize>,
    filter: Option<usize>,
}

impl ResultColumns {
    pub(super) fn of(config: &AggregateConfig) -> Self {
        let mut arguments: Vec<String> = Vec::new();
        let mut place = |name: &String| {
            arguments.iter().position(|known| known == name).unwrap_or_else(|| {
                arguments.push(name.clone());
                arguments.len() - 1
            })
        };
        let mut reads = |call: &AggregateCall| Reads {
            argument: call.argument.as_ref().map(&mut place),
            by: call.by.as_ref().map(&mut place),
            filter: call.filter.as_ref().map(&mut place),
        };
        let calls = config.aggregates.iter().map(&mut reads).collect();
        ResultColumns { key: config.key.clone(), time: config.time_column.clone(), calls, arguments }
    }

    /// Number of columns that are kept.
    pub(super) fn len(&self) -> usize {
        self.key.len() + self.arguments.len()
    }

    /// Of the kept columns, those of the key.
    pub(super) fn keys<'a>(&self, columns: &'a [ArrayRef]) -> &'a [ArrayRef] {
        &columns[..self.key.len()]
    }

    /// For each call what it reads, out of the kept columns.
    ///
    /// # Errors
    /// When a filter is no truth value.
    pub(super) fn arguments(&self, columns: &[ArrayRef]) -> Result<Vec<CallColumns>> {
        let column = |at: Option<usize>| at.map(|at| columns[self.key.len() + at].clone());
        let truth = |filter: ArrayRef| {
            let wrong = || EngineError::internal(format!("a filter of type {}", filter.data_type()));
            filter.as_boolean_opt().cloned().ok_or_else(wrong)
        };
        let of = |reads: &Reads| {
            let filter = column(reads.filter).map(truth).transpose()?;
            Ok(CallColumns { argument: column(reads.argument), by: column(reads.by), filter })
        };
        self.calls.iter().map(of).collect()
    }

    /// The groups of `gathered`, in its order, each computed from the rows that hold.
    pub(super) fn computed(
        &self,
        config: &AggregateConfig,
        gathered: &Gathered,
        slices: &[&NewestRows],
        prototype: &GroupColumns,
    ) -> Result<Groups> {
        debug_assert_eq!(config.aggregates.len(), self.calls.len());
        let mut groups = Groups::new(prototype, gathered.len());
        let mut scratch = Scratch::default();
        let keys = gathered.keys(slices, self.key.len())?;
        groups.assign(gathered.hashes(), &keys, Rows::All(gathered.len()), &mut scratch)?;
        let (of_rows, columns) = gathered.living(slices, self.key.len()..self.len())?;
        let padded: Vec<ArrayRef> = keys.iter().cloned().chain(columns).collect();
        groups.update(&of_rows, Rows::All(of_rows.len()), &self.arguments(&padded)?)?;
        Ok(groups)
    }
}

/// A batch of results.
pub(super) struct Incoming {
    /// When each counts: the last moment of its window, if it is of one.
    pub(super) times: Vec<i64>,
    pub(super) rows: ResultRows,
}

impl Incoming {
    pub(super) fn of(columns: &ResultColumns, batch: &Batch, hasher: &mut KeyHasher) -> Result<Self> {
        let hashes = hasher.hashes_of(batch)?.to_vec();
        let kept = columns.key.iter().chain(&columns.arguments).map(String::as_str);
        let (rows, times) = ResultRows::of(&batch.columns, kept, hashes, &columns.time)?;
        let before = i64::from(columns.time == WINDOW_END);
        Ok(Incoming { times: times.iter().map(|time| time.saturating_sub(before)).collect(), rows })
    }
}
