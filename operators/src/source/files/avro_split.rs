//! An Avro container file as a split of the files source.
//!
//! Invariant: the position is where the block begins that rows last came from, and how many of its records came out. What is
//! wrong with a file ends no job: one that is no container is one dead letter; a damaged block is one that says where it begins,
//! and the next one is read.

use super::{avro_bytes::FileBytes, file_reader::check_not_shrunk, listing::FoundFile};
use crate::dead_letters::{DeadLetter, row_as_json};
use crate::format::{
    BadLine, FormatError,
    avro::{
        ReadColumns, RecordSchema,
        container::{BlockHead, BlockRows, ContainerHeader, MOST_HEAD_BYTES, Problem, SYNC_BYTES},
    },
};
use crate::source::{
    column_type::DeclaredSchema,
    split_reader::{SplitEvent, SplitReader},
};
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

/// Bytes that are read at once in search of the end of a damaged block.
const SEARCHED_BYTES: u64 = 1 << 20;

/// How Avro files are read.
#[derive(Clone, Debug)]
pub(super) struct AvroFileSettings {
    /// The schema that they are read by.
    pub(super) schema: RecordSchema,
    /// The wanted columns of it.
    pub(super) requested: DeclaredSchema,
}

impl AvroFileSettings {
    /// Where the columns are in the schema.
    pub(super) fn columns(&self) -> Result<ReadColumns> {
        ReadColumns::find(&self.schema, &self.requested).map_err(EngineError::definition)
    }
}

/// Where to continue in a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct AvroPosition {
    /// Where the block begins; 0: with the first one.
    pub(super) offset: u64,
    /// How many of its records came out.
    pub(super) record: u64,
    /// Whether nothing of the file is read: a dead letter has said why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) given_up: bool,
}

/// Reads a file; opens it when it is first asked.
pub(super) struct AvroSplitReader {
    file: FoundFile,
    settings: Arc<AvroFileSettings>,
    position: AvroPosition,
    opened: Option<Opened>,
    /// The block that rows come from.
    block: Option<Block>,
    last: Option<LastRows>,
    env: Env,
}

struct Opened {
    header: ContainerHeader,
    columns: ReadColumns,
    rows: BlockRows,
    bytes: FileBytes,
}

/// A decoded block.
struct Block {
    /// Its records, with how many came before them in the block.
    batches: Vec<(u64, RecordBatch)>,
    /// Where the next one begins.
    next: u64,
}

/// Rows that came out, of the block at a place.
struct LastRows {
    rows: RecordBatch,
    block: u64,
}

impl AvroSplitReader {
    pub(super) fn new(file: FoundFile, settings: Arc<AvroFileSettings>, position: AvroPosition, env: Env) -> Self {
        AvroSplitReader { file, settings, position, opened: None, block: None, last: None, env }
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        self.last = None;
        loop {
            if self.position.given_up {
                self.opened = None;
                return Ok(SplitEvent::Finished);
            }
            if self.opened.is_none()
                && let Err(problem) = self.open().await?
            {
                self.position.given_up = true;
                tracing::warn!(file = %self.file.name, "a file is not read: {problem}");
                return Ok(self.without_rows(0, problem));
            }
            let Some(opened) = &self.opened else { continue };
            let length = opened.bytes.length();
            if self.position.offset == 0 {
                self.position.offset = opened.header.bytes() as u64;
            }
            if let Some(rows) = self.records(max_rows)? {
                return Ok(rows);
            }
            if length <= self.position.offset {
                self.opened = None;
                return Ok(SplitEvent::Finished);
            }
            if let Some(damage) = self.read_block().await? {
                return Ok(damage);
            }
        }
    }

    /// Opens the file; what is wrong with its header, in words.
    async fn open(&mut self) -> Result<std::result::Result<(), String>> {
        self.env.crash_point("files.opening")?;
        let mut bytes = FileBytes::open(&self.file)?;
        self.env.crash_point("files.opened")?;
        check_not_shrunk(&self.file.name, bytes.length(), self.position.offset)?;
        let header = match bytes.header().await? {
            Ok(header) => header,
            Err(problem) => return Ok(Err(format!("the file is no Avro container: {problem}"))),
        };
        if let Err(problem) = header.schema().check_readable_by(&self.settings.schema) {
            return Ok(Err(format!("its records can't be read by the schema of the source: {problem}")));
        }
        let columns = self.settings.columns()?;
        let rows = BlockRows::new(&self.settings.requested, columns.clone()).map_err(format_error)?;
        self.opened = Some(Opened { header, columns, rows, bytes });
        Ok(Ok(()))
    }

