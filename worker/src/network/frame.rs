//! The format of a data connection: frames of a fixed header and a body.
//!
//! | bytes  | header, little-endian                                                     |
//! |--------|---------------------------------------------------------------------------|
//! | 0..4   | `WEIR`                                                                    |
//! | 4..6   | version of this layout, [`FRAME_VERSION`]                                 |
//! | 6      | kind, [`FrameKind`]                                                       |
//! | 7      | flags, [`flags`]; only batches have any                                   |
//! | 8..16  | attempt                                                                   |
//! | 16..20 | channel: its place in the list of the handshake; 0 where there is none    |
//! | 20..24 | length of the body that follows                                           |
//! | 24..28 | length of the body before compression                                     |
//! | 28..32 | 0                                                                         |
//!
//! Bodies: a watermark is an i64, a barrier of either kind the u64 of its checkpoint, a credit the u64 of the bytes given back; a batch is
//! described in [`codec`](super::codec); the handshake's are JSON, a refusal is text; the rest have none.
//!
//! Invariant of the decoder: whatever the bytes, it allocates no more than the longest body that it was allowed, and never
//! before the header was checked.

use super::rope::Rope;
use bytes::{Bytes, BytesMut, buf::Limit};
use weir_engine::{element::Barrier, ids::CheckpointId};

/// Length of a header.
pub const HEADER_BYTES: usize = 32;
/// Version of this layout.
pub const FRAME_VERSION: u16 = 1;
/// Bodies start at a multiple of this in memory, so that columns are used where they were read.
pub const BODY_ALIGNMENT: usize = 64;

const MAGIC: [u8; 4] = *b"WEIR";

/// What a batch's flags mean.
pub mod flags {
    /// The body is compressed with LZ4.
    pub const LZ4: u8 = 1;
    /// The columns begin a new IPC stream: the schema stands before them, and former dictionaries are void.
    pub const SCHEMA: u8 = 2;
    /// The split watermarks of the rows are there.
    pub const SPLIT_WATERMARKS: u8 = 4;
    /// The key hashes of the rows are there.
    pub const KEY_HASHES: u8 = 8;
    pub(super) const ALL: u8 = 15;
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Producer, first: who am I, whom do I want, and the token.
    Hello = 1,
    /// Producer, second: the channels of this connection.
    Channels = 2,
    /// Consumer: come in, with so much credit a channel.
    Welcome = 3,
    /// Consumer: go away, and why. Also in the middle of a stream.
    Refused = 4,
    /// Producer: rows.
    Batch = 16,
    /// Producer: event time.
    Watermark = 17,
    /// Producer: nothing to say about time.
    Idle = 18,
    /// Producer: the barrier of a checkpoint.
    Barrier = 19,
    /// Producer: the regular end of a channel.
    EndOfInput = 20,
    /// Either: the subtask at this end of the channel is gone before its end.
    Gone = 21,
    /// Producer: the barrier of the checkpoint that the attempt ends with.
    LastBarrier = 22,
    /// Consumer: bytes of a channel were taken out.
    Credit = 32,
    /// Either: I am alive.
    KeepAlive = 33,
}

