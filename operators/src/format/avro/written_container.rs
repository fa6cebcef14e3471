//! Object container files, written: a header with the schema, then blocks of some kilobytes, each compressed by itself.
//!
//! Invariant: the bytes follow from the rows, the schema and the codec alone, the sync marker included: it is a hash of what the
//! file begins with, so files differ in it as their rows do.

use arrow::array::RecordBatch;
use weir_engine::error::{EngineError, Result};
use xxhash_rust::xxh3::Xxh3;

use super::{
    AvroRows, RecordSchema,
    codec::Codec,
    container::{SYNC_BYTES, header},
};

/// A block ends with the record that makes it this large, before it is compressed.
const BLOCK_BYTES: usize = 64 << 10;

/// Writes one file. The bytes are handed out as they arise.
pub struct ContainerWriter {
    schema: RecordSchema,
    codec: Codec,
    rows: AvroRows,
    /// None until the header is written, with the first block.
    sync: Option<[u8; SYNC_BYTES]>,
    /// The records of the next block, and how many they are.
    block: Vec<u8>,
    records: u64,
    out: Vec<u8>,
}

impl ContainerWriter {
    /// Of records of a schema.
    ///
    /// # Errors
    /// When there are no columns that its fields could be, in words.
    pub fn new(schema: RecordSchema, codec: Codec) -> std::result::Result<Self, String> {
        let rows = AvroRows::new(&schema, None)?;
        Ok(ContainerWriter { schema, codec, rows, sync: None, block: Vec::new(), records: 0, out: Vec::new() })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When one does not fit the schema.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        for record in self.rows.encode(rows)? {
            let record =
                record.map_err(|reason| EngineError::definition(format!("a row can't be written: {reason}")))?;
            self.block.extend_from_slice(&record);
            self.records += 1;
            if self.block.len() >= BLOCK_BYTES {
                self.end_block()?;
            }
        }
        Ok(())
    }

    /// What has come out since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The rest of the file.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        if self.records > 0 || self.sync.is_none() {
            self.end_block()?;
        }
        Ok(self.out)
    }

    fn end_block(&mut self) -> Result<()> {
        let sync = self.begun();
        if self.records == 0 {
            return Ok(());
        }
        let body = self.codec.pack(&self.block);
        let body = body.map_err(|error| EngineError::internal(format!("a block of Avro: {error}")))?;
        for number in [self.records, body.len() as u64] {
            prost::encoding::encode_varint(number << 1, &mut self.out);
        }
        self.out.extend_from_slice(&body);
        self.out.extend_from_slice(&sync);
        self.block.clear();
        self.records = 0;
        Ok(())
    }

    /// The sync marker; before the first block the header is written.
    fn begun(&mut self) -> [u8; SYNC_BYTES] {
        *self.sync.get_or_insert_with(|| {
            let mut hasher = Xxh3::new();
            hasher.update(self.schema.text().as_bytes());
            hasher.update(&self.block);
            let sync = hasher.digest128().to_le_bytes();
            self.out.extend(header(self.schema.text(), self.codec.name(), sync));
            sync
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::avro::{
            ReadColumns,
            container::{BlockHead, ContainerHeader},
            derived,
        },
        schema::ColumnSchema,
    };
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
        let texts: ArrayRef =
            Arc::new(numbers.clone().map(|n| (n % 3 > 0).then(|| format!("text {n}"))).collect::<StringArray>());
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter_with_nullable([("n", numbers, false), ("text", texts, true)]).unwrap()
    }

    fn schema() -> RecordSchema {
        let columns = ColumnSchema::from(rows(0..1).schema_ref().as_ref());
        RecordSchema::parse(&derived("rows", &columns).unwrap()).unwrap()
    }

    fn written(batches: &[RecordBatch], codec: Codec) -> Vec<u8> {
        let mut writer = ContainerWriter::new(schema(), codec).unwrap();
        let mut out = Vec::new();
        for batch in batches {
            writer.add(batch).unwrap();
            out.extend(writer.take());
        }
        out.extend(writer.finish().unwrap());
        out
    }

    /// The numbers in the blocks of a file.
    fn blocks(file: &[u8]) -> Vec<Vec<i64>> {
        let header = ContainerHeader::parse(file).unwrap();
        assert_eq!(header.schema().text(), schema().text());
        let columns = ReadColumns::find(&schema(), &schema().columns()).unwrap();
        let (mut rest, mut found) = (&file[header.bytes()..], Vec::new());
        while !rest.is_empty() {
            let head = BlockHead::parse(rest).unwrap();
            let (block, after) = rest.split_at(head.bytes().unwrap());
            let batches = header.decode(block, head, &schema(), &columns).unwrap();
            found.push(
                batches
                    .iter()
                    .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                    .collect(),
            );
            rest = after;
        }
        found
    }

    #[test]
    fn blocks_are_of_some_kilobytes_whatever_the_batches_are() {
        let whole = written(&[rows(0..20_000)], Codec::Null);
        let found = blocks(&whole);
        assert_eq!(found.concat(), (0..20_000).collect::<Vec<_>>());
        assert!((3..=6).contains(&found.len()), "{}", found.len());
        let pieces: Vec<RecordBatch> = (0..40).map(|piece| rows(piece * 500..piece * 500 + 500)).collect();
        assert!(written(&pieces, Codec::Null) == whole, "the bytes follow from the rows");
    }

    #[test]
    fn each_codec_is_read_again_and_no_two_files_have_the_same_marker() {
        for codec in [Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard, Codec::Bzip2] {
            let file = written(&[rows(0..5_000)], codec);
            assert_eq!(blocks(&file).concat(), (0..5_000).collect::<Vec<_>>(), "{codec:?}");
        }
        let [one, other] = [0, 1].map(|from| written(&[rows(from..from + 10)], Codec::Null));
        assert_ne!(one[one.len() - SYNC_BYTES..], other[other.len() - SYNC_BYTES..]);
        assert_eq!(blocks(&written(&[], Codec::Null)), Vec::<Vec<i64>>::new(), "a file without rows is one");
    }

    #[test]
    fn a_row_that_does_not_fit_is_told() {
        let schema = r#"{ "type": "record", "name": "r", "fields": [{ "name": "n", "type": "int" }] }"#;
        let mut writer = ContainerWriter::new(RecordSchema::parse(schema).unwrap(), Codec::Null).unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 1 << 40]));
        let error = writer.add(&RecordBatch::try_from_iter([("n", numbers)]).unwrap()).unwrap_err();
        assert!(error.message.contains("n is 1099511627776, which its field"), "{error}");
    }
}
