//! How the blocks of a container are compressed. Decompressed here rather than by arrow-avro, which sets no limit: some kilobytes can
//! be written that become as many gigabytes as there is memory.

use super::container::Problem;
use std::{borrow::Cow, io::Read};

/// A snappy block ends with a checksum of so many bytes.
const SNAPPY_CHECKSUM_BYTES: usize = 4;

/// A compression of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Null,
    Deflate,
    /// Says in front how long a block will be, and is left to arrow-avro, which checks its checksum.
    Snappy,
    Zstandard,
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
    /// What the header says for arrow-avro about blocks as [`unpack`](Self::unpack) gives them.
    pub(super) fn name_unpacked(self) -> &'static str {
        if self == Codec::Snappy { "snappy" } else { "null" }
    }

    /// The body of a block that takes at most so many bytes once it is decompressed.
    pub(super) fn unpack(self, body: &[u8], most: usize) -> Result<Unpacked<'_>, Problem> {
        let damaged = |error: std::io::Error| Problem::Damaged(error.to_string());
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
    use std::io::Write;

    fn packed(codec: Codec, content: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Null => content.to_vec(),
            Codec::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Zstandard => zstd::encode_all(content, 1).unwrap(),
            Codec::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            // Its length, and nothing that has it.
            Codec::Snappy => {
                let mut out = Vec::new();
                prost::encoding::encode_varint(content.len() as u64, &mut out);
                [out, vec![0; 8]].concat()
            }
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