impl FrameKind {
    const ALL: [FrameKind; 13] = [
        FrameKind::Hello,
        FrameKind::Channels,
        FrameKind::Welcome,
        FrameKind::Refused,
        FrameKind::Batch,
        FrameKind::Watermark,
        FrameKind::Idle,
        FrameKind::Barrier,
        FrameKind::EndOfInput,
        FrameKind::Gone,
        FrameKind::LastBarrier,
        FrameKind::Credit,
        FrameKind::KeepAlive,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// The length of the body, where the kind says it.
    fn fixed_length(self) -> Option<usize> {
        match self {
            FrameKind::Hello | FrameKind::Channels | FrameKind::Welcome | FrameKind::Refused | FrameKind::Batch => None,
            FrameKind::Watermark | FrameKind::Barrier | FrameKind::LastBarrier | FrameKind::Credit => Some(8),
            FrameKind::Idle | FrameKind::EndOfInput | FrameKind::Gone | FrameKind::KeepAlive => Some(0),
        }
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameKind,
    /// See [`flags`].
    pub flags: u8,
    /// The attempt of the job that it belongs to.
    pub attempt: u64,
    /// The channel's place in the list of the handshake.
    pub channel: u32,
    /// Length of the body as it is sent.
    pub length: u32,
    /// Length of the body before compression.
    pub raw_length: u32,
}

/// A whole frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The fixed part.
    pub header: Header,
    /// The rest.
    pub body: Bytes,
}

/// Bytes that are not a frame, or not one that is allowed here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a frame at all.
    #[error("a frame must begin with 'WEIR', but begins with {0:02x?}: the other side does not speak this protocol")]
    Magic([u8; 4]),
    /// Another version.
    #[error("a frame of version {0}; this Weir reads version {FRAME_VERSION}")]
    Version(u16),
    /// An unknown kind.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Flags that mean nothing.
    #[error("a frame of kind {0:?} with unknown flags {1:#04x}")]
    Flags(FrameKind, u8),
    /// The last four bytes of a header are not 0.
    #[error("a frame of kind {0:?} with {1:#x} where 0 must be")]
    Reserved(FrameKind, u32),
    /// Too long.
    #[error("a frame of kind {kind:?} with a body of {length} bytes, where at most {allowed} are allowed")]
    TooLong {
        /// Of this kind.
        kind: FrameKind,
        /// Length that the header claims.
        length: usize,
        /// Length that is allowed.
        allowed: usize,
    },
    /// A length that does not fit the kind.
    #[error("a frame of kind {kind:?} with a body of {length} bytes ({raw_length} before compression)")]
    Length {
        /// Of this kind.
        kind: FrameKind,
        /// Length that the header claims.
        length: u32,
        /// Length before compression that it claims.
        raw_length: u32,
    },
}

impl Header {
    /// Of a frame whose body is not compressed. `length` was checked to fit.
    pub fn new(kind: FrameKind, attempt: u64, channel: u32, length: usize) -> Self {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Header { kind, flags: 0, attempt, channel, length, raw_length: length }
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FRAME_VERSION.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.push(self.flags);
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        bytes.extend_from_slice(&self.channel.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.raw_length.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes
    }

    /// From bytes, with the longest body allowed.
    ///
    /// # Errors
    /// When anything about it is wrong.
    pub fn parse(bytes: &[u8; HEADER_BYTES], max_body: usize) -> Result<Self, FrameError> {
        let (magic, version) = (bytes_at(bytes, 0), u16::from_le_bytes(bytes_at(bytes, 4)));
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        if version != FRAME_VERSION {
            return Err(FrameError::Version(version));
        }
        let [kind, flags] = bytes_at(bytes, 6);
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        let length = u32::from_le_bytes(bytes_at(bytes, 20));
        let raw_length = u32::from_le_bytes(bytes_at(bytes, 24));
        let reserved = u32::from_le_bytes(bytes_at(bytes, 28));
        if flags & !flags::ALL != 0 || (flags != 0 && kind != FrameKind::Batch) {
            return Err(FrameError::Flags(kind, flags));
        }
        if reserved != 0 {
            return Err(FrameError::Reserved(kind, reserved));
        }
        let longest = length.max(raw_length) as usize;
        if longest > max_body {
            return Err(FrameError::TooLong { kind, length: longest, allowed: max_body });
        }
        let compressed = flags & flags::LZ4 != 0;
        let wrong = kind.fixed_length().is_some_and(|fixed| fixed != length as usize);
        if wrong || (!compressed && length != raw_length) {
            return Err(FrameError::Length { kind, length, raw_length });
        }
        let attempt = u64::from_le_bytes(bytes_at(bytes, 8));
        let channel = u32::from_le_bytes(bytes_at(bytes, 16));
        Ok(Header { kind, flags, attempt, channel, length, raw_length })
    }

    /// What a batch counts against its channel's credit, at both ends: what it will take in memory.
    pub fn cost(&self) -> usize {
        HEADER_BYTES + self.raw_length as usize
    }
}

fn bytes_at<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&bytes[at..at + N]);
    found
}

