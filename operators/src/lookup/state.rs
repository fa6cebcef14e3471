//! Rows that wait, and answers that are remembered, as state and back.
//!
//! All of it has the same columns: those that come in, those that are added, and what is known beside them. Of an answer only
//! the columns of its key are filled among those that come in.

use super::{
    answer::{Outcome, runs, values_of},
    cache::Remembered,
    waiting::Piece,
};
use crate::{schema::ColumnSchema, table::plain_key_type};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
        new_null_array,
    },
    compute::{cast, filter_record_batch, interleave},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef},
};
use std::{collections::HashMap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::Batch,
    key_group::{KeyGroupRange, key_group_of},
    parquet_pages::parquet_schema,
};

const FOUND: &str = "found";
const MISSING: &str = "missing";
const FAILED: &str = "failed";

/// The place of what rows are in order by.
pub(super) const ORDER: usize = 1;

/// What is known beside the columns of rows: names and types.
const BESIDE: [(&str, DataType); 6] = [
    ("key_group", DataType::Int32),
    ("lookup_order", DataType::Int64),
    ("lookup_at", DataType::Int64),
    ("lookup_outcome", DataType::Utf8),
    ("lookup_failure", DataType::Utf8),
    ("split_watermark", DataType::Int64),
];

/// The columns of the state.
#[derive(Clone, Debug)]
pub(super) struct LookupState {
    input: ColumnSchema,
    added: SchemaRef,
    stored: SchemaRef,
    /// Of the columns that come in, those of the key.
    key: Vec<usize>,
    max_parallelism: u16,
}

/// Rows of a stored piece of rows.
#[derive(Debug)]
pub(super) struct StoredRows {
    pub batch: Batch,
    pub outcomes: Vec<Option<Outcome>>,
}

/// Whether rows of these columns can wait.
///
/// # Errors
/// Naming the column that cannot.
pub(crate) fn check(input: &ColumnSchema) -> Result<()> {
    parquet_schema(&input.to_arrow())
        .map(|_| ())
        .map_err(|error| EngineError::definition(format!("rows with such columns cannot wait: {error}")))
}

