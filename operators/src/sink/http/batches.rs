//! Staged rows, cut into what is posted at a time.
//!
//! Invariant: how rows are cut follows from what is staged and from the definition alone, so that a batch that is sent again is the same
//! one.

use super::{committable::Part, config::BodyFormat, row_keys};
use crate::sink::staged_batches;
use arrow::{
    array::{Array, AsArray},
    datatypes::DataType,
};
use bytes::Bytes;
use std::collections::VecDeque;
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitterContext,
};

/// A body has no more bytes than this, but for one row that has.
const BODY_BYTES: usize = 1 << 20;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub key: String,
    /// A JSON object.
    pub object: Bytes,
}

/// What comes next of a checkpoint.
#[derive(Debug)]
pub(super) enum Next {
    /// Rows to be posted together.
    Batch(Vec<Row>),
    /// There are no more.
    End,
    /// A staged file is gone: all of it was done before.
    Gone,
}

/// Cuts the rows of one checkpoint.
pub(super) struct Batches<'a> {
    context: &'a CommitterContext,
    parts: &'a [Part],
    most: usize,
    rows: VecDeque<Row>,
}

impl<'a> Batches<'a> {
    pub fn new(context: &'a CommitterContext, parts: &'a [Part], most: usize) -> Self {
        Batches { context, parts, most, rows: VecDeque::new() }
    }

    pub async fn next(&mut self) -> Result<Next> {
        while self.rows.len() < self.most
            && let Some((part, rest)) = self.parts.split_first()
        {
            let Some(content) = self.context.staging.get(&part.file).await? else { return Ok(Next::Gone) };
            read(&part.file.path, content, &mut self.rows)?;
            self.parts = rest;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.most
            && let Some(row) = self.rows.pop_front()
        {
            bytes += row.object.len();
            if bytes > BODY_BYTES && !batch.is_empty() {
                self.rows.push_front(row);
                break;
            }
            batch.push(row);
        }
        Ok(if batch.is_empty() { Next::End } else { Next::Batch(batch) })
    }
}

fn read(path: &str, content: Bytes, rows: &mut VecDeque<Row>) -> Result<()> {
    let other = || EngineError::corrupt(format!("'{path}' does not hold staged rows"));
    for batch in staged_batches::decode(path, content)? {
        let columns = batch.column_by_name("key").zip(batch.column_by_name("value"));
        let (keys, values) = columns.ok_or_else(other)?;
        if *values.data_type() != DataType::Binary {
            return Err(other());
        }
        let (keys, values) = (keys.as_string_opt::<i32>().ok_or_else(other)?, values.as_binary::<i32>());
        rows.extend(
            (0..keys.len())
                .map(|row| Row { key: keys.value(row).to_owned(), object: Bytes::copy_from_slice(values.value(row)) }),
        );
    }
    Ok(())
}

/// The key of rows that are posted together.
pub(super) fn key_of(context: &CommitterContext, rows: &[Row]) -> String {
    row_keys::of_batch(&context.job, &context.sink, rows.iter().map(|row| row.key.as_str()))
}

/// What is posted.
pub(super) fn body_of(rows: &[Row], format: BodyFormat) -> Bytes {
    let bytes: usize = rows.iter().map(|row| row.object.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 2);
    let (open, between, end): (&[u8], &[u8], &[u8]) = match format {
        BodyFormat::Json => (b"[", b",", b"]"),
        BodyFormat::JsonLines => (b"", b"\n", b"\n"),
    };
    body.extend_from_slice(open);
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(&row.object);
    }
    body.extend_from_slice(end);
    body.into()
}