impl Frame {
    /// The number that is the body of a watermark, a barrier or a credit.
    pub fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        if self.body.len() == 8 {
            bytes.copy_from_slice(&self.body);
        }
        u64::from_le_bytes(bytes)
    }

    /// The barrier of a frame of one of these kinds.
    pub fn barrier(&self) -> Barrier {
        Barrier { checkpoint: CheckpointId(self.number()), last: self.header.kind == FrameKind::LastBarrier }
    }
}

/// A frame with the given body, to be written.
pub fn frame(kind: FrameKind, attempt: u64, channel: u32, body: &[u8]) -> Rope {
    let mut bytes = Header::new(kind, attempt, channel, body.len()).to_bytes();
    bytes.extend_from_slice(body);
    Rope::from(bytes)
}

/// Makes frames of bytes that come in any portions.
///
/// Put bytes into [`space`](FrameDecoder::space), then call [`next_frame`](FrameDecoder::next_frame); it never asks for bytes beyond the
/// frame at hand, so nothing is copied again. After an error it must not be used any more.
#[derive(Debug)]
pub struct FrameDecoder {
    max_body: usize,
    /// The header, or padding and the body.
    buffer: BytesMut,
    /// How long `buffer` gets.
    target: usize,
    /// The header of the body at hand, and the padding before it.
    body_of: Option<(Header, usize)>,
}

impl FrameDecoder {
    /// For bodies of at most `max_body` bytes.
    pub fn new(max_body: usize) -> Self {
        FrameDecoder { max_body, buffer: BytesMut::new(), target: HEADER_BYTES, body_of: None }
    }

    /// Allows bodies of this length from the next frame on.
    pub fn allow(&mut self, max_body: usize) {
        self.max_body = max_body;
    }

    /// Where the next bytes belong. Room for none where [`next_frame`](FrameDecoder::next_frame) has not been called.
    pub fn space(&mut self) -> Limit<&mut BytesMut> {
        use bytes::BufMut;
        let missing = self.target - self.buffer.len();
        (&mut self.buffer).limit(missing)
    }

    /// The next frame, if all of it is there.
    ///
    /// # Errors
    /// When the bytes are no frame that is allowed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.body_of.is_none() {
            let Ok(bytes) = <&[u8; HEADER_BYTES]>::try_from(&self.buffer[..]) else { return Ok(None) };
            let header = Header::parse(bytes, self.max_body)?;
            self.begin_body(header);
        }
        if self.buffer.len() < self.target {
            return Ok(None);
        }
        let Some((header, padding)) = self.body_of.take() else { return Ok(None) };
        self.target = HEADER_BYTES;
        let body = std::mem::take(&mut self.buffer).freeze().slice(padding..);
        Ok(Some(Frame { header, body }))
    }

    fn begin_body(&mut self, header: Header) {
        let length = header.length as usize;
        let mut buffer = BytesMut::with_capacity(if length == 0 { 0 } else { length + BODY_ALIGNMENT });
        let past = buffer.as_ptr() as usize % BODY_ALIGNMENT;
        let padding = if length == 0 { 0 } else { (BODY_ALIGNMENT - past) % BODY_ALIGNMENT };
        buffer.resize(padding, 0);
        self.buffer = buffer;
        self.target = padding + length;
        self.body_of = Some((header, padding));
    }

    /// Whether the bytes so far end with a whole frame.
    pub fn is_between_frames(&self) -> bool {
        self.body_of.is_none() && self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests;