impl LookupState {
    pub fn new(input: &ColumnSchema, added: &SchemaRef, key: &[String], max_parallelism: u16) -> Result<Self> {
        check(input)?;
        let key: Option<Vec<usize>> = key.iter().map(|name| input.names().position(|other| other == name)).collect();
        let key = key.ok_or_else(|| EngineError::definition("a column of the key does not come in"))?;
        let own = input.columns.iter().map(|column| (column.name.as_str(), column.data_type.clone()));
        let added_fields = added.fields().iter().map(|field| (field.name().as_str(), field.data_type().clone()));
        let all: Vec<(&str, DataType)> = own.chain(added_fields).collect();
        let free = |name: &str| {
            let mut name = name.to_owned();
            while all.iter().any(|(other, _)| *other == name) {
                name.push('_');
            }
            name
        };
        let beside = BESIDE.iter().map(|(name, data_type)| Field::new(free(name), data_type.clone(), true));
        let fields = beside.chain(all.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)));
        let stored = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(LookupState { input: input.clone(), added: added.clone(), stored, key, max_parallelism })
    }

    fn key_groups<'a>(&self, hashes: impl Iterator<Item = u128> + 'a) -> ArrayRef {
        let max = self.max_parallelism;
        Arc::new(Int32Array::from_iter_values(hashes.map(|hash| i32::from(key_group_of(hash, max)))))
    }

    /// What is told beside rows, from the `lookup_outcome` on.
    fn told<'a>(outcomes: impl Iterator<Item = Option<&'a Outcome>> + Clone) -> [ArrayRef; 2] {
        let word = |outcome: Option<&Outcome>| {
            outcome.map(|outcome| match outcome {
                Outcome::Found(..) => FOUND,
                Outcome::Missing => MISSING,
                Outcome::Failed(_) => FAILED,
            })
        };
        let failure = |outcome: Option<&'a Outcome>| match outcome {
            Some(Outcome::Failed(reason)) => Some(reason.as_ref()),
            _ => None,
        };
        let words: StringArray = outcomes.clone().map(word).collect();
        let failures: StringArray = outcomes.map(failure).collect();
        [Arc::new(words), Arc::new(failures)]
    }

    /// What a checkpoint stores of a piece of rows: what is not released, in batches with so many bytes of answers. Made beside
    /// the processing.
    pub fn rows(&self, piece: &Piece, most_bytes: usize) -> impl FnOnce() -> Result<Vec<RecordBatch>> + Send + 'static {
        let (state, from) = (self.clone(), piece.released);
        let batch = piece.batch.slice(from, piece.batch.len() - from);
        let hashes: Vec<u128> = (from..piece.batch.len()).map(|row| piece.hash(row)).collect();
        let outcomes = piece.outcomes[from..].to_vec();
        let from = piece.before + from;
        move || {
            let runs = runs(outcomes.iter().map(Option::as_ref), most_bytes);
            let rows = runs.into_iter().map(|run| {
                let batch = batch.slice(run.start, run.len());
                state.rows_of(&batch, &hashes[run.clone()], &outcomes[run.clone()], from + run.start)
            });
            rows.collect()
        }
    }

    fn rows_of(
        &self,
        batch: &Batch,
        hashes: &[u128],
        outcomes: &[Option<Outcome>],
        from: usize,
    ) -> Result<RecordBatch> {
        let count = batch.len();
        let order = Int64Array::from_iter_values((from..from + count).map(|row| row as i64));
        let told = || outcomes.iter().map(Option::as_ref);
        let [words, failures] = Self::told(told());
        let watermarks: ArrayRef = match &batch.split_watermarks {
            Some(watermarks) => Arc::new(Int64Array::new(watermarks.clone(), None)),
            None => new_null_array(&DataType::Int64, count),
        };
        let at = new_null_array(&DataType::Int64, count);
        let mut columns =
            vec![self.key_groups(hashes.iter().copied()), Arc::new(order), at, words, failures, watermarks];
        columns.extend(batch.columns.columns().iter().cloned());
        columns.extend(values_of(told(), &self.added)?);
        self.stored(columns, count)
    }

    /// What a checkpoint stores of answers, in batches with so many bytes of them. Made beside the processing.
    pub fn answers(
        &self,
        answers: Vec<Remembered>,
        most_bytes: usize,
    ) -> impl FnOnce() -> Result<Vec<RecordBatch>> + Send + 'static {
        let state = self.clone();
        move || {
            let runs = runs(answers.iter().map(|answer| Some(&answer.outcome)), most_bytes);
            runs.into_iter().map(|run| state.answers_of(&answers[run])).collect()
        }
    }

    fn answers_of(&self, answers: &[Remembered]) -> Result<RecordBatch> {
        let count = answers.len();
        let keys = keys_of(answers)?;
        let names = self.key.iter().map(|at| self.input.columns[*at].name.clone()).collect();
        let hashes = weir_engine::hash::KeyHasher::new(names).hash(&self.key_batch(&keys)?)?;
        let told = || answers.iter().map(|answer| Some(&answer.outcome));
        let [words, failures] = Self::told(told());
        let at = Int64Array::from_iter_values(answers.iter().map(|answer| answer.at_ms));
        let order = Int64Array::from_iter_values(0..count as i64);
        let watermarks = new_null_array(&DataType::Int64, count);
        let mut columns =
            vec![self.key_groups(hashes.into_iter()), Arc::new(order), Arc::new(at), words, failures, watermarks];
        for (at, column) in self.input.columns.iter().enumerate() {
            columns.push(match self.key.iter().position(|key| *key == at) {
                Some(place) => keys[place].clone(),
                None => new_null_array(&column.data_type, count),
            });
        }
        columns.extend(values_of(told(), &self.added)?);
        self.stored(columns, count)
    }

    /// Keys under the names that they come in with.
    fn key_batch(&self, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let field =
            |(at, key): (&usize, &ArrayRef)| Field::new(&self.input.columns[*at].name, key.data_type().clone(), true);
        let fields: Vec<Field> = self.key.iter().zip(keys).map(field).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), keys.to_vec())?)
    }

    fn stored(&self, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
        // Texts may come in any form, and are stored in one.
        let cast_to = |(column, field): (&ArrayRef, &Arc<Field>)| cast(column, field.data_type());
        let columns = columns.iter().zip(self.stored.fields()).map(cast_to).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.stored.clone(), columns, &options)?)
    }

    /// The rows of a stored batch that belong to these key groups.
    pub fn own(&self, stored: &RecordBatch, key_groups: KeyGroupRange) -> Result<RecordBatch> {
        let groups = stored.columns().first().and_then(|groups| groups.as_primitive_opt::<Int32Type>());
        let Some(groups) = groups.filter(|_| stored.num_columns() == self.stored.fields().len()) else {
            return Err(EngineError::corrupt("not the columns of the state of a lookup"));
        };
        let is_own = |group: Option<i32>| {
            group.and_then(|group| u16::try_from(group).ok()).is_some_and(|group| key_groups.contains(group))
        };
        let is_own: BooleanArray = groups.iter().map(|group| Some(is_own(group))).collect();
        let own = filter_record_batch(stored, &is_own)?;
        // As they are declared, in whatever form a file had them.
        self.stored(own.columns().to_vec(), own.num_rows())
    }

    /// Rows that wait, out of what is [`own`](Self::own).
    pub fn rows_back(&self, own: &RecordBatch) -> Result<StoredRows> {
        let watermarks = integers(own, 5)?;
        let mut batch = Batch::new(self.columns(own, BESIDE.len(), &self.input)?);
        if own.num_rows() > 0 && watermarks.null_count() == 0 {
            batch.split_watermarks = Some(watermarks.values().clone());
        } else if watermarks.null_count() < own.num_rows() {
            // Pieces of several subtasks: where no row was behind, none is late.
            let known = watermarks.iter().map(|watermark| watermark.unwrap_or(i64::MIN));
            batch.split_watermarks = Some(known.collect());
        }
        Ok(StoredRows { batch, outcomes: self.outcomes(own)? })
    }

    /// Answers that are remembered, out of what is [`own`](Self::own).
    pub fn answers_back(&self, own: &RecordBatch) -> Result<(RecordBatch, Vec<Remembered>)> {
        let keys = self.key.iter().map(|at| {
            let column = own.column(BESIDE.len() + at);
            Ok(cast(column, &plain_key_type(column.data_type()))?)
        });
        let keys = Arc::new(self.key_batch(&keys.collect::<Result<Vec<_>>>()?)?);
        let (at, outcomes) = (integers(own, 2)?, self.outcomes(own)?);
        let remembered = |(row, outcome): (usize, Option<Outcome>)| {
            let outcome = outcome.ok_or_else(|| EngineError::corrupt("a remembered answer says nothing"))?;
            Ok(Remembered { outcome, keys: keys.clone(), row: row as u32, at_ms: at.value(row) })
        };
        let answers = outcomes.into_iter().enumerate().map(remembered).collect::<Result<_>>()?;
        Ok((keys.as_ref().clone(), answers))
    }

    fn outcomes(&self, own: &RecordBatch) -> Result<Vec<Option<Outcome>>> {
        let (words, failures) = (texts(own, 3)?, texts(own, 4)?);
        let added = ColumnSchema::from(self.added.as_ref());
        let values = self.columns(own, BESIDE.len() + self.input.columns.len(), &added)?;
        let values = Arc::new(RecordBatch::try_new(self.added.clone(), values.columns().to_vec())?);
        let outcome = |row: usize| {
            Ok(match words.is_valid(row).then(|| words.value(row)) {
                None => None,
                Some(FOUND) => Some(Outcome::Found(values.clone(), row as u32)),
                Some(MISSING) => Some(Outcome::Missing),
                Some(FAILED) => Some(Outcome::Failed(failures.value(row).into())),
                Some(other) => return Err(EngineError::corrupt(format!("no outcome of a lookup: '{other}'"))),
            })
        };
        (0..own.num_rows()).map(outcome).collect()
    }

    /// Some columns, as they flow.
    fn columns(&self, own: &RecordBatch, from: usize, columns: &ColumnSchema) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(columns.columns.len());
        for (at, column) in columns.columns.iter().enumerate() {
            let nullable = column.nullable || own.column(from + at).null_count() > 0;
            fields.push(Field::new(&column.name, column.data_type.clone(), nullable));
        }
        let arrays = own.columns()[from..from + columns.columns.len()].to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(own.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }
}

