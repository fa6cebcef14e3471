//! Object container files: a header with the schema, then blocks of records, each compressed by itself and followed by sixteen
//! bytes that are the same in the whole file. What is here knows bytes and no files.
//! ([`ContainerWriter`](super::ContainerWriter) makes them.)
//!
//! Invariant: a block is read as a whole or not at all, and not if it takes too much memory. Of one that is damaged only the place is known, and the next one begins
//! behind the sixteen bytes, wherever they come next.

use arrow::array::{Array, RecordBatch, StructArray};
use arrow_avro::{
    compression::CompressionCodec,
    reader::{ReaderBuilder, read_header_info},
    schema::AvroSchema,
};
use memchr::memmem;
use std::{fmt, io::Cursor};

use super::{
    codec::{Codec, Unpacked, too_large},
    columns::ReadColumns,
    nested::json_of,
    schema::{MOST_ROWS, RecordSchema},
};
use crate::format::{BadLine, DecodedLines, FormatError, rows::Rows};
use crate::source::column_type::DeclaredSchema;

/// What a container begins with.
pub const MAGIC: &[u8] = b"Obj\x01";
/// What stands behind every block.
pub const SYNC_BYTES: usize = 16;
/// The most bytes that stand before the records of a block: two numbers.
pub const MOST_HEAD_BYTES: usize = 20;
/// The most bytes that a block may take, compressed or not. Writers begin a new one after some kilobytes, or a megabyte or two.
const MOST_BLOCK_BYTES: usize = 64 << 20;
/// So many records that take no bytes are read of a block.
const MOST_EMPTY_RECORDS: u64 = 1 << 20;

/// Why a block is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// In words.
    Damaged(String),
    /// In words.
    TooLarge(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Damaged(why) => write!(f, "is damaged ({why})"),
            Problem::TooLarge(why) => write!(f, "is too large ({why})"),
        }
    }
}

/// The header of a container.
#[derive(Clone, Debug)]
pub struct ContainerHeader {
    /// How long it is.
    length: usize,
    /// The same for arrow-avro: short names, blocks that are decompressed, and nothing else.
    short: Vec<u8>,
    sync: [u8; SYNC_BYTES],
    schema: RecordSchema,
    codec: Codec,
}

/// How a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// The records in it.
    pub records: u64,
    /// How long the head is.
    pub head: usize,
    /// How many bytes follow it, before the sync marker.
    pub body: usize,
}

impl ContainerHeader {
    /// Reads what a file begins with.
    ///
    /// # Errors
    /// In words, when it is none, or not all of it is there.
    pub fn parse(first: &[u8]) -> Result<Self, String> {
        let info = read_header_info(Cursor::new(first)).map_err(|error| error.to_string())?;
        let length = usize::try_from(info.header_len()).unwrap_or(usize::MAX);
        let schema = info.writer_schema().map_err(|error| error.to_string())?;
        let codec = match info.compression().map_err(|error| error.to_string())? {
            None => Codec::Null,
            Some(CompressionCodec::Deflate) => Codec::Deflate,
            Some(CompressionCodec::Snappy) => Codec::Snappy,
            Some(CompressionCodec::ZStandard) => Codec::Zstandard,
            Some(CompressionCodec::Bzip2) => Codec::Bzip2,
            Some(CompressionCodec::Xz) => return Err("its blocks are compressed with xz, which is not read".to_owned()),
        };
        let schema = RecordSchema::parse(&schema.json_string)?;
        let short = header(schema.short(), codec.name_unpacked(), info.sync());
        Ok(ContainerHeader { length, short, sync: info.sync(), schema, codec })
    }

    /// Its length: where the first block begins.
    pub fn bytes(&self) -> usize {
        self.length
    }

    /// The schema that the records were written with.
    pub fn schema(&self) -> &RecordSchema {
        &self.schema
    }

    /// Where a sync marker ends in some bytes, if there is one.
    pub fn end_of_sync(&self, bytes: &[u8]) -> Option<usize> {
        memmem::find(bytes, &self.sync).map(|place| place + SYNC_BYTES)
    }

