//! Where a decoder gets its pages from: a local file, read as it goes, or the column chunks of a row group that were
//! fetched from an object store beforehand. Either way the decoding is the same and synchronous.

use bytes::{Buf, Bytes, buf::Reader};
use parquet::{
    errors::{ParquetError, Result},
    file::reader::{ChunkReader, Length},
};
use std::{
    fs::File,
    io::{BufReader, Read},
};

/// Bytes of one Parquet file.
pub(super) enum PageSource {
    /// A local file; it must not be shared, since the position in it is shared between its clones.
    Local(File),
    /// Parts of a file.
    Fetched(FetchedChunks),
}

/// Column chunks in memory.
pub(super) struct FetchedChunks {
    /// Size of the whole file.
    pub(super) file_bytes: u64,
    /// Where each chunk begins in the file, and its bytes.
    pub(super) chunks: Vec<(u64, Bytes)>,
}

impl FetchedChunks {
    fn from(&self, start: u64) -> Result<Bytes> {
        let chunk = self.chunks.iter().find(|(at, chunk)| (*at..*at + chunk.len() as u64).contains(&start));
        match chunk {
            Some((at, chunk)) => Ok(chunk.slice((start - at) as usize..)),
            None => Err(ParquetError::EOF(format!("byte {start} belongs to no column chunk that was asked for"))),
        }
    }
}

impl Length for PageSource {
    fn len(&self) -> u64 {
        match self {
            PageSource::Local(file) => Length::len(file),
            PageSource::Fetched(fetched) => fetched.file_bytes,
        }
    }
}

impl ChunkReader for PageSource {
    type T = PageRead;

    fn get_read(&self, start: u64) -> Result<PageRead> {
        Ok(match self {
            PageSource::Local(file) => PageRead::Local(file.get_read(start)?),
            PageSource::Fetched(fetched) => PageRead::Fetched(fetched.from(start)?.reader()),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            PageSource::Local(file) => file.get_bytes(start, length),
            PageSource::Fetched(fetched) => {
                let bytes = fetched.from(start)?;
                if bytes.len() < length {
                    return Err(ParquetError::EOF(format!("a page at byte {start} runs over the end of its column")));
                }
                Ok(bytes.slice(..length))
            }
        }
    }
}

/// A place in the bytes, to read on from.
pub(super) enum PageRead {
    Local(BufReader<File>),
    Fetched(Reader<Bytes>),
}

impl Read for PageRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            PageRead::Local(read) => read.read(buffer),
            PageRead::Fetched(read) => read.read(buffer),
        }
    }
}
