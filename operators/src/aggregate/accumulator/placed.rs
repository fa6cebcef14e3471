//! Rows, and the groups that they belong to.

use crate::table::Rows;
use arrow::{
    array::{ArrayRef, UInt32Array},
    buffer::NullBuffer,
    compute::take,
};
use std::sync::Arc;
use weir_engine::Result;

/// Rows with a group each: the n-th of the rows belongs to `groups[n]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed<'a> {
    /// A group for each row.
    pub(super) groups: &'a [u32],
    /// Which rows of a column.
    pub(super) rows: Rows<'a>,
}

impl<'a> Placed<'a> {
    /// Group and row, one after the other.
    #[inline(always)]
    pub(super) fn iter(self) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.groups.iter().enumerate().map(move |(n, group)| (*group as usize, self.rows.row(n)))
    }

    /// Group and row of every row that is not null.
    #[inline(always)]
    pub(super) fn present(self, nulls: Option<&'a NullBuffer>) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.iter().filter(move |(_, row)| nulls.is_none_or(|nulls| nulls.is_valid(*row)))
    }

    /// The same rows in a column of their own, for work that is done on whole columns; where most rows are meant, the column
    /// as it is.
    pub(super) fn gathered(self, column: &ArrayRef) -> Result<(Placed<'a>, ArrayRef)> {
        match self.rows {
            Rows::Some(rows) if rows.len() < column.len() => {
                let rows = UInt32Array::from(rows.to_vec());
                Ok((Placed { groups: self.groups, rows: Rows::All(self.groups.len()) }, take(column, &rows, None)?))
            }
            _ => Ok((self, Arc::clone(column))),
        }
    }
}
