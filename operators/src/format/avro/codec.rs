//! How the blocks of a container are compressed. They are decompressed here rather than by arrow-avro, which sets no limit: some kilobytes can
//! be written that become as many gigabytes as there is memory.

use super::container::Problem;
use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

/// A snappy block ends with a checksum of so many bytes.
const SNAPPY_CHECKSUM_BYTES: usize = 4;

/// As for Parquet and text.
const ZSTD_LEVEL: i32 = 1;

/// A compression of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Null,
    /// Deflate, as in gzip.
    Deflate,
    /// Says in front how long a block will be, and is left to arrow-avro, which checks its checksum.
    Snappy,
    /// Zstandard.
    Zstandard,
    /// Bzip2.
    Bzip2,
}

/// The body of a block.
#[derive(Debug)]
pub(super) struct Unpacked<'a> {
    /// As arrow-avro gets it.
    pub(super) body: Cow<'a, [u8]>,
    /// How many bytes its records take.
    pub(super) length: usize,
}

impl Codec {
    /// As Avro calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Codec::Null => "null",
            Codec::Deflate => "deflate",
            Codec::Snappy => "snappy",
            Codec::Zstandard => "zstandard",
            Codec::Bzip2 => "bzip2",
        }
    }

    /// The body of a block with these records.
    pub(super) fn pack(self, records: &[u8]) -> io::Result<Cow<'_, [u8]>> {
        let packed = match self {
            Codec::Null => return Ok(Cow::Borrowed(records)),
            Codec::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()?
            }
            Codec::Snappy => {
                let mut packed = snap::raw::Encoder::new().compress_vec(records)?;
                packed.extend_from_slice(&crc32fast::hash(records).to_be_bytes());
                packed
            }
            Codec::Zstandard => zstd::encode_all(records, ZSTD_LEVEL)?,
            Codec::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()?
            }
        };
        Ok(Cow::Owned(packed))
    }

    /// What the header says for arrow-avro about blocks as [`unpack`](Self::unpack) gives them.
    pub(super) fn name_unpacked(self) -> &'static str {
        if self == Codec::Snappy { "snappy" } else { "null" }
    }

    /// The body of a block that takes at most so many bytes once it is decompressed.
    pub(super) fn unpack(self, body: &[u8], most: usize) -> Result<Unpacked<'_>, Problem> {
        let damaged = |error: io::Error| Problem::Damaged(error.to_string());
        match self {
            Codec::Null => whole(body, body.len(), most),
            Codec::Snappy => {
                if body.len() < SNAPPY_CHECKSUM_BYTES {
                    return Err(Problem::Damaged("it is shorter than its checksum".to_owned()));
                }
                // What lies about its length is found out by arrow-avro, which makes room for so much and no more.
                let mut front = body;
                let length = prost::encoding::decode_varint(&mut front).unwrap_or(0);
                whole(body, usize::try_from(length).unwrap_or(usize::MAX), most)
            }
            Codec::Deflate => limited(flate2::read::DeflateDecoder::new(body), most),
            Codec::Zstandard => limited(zstd::Decoder::with_buffer(body).map_err(damaged)?, most),
            Codec::Bzip2 => limited(bzip2::read::BzDecoder::new(body), most),
        }
    }
}

fn whole(body: &[u8], length: usize, most: usize) -> Result<Unpacked<'_>, Problem> {
    if length > most { Err(too_large(most)) } else { Ok(Unpacked { body: Cow::Borrowed(body), length }) }
}

fn limited<'a>(decoder: impl Read, most: usize) -> Result<Unpacked<'a>, Problem> {
    let mut out = Vec::new();
    let mut decoder = decoder.take(most as u64 + 1);
    decoder.read_to_end(&mut out).map_err(|error| Problem::Damaged(error.to_string()))?;
    let length = out.len();
    if length > most { Err(too_large(most)) } else { Ok(Unpacked { body: Cow::Owned(out), length }) }
}

/// Of a block that takes more than so many bytes.
pub(super) fn too_large(most: usize) -> Problem {
    Problem::TooLarge(format!(
        "decompressed it takes more than {} MiB, and that is the most that is read at once",
        most >> 20
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(codec: Codec, content: &[u8]) -> Vec<u8> {
        match codec {
            // Its length, and nothing that has it.
            Codec::Snappy => {
                let mut out = Vec::new();
                prost::encoding::encode_varint(content.len() as u64, &mut out);
                [out, vec![0; 8]].concat()
            }
            other => other.pack(content).unwrap().into_owned(),
        }
    }

    #[test]
    fn what_would_take_more_than_the_limit_is_not_unpacked() {
        const MOST: usize = 1 << 20;
        for codec in [Codec::Null, Codec::Deflate, Codec::Zstandard, Codec::Bzip2, Codec::Snappy] {
            let (fits, exceeds) = (packed(codec, &vec![7; MOST]), packed(codec, &vec![7; MOST + 1]));
            let unpacked = codec.unpack(&fits, MOST).unwrap();
            assert_eq!(unpacked.length, MOST, "{codec:?}");
            if codec != Codec::Snappy {
                assert_eq!(*unpacked.body, vec![7; MOST], "{codec:?}");
            }
            let problem = codec.unpack(&exceeds, MOST).unwrap_err();
            assert_eq!(
                problem.to_string(),
                "is too large (decompressed it takes more than 1 MiB, and that is the most that is read at once)",
                "{codec:?}"
            );
        }
        let most = u64::MAX;
        let mut endless = Vec::new();
        prost::encoding::encode_varint(most, &mut endless);
        endless.extend([0; 8]);
        assert!(matches!(Codec::Snappy.unpack(&endless, MOST), Err(Problem::TooLarge(_))));
    }

    #[test]
    fn what_is_no_compressed_block_is_damaged() {
        for codec in [Codec::Deflate, Codec::Zstandard, Codec::Bzip2] {
            let problem = codec.unpack(b"\xffnonsense", 1 << 20).unwrap_err();
            assert!(matches!(problem, Problem::Damaged(_)), "{codec:?}: {problem}");
        }
        assert!(matches!(Codec::Snappy.unpack(b"abc", 1 << 20), Err(Problem::Damaged(_))));
    }
}