    /// Decodes a block, given with its head and its sync marker.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(
        &self,
        block: &[u8],
        head: BlockHead,
        read: &RecordSchema,
        columns: &ReadColumns,
    ) -> Result<Vec<RecordBatch>, Problem> {
        if !block.ends_with(&self.sync) || block.len() != head.head + head.body + SYNC_BYTES {
            return Err(Problem::Damaged("what should follow the block does not".to_owned()));
        }
        let body = &block[head.head..head.head + head.body];
        let Unpacked { body, length } = self.codec.unpack(body, MOST_BLOCK_BYTES)?;
        if head.records > MOST_EMPTY_RECORDS.max(length as u64) {
            return Err(Problem::TooLarge(format!("it has {} records in {length} bytes", head.records)));
        }
        let mut whole = self.short.clone();
        prost::encoding::encode_varint(head.records << 1, &mut whole);
        prost::encoding::encode_varint((body.len() as u64) << 1, &mut whole);
        whole.extend_from_slice(&body);
        whole.extend_from_slice(&self.sync);
        self.records(&whole, head, read, columns).map_err(Problem::Damaged)
    }

    /// The records of a container with one block.
    fn records(
        &self,
        whole: &[u8],
        head: BlockHead,
        read: &RecordSchema,
        columns: &ReadColumns,
    ) -> Result<Vec<RecordBatch>, String> {
        let builder = || {
            let schema = AvroSchema::new(read.short().to_owned());
            ReaderBuilder::new().with_batch_size(MOST_ROWS).with_reader_schema(schema)
        };
        let wanted = builder().with_projection(columns.fields().to_vec()).build(Cursor::new(whole));
        // A field may be of a type that is defined in one that is not wanted: then all are read.
        let reader = wanted.or_else(|_| builder().build(Cursor::new(whole))).map_err(|error| error.to_string())?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let found: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if found != head.records {
            return Err(format!("it has {found} records, and should have {}", head.records));
        }
        Ok(batches)
    }
}

/// All records of a file, by its own schema.
///
/// # Errors
/// What is wrong with it.
pub fn batches(file: &[u8]) -> Result<Vec<RecordBatch>, Problem> {
    let container = ContainerHeader::parse(file).map_err(Problem::Damaged)?;
    let schema = container.schema();
    let columns = ReadColumns::find(schema, &schema.columns()).map_err(Problem::Damaged)?;
    let cut_off = || Problem::Damaged("it ends within a block".to_owned());
    let (mut rest, mut found) = (file.get(container.bytes()..).unwrap_or_default(), Vec::new());
    while !rest.is_empty() {
        let head = BlockHead::parse(rest).ok_or_else(cut_off)?;
        head.check()?;
        let (block, after) = head.bytes().and_then(|bytes| rest.split_at_checked(bytes)).ok_or_else(cut_off)?;
        found.extend(container.decode(block, head, schema, &columns)?);
        rest = after;
    }
    Ok(found)
}

/// A header with a schema and a codec.
pub(super) fn header(schema: &str, codec: &str, sync: [u8; SYNC_BYTES]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let number = |out: &mut Vec<u8>, number: usize| prost::encoding::encode_varint((number as u64) << 1, out);
    number(&mut out, 2);
    for text in ["avro.schema", schema, "avro.codec", codec] {
        number(&mut out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    number(&mut out, 0);
    out.extend_from_slice(&sync);
    out
}

impl BlockHead {
    /// From the first bytes of a block; none where there is no such head.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let records = long(&mut rest)?;
        let body = long(&mut rest)?;
        Some(BlockHead { records, head: bytes.len() - rest.len(), body: usize::try_from(body).ok()? })
    }

    /// What is wrong with the block before any of it is read.
    ///
    /// # Errors
    /// When it takes too much memory.
    pub fn check(&self) -> Result<(), Problem> {
        if self.body > MOST_BLOCK_BYTES { Err(too_large(MOST_BLOCK_BYTES)) } else { Ok(()) }
    }

    /// All of the block, its sync marker included.
    pub fn bytes(&self) -> Option<usize> {
        self.head.checked_add(self.body)?.checked_add(SYNC_BYTES)
    }
}

/// A number that is not negative.
fn long(bytes: &mut &[u8]) -> Option<u64> {
    let number = prost::encoding::decode_varint(bytes).ok()?;
    (number & 1 == 0).then_some(number >> 1)
}

/// Puts records of a block into the wanted columns.
pub struct BlockRows {
    rows: Rows,
    columns: ReadColumns,
}

impl BlockRows {
    /// Of some columns.
    ///
    /// # Errors
    /// When a declaration contradicts itself.
    pub fn new(requested: &DeclaredSchema, columns: ReadColumns) -> Result<Self, FormatError> {
        Ok(BlockRows { rows: Rows::new(requested)?, columns })
    }

    /// Some records of a block as rows; a `line` is a record of them, and `first` is the number in the block of the first one.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn decode(&mut self, records: &RecordBatch, block: u64, first: u64) -> Result<DecodedLines, FormatError> {
        let found = self.columns.in_batch(records).map_err(FormatError::Records)?;
        for record in 0..records.num_rows() {
            match self.columns.append(&found, record, &mut self.rows) {
                Ok(()) => self.rows.end_row(),
                Err(reason) => {
                    let reason = format!("{reason} (record {} of the block at byte {block})", first + record as u64);
                    let raw = raw_of(records, record);
                    self.rows.reject(BadLine::new(block, record, raw.as_bytes(), reason));
                }
            }
        }
        self.rows.finish(0)
    }
}

fn raw_of(records: &RecordBatch, record: usize) -> String {
    let record_of: StructArray = records.slice(record, 1).into();
    json_of(&record_of as &dyn Array, 0, false).to_string()
}
