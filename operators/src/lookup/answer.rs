//! What services say, and what it means for one key.
//!
//! An answer has a row for each key of its question: whether something was found, or why there is no answer, and the values.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array, new_null_array},
    compute::{interleave, take},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use std::{collections::HashMap, sync::Arc};
use weir_engine::{EngineError, Result};

/// What is known about a key. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// These values: a row of a batch of the added columns.
    Found(Arc<RecordBatch>, u32),
    /// The service knows nothing about it.
    Missing,
    /// There is no answer, for this reason.
    Failed(Arc<str>),
}

/// What a service says about a key, while it makes an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The row with its values.
    Found(u32),
    Missing,
    Failed(String),
}

/// An answer, of what is told about each key and the values that this refers to.
pub(super) fn answer_of(told: &[Told], values: &RecordBatch) -> Result<RecordBatch> {
    let found: BooleanArray = told.iter().map(|told| Some(matches!(told, Told::Found(_)))).collect();
    let failures: StringArray = told
        .iter()
        .map(|told| match told {
            Told::Failed(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    let rows: UInt32Array = told
        .iter()
        .map(|told| match told {
            Told::Found(row) => Some(*row),
            _ => None,
        })
        .collect();
    let mut fields = vec![Field::new("found", DataType::Boolean, false), Field::new("failure", DataType::Utf8, true)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(found), Arc::new(failures)];
    for (field, column) in values.schema_ref().fields().iter().zip(values.columns()) {
        fields.push(field.as_ref().clone().with_nullable(true));
        columns.push(take(column, &rows, None)?);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// What an answer means for each of its keys, where the added columns are these.
pub(super) fn outcomes_of(answer: &RecordBatch, columns: &SchemaRef) -> Result<Vec<Outcome>> {
    let wrong = || EngineError::internal("an answer of a lookup has other columns than were asked for");
    let (found, failures) = match answer.columns() {
        [found, failures, values @ ..] if values.len() == columns.fields().len() => {
            (found.as_boolean_opt().ok_or_else(wrong)?, failures.as_string_opt::<i32>().ok_or_else(wrong)?)
        }
        _ => return Err(wrong()),
    };
    let values = Arc::new(RecordBatch::try_new(columns.clone(), answer.columns()[2..].to_vec())?);
    let outcome = |row: usize| match (found.value(row), failures.is_valid(row)) {
        (true, _) => Outcome::Found(values.clone(), row as u32),
        (false, false) => Outcome::Missing,
        (false, true) => Outcome::Failed(failures.value(row).into()),
    };
    Ok((0..answer.num_rows()).map(outcome).collect())
}

/// The added columns of some rows; null where nothing was found.
pub(super) fn values_of<'a>(
    outcomes: impl Iterator<Item = Option<&'a Outcome>>,
    columns: &SchemaRef,
) -> Result<Vec<ArrayRef>> {
    let nothing: Vec<ArrayRef> = columns.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    let mut sources: Vec<&[ArrayRef]> = vec![&nothing];
    let mut known: HashMap<*const RecordBatch, usize> = HashMap::new();
    let mut places = Vec::new();
    for outcome in outcomes {
        places.push(match outcome {
            Some(Outcome::Found(batch, row)) => {
                let source = *known.entry(Arc::as_ptr(batch)).or_insert_with(|| {
                    sources.push(batch.columns());
                    sources.len() - 1
                });
                (source, *row as usize)
            }
            _ => (0, 0),
        });
    }
    let column = |at: usize| {
        let arrays: Vec<&dyn Array> = sources.iter().map(|columns| columns[at].as_ref()).collect();
        Ok(interleave(&arrays, &places)?)
    };
    (0..columns.fields().len()).map(column).collect()
}
