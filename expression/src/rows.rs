//! Evaluates expressions on a batch of which some rows may be impossible: a text that is no number, a division by zero.
//!
//! Invariant: a row is refused if and only if evaluating it alone fails, whatever batch it came in. Where a batch as a whole
//! succeeds, every row would alone: an expression is evaluated on no fewer rows in a batch (`and`, `or` and `case` leave
//! out what alone would be left out, too). Where it fails, it is cut in halves, down to single rows. What is in the dictionary of
//! a column and in none of its rows has no say: a batch that fails is evaluated again without dictionaries.

use super::error::EvaluationError;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use weir_engine::Result as EngineResult;

/// A row that an expression cannot be evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Which, from 0.
    pub row: usize,
    /// The expression, and what happened, for people.
    pub reason: String,
}

/// What became of a batch.
#[derive(Debug)]
pub struct EvaluatedRows<T> {
    /// The results, in order, of one or more pieces of the rows that are not refused.
    pub pieces: Vec<T>,
    /// The others, in order.
    pub refused: Vec<RefusedRow>,
}

impl EvaluatedRows<Vec<ArrayRef>> {
    /// The columns of the rows that are not refused; none: all are refused.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn columns(mut self) -> EngineResult<Option<Vec<ArrayRef>>> {
        if self.pieces.len() <= 1 {
            return Ok(self.pieces.pop());
        }
        joined(&self.pieces).map(Some)
    }

    /// The columns of the rows that are not refused, in order, in as few pieces as have room for them: in a column there is room
    /// for 2 GiB of text.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn batches(self) -> EngineResult<Vec<Vec<ArrayRef>>> {
        if self.pieces.len() <= 1 {
            return Ok(self.pieces);
        }
        let mut batches = Vec::new();
        let (mut start, mut sizes) = (0, Vec::new());
        for (index, piece) in self.pieces.iter().enumerate() {
            let own: Vec<usize> = piece.iter().map(size).collect();
            let together: Vec<usize> =
                own.iter().zip(&sizes).map(|(own, before)| own.saturating_add(*before)).collect();
            if index > start && together.iter().all(|size| *size <= ROOM) {
                sizes = together;
                continue;
            }
            if index > start {
                batches.push(joined(&self.pieces[start..index])?);
            }
            (start, sizes) = (index, own);
        }
        batches.push(joined(&self.pieces[start..])?);
        Ok(batches)
    }
}

/// The bytes of a column of text or lists: the places in it are numbers of 32 bits.
const ROOM: usize = i32::MAX as usize;

/// The bytes of a column, at most.
fn size(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or(usize::MAX)
}

fn joined(pieces: &[Vec<ArrayRef>]) -> EngineResult<Vec<ArrayRef>> {
    if let [piece] = pieces {
        return Ok(piece.clone());
    }
    let columns = pieces.first().map_or(0, Vec::len);
    let column = |index: usize| {
        let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece[index].as_ref()).collect();
        Ok(concat(&pieces)?)
    };
    (0..columns).map(column).collect()
}

impl<T> EvaluatedRows<T> {
    /// True for the rows that are not refused; none: that is all of them.
    pub fn kept(&self, rows: usize) -> Option<BooleanArray> {
        if self.refused.is_empty() {
            return None;
        }
        let mut kept = vec![true; rows];
        self.refused.iter().for_each(|refused| kept[refused.row] = false);
        Some(kept.into())
    }
}

/// Calls `evaluate` on the batch and, where that fails because of what is in the rows, on smaller and smaller pieces of it.
///
/// # Errors
/// When it fails on no rows at all.
pub fn evaluate_rows<T>(
    batch: &RecordBatch,
    mut evaluate: impl FnMut(&RecordBatch) -> Result<T, EvaluationError>,
) -> Result<EvaluatedRows<T>, EvaluationError> {
    let error = match evaluate(batch) {
        Ok(piece) => return Ok(EvaluatedRows { pieces: vec![piece], refused: Vec::new() }),
        Err(error) => error,
    };
    let plain = without_dictionaries(batch);
    let first = if plain.is_some() { None } else { Some(Err(error)) };
    evaluate_pieces(plain.as_ref().unwrap_or(batch), first, evaluate)
}

/// The batch with the texts themselves in the place of dictionaries; none: it has none. Casts and functions go through a whole
/// dictionary, with texts of other rows, which may fail.
fn without_dictionaries(batch: &RecordBatch) -> Option<RecordBatch> {
    let mut is_plain = true;
    let column = |(field, column): (&Arc<Field>, &ArrayRef)| match field.data_type() {
        DataType::Dictionary(_, value) => {
            is_plain = false;
            Some((Arc::new(field.as_ref().clone().with_data_type(value.as_ref().clone())), cast(column, value).ok()?))
        }
        _ => Some((Arc::clone(field), Arc::clone(column))),
    };
    let columns: Option<Vec<(Arc<Field>, ArrayRef)>> =
        batch.schema_ref().fields().iter().zip(batch.columns()).map(column).collect();
    let (fields, columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = columns?.into_iter().unzip();
    if is_plain {
        return None;
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()
}

/// `first` is what came of the whole batch, if that is known.
fn evaluate_pieces<T>(
    batch: &RecordBatch,
    mut first: Option<Result<T, EvaluationError>>,
    mut evaluate: impl FnMut(&RecordBatch) -> Result<T, EvaluationError>,
) -> Result<EvaluatedRows<T>, EvaluationError> {
    let mut evaluated = EvaluatedRows { pieces: Vec::new(), refused: Vec::new() };
    let mut is_of_rows = false;
    // Ranges still to be evaluated, the first of them last.
    let mut ranges = vec![(0, batch.num_rows())];
    while let Some((start, rows)) = ranges.pop() {
        let result = match first.take() {
            Some(known) => known,
            None => evaluate(&batch.slice(start, rows)),
        };
        match result {
            Ok(piece) => evaluated.pieces.push(piece),
            Err(error) if rows == 0 => return Err(error),
            // What fails on nothing is not to be blamed on a row; all else is, whatever kind of error it is.
            Err(error) if !error.is_of_values && !is_of_rows => {
                evaluate(&batch.slice(0, 0))?;
                is_of_rows = true;
                ranges.push((start, rows));
            }
            Err(error) if rows == 1 => {
                if evaluated.refused.is_empty() && !is_of_rows {
                    evaluate(&batch.slice(0, 0))?;
                }
                evaluated.refused.push(RefusedRow { row: start, reason: error.to_string() });
            }
            Err(_) => {
                let half = rows / 2;
                ranges.push((start + half, rows - half));
                ranges.push((start, half));
            }
        }
    }
    Ok(evaluated)
}
