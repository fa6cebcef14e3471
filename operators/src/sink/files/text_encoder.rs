//! Rows into the bytes of a file of text, compressed or not.
//!
//! The bytes follow from the rows alone: no time and no name of a file goes into what is compressed.

use super::{
    config::{Compression, FileFormat},
    csv,
};
use crate::sink::json_rows::json_lines;
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use std::io::{self, Write};
use weir_engine::error::{EngineError, Result};

/// Zstandard's level, as for Parquet.
const ZSTD_LEVEL: i32 = 1;

/// Encodes one file. The bytes are handed out as they arise.
pub(super) struct TextEncoder {
    format: FileFormat,
    packer: Packer,
    /// Text that is not packed yet; at first the header.
    text: Vec<u8>,
}

/// Where text goes.
enum Packer {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl TextEncoder {
    /// For rows of a schema that [`file_schema`](super::encoder::file_schema) made.
    pub fn new(schema: &SchemaRef, format: FileFormat, compression: Compression) -> Result<Self> {
        let mut text = Vec::new();
        if format == FileFormat::Csv {
            csv::header(schema, &mut text);
        }
        Ok(TextEncoder { format, packer: Packer::new(compression)?, text })
    }

    /// Encodes some batches.
    pub fn rows(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        for batch in rows {
            match self.format {
                FileFormat::Csv => csv::lines(batch, &mut self.text)?,
                _ => json_lines(batch, &mut self.text)?,
            }
            self.packer.write_all(&self.text).map_err(|error| failed(&error))?;
            self.text.clear();
        }
        Ok(std::mem::take(self.packer.output()).into())
    }

    /// The end of the file.
    pub fn finish(mut self) -> Result<Bytes> {
        self.packer.write_all(&self.text).map_err(|error| failed(&error))?;
        let end = match self.packer {
            Packer::None(output) => Ok(output),
            Packer::Gzip(encoder) => encoder.finish(),
            Packer::Zstd(encoder) => encoder.finish(),
        };
        end.map(Bytes::from).map_err(|error| failed(&error))
    }
}

impl Packer {
    fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Packer::None(Vec::new()),
            Compression::Gzip => {
                Packer::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL);
                // Damage is noticed by whoever reads the file.
                encoder = encoder.and_then(|mut encoder| encoder.include_checksum(true).map(|()| encoder));
                Packer::Zstd(encoder.map_err(|error| failed(&error))?)
            }
            Compression::Snappy | Compression::Deflate => {
                return Err(EngineError::definition(format!("there are no files of text in {}", compression.name())));
            }
        })
    }

    /// What has come out so far.
    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Packer::None(output) => output,
            Packer::Gzip(encoder) => encoder.get_mut(),
            Packer::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Packer::None(output) => output.write_all(text),
            Packer::Gzip(encoder) => encoder.write_all(text),
            Packer::Zstd(encoder) => encoder.write_all(text),
        }
    }
}

fn failed(error: &io::Error) -> EngineError {
    EngineError::internal(format!("a file of text: {error}"))
}
