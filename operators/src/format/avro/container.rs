//! Object container files: a header with the schema, then blocks of records, each compressed by itself and followed by sixteen
//! bytes that are the same in the whole file. What is here knows bytes and no files.
//!
//! Invariant: a block is read as a whole or not at all. Of one that is damaged only the place is known, and the next one begins
//! behind the sixteen bytes, wherever they come next.

use arrow::array::{Array, RecordBatch, StructArray};
use arrow_avro::{
    compression::CompressionCodec,
    reader::{ReaderBuilder, read_header_info},
    schema::AvroSchema,
};
use memchr::memmem;
use std::io::Cursor;

use super::{
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
/// A snappy block ends with a checksum of so many bytes.
const SNAPPY_CHECKSUM_BYTES: usize = 4;
const SNAPPY: &str = "snappy";

/// The header of a container.
#[derive(Clone, Debug)]
pub struct ContainerHeader {
    /// How long it is.
    length: usize,
    /// The same for arrow-avro: short names, and nothing else.
    short: Vec<u8>,
    sync: [u8; SYNC_BYTES],
    schema: RecordSchema,
    is_snappy: bool,
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
            None => "null",
            Some(CompressionCodec::Deflate) => "deflate",
            Some(CompressionCodec::Snappy) => SNAPPY,
            Some(CompressionCodec::ZStandard) => "zstandard",
            Some(CompressionCodec::Bzip2) => "bzip2",
            Some(CompressionCodec::Xz) => return Err("its blocks are compressed with xz, which is not read".to_owned()),
        };
        let schema = RecordSchema::parse(&schema.json_string)?;
        let short = header(schema.short(), codec, info.sync());
        Ok(ContainerHeader { length, short, sync: info.sync(), schema, is_snappy: codec == SNAPPY })
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
    /// What is damaged about it, in words.
    pub fn decode(
        &self,
        block: &[u8],
        head: BlockHead,
        read: &RecordSchema,
        columns: &ReadColumns,
    ) -> Result<Vec<RecordBatch>, String> {
        if !block.ends_with(&self.sync) || block.len() != head.head + head.body + SYNC_BYTES {
            return Err("what should follow the block does not".to_owned());
        }
        if self.is_snappy && head.body < SNAPPY_CHECKSUM_BYTES {
            return Err("it is shorter than its checksum".to_owned());
        }
        let whole = [self.short.as_slice(), block].concat();
        let builder = || {
            let schema = AvroSchema::new(read.short().to_owned());
            ReaderBuilder::new().with_batch_size(MOST_ROWS).with_reader_schema(schema)
        };
        let wanted = builder().with_projection(columns.fields().to_vec()).build(Cursor::new(&whole));
        // A field may be of a type that is defined in one that is not wanted: then all are read.
        let reader = wanted.or_else(|_| builder().build(Cursor::new(&whole))).map_err(|error| error.to_string())?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let found: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if found != head.records {
            return Err(format!("it has {found} records, and should have {}", head.records));
        }
        Ok(batches)
    }
}

/// A header with a schema and a codec.
fn header(schema: &str, codec: &str, sync: [u8; SYNC_BYTES]) -> Vec<u8> {
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
