//! What services say, and what it means for one key.
//!
//! An answer has a row for each key of its question: whether something was found, or why there is no answer, and the values.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array, new_null_array},
    compute::{interleave, take},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use std::{collections::HashMap, ops::Range, sync::Arc};
use weir_engine::{EngineError, Result};

/// Texts of answers that lie in one column have no more bytes than this together, but for one that has. There is room for 2 GiB.
pub(super) const MOST_BYTES: usize = 1 << 30;

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

impl Outcome {
    /// How many bytes its texts have.
    fn bytes(&self) -> usize {
        match self {
            Outcome::Found(batch, row) => {
                let texts = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
                texts.map(|texts| texts.value_length(*row as usize) as usize).sum()
            }
            Outcome::Missing => 0,
            Outcome::Failed(reason) => reason.len(),
        }
    }
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

/// Cuts outcomes into runs whose texts have no more bytes together, but for a run of one that has. A few answers may be those of
/// any number of rows.
pub(super) fn runs<'a>(outcomes: impl Iterator<Item = Option<&'a Outcome>>, most_bytes: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0_usize;
    for (row, outcome) in outcomes.enumerate() {
        let own = outcome.map_or(0, Outcome::bytes);
        bytes = bytes.saturating_add(own);
        match runs.last_mut() {
            Some(run) if bytes <= most_bytes => run.end = row + 1,
            _ => {
                runs.push(row..row + 1);
                bytes = own;
            }
        }
    }
    runs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_cut_by_the_bytes_of_their_texts() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("four"), None, Some("too long")]));
        let found = Arc::new(RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap());
        let four = Outcome::Found(found.clone(), 0);
        let null = Outcome::Found(found.clone(), 1);
        let long = Outcome::Found(found, 2);
        let cut = |outcomes: &[&Outcome]| runs(outcomes.iter().map(|outcome| Some(*outcome)), 7);
        assert_eq!(cut(&[&four, &null, &Outcome::Missing, &four]), [0..3, 3..4]);
        assert_eq!(cut(&[&long, &long, &null]), [0..1, 1..2, 2..3]);
        assert_eq!(cut(&[&four, &Outcome::Failed("no".into()), &Outcome::Failed("no".into())]), [0..2, 2..3]);
        assert!(cut(&[]).is_empty());
        assert_eq!(runs([None, Some(&long), None].into_iter(), 8).first(), Some(&(0..3)));
    }
}
