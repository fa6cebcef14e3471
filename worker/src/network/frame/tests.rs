use super::*;
use bytes::{Buf, BufMut};
use proptest::prelude::*;

const MAX_BODY: usize = 1000;

/// One frame of each sort, with the bytes of all.
fn stream() -> (Vec<(FrameKind, Vec<u8>)>, Vec<u8>) {
    let frames = vec![
        (FrameKind::Hello, b"{}".to_vec()),
        (FrameKind::Batch, vec![7; 300]),
        (FrameKind::Idle, vec![]),
        (FrameKind::Watermark, 5i64.to_le_bytes().to_vec()),
        (FrameKind::Batch, vec![]),
        (FrameKind::Credit, 9u64.to_le_bytes().to_vec()),
        (FrameKind::EndOfInput, vec![]),
    ];
    let mut bytes = Vec::new();
    for (index, (kind, body)) in frames.iter().enumerate() {
        bytes.extend_from_slice(&frame(*kind, 3, index as u32, body).to_vec());
    }
    (frames, bytes)
}

/// Feeds bytes in portions; what came out, and whether it ended between frames.
fn decode(portions: &[&[u8]]) -> Result<(Vec<Frame>, bool), FrameError> {
    let mut decoder = FrameDecoder::new(MAX_BODY);
    let mut frames = Vec::new();
    for mut portion in portions.iter().copied() {
        while portion.has_remaining() {
            let mut space = decoder.space();
            let count = portion.len().min(space.remaining_mut());
            assert!(count > 0, "it asks for what it lacks");
            space.put_slice(&portion[..count]);
            portion.advance(count);
            while let Some(frame) = decoder.next_frame()? {
                assert!(frame.body.is_empty() || (frame.body.as_ptr() as usize).is_multiple_of(BODY_ALIGNMENT));
                frames.push(frame);
            }
            assert!(decoder.buffer.capacity() <= MAX_BODY + BODY_ALIGNMENT, "no more memory than was allowed");
        }
    }
    Ok((frames, decoder.is_between_frames()))
}

fn check(frames: &[Frame], expected: &[(FrameKind, Vec<u8>)]) {
    assert_eq!(frames.len(), expected.len());
    for (index, (found, (kind, body))) in frames.iter().zip(expected).enumerate() {
        assert_eq!(found.header, Header::new(*kind, 3, index as u32, body.len()));
        assert_eq!(found.body, body);
    }
}

#[test]
fn the_layout_is_as_documented() {
    let header = Header {
        kind: FrameKind::Batch,
        flags: flags::LZ4 | flags::KEY_HASHES,
        attempt: 0x0102_0304_0506_0708,
        channel: 0x1112_1314,
        length: 0x2122,
        raw_length: 0x0031_3233,
    };
    let bytes = header.to_bytes();
    let expected =
        b"WEIR\x01\x00\x10\x09\x08\x07\x06\x05\x04\x03\x02\x01\x14\x13\x12\x11\x22\x21\0\0\x33\x32\x31\0\0\0\0\0";
    assert_eq!(bytes, expected);
    assert_eq!(Header::parse(expected, 1 << 24).unwrap(), header);
    for kind in FrameKind::ALL {
        assert_eq!(FrameKind::from_byte(kind as u8), Some(kind));
    }
}

#[test]
fn a_stream_may_be_cut_into_reads_anywhere() {
    let (expected, bytes) = stream();
    for at in 0..=bytes.len() {
        let (one, other) = bytes.split_at(at);
        let (frames, whole) = decode(&[one, other]).unwrap();
        assert!(whole);
        check(&frames, &expected);
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    check(&decode(&single).unwrap().0, &expected);
}

#[test]
fn a_stream_that_ends_anywhere_gives_the_whole_frames_before_and_says_whether_one_is_cut() {
    let (expected, bytes) = stream();
    let mut ends = vec![0];
    for (_, body) in &expected {
        ends.push(ends.last().unwrap() + HEADER_BYTES + body.len());
    }
    for length in 0..=bytes.len() {
        let (frames, whole) = decode(&[&bytes[..length]]).unwrap();
        let count = ends.iter().filter(|end| **end <= length).count() - 1;
        check(&frames, &expected[..count]);
        assert_eq!(whole, ends.contains(&length), "after {length} bytes");
    }
}

#[test]
fn a_header_with_anything_wrong_is_refused_before_its_body_comes() {
    let mut good = Header::new(FrameKind::Batch, 1, 0, 10).to_bytes();
    let mut refused = |at: usize, byte: u8| {
        let before = std::mem::replace(&mut good[at], byte);
        let error = decode(&[&good]).unwrap_err();
        good[at] = before;
        error
    };
    assert_eq!(refused(0, b'G'), FrameError::Magic(*b"GEIR"));
    assert_eq!(refused(4, 2), FrameError::Version(2));
    assert_eq!(refused(6, 99), FrameError::Kind(99));
    assert_eq!(refused(7, 0x10), FrameError::Flags(FrameKind::Batch, 0x10));
    assert_eq!(refused(31, 1), FrameError::Reserved(FrameKind::Batch, 1 << 24));
    let long = 10 + (1 << 24);
    assert_eq!(refused(23, 1), FrameError::TooLong { kind: FrameKind::Batch, length: long, allowed: MAX_BODY });
    assert_eq!(refused(24, 11), FrameError::Length { kind: FrameKind::Batch, length: 10, raw_length: 11 });
    let watermark = Header::new(FrameKind::Watermark, 1, 0, 9).to_bytes();
    assert!(matches!(decode(&[&watermark]).unwrap_err(), FrameError::Length { .. }));
    let mut flagged = Header::new(FrameKind::Idle, 1, 0, 0).to_bytes();
    flagged[7] = flags::LZ4;
    assert!(matches!(decode(&[&flagged]).unwrap_err(), FrameError::Flags(FrameKind::Idle, _)));
    assert!(
        decode(&[b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]).unwrap_err().to_string().contains("does not speak")
    );
}

proptest! {
    #[test]
    fn noise_gives_errors_and_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((frames, _)) = decode(&[&bytes]) {
            prop_assert!(frames.is_empty() || bytes.starts_with(&MAGIC));
        }
    }

    #[test]
    fn noise_behind_a_right_beginning_too(bytes in proptest::collection::vec(any::<u8>(), 26), kind in 0u8..40) {
        let mut noise = b"WEIR\x01\x00".to_vec();
        noise.extend_from_slice(&bytes);
        noise[6] = kind;
        let _ = decode(&[&noise]);
    }

    #[test]
    fn a_mutated_stream_gives_frames_or_an_error(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        portion in 1usize..200,
    ) {
        let (_, mut bytes) = stream();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let portions: Vec<&[u8]> = bytes.chunks(portion).collect();
        if let Ok((frames, _)) = decode(&portions) {
            prop_assert!(frames.iter().all(|frame| frame.body.len() == frame.header.length as usize));
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written(
        kind in 0usize..12, flag in 0u8..16, attempt in any::<u64>(), channel in any::<u32>(), length in 0u32..1000,
        raw in 0u32..1000,
    ) {
        let kind = FrameKind::ALL[kind];
        let length = kind.fixed_length().map_or(length, |fixed| fixed as u32);
        let flags = if kind == FrameKind::Batch { flag } else { 0 };
        let raw_length = if flags & flags::LZ4 != 0 { raw } else { length };
        let header = Header { kind, flags, attempt, channel, length, raw_length };
        let bytes: [u8; HEADER_BYTES] = header.to_bytes().try_into().unwrap();
        prop_assert_eq!(Header::parse(&bytes, 1000).unwrap(), header);
    }
}
