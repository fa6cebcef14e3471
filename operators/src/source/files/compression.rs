//! Compressed files: how they are recognised, and their bytes made of them again.
//!
//! Invariant: which bytes come out of a damaged file before the damage is reported depends on the file alone, not on how its
//! bytes are handed in or how much is taken at once. So what is counted of it is the same at any parallelism.

use serde::{Deserialize, Serialize};
use std::path::Path;
use zstd::stream::raw::Operation;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Bzip2,
}

/// Endings of what is compressed or packed in a way that is not read.
const NOT_READ: [&str; 21] = [
    "xz", "lzma", "zip", "7z", "rar", "lz4", "lz", "lzo", "sz", "snappy", "br", "z", "deflate", "tar", "tgz", "tbz",
    "tbz2", "txz", "tzst", "jar", "cab",
];

impl Compression {
    /// By the ending of a file's name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match ending(name)?.as_str() {
            "gz" | "gzip" => Some(Compression::Gzip),
            "zst" | "zstd" => Some(Compression::Zstd),
            "bz2" | "bzip2" => Some(Compression::Bzip2),
            _ => None,
        }
    }

    /// By the first bytes of a file, of which ten are enough.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            // A block's magic number follows, or that of the end of an empty file.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Compression::Bzip2),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
        }
    }
}

/// Whether a file is read decompressed, by its name.
pub fn is_compressed(name: &str) -> bool {
    Compression::of_name(name).is_some()
}

/// The ending of a file that is packed or compressed in a way that is not read; `tar` before one that is counts.
pub(super) fn ending_not_read(name: &str) -> Option<String> {
    let last = ending(name)?;
    if NOT_READ.contains(&last.as_str()) {
        return Some(last);
    }
    let before = Compression::of_name(name).and_then(|_| ending(name.rsplit_once('.')?.0))?;
    (before == "tar").then(|| format!("tar.{last}"))
}

/// The last ending of a name without those of compression.
pub(super) fn ending_inside(name: &str) -> Option<String> {
    match Compression::of_name(name) {
        Some(_) => ending(name.rsplit_once('.')?.0),
        None => ending(name),
    }
}

/// The last ending of a name, in small letters.
pub(super) fn ending(name: &str) -> Option<String> {
    Some(Path::new(name).extension()?.to_str()?.to_ascii_lowercase())
}

/// Undoes a compression, some bytes at a time.
pub(super) struct Decompressor {
    codec: Codec,
    /// Bytes of a member have been taken, and not its end.
    inside: bool,
    /// No member has begun yet.
    untouched: bool,
}

enum Codec {
    Gzip(flate2::Decompress),
    Zstd(ZstdFrames),
    Bzip2(bzip2::Decompress),
}

/// What a step has consumed and produced.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) taken: usize,
    pub(super) put_out: usize,
}

impl Decompressor {
    pub(super) fn new(compression: Compression) -> std::io::Result<Self> {
        Ok(Decompressor { codec: Codec::new(compression)?, inside: false, untouched: true })
    }

    /// Whether the compressed bytes may end here: something has been read, and nothing is half read.
    pub(super) fn may_end(&self) -> bool {
        !self.inside && !self.untouched
    }

    /// Takes from `input` and puts into `output`. If nothing is consumed or produced, more input is needed. The steps before
    /// an error have produced all that is intact.
    ///
    /// # Errors
    /// When the bytes are damaged, in words.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        if !self.inside {
            if input.is_empty() {
                return Ok(Step::default());
            }
            // What fills up a tape's block is no member.
            let padding = input.iter().take_while(|byte| **byte == 0).count();
            if padding > 0 && !self.untouched {
                return Ok(Step { taken: padding, put_out: 0 });
            }
            if !self.untouched {
                self.codec = Codec::new(self.codec.compression()).map_err(|error| error.to_string())?;
            }
            (self.inside, self.untouched) = (true, false);
        }
        let (step, ended) = self.codec.step(input, output)?;
        self.inside = !ended;
        if step.taken == 0 && step.put_out == 0 && !ended && !input.is_empty() && !output.is_empty() {
            return Err("it is inconsistent".to_owned());
        }
        Ok(step)
    }
}

