//! Columns whose values are in the names of folders, as in `country=US/day=2022-03-04/clicks.parquet`, the way Hive began it.
//!
//! Invariant: a file's values follow from its name alone: of several folders of a name the innermost says it. A value is
//! percent-decoded; `__HIVE_DEFAULT_PARTITION__` is null, and so is a column that no folder gives, which is reported. A file whose
//! folder has no value of the declared type is one dead letter.

use super::empty_columns::ToldFiles;
use crate::format::column_builder::ColumnBuilder;
use crate::{
    dead_letters::DeadLetter,
    source::{
        column_type::{DeclaredColumn, DeclaredSchema},
        split_reader::{Connector, OpenedSplit, Over, OverSplits, RestoredSplit, SplitEvent, SplitReader},
    },
};
use arrow::{
    array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::take,
    datatypes::{DataType, Int32Type, Schema, SchemaRef},
};
use futures::{FutureExt, future::BoxFuture};
use percent_encoding::percent_decode_str;
use std::{collections::HashSet, sync::Arc};
use weir_engine::error::Result;

/// The name that Hive gave to the folder of rows without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Which of a source's columns are given by folders.
#[derive(Clone, Debug)]
pub(super) struct PartitionColumns {
    /// All columns of the source, in order.
    all: SchemaRef,
    /// Those of folders, and their places among all.
    columns: Vec<(usize, DeclaredColumn)>,
    told: ToldFiles,
}

impl PartitionColumns {
    /// Of the columns `all`; none when no folder gives one of them.
    pub(super) fn of(all: &Schema, declared: &DeclaredSchema) -> Option<Self> {
        let place = |column: &DeclaredColumn| Some((all.index_of(&column.name).ok()?, column.clone()));
        let mut columns: Vec<_> = declared.columns.iter().filter_map(place).collect();
        columns.sort_by_key(|(place, _)| *place);
        let told = ToldFiles::default();
        (!columns.is_empty()).then(|| PartitionColumns { all: Arc::new(all.clone()), columns, told })
    }

    /// The values for a file, each as a column of one row.
    ///
    /// # Errors
    /// When a folder has no value of the declared type: names it, and says why.
    fn values(&self, file: &str) -> std::result::Result<Vec<ArrayRef>, String> {
        self.columns.iter().map(|(_, column)| self.value(file, column)).collect()
    }

    fn value(&self, file: &str, column: &DeclaredColumn) -> std::result::Result<ArrayRef, String> {
        let mut builder = ColumnBuilder::new(column).map_err(|error| error.to_string())?;
        match folder_value(file, &column.name) {
            Some(value) if value != NO_VALUE => {
                let append = |builder: &mut ColumnBuilder| builder.append_text(&value);
                append(&mut builder).map_err(|error| {
                    format!(
                        "the folder {}={value} that contains the file has no valid value: {value:?} {error}",
                        column.name
                    )
                })?;
            }
            Some(_) => builder.append_null(),
            None => {
                if self.told.once_more() {
                    let column = &column.name;
                    tracing::warn!(
                        file,
                        "no folder that contains a file is named `{column}=…`, so that {column} is null"
                    );
                }
                builder.append_null();
            }
        }
        Ok(builder.finish())
    }

    /// Rows with the columns of folders put to their places.
    fn complete(&self, rows: &RecordBatch, values: &[ArrayRef]) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut fields = rows.schema_ref().fields().to_vec();
        let mut columns = rows.columns().to_vec();
        for ((place, _), value) in self.columns.iter().zip(values) {
            let column = repeat(value, count)?;
            let field = self.all.field(*place).clone().with_data_type(column.data_type().clone()).with_nullable(true);
            fields.insert(*place, Arc::new(field));
            columns.insert(*place, column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

/// A column of one row, so many times.
fn repeat(value: &ArrayRef, count: usize) -> Result<ArrayRef> {
    if *value.data_type() == DataType::Utf8 && value.null_count() == 0 {
        let keys = Int32Array::from(vec![0; count]);
        return Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, value.clone())?));
    }
    Ok(take(value, &UInt32Array::from(vec![0; count]), None)?)
}

