//! Declared columns that no row of a file has a value for: mostly a name that is written in another way.
//!
//! Invariant: it is said once for a file that was read from its beginning, and for a bounded number of files.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// For so many files of a subtask it is said.
const TOLD_FILES: usize = 8;

/// Counts how often something was said, so that it is not said without end. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToldFiles(Arc<AtomicUsize>);

impl ToldFiles {
    /// Whether it is to be said once more.
    pub(crate) fn once_more(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < TOLD_FILES
    }
}

/// Which columns of a file have had a value.
pub(super) struct EmptyColumns {
    told: Option<ToldFiles>,
    rows: usize,
    /// Of each column; empty before the first rows.
    has_value: Vec<bool>,
    columns: Option<SchemaRef>,
}

impl EmptyColumns {
    /// Of a file that is read from its beginning.
    pub(super) fn of_file(told: &ToldFiles) -> Self {
        EmptyColumns { told: Some(told.clone()), rows: 0, has_value: Vec::new(), columns: None }
    }

    /// Of a file of which nothing is reported: its beginning was read by another attempt, or its columns are not declared.
    pub(super) fn untold() -> Self {
        EmptyColumns { told: None, rows: 0, has_value: Vec::new(), columns: None }
    }

    /// Looks at rows of the file.
    pub(super) fn observe(&mut self, rows: &RecordBatch) {
        if self.told.is_none() || rows.num_rows() == 0 {
            return;
        }
        if self.columns.is_none() {
            self.columns = Some(rows.schema());
            self.has_value = vec![false; rows.num_columns()];
        }
        self.rows += rows.num_rows();
        for (has_value, column) in self.has_value.iter_mut().zip(rows.columns()) {
            *has_value = *has_value || column.null_count() < column.len();
        }
    }

    /// Names the columns without any value.
    fn empty(&self) -> Vec<&str> {
        let columns = self.columns.iter().flat_map(|schema| schema.fields());
        columns
            .zip(&self.has_value)
            .filter(|(_, has_value)| !**has_value)
            .map(|(field, _)| field.name().as_str())
            .collect()
    }

    /// At the end of the file.
    pub(super) fn tell(&self, file: &str) {
        let empty = self.empty();
        if !empty.is_empty() && self.told.as_ref().is_some_and(ToldFiles::once_more) {
            tracing::warn!(
                file,
                columns = empty.join(", "),
                rows = self.rows,
                "columns that no row of a file has a value for, so they are null: are their names right?"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};

    #[test]
    fn a_column_is_empty_when_no_row_has_it() {
        let rows = |a: Option<&str>, b: Option<&str>| {
            let column = |value| Arc::new(StringArray::from(vec![value, None])) as ArrayRef;
            RecordBatch::try_from_iter_with_nullable([("a", column(a), true), ("b", column(b), true)]).expect("rows")
        };
        let told = ToldFiles::default();
        let mut columns = EmptyColumns::of_file(&told);
        assert!(columns.empty().is_empty(), "no rows");
        columns.observe(&rows(None, Some("x")));
        assert_eq!(columns.empty(), ["a"]);
        columns.observe(&rows(Some("y"), None));
        assert!(columns.empty().is_empty());
        let mut unknown = EmptyColumns::untold();
        unknown.observe(&rows(None, None));
        assert!(unknown.empty().is_empty());
        assert_eq!((0..20).filter(|_| told.once_more()).count(), TOLD_FILES);
    }
}