impl Codec {
    fn new(compression: Compression) -> std::io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Codec::Gzip(flate2::Decompress::new_gzip(15)),
            Compression::Zstd => Codec::Zstd(ZstdFrames::new()?),
            Compression::Bzip2 => Codec::Bzip2(bzip2::Decompress::new(false)),
        })
    }

    fn compression(&self) -> Compression {
        match self {
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
            Codec::Bzip2(_) => Compression::Bzip2,
        }
    }

    /// One step, and whether the member has ended with it. What came out before an error in the same step comes out first,
    /// and the error with the next.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(Step, bool), String> {
        match self {
            Codec::Gzip(decoder) => {
                let (taken, put_out) = (decoder.total_in(), decoder.total_out());
                let result = decoder.decompress(input, output, flate2::FlushDecompress::None);
                let step = step_of(decoder.total_in() - taken, decoder.total_out() - put_out);
                match result {
                    Ok(status) => Ok((step, status == flate2::Status::StreamEnd)),
                    Err(_) if step.put_out > 0 => Ok((step, false)),
                    Err(error) => Err(error.to_string()),
                }
            }
            Codec::Bzip2(decoder) => {
                let (taken, put_out) = (decoder.total_in(), decoder.total_out());
                let result = decoder.decompress(input, output);
                let step = step_of(decoder.total_in() - taken, decoder.total_out() - put_out);
                match result {
                    Ok(bzip2::Status::MemNeeded) => Err("there is not enough memory".to_owned()),
                    Ok(status) => Ok((step, status == bzip2::Status::StreamEnd)),
                    Err(_) if step.put_out > 0 => Ok((step, false)),
                    Err(error) => Err(error.to_string()),
                }
            }
            Codec::Zstd(frames) => frames.step(input, output),
        }
    }
}

fn step_of(taken: u64, put_out: u64) -> Step {
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Step { taken: size(taken), put_out: size(put_out) }
}

/// Frames of Zstandard. The library forgets what a step has produced when the same step meets an error, so each step is given
/// so little that it ends with the block it is in.
struct ZstdFrames {
    decoder: zstd::stream::raw::Decoder<'static>,
    /// How much the next step may be given.
    wanted: usize,
    /// The last step filled its output: there may be more before any input is taken.
    is_full: bool,
}

/// The shortest beginning of a frame.
const ZSTD_BEGINNING: usize = 5;