/// What the innermost folder `NAME=VALUE` of a file says.
fn folder_value(file: &str, name: &str) -> Option<String> {
    let (folders, _) = file.rsplit_once('/')?;
    folders.rsplit('/').find_map(|folder| {
        let (found, value) = folder.split_once('=')?;
        (decoded(found) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Adds the columns of folders to the files of a connector.
pub(super) struct PartitionedFiles {
    columns: Arc<PartitionColumns>,
    /// Splits of a checkpoint whose reason had come out.
    told: HashSet<String>,
}

impl PartitionedFiles {
    pub(super) fn over(files: Box<dyn Connector>, columns: PartitionColumns) -> Box<dyn Connector> {
        Over::boxed(files, PartitionedFiles { columns: Arc::new(columns), told: HashSet::new() })
    }
}

impl OverSplits for PartitionedFiles {
    fn restoring(&mut self, restored: &[RestoredSplit]) {
        let is_told = |split: &&RestoredSplit| split.position.get(REFUSED).is_some();
        self.told = restored.iter().filter(is_told).map(|split| split.id.clone()).collect();
    }

    fn over(&mut self, opened: OpenedSplit) -> OpenedSplit {
        // Of a file that is cut into splits the first one says what is wrong with it.
        let is_first = opened.id.strip_prefix(&opened.name).is_none_or(|part| matches!(part, "" | "#0"));
        let values = match self.columns.values(&opened.name) {
            Ok(values) => Values::Known(values),
            Err(_) if self.told.contains(&opened.id) || !is_first => Values::Refused(None),
            Err(problem) => Values::Refused(Some(problem)),
        };
        let reader = PartitionedReader { rows: opened.reader, columns: self.columns.clone(), values };
        OpenedSplit { reader: Box::new(reader), ..opened }
    }
}

/// What the folders of a file say.
enum Values {
    Known(Vec<ArrayRef>),
    /// Nothing that can be read: the reason, until it has come out.
    Refused(Option<String>),
}

/// Stands in the position of a split whose reason has come out.
const REFUSED: &str = "folders_refused";

/// A split with the columns of its folders, or the dead letter that replaces it.
struct PartitionedReader {
    rows: Box<dyn SplitReader>,
    columns: Arc<PartitionColumns>,
    values: Values,
}

impl PartitionedReader {
    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        let values = match &mut self.values {
            Values::Known(values) => values,
            Values::Refused(reason) => {
                let Some(reason) = reason.take() else { return Ok(SplitEvent::Finished) };
                let dead_letter = DeadLetter { offset: 0, reason, raw: String::new() };
                let columns = RecordBatch::new_empty(self.columns.all.clone());
                return Ok(SplitEvent::Records { columns, dead_letters: vec![dead_letter] });
            }
        };
        match self.rows.next_chunk(max_rows).await? {
            SplitEvent::Records { columns, dead_letters } => {
                let columns = self.columns.complete(&columns, values)?;
                Ok(SplitEvent::Records { columns, dead_letters })
            }
            other => Ok(other),
        }
    }
}

impl SplitReader for PartitionedReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        let mut position = self.rows.position();
        if let (Values::Refused(None), Some(position)) = (&self.values, position.as_object_mut()) {
            position.insert(REFUSED.to_owned(), true.into());
        }
        position
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        self.rows.locate_rows(rows)
    }

    fn is_at_hand(&self) -> bool {
        // A column of nulls is of another type than one with a value.
        let is_usual = |values: &Vec<ArrayRef>| values.iter().all(|value| value.null_count() == 0);
        matches!(&self.values, Values::Known(values) if is_usual(values)) && self.rows.is_at_hand()
    }

    fn is_over(&self) -> bool {
        matches!(self.values, Values::Known(_)) && self.rows.is_over()
    }

    fn bytes_behind(&self) -> u64 {
        self.rows.bytes_behind()
    }
}