/// The keys of answers, column by column.
fn keys_of(answers: &[Remembered]) -> Result<Vec<ArrayRef>> {
    let mut batches: Vec<&RecordBatch> = Vec::new();
    let mut known: HashMap<*const RecordBatch, usize> = HashMap::new();
    let mut places = Vec::with_capacity(answers.len());
    for answer in answers {
        let batch = *known.entry(Arc::as_ptr(&answer.keys)).or_insert_with(|| {
            batches.push(answer.keys.as_ref());
            batches.len() - 1
        });
        places.push((batch, answer.row as usize));
    }
    let columns = batches.first().map_or(0, |batch| batch.num_columns());
    let column = |at: usize| {
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(at).as_ref()).collect();
        Ok(interleave(&arrays, &places)?)
    };
    (0..columns).map(column).collect()
}

fn integers(rows: &RecordBatch, at: usize) -> Result<&Int64Array> {
    let column = rows.columns().get(at).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.ok_or_else(|| EngineError::corrupt("a column of the state of a lookup holds no numbers"))
}

fn texts(rows: &RecordBatch, at: usize) -> Result<&StringArray> {
    let column = rows.columns().get(at).and_then(|column| column.as_string_opt::<i32>());
    column.ok_or_else(|| EngineError::corrupt("a column of the state of a lookup holds no texts"))
}