impl ZstdFrames {
    fn new() -> std::io::Result<Self> {
        Ok(ZstdFrames { decoder: zstd::stream::raw::Decoder::new()?, wanted: ZSTD_BEGINNING, is_full: false })
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(Step, bool), String> {
        let length = if self.is_full { 0 } else { input.len().min(self.wanted.max(1)) };
        let was_full = std::mem::take(&mut self.is_full);
        let status = self.decoder.run_on_buffers(&input[..length], output).map_err(|error| error.to_string())?;
        self.wanted = status.remaining;
        self.is_full = status.bytes_written == output.len() && !output.is_empty();
        let step = Step { taken: status.bytes_read, put_out: status.bytes_written };
        let ended = status.remaining == 0;
        if was_full && step.put_out == 0 && !ended && !output.is_empty() {
            // Nothing was left over after all.
            return self.step(input, output);
        }
        Ok((step, ended))
    }
}

#[cfg(test)]
/// Bytes in compressed form.
pub(super) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).expect("written");
            encoder.finish().expect("finished")
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
            encoder.include_checksum(true).expect("set");
            encoder.write_all(bytes).expect("written");
            encoder.finish().expect("finished")
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).expect("written");
            encoder.finish().expect("finished")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::Bzip2];

    /// Everything that comes out, and how it ended.
    fn decompress(
        compression: Compression,
        bytes: &[u8],
        inputs: usize,
        outputs: usize,
    ) -> (Vec<u8>, Result<bool, String>) {
        let mut decoder = Decompressor::new(compression).expect("a decoder");
        let (mut at, mut given) = (0, bytes.len().min(inputs));
        let (mut out, mut space) = (Vec::new(), vec![0; outputs]);
        loop {
            match decoder.step(&bytes[at..given], &mut space) {
                Err(problem) => return (out, Err(problem)),
                Ok(Step { taken, put_out }) => {
                    out.extend(&space[..put_out]);
                    at += taken;
                    if put_out == 0 && (taken == 0 || at == given) {
                        if given == bytes.len() && taken == 0 {
                            return (out, Ok(decoder.may_end()));
                        }
                        given = bytes.len().min(given + inputs);
                    }
                }
            }
        }
    }

    fn text(lines: u32) -> Vec<u8> {
        (0..lines).flat_map(|n| format!("line {n} of {}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    #[test]
    fn names_and_first_bytes_tell_the_compression() {
        for (name, expected) in [
            ("a.log.gz", Some(Compression::Gzip)),
            ("A.GZ", Some(Compression::Gzip)),
            ("a.zst", Some(Compression::Zstd)),
            ("a.bz2", Some(Compression::Bzip2)),
            ("a.log", None),
            ("gz", None),
        ] {
            assert_eq!(Compression::of_name(name), expected, "{name}");
        }
        for compression in ALL {
            for content in [&b""[..], b"text"] {
                assert_eq!(Compression::of_bytes(&compress(compression, content)), Some(compression));
            }
        }
        for text in [&b"BZh9 is a text\n"[..], b"\x1f\x8b", b"(\xb5", b""] {
            assert_eq!(Compression::of_bytes(text), None);
        }
        let not_read = |name: &str| ending_not_read(name);
        assert_eq!(not_read("a.tar.gz").as_deref(), Some("tar.gz"));
        assert_eq!(not_read("a.log.XZ").as_deref(), Some("xz"));
        assert_eq!((not_read("a.log.gz"), not_read("tar.gz"), not_read("zip")), (None, None, None));
        assert_eq!(ending_inside("a.parquet.gz").as_deref(), Some("parquet"));
    }

    #[test]
    fn members_one_after_the_other_are_one_text() {
        for compression in ALL {
            let mut bytes = compress(compression, &text(4_000));
            bytes.extend(compress(compression, b""));
            bytes.extend(compress(compression, b"the end\n"));
            bytes.extend([0; 500]);
            let mut expected = text(4_000);
            expected.extend(b"the end\n");
            for (inputs, outputs) in [(1 << 20, 1 << 20), (13, 4_096), (4_096, 37)] {
                let (out, end) = decompress(compression, &bytes, inputs, outputs);
                assert!(out == expected, "{compression:?} by {inputs} and {outputs}");
                assert_eq!(end, Ok(true));
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_follows_is_told() {
        for compression in ALL {
            let bytes = compress(compression, &text(1_000));
            for cut in [0, 3, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(decompress(compression, &bytes[..cut], 4_096, 4_096).1, Ok(false), "{compression:?} {cut}");
            }
            let more = [&bytes[..], b"garbage that is no member at all"].concat();
            let (out, end) = decompress(compression, &more, 4_096, 4_096);
            assert!(out == text(1_000) && end.is_err(), "{compression:?}: {end:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_comes_out_of_a_damaged_file_does_not_depend_on_how_it_is_read(
            which in 0usize..3,
            lines in 1u32..3_000,
            damage in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            (inputs, outputs) in (50usize..70_000, 100usize..70_000),
        ) {
            let mut bytes = compress(ALL[which], &text(lines));
            let at = damage.index(bytes.len());
            bytes[at] = byte;
            let (expected, end) = decompress(ALL[which], &bytes, 65_536, 65_536);
            let (found, found_end) = decompress(ALL[which], &bytes, inputs, outputs);
            prop_assert!(found == expected, "{} bytes, then {}", expected.len(), found.len());
            prop_assert_eq!(found_end.is_ok(), end.is_ok());
        }
    }
}