    /// The next records of the block that is being read; none at its end, and when there is none.
    fn records(&mut self, max_rows: usize) -> Result<Option<SplitEvent>> {
        let (Some(opened), Some(block)) = (&mut self.opened, &self.block) else { return Ok(None) };
        let AvroPosition { offset, record, .. } = self.position;
        let rest = |(first, batch): &(u64, RecordBatch)| {
            let passed = usize::try_from(record.checked_sub(*first)?).ok()?;
            (passed < batch.num_rows()).then(|| batch.slice(passed, max_rows.max(1).min(batch.num_rows() - passed)))
        };
        let Some(records) = block.batches.iter().find_map(rest) else {
            self.position = AvroPosition { offset: block.next, ..AvroPosition::default() };
            self.block = None;
            return Ok(None);
        };
        let decoded = opened.rows.decode(&records, offset, record).map_err(format_error)?;
        self.position.record += records.num_rows() as u64;
        let letter = |bad: BadLine| DeadLetter { offset: signed(bad.offset), reason: bad.reason, raw: bad.raw };
        let dead_letters = decoded.bad_lines.into_iter().map(letter).collect();
        self.last = Some(LastRows { rows: decoded.records.clone(), block: offset });
        Ok(Some(SplitEvent::Records { columns: decoded.records, dead_letters }))
    }

    /// Reads the block at the position; a dead letter where that is damaged, and the position is behind it then.
    async fn read_block(&mut self) -> Result<Option<SplitEvent>> {
        let Some(opened) = &mut self.opened else { return Ok(None) };
        let (offset, end) = (self.position.offset, opened.bytes.length());
        let first = opened.bytes.read(offset, offset.saturating_add(MOST_HEAD_BYTES as u64)).await?;
        let head = BlockHead::parse(&first);
        let next = head.and_then(|head| offset.checked_add(head.bytes()? as u64)).filter(|next| *next <= end);
        let problem = match head.zip(next) {
            None if head.is_none() => Problem::Damaged("what should be the head of a block is none".to_owned()),
            None => Problem::Damaged("the file ends before the block does".to_owned()),
            Some((head, next)) => {
                let decoded = match head.check() {
                    Ok(()) => {
                        let block = opened.bytes.read(offset, next).await?;
                        opened.header.decode(&block, head, &self.settings.schema, &opened.columns)
                    }
                    Err(problem) => Err(problem),
                };
                match decoded {
                    Ok(batches) => {
                        let mut before = 0;
                        let counted = |batch: RecordBatch| {
                            let first = before;
                            before += batch.num_rows() as u64;
                            (first, batch)
                        };
                        self.block = Some(Block { batches: batches.into_iter().map(counted).collect(), next });
                        return Ok(None);
                    }
                    Err(problem) => problem,
                }
            }
        };
        let next = self.end_of_damage(offset).await?;
        self.position = AvroPosition { offset: next, ..AvroPosition::default() };
        let reason = format!("the block at byte {offset} {problem}: nothing is read before byte {next}");
        tracing::warn!(file = %self.file.name, "a part of a file is not read: {reason}");
        Ok(Some(self.without_rows(offset, reason)))
    }

    /// Where the next block may begin, behind one that is damaged.
    async fn end_of_damage(&mut self, offset: u64) -> Result<u64> {
        let Some(opened) = &mut self.opened else { return Ok(offset) };
        // The marker before the block ends where the block begins, and is not found again.
        let mut from = offset;
        let length = opened.bytes.length();
        while from < length {
            let to = length.min(from + SEARCHED_BYTES);
            let bytes = opened.bytes.read(from, to).await?;
            if let Some(end) = opened.header.end_of_sync(&bytes) {
                return Ok(from + end as u64);
            }
            // It may lie across two pieces.
            from = if to == length { to } else { to - SYNC_BYTES as u64 };
        }
        Ok(length)
    }

    fn without_rows(&self, offset: u64, reason: String) -> SplitEvent {
        let columns = RecordBatch::new_empty(self.settings.requested.arrow_schema());
        let dead_letters = vec![DeadLetter { offset: signed(offset), reason, raw: String::new() }];
        SplitEvent::Records { columns, dead_letters }
    }
}

fn signed(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

fn format_error(error: FormatError) -> EngineError {
    EngineError::definition(error.to_string())
}

impl SplitReader for AvroSplitReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(self.position)
    }

    /// The offset is where the block of a row begins.
    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let Some(LastRows { rows: last, block }) = &self.last else { return Vec::new() };
        let found = |row: &usize| {
            (*row < last.num_rows()).then(|| DeadLetter {
                offset: signed(*block),
                reason: String::new(),
                raw: row_as_json(last, *row),
            })
        };
        rows.iter().filter_map(found).collect()
    }

    fn bytes_behind(&self) -> u64 {
        self.position.offset
    }
}
